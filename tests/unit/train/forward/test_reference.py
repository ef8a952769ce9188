"""The stage of reference log-probabilities: computed once, found by retries and other recipes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lidr.components.shared.core.errors import TrainingFailed
from lidr.components.shared.forward.tokens import TokenPair, TokenPairs
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, open_stage
from lidr.components.train.distributed.ranks import Ranks
from lidr.components.train.forward import reference
from lidr.components.train.forward.reference import Parts, reference_logps, reference_stage
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
    rows = open_stage(first).read_table(["logps-00000.parquet"]).to_pylist()
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


def test_a_reference_model_that_is_another_is_asked_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trained(tmp_path, model_stage(tmp_path, 1), reference="base")
    assert REUSED not in capsys.readouterr().err


TOKENS = [
    TokenPair(f"k{n}", f"p{n}", "es", array("i", [n]), array("i", [n, 1]), array("i", [2]))
    for n in range(7)
]


class Scorer:
    """Stands for a model: a pair's scores follow from its key; it may end early, or write NaN."""

    def __init__(self, end_after: int = 99, nan: str = "", factor: float = -1.0) -> None:
        self.left, self.nan, self.factor = end_after, nan, factor
        self.scored: list[str] = []

    def __call__(self, parts: Parts) -> Iterator[torch.Tensor]:
        for part in parts:
            if not self.left:
                raise RuntimeError("evicted")
            self.left -= 1
            self.scored += [pair.key for pair in part]
            values = torch.tensor([[self.factor * int(p.key[1:]), -0.1] for p in part])
            values[[pair.key == self.nan for pair in part], 1] = torch.nan
            yield values


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(reference, "PART_PAIRS", 3)
    return own_stage(tmp_path)


def own_stage(root: Path) -> Stage:
    pairs_uri, model_uri = (f"{root}/stages/{step}/{'0' * 64}" for step in ("pair", "train"))
    pairs = TokenPairs(TOKENS, {})
    return reference_stage(LocalStore(root), pairs_uri, model_uri, pairs, "float32")


def test_an_interrupted_pass_goes_on_with_the_next_part(stage: Stage):
    first, second, third = Scorer(end_after=2), Scorer(), Scorer()
    with pytest.raises(RuntimeError, match="evicted"):
        reference_logps(stage, TOKENS, first, Ranks())
    assert not stage.done()
    values = reference_logps(stage, TOKENS, second, Ranks())
    assert (first.scored, second.scored) == (["k0", "k1", "k2", "k3", "k4", "k5"], ["k6"])
    assert values[:, 0].tolist() == [-0.0, -1, -2, -3, -4, -5, -6]
    assert torch.equal(reference_logps(stage, TOKENS, third, Ranks()), values)
    assert third.scored == []


def test_two_runs_that_write_one_stage_have_what_was_written_first(stage: Stage, tmp_path: Path):
    """Another machine's sums differ in their last bits."""

    class Late(Scorer):
        def __call__(self, parts: Parts) -> Iterator[torch.Tensor]:
            for values in super().__call__(parts):
                reference_logps(own_stage(tmp_path), TOKENS, Scorer(), Ranks())
                yield values

    values = reference_logps(stage, TOKENS, Late(factor=-1.5), Ranks())
    assert values[:, 0].tolist() == [-0.0, -1, -2, -3, -4, -5, -6]
    assert torch.equal(reference_logps(own_stage(tmp_path), TOKENS, Scorer(), Ranks()), values)


def test_values_that_are_not_finite_are_refused_and_not_stored(stage: Stage):
    with pytest.raises(TrainingFailed, match="of 1 pairs are not finite: k4"):
        reference_logps(stage, TOKENS, Scorer(nan="k4"), Ranks())
    again = Scorer()
    reference_logps(stage, TOKENS, again, Ranks())
    assert again.scored == ["k3", "k4", "k5", "k6"]
