"""fetch and serve: bring the champion's files to the pod, and run vLLM on them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.vllm_start import vllm_lora_rank
from lidr.components.shared.models.admission import check_adapter, check_model
from lidr.components.shared.models.outside import ModelLocation, fetch_model

NAME = "champion"
"""The model's name in OpenAI's API, whichever version it is."""

_ADAPTER = "adapter"


def fetch(model: ModelLocation, folder: Path) -> None:
    """Bring a model and its adapter to this machine; link them as `champion` and `adapter`.

    Args:
        model: where its files are.
        folder: for the links.

    Raises:
        BadInput: no model is named, or its files cannot be fetched or used.
    """
    if not model.source:
        raise BadInput(
            "no champion yet",
            remedy="Promote a version; lidr-champion-follower then writes it on the Deployment.",
        )
    place = fetch_model(model.source)
    check_model(place)
    _link(folder / NAME, place)
    if model.adapter:
        adapter = fetch_model(model.adapter)
        check_adapter(adapter)
        _link(folder / _ADAPTER, adapter)
    else:
        (folder / _ADAPTER).unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)  # there is one if the container was restarted
    link.symlink_to(target.absolute())


def vllm_command(folder: Path, extra: list[str]) -> list[str]:
    """Return the command that serves a folder's model.

    Args:
        folder: with the links of `fetch`, or a model's own, as KServe provides it.
        extra: further arguments of `vllm serve`.

    Raises:
        BadInput: it has no model, or vLLM cannot serve its adapter.
    """
    place = folder / NAME if (folder / NAME).exists() else folder
    check_model(place)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--load-format", "safetensors", "--model", str(place)]
    adapter = folder / _ADAPTER
    if not adapter.exists():
        return [*command, "--served-model-name", NAME, *extra]
    lora = ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(vllm_lora_rank(adapter))]
    lora += ["--lora-modules", f"{NAME}={adapter}"]
    return [*command, "--served-model-name", f"{NAME}-base", *lora, *extra]


def run(command: list[str]) -> int:
    """Run a program as a child, forward SIGTERM and SIGINT to it, and return its exit status.

    A container's first process ignores signals for which it has no handler. vLLM has none until it
    serves: as the first process it would take up the whole grace period.
    """
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a script's `&` ignores SIGINT
            signal.signal(number, lambda received, _: process.send_signal(received))
    status = process.wait()
    return status if status >= 0 else 128 - status
