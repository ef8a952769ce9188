"""Compares what a probe has seen with what the profile says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lidr.components.shared.config.pools import quantity_bytes
from lidr.pipelines.checks.finding import Finding, missing, ok
from lidr.pipelines.checks.inside.jobs import Probe
from lidr.pipelines.checks.inside.probe import ProbeAnswer
from lidr.pipelines.stamp import lidr_version

_MIN_SHM_BYTES = 1 << 30
"""Size of /dev/shm that suffices to split layers over several GPUs; a node's default is 64 MiB."""
_MIN_SCRATCH_BYTES = 10 << 30
"""Free space for temporary files; less means a nearly full disk, whatever the model's size."""
_GIB = 1 << 30


def findings_of(probe: Probe, answer: ProbeAnswer, node: str, seconds: float) -> Iterator[Finding]:
    """Yield the findings about a probe's image, Secrets, GPUs, services and free space.

    Args:
        probe: the Job.
        answer: what its pod has printed.
        node: name of the pod's node; "" if unknown.
        seconds: from the Job's creation to its end.
    """
    yield _image(answer, node, seconds)
    if answer.empty:
        names = ", ".join(answer.empty)
        yield missing("Secrets", f"{names} is empty or unset", "Give the Secret's keys values.")
    yield _gpus(probe, answer)
    for name, fault in answer.faults.items():
        remedy = (
            "See the message; check the Secret's key, and that a NetworkPolicy lets these pods out "
            "to the store (manifests/base/network-policies.yaml)."
            if name == "store"
            else "Check that it runs, and that a NetworkPolicy lets these pods out to it "
            "(manifests/base/network-policies.yaml)."
        )
        yield missing(name, fault, remedy) if fault else ok(name, "is reached from inside")
    yield _room("scratch", answer.scratch, _MIN_SCRATCH_BYTES, "Give nodes a larger disk for pods.")
    if probe.resources.shared_memory:
        wanted = min(quantity_bytes(probe.resources.shm or "1Gi"), _MIN_SHM_BYTES)
        yield _room("/dev/shm", answer.shm, wanted, "Set shm, or raise memory, of the step.")  # noqa: S108


def _image(answer: ProbeAnswer, node: str, seconds: float) -> Finding:
    own = lidr_version()
    where = f"on {node} " if node else ""
    if answer.version != own:
        detail = f"the image holds lidr {answer.version}, this is {own}"
        return missing("starts", detail, "Set images in the profile to those of this version.")
    return ok("starts", f"{where}in {seconds:.0f} s, lidr {answer.version}")


def _gpus(probe: Probe, answer: ProbeAnswer) -> Finding:
    wanted, kind = probe.resources.accelerators, probe.resources.gpu
    if not wanted:  # any pod sees the node's GPUs in the driver's files
        return ok("GPUs", "none")
    seen = f"{len(answer.gpus)} x {answer.gpus[0]}" if answer.gpus else "none"
    if len(answer.gpus) != wanted:
        detail = f"{seen} seen, {wanted} asked for as {probe.resources.accelerator_type}"
        remedy = "Check that the GPU's device plugin and container runtime work on that node."
        return missing("GPUs", detail, remedy)
    other = [each for each in answer.gpus if kind and not _matches_type(kind, each)]
    if other:
        remedy = "Correct gpu or node_selector of the pool in the profile."
        return missing("GPUs", f"{other[0]} seen, the profile says {kind}", remedy)
    return ok("GPUs", seen)


def _matches_type(kind: str, model: str) -> bool:
    """Return whether a GPU model is of a type: `NVIDIA H100 80GB` is an H100, a `GH100` is not."""
    words = set(re.split(r"[^A-Z0-9]+", model.upper()))
    return all(part in words for part in re.split(r"[^A-Z0-9]+", kind.upper()) if part)


def _room(name: str, size: float, least: float, remedy: str) -> Finding:
    detail = f"{size / _GIB:,.1f} GiB"
    if size < least:
        return missing(name, f"{detail}, less than {least / _GIB:,.1f}", remedy)
    return ok(name, detail)
