"""What is exported is what was trained: every form of model and adapter, over two iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lidr.components.shared.forward.tokens import TokenPair, tokenize_pairs
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.samples import MARGINS_FILE, PairMargin
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.run import train
from tests.unit.train.models import FLAT
from tests.unit.train.stages import launch, pair_stage, preference, recipe, shaped_stage

PAIRS = [preference(number) for number in range(8)]

ALL: dict[str, Any] = {"rank": 4}
APART = {"rank": 4, "merge": False}
ONE_MATRIX = {"rank": 2, "targets": ["layers.1.mlp.down_proj"], "merge": False}
EMBEDDING = {"rank": 4, "targets": ["embed_tokens", "q_proj"]}

QUICK = [
    ("llama", EMBEDDING),
    ("mixtral", APART),
    ("qwen3 moe", ALL),
]
FORMS = [
    ("llama", None),
    ("llama", ALL),
    ("llama", APART),
    ("llama", ONE_MATRIX),
    ("llama, tied", None),
    ("llama, tied", ALL),
    ("llama, tied", APART),
    ("mixtral", None),
    ("mixtral", ALL),
    ("qwen3 moe", None),
    ("qwen3 moe", APART),
]


def bare(uri: str) -> Any:
    """Return a stage's model as transformers and PEFT alone read it."""
    files = model_files(uri)
    model = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, files.adapter) if files.adapter else model).eval()


@torch.no_grad()
def score(model: Any, pair: TokenPair) -> float:
    """Return log p(chosen) - log p(rejected), one text at a time."""
    found = []
    for side in (pair.chosen, pair.rejected):
        logits = model(input_ids=torch.tensor([pair.prompt + side])).logits[0].double()
        logps = logits[len(pair.prompt) - 1 : -1].log_softmax(-1)
        found.append(logps[torch.arange(len(side)), torch.tensor(side)].sum().item())
    return found[0] - found[1]


def exported_is_trained(root: Path, name: str, lora: dict[str, Any] | None) -> None:
    start = shaped_stage(root, FLAT[name])
    rate = 0.1 if lora == ONE_MATRIX else 3e-3
    settings = recipe(batch_size=4, learning_rate=rate, epochs=2, lora=lora or {"rank": 0})
    before = start
    for iteration in (1, 2):
        uri = train(
            settings, str(root), start, pair_stage(root, PAIRS), before, iteration, launch()
        )
        after, reference = bare(uri), bare(before)
        chat = ChatRenderer.load(model_files(uri).folder, PLAIN_CHAT)
        pairs = {pair.key: pair for pair in tokenize_pairs(PAIRS, chat, 128).pairs}
        for told in open_stage(uri).read_records([MARGINS_FILE], PairMargin):
            pair = pairs[told.pair]
            margin = 0.1 * (score(after, pair) - score(reference, pair))
            assert abs(margin) > 0.02
            assert told.margin == pytest.approx(margin, rel=1e-4, abs=2e-6)
        before = uri


@pytest.mark.parametrize(("name", "lora"), QUICK)
def test_exported_margins_are_the_trained_ones(
    tmp_path: Path, name: str, lora: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    exported_is_trained(tmp_path, name, lora)
    said = "adapters on k_proj, o_proj, q_proj, v_proj; the experts have none"
    assert (said in capsys.readouterr().err) == (name != "llama")


@pytest.mark.long
@pytest.mark.parametrize(("name", "lora"), FORMS)
def test_exported_margins_are_the_trained_ones_in_every_form(
    tmp_path: Path, name: str, lora: dict[str, Any] | None
):
    exported_is_trained(tmp_path, name, lora)
