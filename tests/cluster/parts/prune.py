"""Pruning as a CronJob: it says what would go, and nothing goes before its setting says so."""

from __future__ import annotations

import json

from lidr.components.shared.store.open import open_store
from lidr.pipelines.maintenance.prune_findings import PRUNED
from tests.cluster.cluster import Cluster, require
from tests.cluster.commands import wait_for
from tests.cluster.contents import contents
from tests.cluster.kustomize import apply_component, config_map, profile_inside
from tests.cluster.parts.submitting import first_run

_JOB = "lidr-prune-test"


def prune(cluster: Cluster) -> str:
    """A Job of the CronJob looks, and what the run left is all there; then it removes."""
    first_run(cluster)
    before = contents(cluster.profile.store)
    would = _run(cluster, mode="dry-run")
    require(would["dry_run"] is True, f"it was to look only: {would}")
    require(contents(cluster.profile.store) == before, "a dry run has removed something")
    did = _run(cluster, mode="yes")
    require(did["dry_run"] is False, f"it was to remove: {did}")
    left = contents(cluster.profile.store)
    lost = sorted(set(before) - set(left))
    require(len(lost) == 0, f"younger than the grace, and gone: {lost[:3]}")
    return f"{would['bytes']:,} bytes would go, {did['bytes']:,} went; {len(left)} files stay"


def _run(cluster: Cluster, mode: str) -> dict:
    """Apply the component, run its Job once, and return the findings that it noted."""
    settings = config_map("lidr-prune", {"mode": mode, "store": cluster.profile.store})
    profile = config_map("lidr-prune-profile", {"profile.yaml": profile_inside(cluster)})
    apply_component(
        cluster,
        "prune",
        ("ConfigMap/lidr-prune", settings),
        ("ConfigMap/lidr-prune-profile", profile),
    )
    where = f"--namespace={cluster.namespace}"
    cluster.kubectl("delete", "job", _JOB, where, "--ignore-not-found").require()
    with cluster.made("job", _JOB, where):
        cluster.kubectl("create", "job", _JOB, "--from=cronjob/lidr-prune", where).require()
        wait_for("the Job to end", lambda: _ended(cluster), 600, 5)
        log = cluster.kubectl("logs", f"job/{_JOB}", where).out
        succeeded = cluster.get("job", _JOB, where)["status"].get("succeeded")
        require(succeeded, f"the Job failed: {log.strip()[-400:]}")
    return dict(json.loads(open_store(cluster.profile.store).read(PRUNED)))


def _ended(cluster: Cluster) -> bool:
    status = cluster.get("job", _JOB, f"--namespace={cluster.namespace}").get("status", {})
    return bool(status.get("succeeded") or status.get("failed"))
