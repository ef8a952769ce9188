"""A machine that reaches nothing but its store: it fetches while its hosts answer, then runs.

Started in a network namespace of its own, whose only device is the loopback: the store (an S3
server) and, at first, the hosts listen there, and nothing else can be reached.

Usage: python -m tests.e2e.cut_off FOLDER
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import boto3
import lm_eval
import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_states
from lidr.components.shared.store.stage import open_stage
from tests.e2e.runs import run_command
from tests.e2e.test_real_text import chat_model
from tests.moto_server import CREDENTIALS, moto_server
from tests.warm import RUN, python
from tests.web_hosts import REVISION, Host, serving

BUCKET = "only"
LANGUAGES = ("en", "es")
PROMPTS = 8
MMLU = "CohereLabs/Global-MMLU-Lite"
CATEGORIES = ("Business", "Humanities", "Medical", "Other", "STEM", "Social Sciences")


def main(folder: Path) -> int:
    """Fetch, take the hosts away, check and run; return the first exit status that is not 0."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ.update(CREDENTIALS, COLUMNS="300")
    with moto_server() as endpoint:
        os.environ.update(AWS_ENDPOINT_URL=endpoint, LIDR_CACHE=str(folder / "cache"))
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        with serving() as host:
            recipe = write_recipe(host, folder)
            os.environ["HF_ENDPOINT"] = host.url
            if code := lidr(sys.executable, "fetch", recipe):
                return code
        del os.environ["HF_ENDPOINT"]
        # What a host or the hub had sent to this machine by another way is gone, too.
        os.environ.update(LIDR_CACHE=str(folder / "fresh"), HF_HOME=str(folder / "no-hub"))
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ.pop(RUN, None)  # a server with the environment of here
        code = lidr(python(), "run", recipe, "--run", "cut-off")
        return code or told()


def told() -> int:
    """Print how many items of each task were scored, of each model."""
    store = open_store(f"s3://{BUCKET}/store")
    for state in read_states(store, "cut-off"):
        items = open_stage(state["evaluation"]).read_records(["items.parquet"], EvalItem)
        print(json.dumps(Counter(item.task for item in items)))
    return 0


def lidr(python: str, command: str, recipe: Path, *options: str) -> int:
    words = [command, str(recipe), "--store", f"s3://{BUCKET}/store", *options]
    done = run_command([python, "-m", "lidr.pipelines.cli", *words], recipe.parent)
    print(done.stdout, done.stderr)
    return done.returncode


def write_recipe(host: Host, folder: Path) -> Path:
    """Put all inputs on the host, each in another way; return the recipe that names them."""
    files = chat_model(folder / "model")
    host.add_repository("org/m0", {f.name: f.read_bytes() for f in files.iterdir()}, kind="model")
    host.add_repository(MMLU, mmlu())
    prompts = {code: web(host, f"/prompts/{code}.jsonl", rows(code)) for code in LANGUAGES}
    items = {code: web(host, f"/items/{code}.jsonl", sums(code)) for code in LANGUAGES}
    content = {
        "name": "cut-off",
        "languages": {"dominant": "en", "others": ["es"]},
        "model": {"source": f"hf://org/m0@{REVISION}", "max_length": 1024},
        "prompts": {
            "files": prompts,
            "translation_tasks": web(host, "/tasks.jsonl", b'{"prompt_id": "p3"}\n'),
            "per_iteration": PROMPTS,
        },
        "generation": {"engine": "transformers", "max_tokens": 16},
        "translation": {"max_tokens": 16, "round_trip_sample": 2},
        "pairing": {"filters": "paper", "reward": {"on_stop": "train"}},
        "training": {"batch_size": 4, "max_length": 256, "learning_rate": 1e-4},
        "evaluation": {
            "tasks": ["mgsm_paper_{language}", "harness_{language}"],
            "include_path": harness_tasks(folder / "tasks"),
            "data": {
                "mgsm": {
                    "source": f"{host.url}/items/{{language}}.jsonl",
                    "sha256": {code: each["sha256"] for code, each in items.items()},
                }
            },
            "revisions": {MMLU: REVISION},
            "max_tokens": 16,
        },
        "gate": {"max_iterations": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(content))
    return path


def harness_tasks(folder: Path) -> str:
    """Return a folder with tasks of the evaluation harness under other names.

    Where a name is none of a folder's, the harness's index of 14,000 is read, for ten seconds.
    """
    folder.mkdir()
    own = Path(lm_eval.__file__).parent / "tasks" / "global_mmlu" / "default"
    for code in LANGUAGES:
        text = f"include: {own / code / f'_{code}_template_yaml'}\ntask: harness_{code}\n"
        (folder / f"{code}.yaml").write_text(text)
    return str(folder)


def web(host: Host, path: str, data: bytes) -> dict[str, str]:
    """Serve a file; return it as a recipe names and pins it."""
    host.files[path] = data
    return {"source": f"{host.url}{path}", "sha256": hashlib.sha256(data).hexdigest()}


def rows(code: str) -> bytes:
    text = {"en": "How many books has Nina after day", "es": "Cuántos libros tiene Nina el día"}
    found = [{"prompt_id": f"p{n}", "text": f"{text[code]} {n}?"} for n in range(PROMPTS)]
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def sums(code: str) -> bytes:
    found = [{"question": f"{code}: {n} + 1?", "answer": str(n + 1)} for n in range(2)]
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def mmlu() -> dict[str, bytes]:
    """Return a repository as the hub has that of Global-MMLU-Lite: a card, and Parquet files."""
    configs = [
        f"- config_name: {code}\n  data_files:\n"
        + "".join(
            f"  - split: {split}\n    path: {code}/{split}-00000-of-00001.parquet\n"
            for split in ("test", "dev")
        )
        for code in LANGUAGES
    ]
    files = {"README.md": f"---\nlicense: apache-2.0\nconfigs:\n{''.join(configs)}---\n".encode()}
    for code in LANGUAGES:
        for split in ("test", "dev"):
            files[f"{code}/{split}-00000-of-00001.parquet"] = questions(code)
    return files


def questions(code: str) -> bytes:
    table = pa.Table.from_pylist(
        [
            {
                "question": f"{code}: which one, in {category}?",
                **{f"option_{letter}": f"{letter} of {category}" for letter in "abcd"},
                "answer": "B",
                "subject_category": category,
            }
            for category in CATEGORIES
        ]
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
