"""A champion's files in the pod, and the command that serves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.serve.__main__ import main
from components.serve.files import fetch, vllm_command
from components.shared.errors import BadInput
from components.shared.models import Resolved
from tests.models import CHAT_TEMPLATE, safetensors

pytest.importorskip("vllm")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 24}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors())
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def test_a_model_is_served_as_champion(model: Path, place: Path):
    fetch(Resolved(str(model)), place)
    command = vllm_command(place, ["--port=8000"])
    assert command[-5:] == [
        "--model",
        str(place / "champion"),
        "--served-model-name",
        "champion",
        "--port=8000",
    ]
    assert (place / "champion" / "config.json").is_file()


def test_an_adapter_is_served_as_champion_over_its_base(model: Path, adapter: Path, place: Path):
    fetch(Resolved(str(model), str(adapter)), place)
    command = " ".join(vllm_command(place, []))
    assert "--served-model-name champion-base --enable-lora --max-loras 1" in command
    assert f"--max-lora-rank 32 --lora-modules champion={place / 'adapter'}" in command


def test_a_container_that_is_started_anew_forgets_the_last_adapter(model, adapter, place):
    fetch(Resolved(str(model), str(adapter)), place)
    fetch(Resolved(str(model)), place)
    assert "--enable-lora" not in vllm_command(place, [])


def test_a_folder_as_kserve_leaves_it_is_served_too(model: Path):
    assert str(model) in vllm_command(model, [])


def test_an_adapter_beyond_vllm_is_refused(model: Path, adapter: Path, place: Path):
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 1000}))
    fetch(Resolved(str(model), str(adapter)), place)
    with pytest.raises(BadInput, match="up to rank 512"):
        vllm_command(place, [])


def test_pickles_are_not_served(model: Path, place: Path):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(BadInput, match="pickles"):
        fetch(Resolved(str(model)), place)
    assert list(place.iterdir()) == []


def test_without_a_champion_the_container_says_so(place: Path, monkeypatch, capsys):
    monkeypatch.delenv("LIDR_CHAMPION_SOURCE", raising=False)
    assert main(["fetch", str(place)]) == 2
    assert "no champion yet. Promote a version" in capsys.readouterr().err
