"""Every shipped recipe that names inputs: fetched from a stand-in for its hosts, then checked.

The stand-in has the authors' own files where they are at hand (LIDR_SHARED_DATA, else
`../shared/data` beside the checkout) under the pins that are shipped. In place of all others it has
files of its own, and the recipe that is fetched names these and their pins. Models are small
files of the real shape, whose weights nobody reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lidr.components.shared.core import retry
from tests.services import checked
from tests.services.checked import Checked, model_files, node
from tests.web_hosts import Host, serving
from tests.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]
RECIPES = {
    path.stem: path
    for path in sorted((ROOT / "pipelines" / "recipes").glob("*.yaml"))
    if path.stem != "tiny_world"
}
DATA = Path(os.environ.get("LIDR_SHARED_DATA", ROOT.parent / "shared" / "data"))
PROMPTS = 40
SHAPES = {
    "meta-llama/Meta-Llama-3-8B-Instruct": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 128_256,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_size": 4096,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    "Qwen/Qwen2-7B-Instruct": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": 152_064,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "hidden_size": 3584,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32_768,
    },
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def at_hand() -> dict[str, bytes]:
    """Return the authors' files that are on this machine, by digest."""
    files = [path.read_bytes() for path in DATA.glob("*/*.json*")] if DATA.is_dir() else []
    return {sha256(data): data for data in files}


@pytest.fixture
def host(monkeypatch, tmp_path) -> Iterator[Host]:
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.02)
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))
    with serving() as made:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.url)
        pattern = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", pattern)
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


def standing_in(host: Host, shipped: Path, folder: Path) -> Path:
    """Serve what a shipped recipe names; return the recipe that names the stand-in."""
    recipe, real = read_yaml(shipped.read_text()), at_hand()
    for code, sources in recipe["prompts"]["files"].items():
        for source in sources if isinstance(sources, list) else [sources]:
            stand_in(host, source, real, lambda address, code=code: rows(address, code))
    if tasks := recipe["prompts"].get("translation_tasks"):
        stand_in(host, tasks, real, lambda address: lines({"id": "3"}))
    for source in recipe["evaluation"]["data"].values():
        stand_in(host, source, real, lambda address: lines({"query": "1 + 1?", "response": "2"}))
    name, revision = recipe["model"]["source"].removeprefix("hf://").split("@")
    config = json.dumps(SHAPES[name]).encode()
    files = model_files() | {"config.json": config}
    host.add_repository(name, files, kind="model", revision=revision)
    path = folder / shipped.name
    path.write_text(yaml.safe_dump(recipe))
    return path


def stand_in(
    host: Host, source: dict[str, Any], real: dict[str, bytes], made: Callable[[str], bytes]
) -> None:
    """Serve a source's files, one or one per language, and have it name the stand-in."""
    pins = source["sha256"] if isinstance(source["sha256"], dict) else {"": source["sha256"]}
    place = urlsplit(source["source"])
    for code, pin in pins.items():
        path = place.path.replace("{language}", code)
        host.files[path] = real.get(pin) or made(path)
        pins[code] = sha256(host.files[path])
    source["source"] = f"{host.url}{place.path}"
    source["sha256"] = pins if "{language}" in place.path else pins[""]


def rows(path: str, code: str) -> bytes:
    """Return a prompt file in the form of the authors' own."""
    first = 1000 if "id_1000_2000" in path else 0
    numbers = range(first, first + PROMPTS)
    if "grade_school_math" in path:
        return lines(*({"question": f"{n} + 1?", "answer": f"{n + 1}"} for n in numbers))
    if "gsm8k" in path:
        return lines(
            *({"id": f"{code}gsm8k_{n}", "instruction": f"{code} {n} + 1?"} for n in numbers)
        )
    return lines(*({"id": str(n), "instruction": f"{code} question {n}"} for n in numbers))


def lines(*found: dict[str, str]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def pins_of(recipe: Any) -> Iterator[str]:
    """Yield every SHA-256 that a recipe names."""
    if isinstance(recipe, dict):
        for key, value in recipe.items():
            if key == "sha256":
                yield from value.values() if isinstance(value, dict) else [value]
            else:
                yield from pins_of(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from pins_of(value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_lacks_nothing_but_gpus_once_it_is_fetched(
    name: str, bare: Checked, host: Host, tmp_path: Path
):
    bare.recipe = standing_in(host, RECIPES[name], tmp_path)
    code, _, err = bare.cluster.lidr("fetch", str(bare.recipe))
    assert code == 0, err
    store = bare.cluster.store
    held = {sha256(store.read(entry.key)) for entry in store.list("sources")}
    assert set(pins_of(read_yaml(bare.recipe.read_text()))) <= held
    host.asked.clear()
    code, found, err = bare.check()
    assert (code, err) == (0, "")
    assert {each["name"]: each for each in found.values() if each["state"] != "ok"} == {}
    sources = [each["detail"] for key, each in found.items() if key.startswith("source ")]
    assert len(sources) >= 7
    assert all(detail.startswith("in the store: ") for detail in sources)
    assert host.asked == [], "nothing is asked of a host any more"

    bare.objects[checked.NODES] = {"items": [node("cpu", 128)]}
    code, found, _ = bare.check()
    missing = [each for each in found.values() if each["state"] == "missing"]
    assert code == 2
    assert missing
    assert all("nvidia.com/gpu" in each["detail"] for each in missing), missing
