"""A champion's files in the pod, and the command that serves them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidr.components.serve.__main__ import main
from lidr.components.serve.files import fetch, run, vllm_command
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.vllm_start import vllm_lora_rank
from lidr.components.shared.models.outside import ModelLocation
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
    fetch(ModelLocation(str(model)), place)
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
    fetch(ModelLocation(str(model), str(adapter)), place)
    command = " ".join(vllm_command(place, []))
    assert "--served-model-name champion-base --enable-lora --max-loras 1" in command
    assert f"--max-lora-rank 32 --lora-modules champion={place / 'adapter'}" in command


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({"r": 8, "rank_pattern": {"q_proj": 64}}, 64),
        ({"r": 64, "rank_pattern": {"q_proj": 8}}, 64),
        ({"r": 8, "rank_pattern": None}, 8),
    ],
)
def test_the_rank_that_vllm_makes_room_for_is_that_of_the_largest_layer(adapter, config, rank):
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert vllm_lora_rank(adapter) == rank


def test_a_container_that_is_restarted_forgets_the_last_adapter(model, adapter, place):
    fetch(ModelLocation(str(model), str(adapter)), place)
    fetch(ModelLocation(str(model)), place)
    assert "--enable-lora" not in vllm_command(place, [])


def test_a_folder_as_kserve_leaves_it_is_served_too(model: Path):
    assert str(model) in vllm_command(model, [])


STARTING = """
import subprocess, sys, time
print("starting", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(60)
"""
SERVER = [sys.executable, "-c", STARTING]
"""A program without a handler for SIGTERM and with a child, as vLLM is while it starts."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a container's process table")
def test_a_server_that_still_starts_ends_at_once_when_its_pod_is_deleted():
    program = f"from lidr.components.serve.files import run; raise SystemExit(run({SERVER!r}))"
    first = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", program]
    with subprocess.Popen(first, stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout and outer.stdout.readline() == "starting\n"
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        begin = time.monotonic()
        os.kill(int(children[0]), signal.SIGTERM)
        assert outer.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - begin < 5.0


def test_the_exit_status_of_the_server_is_the_container_s():
    assert run([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def test_a_signal_that_was_ignored_stays_so(monkeypatch):
    handlers: dict[int, object] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(signal, "getsignal", {signal.SIGINT: signal.SIG_IGN}.get)
    assert run([sys.executable, "-c", ""]) == 0
    assert list(handlers) == [signal.SIGTERM]


def test_an_adapter_beyond_vllm_is_refused(model: Path, adapter: Path, place: Path):
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 1000}))
    fetch(ModelLocation(str(model), str(adapter)), place)
    with pytest.raises(BadInput, match="up to rank 512"):
        vllm_command(place, [])


def test_pickles_are_not_served(model: Path, place: Path):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(BadInput, match="pickles"):
        fetch(ModelLocation(str(model)), place)
    assert list(place.iterdir()) == []


def test_without_a_champion_the_container_says_so(place: Path, monkeypatch, capsys):
    monkeypatch.delenv("LIDR_CHAMPION_SOURCE", raising=False)
    assert main(["fetch", str(place)]) == 2
    assert "no champion yet. Promote a version" in capsys.readouterr().err
