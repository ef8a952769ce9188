"""Registered models of a test's own, with stages that hold what they name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lidr.components.shared.inputs.fetched import source_stage
from lidr.components.shared.registry.evidence import GATE_TAG
from lidr.components.shared.registry.registration import default_audit_log, ensure_version
from lidr.components.shared.registry.versions import DIGEST_TAG, VERDICT_TAG, Version, all_versions
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage
from tests.fakes import finished_stage


def registered(client: Any, store: str, name: str, decisions: str) -> list[Version]:
    """Register M_0 and, for each decision, a model that the gate has said so of."""
    for number, decision in enumerate(["start", *decisions.split()]):
        stage = finished_stage(
            store, "train", {"model/config.json": b"{}"}, pairs=f"{name}{number}"
        )
        tags = {DIGEST_TAG: stage.digest, VERDICT_TAG: decision}
        if number:
            counts = {"decision": decision}
            gate = finished_stage(store, "gate", {}, counts, after=stage.digest)
            tags |= {GATE_TAG: gate.digest, "lidr.parent_version": f"{name}/1"}
        audit_log = default_audit_log(store, name)
        ensure_version(client, name, f"{stage.uri}/model", tags, "", audit_log)
    return all_versions(client, name)


def fetched_model(store: str, name: str = "org/model") -> Stage:
    """Write a base model with two files of weights as `lidr fetch` brings it into a store."""
    source = source_stage(open_store(store), {"model": name, "revision": "abc"})
    source.write("config.json", b"{}")
    for number in (1, 2):
        source.write(f"model-{number}.safetensors", b"weights of %d" % number)
    source.finish({})
    return source


def together(count: int, work: Callable[[int], object]) -> list:
    """Do the work in as many threads, which begin at the same moment."""
    barrier = threading.Barrier(count)

    def meet(number: int) -> object:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(meet, range(count)))
