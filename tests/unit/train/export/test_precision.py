"""Updates below the precision of bfloat16: kept by float32 files, on average by bfloat16 ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lidr.components.shared.forward.tokens import tokenize_pairs
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.samples import MARGINS_FILE, PairMargin
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.export.precision import Rounding, stochastically_rounded
from lidr.components.train.run import train
from tests.unit.train.export.test_forms import PAIRS, bare, score
from tests.unit.train.models import FLAT
from tests.unit.train.stages import launch, pair_stage, recipe, shaped_stage


def trained(root: Path, start: str, before: str, dtype: str = "auto", **training: object) -> str:
    """Train a model of bfloat16 files at the default learning rate."""
    settings = json.loads(recipe(batch_size=4, learning_rate=5e-7, **training))
    settings["model"]["dtype"] = dtype
    given = (json.dumps(settings), str(root), start, pair_stage(root, PAIRS), before, 1, launch())
    return train(*given)


def weights(uri: str) -> dict[str, torch.Tensor]:
    return load_file(model_files(uri).folder / "model.safetensors")


def margins(uri: str, before: str, dtype: torch.dtype) -> list[tuple[float, float]]:
    """Return the margins that a train stage tells, and those of its files in a precision."""
    models: list[Any] = [bare(each).to(dtype).float() for each in (uri, before)]
    chat = ChatRenderer.load(model_files(uri).folder, PLAIN_CHAT)
    pairs = {pair.key: pair for pair in tokenize_pairs(PAIRS, chat, 128).pairs}
    return [
        (told.margin, 0.1 * (score(models[0], pair) - score(models[1], pair)))
        for told in open_stage(uri).read_records([MARGINS_FILE], PairMargin)
        for pair in [pairs[told.pair]]
    ]


def test_bfloat16_files_become_float32_ones_that_hold_the_whole_update(tmp_path: Path):
    start = shaped_stage(tmp_path, FLAT["llama"], "bfloat16")
    uri = trained(tmp_path, start, start)
    assert {each.dtype for each in weights(uri).values()} == {torch.float32}
    counts = open_stage(uri).counts()
    assert (counts["export"], counts["update_kept"], counts["warnings"]) == ("float32", 1.0, [])
    assert counts["changed_share"] > 0.5
    for told, own in margins(uri, start, torch.float32):
        assert told == pytest.approx(own, abs=5e-6)
    again = trained(tmp_path, start, uri)  # goes on from there
    for name, tensor in weights(again).items():
        assert (tensor - weights(uri)[name]).abs().max() < 1e-5, name


def test_inference_in_bfloat16_that_loses_the_update_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    start = shaped_stage(tmp_path, FLAT["llama"], "bfloat16")
    uri = trained(tmp_path, start, start, "bfloat16", export="float32")
    counts = open_stage(uri).counts()
    assert counts["update_kept"] < 0.2
    assert counts["changed_share"] < 0.2
    (warning,) = counts["warnings"]
    assert "inference in bfloat16 sees" in warning
    assert "set training.export to bfloat16" in warning
    assert warning in capsys.readouterr().err
    for told, own in margins(uri, start, torch.bfloat16):
        assert told == pytest.approx(own, abs=5e-6)


def test_stochastic_rounding_keeps_the_update_on_average_in_half_the_bytes(tmp_path: Path):
    start = shaped_stage(tmp_path, FLAT["llama"], "bfloat16")
    uri = trained(tmp_path, start, start, "bfloat16")
    assert {each.dtype for each in weights(uri).values()} == {torch.bfloat16}
    counts = open_stage(uri).counts()
    assert counts["export"] == "bfloat16"
    assert counts["update_kept"] == pytest.approx(1, abs=0.2)
    assert counts["warnings"] == []
    for told, own in margins(uri, start, torch.bfloat16):
        assert told == pytest.approx(own, abs=5e-6)


def test_stochastic_rounding_is_right_on_average_and_leaves_what_bfloat16_has():
    values = torch.tensor([1.0, -1.0, 0.0, 3.0e-5, -70_000.0]).bfloat16().float()
    assert torch.equal(stochastically_rounded(values, 1).float(), values)
    third = torch.full((30_000,), -(1 + 2**-7 / 3))
    rounded = stochastically_rounded(third, 2).float()
    assert set(rounded.tolist()) == {-1.0, -(1 + 2**-7)}
    assert rounded.mean().item() == pytest.approx(third[0].item(), abs=1e-4)
    assert torch.equal(rounded, stochastically_rounded(third, 2).float())
    assert not torch.equal(rounded, stochastically_rounded(third, 3).float())


@pytest.mark.parametrize(
    ("setting", "seen", "start", "file"),
    [
        ("auto", torch.bfloat16, torch.bfloat16, "bfloat16"),
        ("auto", torch.float32, torch.bfloat16, "float32"),
        ("auto", torch.bfloat16, torch.float32, "float32"),
        ("auto", torch.float16, torch.float16, "float32"),
        ("float32", torch.bfloat16, torch.bfloat16, "float32"),
        ("bfloat16", torch.float32, torch.float32, "bfloat16"),
    ],
)
def test_export_is_what_inference_and_start_have_in_common(
    setting: str, seen: torch.dtype, start: torch.dtype, file: str
):
    rounding = Rounding.of(setting, seen, {start}, 0)
    assert rounding.file == file
    assert rounding.stored_type(start) is getattr(torch, file)
    assert rounding.stored_type(torch.int64) is torch.int64
