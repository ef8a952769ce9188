"""What vLLM and a server of vLLM read of each shape: `python -m tests.zoo.serving ROOT OUT.json`.

vLLM is imported once; each shape has processes of its own, forked from one that has done nothing
else: an engine in one, a server and the client that asks it in two more.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lidr.components.shared.config.machine import MACHINE, EngineServer, EngineSettings, Machine
from lidr.components.shared.engines import start_engine
from lidr.components.shared.models.sources import ModelFiles
from tests.zoo.pen import CONTEXT, Pen
from tests.zoo.reading import Read, prompts_read
from tests.zoo.shapes import BY_NAME

NAME = "lidr-zoo"
_FORK = multiprocessing.get_context("forkserver")
"""This process makes models, and a fork of one whose torch has threads may wait for ever."""

_PRELOADED = [
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.llm_engine",
    "tests.zoo.serving",
]
_SECONDS = 240


def _ask_vllm(pen: Pen, out: Path) -> None:
    engine = start_engine(pen.recipe(generation={"engine": "vllm"}), ModelFiles(pen.folder))
    out.write_text(json.dumps(prompts_read(engine, pen.shape.special)))
    engine.close()


def _ask_server(pen: Pen, out: Path, port: int) -> None:
    server = EngineServer(url=f"http://127.0.0.1:{port}/v1", wait_minutes=0)
    os.environ[MACHINE] = Machine(engine=EngineSettings(endpoint=server)).text()
    generation = {"engine": "openai", "endpoint": {"model": NAME}}
    engine = start_engine(pen.recipe(generation=generation), ModelFiles(pen.folder))
    out.write_text(json.dumps(prompts_read(engine, pen.shape.special)))
    engine.close()


def _serve(folder: Path, port: int) -> None:
    from vllm.entrypoints.launchers.api_server.entry import main

    sys.argv = ["vllm", "--model", str(folder), "--served-model-name", NAME, "--port", str(port)]
    sys.argv += ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"]
    sys.argv += ["--generation-config", "vllm", "--max-model-len", f"{CONTEXT}"]
    main()


def _read_by(ask: Callable[..., None], pen: Pen, *arguments: object) -> Read | str:
    """Run something in a process of its own; return what it read, or that it failed."""
    out = pen.root / f"{ask.__name__}.json"
    process = _FORK.Process(target=ask, args=(pen, out, *arguments))
    process.start()
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
    return json.loads(out.read_text()) if out.is_file() else f"exit code {process.exitcode}"


def _of_server(pen: Pen) -> Read | str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = _FORK.Process(target=_serve, args=(pen.folder, port))
    process.start()
    try:
        return _read_by(_ask_server, pen, port) if _healthy(port, process) else "it did not start"
    finally:
        process.terminate()
        process.join(30)


def _healthy(port: int, process: Any) -> bool:
    deadline = time.monotonic() + _SECONDS
    while process.is_alive() and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return True
        except OSError:
            time.sleep(0.3)
    return False


def main(root: Path, out: Path, names: Sequence[str]) -> None:
    """Ask both for every shape and write down what they read."""
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_TARGET_DEVICE="cpu")
    os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", OMP_NUM_THREADS="1")
    _FORK.set_forkserver_preload(_PRELOADED)
    answers = {}
    for name in names:
        pen = Pen(BY_NAME[name], root / name)
        pen.root.mkdir(parents=True)
        vllm = _read_by(_ask_vllm, pen)
        answers[name] = {"vllm": vllm, "openai": _of_server(pen)}
        out.write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
