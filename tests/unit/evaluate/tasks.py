"""Items and YAML tasks for tests of the evaluate step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

LANGUAGES = ("en", "es", "de")

EXACT_MATCH = "metric_list:\n  - metric: exact_match\n"

LOADER = """
from datasets import Dataset

def load(**_):
    rows = [{"question": f"What is {n}?", "answer": str(n)} for n in range(3)]
    return {"test": Dataset.from_list(rows)}

def is_right(references, predictions):
    return float(references == predictions)
"""

TASK = """
task: {name}
custom_dataset: !function loader.load
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
{more}
"""


def item_lines(items: Sequence[tuple[str, str]]) -> bytes:
    """Return (question, answer) pairs as a file of the tiny world, numbered e0, e1, ..."""
    rows = [
        {"item_id": f"e{number}", "question": question, "answer": answer}
        for number, (question, answer) in enumerate(items)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_items(folder: Path, items: Sequence[tuple[str, str]]) -> Path:
    """Write the same items for every language; return their folder."""
    for code in LANGUAGES:
        (folder / f"{code}.jsonl").write_bytes(item_lines(items))
    return folder


def write_tasks(
    folder: Path, more: str = EXACT_MATCH, kind: str = "generate_until", name: str = "mine"
) -> Path:
    """Write `<name>_<language>` tasks that ask "What is 0?", 1 and 2; return their folder."""
    folder.mkdir(exist_ok=True)
    (folder / "loader.py").write_text(LOADER)
    for code in LANGUAGES:
        text = TASK.format(name=f"{name}_{code}", kind=kind, more=more.replace("CODE", code))
        (folder / f"{name}_{code}.yaml").write_text(text)
    return folder
