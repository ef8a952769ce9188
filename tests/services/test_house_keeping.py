"""Which runs house-keeping must keep whole, asked of Kubeflow over HTTP."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.open import open_store
from lidr.pipelines.maintenance.prune_findings import live_runs
from tests.services.kubeflow import Cluster
from tests.services.workflows import RUN


def test_kubeflow_says_which_runs_go_on(cluster: Cluster, submitted: str):
    cluster.json("submit", "tiny_world", "--run", "second")
    assert set(live_runs(cluster.profile, cluster.store)) == {RUN, "second"}
    cluster.kubeflow.set_state(cluster.kubeflow.runs[submitted], "FAILED")
    assert live_runs(cluster.profile, cluster.store) == ("second",)
    cluster.end_run()
    assert live_runs(cluster.profile, cluster.store) == ()


def test_a_schedule_s_run_is_kept_by_its_name_on_the_store(cluster: Cluster, submitted: str):
    cluster.kubeflow.run.recurring_run_id = "a-schedule"
    note = {"run": "nightly-1a2b3c4d"}
    cluster.store.write(f"scheduled/{submitted}.json", json.dumps(note).encode())
    assert set(live_runs(cluster.profile, cluster.store)) == {RUN, "nightly-1a2b3c4d"}


def test_profile_of_another_store_is_refused(cluster: Cluster, tmp_path):
    with pytest.raises(BadInput, match=r"are on s3://.*, not on "):
        live_runs(cluster.profile, open_store(str(tmp_path)))


def test_kubeflow_that_does_not_let_us_in_stops_it(cluster: Cluster, submitted: str, monkeypatch):
    monkeypatch.setenv("LIDR_KFP_TOKEN", "another")
    with pytest.raises(BadInput, match="needs a valid token"):
        live_runs(cluster.profile, cluster.store)
