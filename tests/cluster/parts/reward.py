"""The reward check: it stops a run before training; another run trains on the same pairs."""

from __future__ import annotations

import json

from lidr.components.shared.store.open import open_store
from tests.cluster.cluster import Cluster, require
from tests.cluster.contents import contents, local_run, require_equal
from tests.faults.lives import SIZES as SMALL

_TRAINS = "pairing.reward.on_stop=train"
"""So small a model does not translate well enough: without this its reward check stops the loop."""


def reward(cluster: Cluster) -> str:
    """A run that its reward check stops is done; one that trains nevertheless reuses its stages."""
    store = f"{cluster.profile.store}/reward"
    stopped, trained = (f"{cluster.prefix}-reward-{name}" for name in ("stopped", "trained"))
    checked = [each for each in SMALL if each != _TRAINS]
    done = cluster.submitted(stopped, *checked, store=store).require()
    require(json.loads(done.out.splitlines()[-1])["state"] == "done", "a stop is no failure")
    told = " ".join(cluster.lidr("status", stopped, store=store).require().out.split())
    require("the reward check stopped the loop before training" in told, f"status says: {told}")
    require(not open_store(store).list("stages/train"), "M_1 was trained nevertheless")
    before = _pair_markers(store)
    cluster.submitted(trained, *SMALL, store=store).require()
    require(_pair_markers(store) == before, "the pairs were made again")
    equal = require_equal(contents(store), local_run(cluster.options.folder, tuple(SMALL), "small"))
    cluster.figures.compared.append(True)
    return f"stopped before training; another run trained on the same pairs; {equal}"


def _pair_markers(store: str) -> dict[str, bytes]:
    home = open_store(store)
    return {
        entry.key: home.read(entry.key)
        for entry in home.list("stages/pair")
        if entry.key.endswith("/_SUCCESS")
    }
