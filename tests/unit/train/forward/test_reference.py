"""The stage of reference log-probabilities: computed once, found by retries and other recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.shared.store.stage import open_stage
from lidr.components.train.run import train
from tests.unit.train.stages import launch, model_stage, pair_stage, preference, recipe

PAIRS = [preference(number) for number in range(6)]
REUSED = "stored reference log-probabilities are used"


def trained(root: Path, model: str, **training: object) -> str:
    return train(
        recipe=recipe(**training),
        launch=launch(),
        store=str(root),
        inputs=model_stage(root),
        pairs=pair_stage(root, PAIRS),
        model=model,
        iteration=1,
    )


def reference_of(uri: str) -> str:
    return open_stage(uri).counts()["reference"]


def test_another_beta_or_learning_rate_or_adapters_find_it_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    world = model_stage(tmp_path)
    first = reference_of(trained(tmp_path, world))
    assert REUSED not in capsys.readouterr().err
    others = (
        {"beta": 0.5},
        {"learning_rate": 1e-4},
        {"batch_size": 2},
        {"lora": {"rank": 2}},
        {"reference": "base"},
        {"max_length": 127},  # nothing is cut at either length
    )
    for setting in others:
        assert reference_of(trained(tmp_path, world, **setting)) == first, setting
        assert REUSED in capsys.readouterr().err
    rows = open_stage(first).read_table(["logps.parquet"]).to_pylist()
    assert len(rows) == len(PAIRS)
    assert rows[0]["pair"] == '["p0","es","en","translation_chosen",0]'


def test_other_weights_other_pairs_and_other_cuts_do_not(tmp_path: Path):
    world, later = model_stage(tmp_path), model_stage(tmp_path, 1)
    previous = reference_of(trained(tmp_path, later))
    base = reference_of(trained(tmp_path, later, reference="base"))
    assert base == reference_of(trained(tmp_path, world))
    cut = reference_of(trained(tmp_path, world, max_length=32))
    assert len({previous, base, cut}) == 3


def test_a_run_that_failed_later_leaves_it_for_its_retry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from lidr.components.train import trainer

    def broken(*_: object) -> None:
        raise RuntimeError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train", broken)
        with pytest.raises(RuntimeError, match="no space left"):
            trained(tmp_path, model_stage(tmp_path))
    capsys.readouterr()
    trained(tmp_path, model_stage(tmp_path))
    assert REUSED in capsys.readouterr().err
