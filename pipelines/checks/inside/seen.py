"""What a probe has seen, against what the profile says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lidr.components.shared.config.pools import quantity_bytes
from lidr.pipelines.checks.finding import Finding, missing, ok
from lidr.pipelines.checks.inside.jobs import Probe
from lidr.pipelines.checks.inside.probe import Answer
from lidr.pipelines.stamp import lidr_version

_LEAST_SHM = 1 << 30
"""Bytes of /dev/shm for processes that share a layer among several GPUs; a node's own is 64 MiB."""
_LEAST_SCRATCH = 10 << 30
"""Bytes for temporary files: less than any model's, and more than a full disk's."""
_GIB = 1 << 30


def findings_of(probe: Probe, answer: Answer, node: str, seconds: float) -> Iterator[Finding]:
    """Yield what a probe says of its image, Secrets, GPUs, services and room.

    Args:
        probe: it.
        answer: what it has printed.
        node: that it ran on.
        seconds: from its making to its end.
    """
    yield _image(answer, node, seconds)
    if answer.empty:
        names = ", ".join(answer.empty)
        yield missing("Secrets", f"{names} is empty or unset", "Give the Secret's keys values.")
    yield _gpus(probe, answer)
    for name, fault in answer.faults.items():
        remedy = (
            "See the message; the Secret's key, or a NetworkPolicy towards it (manifests/base)."
            if name == "store"
            else "See that it runs, and that a NetworkPolicy lets these pods out to it "
            "(manifests/base/network-policies.yaml)."
        )
        yield missing(name, fault, remedy) if fault else ok(name, "is reached from inside")
    yield _room("scratch", answer.scratch, _LEAST_SCRATCH, "Give nodes a larger disk for pods.")
    if probe.resources.shared_memory:
        wanted = min(quantity_bytes(probe.resources.shm or "1Gi"), _LEAST_SHM)
        yield _room("/dev/shm", answer.shm, wanted, "Set shm, or raise memory, of the step.")  # noqa: S108


def _image(answer: Answer, node: str, seconds: float) -> Finding:
    own = lidr_version()
    where = f"on {node} " if node else ""
    if answer.version != own:
        detail = f"the image holds lidr {answer.version}, this is {own}"
        return missing("starts", detail, "Set images in the profile to those of this version.")
    return ok("starts", f"{where}in {seconds:.0f} s, lidr {answer.version}")


def _gpus(probe: Probe, answer: Answer) -> Finding:
    wanted, kind = probe.resources.accelerators, probe.resources.gpu
    seen = f"{len(answer.gpus)} x {answer.gpus[0]}" if answer.gpus else "none"
    if len(answer.gpus) != wanted:
        detail = f"{seen} seen, {wanted} asked for as {probe.resources.accelerator_type}"
        remedy = "See that the GPU's device plugin and container runtime work on that node."
        return missing("GPUs", detail, remedy)
    other = [each for each in answer.gpus if kind and not _is_of(kind, each)]
    if other:
        remedy = "Correct gpu or node_selector of the pool in the profile."
        return missing("GPUs", f"{other[0]} seen, the profile says {kind}", remedy)
    return ok("GPUs", seen)


def _is_of(kind: str, model: str) -> bool:
    """Return whether a model's name is of a type: H100 of `NVIDIA H100 80GB HBM3`, not GH100."""
    words = set(re.split(r"[^A-Z0-9]+", model.upper()))
    return all(part in words for part in re.split(r"[^A-Z0-9]+", kind.upper()) if part)


def _room(name: str, size: float, least: float, remedy: str) -> Finding:
    detail = f"{size / _GIB:,.1f} GiB"
    if size < least:
        return missing(name, f"{detail}, less than {least / _GIB:,.1f}", remedy)
    return ok(name, detail)
