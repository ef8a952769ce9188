"""A real model, SmolLM2-135M-Instruct, through generate, translate, pair, train and evaluate.

What it answers and how likely it finds it is what transformers, TRL and lm-evaluation-harness say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lidr.components.evaluate.run import evaluate
from lidr.components.generate.run import generate
from lidr.components.pair.run import pair
from lidr.components.prepare.run import prepare
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.forward.loading import load_chat
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.models.chat import ChatSettings
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import EvalItem, PreferencePair, Response
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.forward.reference import ReferenceScore
from lidr.components.train.pairs import load_pairs
from lidr.components.train.run import train
from lidr.components.translate.run import translate
from tests.real_model import needs_smollm2, smollm2
from tests.unit.evaluate.test_agreement import the_harness_own

pytestmark = [pytest.mark.long, needs_smollm2]

PROMPTS = {
    "en": ["What is the capital of France?", "How many days has a week?"],
    "es": ["¿Cuál es la capital de Francia?", "¿Cuántos días hay en la semana?"],
}
ITEMS = [("¿Cuánto es 2 + 3?", "5"), ("¿Cuánto es 10 - 3?", "7")]
LIMIT = 16


def recipe_of(folder: Path, root: Path) -> Recipe:
    files = {}
    for code, texts in PROMPTS.items():
        rows = [{"prompt_id": f"p{n}", "text": text} for n, text in enumerate(texts)]
        (root / f"{code}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[code] = str(root / f"{code}.jsonl")
    items = [{"question": question, "answer": answer} for question, answer in ITEMS]
    (root / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    task = "mgsm_direct_{language}"
    return Recipe.model_validate(
        {
            "name": "smollm2",
            "languages": {"dominant": "en", "others": ["es"]},
            "model": {"source": str(folder), "max_length": 512},
            "prompts": {"files": files, "per_iteration": 2},
            "generation": {"engine": "transformers", "max_tokens": LIMIT},
            "translation": {"max_tokens": 32, "round_trip_sample": 0},
            "pairing": {"filters": "paper"},
            "training": {
                "batch_size": 2,
                "learning_rate": 1e-5,
                "precision": "float32",
                "max_length": 256,
            },
            "evaluation": {
                "tasks": [task],
                "languages": {task: ["es"]},
                "data": {"juletxara/mgsm": str(root / "items.jsonl")},
                "max_tokens": LIMIT,
            },
        }
    )


class Ran:
    """One iteration on SmolLM2, and the stages that it left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = smollm2(root / "model")
        self.recipe = recipe_of(self.folder, root)
        text, store = self.recipe.model_dump_json(), str(root / "store")
        self.inputs = prepare(recipe=text, store=store)
        given: dict[str, Any] = {"recipe": text, "store": store, "inputs": self.inputs}
        given |= {"model": self.inputs, "iteration": 1}
        self.responses = generate(**given)
        self.translations = translate(responses=self.responses, **given)
        self.pairs = pair(responses=self.responses, rewards=self.translations, **given)
        self.model = train(pairs=self.pairs, launch=Launch().text(), **given)
        self.scores = evaluate(**given)

    def tokens(self) -> list[TokenPair]:
        """The pairs as they were trained on, sides that were cut without an end."""
        chat = load_chat(ChatSettings(), self.folder)
        return load_pairs(self.pairs, chat, self.folder, self.recipe.training).pairs


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("smollm2"))


def test_greedy_answers_are_transformers_own(ran: Ran):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ran.folder)
    model = AutoModelForCausalLM.from_pretrained(ran.folder)
    stage = open_stage(ran.responses)
    rows = stage.read_records(stage.files(prefix="responses/"), Response)
    assert len(rows) == 4
    for row in rows:
        text = PROMPTS[row.language][int(row.prompt_id[1:])]
        chat = [{"role": "user", "content": text}]
        asked = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        found = model.generate(
            **asked, do_sample=False, max_new_tokens=LIMIT, pad_token_id=tokenizer.eos_token_id
        )
        answer = found[0, asked["input_ids"].shape[1] :]
        assert row.text == tokenizer.decode(answer, skip_special_tokens=True)
        assert (row.prompt_tokens, row.output_tokens) == (asked["input_ids"].shape[1], len(answer))


def test_log_probabilities_are_trl_s_on_the_same_tokens(ran: Ran):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    records = open_stage(ran.pairs).read_records(["pairs.parquet"], PreferencePair)
    rows = [{side: getattr(r, side) for side in ("prompt", "chosen", "rejected")} for r in records]
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(ran.folder, dtype=torch.float32),
        args=DPOConfig(output_dir=str(ran.root / "trl"), bf16=False, report_to="none"),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(ran.folder),
    )
    reference = open_stage(str(open_stage(ran.model).counts()["reference"]))
    ours = {
        row.pair: row
        for row in reference.read_records(reference.files(prefix="logps-"), ReferenceScore)
    }
    pairs = ran.tokens()
    assert len(pairs) == len(ours) >= 2
    collate = DataCollatorForPreference(pad_token_id=0)
    for each in pairs:
        sides = {
            "prompt_ids": each.prompt,
            "chosen_ids": each.chosen,
            "rejected_ids": each.rejected,
        }
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, collate([sides]))
        found = ours[each.key]
        assert found.chosen == pytest.approx(chosen.item(), abs=1e-3)
        assert found.rejected == pytest.approx(rejected.item(), abs=1e-3)


def test_scores_are_the_harness_s(ran: Ran):
    samples = the_harness_own(ran.folder, ran.recipe, ran.root)["mgsm_direct_es"]
    theirs = [
        (row["resps"][0][0], row["exact_match"])
        for row in samples
        if row["filter"] == "flexible-extract"
    ]
    ours = open_stage(ran.scores).read_records(["items.parquet"], EvalItem)
    assert [(item.response, item.score) for item in ours] == theirs
    assert len(theirs) == len(ITEMS)


def test_the_trained_model_is_another_one_that_answers(ran: Ran):
    from transformers import AutoModelForCausalLM

    counts = open_stage(ran.model).counts()
    assert counts["changed_share"] > 0.5
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).get_output_embeddings().weight
        for folder in (ran.folder, model_files(ran.model).folder)
    )
    assert 0 < (before - after).abs().max() < 1e-3
