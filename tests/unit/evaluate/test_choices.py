"""Multiple choice through our engine, against the harness's own model on the same chats."""

from __future__ import annotations

from pathlib import Path

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lidr.components.evaluate.harness import run_tasks
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from tests.fakes import make_recipe
from tests.unit.evaluate.tasks import LANGUAGES
from tests.unit.shared.engines.cases import lively_model

LOADER = """
from datasets import Dataset

WORDS = ["Nina", "pierde", "Buch", "books", "finds", "2", "tres", "vier"]

def load(**_):
    rows = [
        {
            "question": f"What follows {WORDS[n % 8]} and {WORDS[(3 * n + 1) % 8]}?",
            "choices": [" ".join(WORDS[(n + k) % 8 :][: 1 + (n * k) % 3]) for k in range(4)],
            "label": n % 4,
        }
        for n in range(40)
    ]
    return {"test": Dataset.from_list(rows)}
"""

TASK = """
task: words_{code}
custom_dataset: !function words.load
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list:
  - metric: {metric}
"""


def run_both(folder: Path, metric: str) -> tuple[list[float], list[float]]:
    model, tasks = lively_model(folder / "model"), folder / "tasks"
    tasks.mkdir()
    (tasks / "words.py").write_text(LOADER)
    for code in LANGUAGES:
        (tasks / f"{code}.yaml").write_text(TASK.format(code=code, metric=metric))
    engine = TransformersEngine(model, dtype="float32", max_length=0, batch_tokens=1024)
    recipe = make_recipe(evaluation={"tasks": ["words_{language}"]})
    ours = run_tasks(engine, recipe, [tasks], folder)
    engine.close()
    theirs = simple_evaluate(
        model=HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=1),
        tasks=[f"words_{code}" for code in LANGUAGES],
        task_manager=TaskManager(include_path=[str(tasks)], include_defaults=False),
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    expected = [
        sample[metric] for code in LANGUAGES for sample in theirs["samples"][f"words_{code}"]
    ]
    return [item.score for item in ours], expected


def test_every_item_s_accuracy_is_the_harness_s(tmp_path: Path):
    ours, theirs = run_both(tmp_path, "acc")
    assert ours == theirs
    assert 0 < sum(ours) < len(ours) == 120


def test_so_is_the_accuracy_by_length_normalised_likelihood(tmp_path: Path):
    ours, theirs = run_both(tmp_path, "acc_norm")
    assert ours == theirs
