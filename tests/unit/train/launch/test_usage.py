"""The GPUs of a training run are counted where its ranks are: on each node."""

from __future__ import annotations

import pytest

from lidr.components.shared.config.recipe import Training
from lidr.components.shared.store import usage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.usage import counting_gpus, read_usage
from lidr.components.train.job import TrainingJob
from lidr.components.train.launch import node


@pytest.fixture
def job(tmp_path, monkeypatch) -> TrainingJob:
    monkeypatch.setattr(usage, "gpu_count", lambda: 8)
    stages = dict.fromkeys(("stage", "pairs", "start", "reference"), "x")
    return TrainingJob(
        store=str(tmp_path), **stages, training=Training(), seed=0, run="mine", iteration=2
    )


def test_each_node_of_a_trainjob_notes_its_own_gpus(job, tmp_path):
    for _ in range(2):
        with node._counting_gpus(job):
            pass
    noted = read_usage(LocalStore(tmp_path), "mine")
    assert [(each.step, each.iteration, each.ended) for each in noted] == [("train", 2, True)] * 2


def test_node_below_a_train_step_of_the_same_machine_notes_nothing(job, tmp_path):
    store = LocalStore(tmp_path)
    with counting_gpus(store, "mine", 2, "train"), node._counting_gpus(job):
        pass
    assert len(read_usage(store, "mine")) == 1


def test_node_of_no_run_notes_nothing(job, tmp_path):
    with node._counting_gpus(job.model_copy(update={"run": ""})):
        pass
    assert list(tmp_path.rglob("usage")) == []
