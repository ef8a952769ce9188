"""lidr logs: the lines of a run's steps, out of the pods' logs."""

from __future__ import annotations

import threading

from lidr.pipelines.cluster.logs import read_logs
from lidr.pipelines.cluster.namespace import namespace_of
from tests.kubernetes_api import ended, running
from tests.services.kubeflow import Cluster
from tests.services.workflows import ENDED, LAUNCHED, ROUND, RUN, TENSE


def test_logs_are_those_of_the_step_alone(cluster: Cluster, submitted: str):
    path = f"{ROUND}.train.executor"
    pod = cluster.kubernetes.put_step(submitted, path, **ended("", 0, "main"))
    cluster.kubernetes.put_step(submitted, f"{ROUND}.train-driver", **ended("", 0, "main"))
    lines = ["lidr started step=train", "[KFP Executor 2026-11-29 13:49:03,1 WARNING]: disk slow"]
    cluster.kubernetes.print(pod, *LAUNCHED, *lines, "{", "}", *ENDED)
    own = [*lines, "{", "}"]
    told = cluster.lidr("logs", RUN)[1].splitlines()
    assert told == [f"M_1 train | {line}" for line in own]
    everything = cluster.lidr("logs", RUN, "--all")[1].splitlines()
    assert everything == [f"M_1 train | {line}" for line in (*LAUNCHED, *own, *ENDED)]


def test_logs_are_those_of_the_step_s_pods(cluster: Cluster, submitted: str):
    kubernetes = cluster.kubernetes
    for step, text in (("generate", "loading"), ("train", f"loss 0.3{TENSE}")):
        pod = kubernetes.put_step(submitted, f"{ROUND}.{step}.executor", **ended("", 0, "main"))
        kubernetes.print(pod, text)
    assert cluster.lidr("logs", RUN)[1] == "M_1 generate | loading\nM_1 train | loss 0.3\ufffd[2J\n"
    assert cluster.lidr("logs", RUN, "generate")[1] == "M_1 generate | loading\n"
    code, _, err = cluster.lidr("logs", RUN, "generate", "--iteration", "2")
    assert code == 2 and "step 'generate' of iteration 2 of run 'mine' has no pods" in err
    assert "no step 'tain'" in cluster.lidr("logs", RUN, "tain")[2]


def test_logs_of_a_step_are_printed_from_their_first_line(cluster: Cluster, submitted: str):
    pod = cluster.kubernetes.put_step(submitted, f"{ROUND}.train.executor", **ended("", 0, "main"))
    cluster.kubernetes.print(pod, *LAUNCHED, *(f"line {number}" for number in range(2000)))
    told = cluster.lidr("logs", RUN)[1].splitlines()
    assert (len(told), told[0]) == (2000, "M_1 train | line 0")


def test_logs_are_followed_until_the_run_ends(cluster: Cluster, submitted: str):
    kubernetes = cluster.kubernetes
    pod = kubernetes.put_step(submitted, f"{ROUND}.train.executor", **running("main"))
    kubernetes.print(pod, "one")
    lines = read_logs(
        cluster.client, namespace_of(cluster.profile), RUN, follow=True, poll_seconds=0.02
    )
    assert next(lines) == ("M_1 train", "one")
    kubernetes.failing = 503
    threading.Timer(0.2, lambda: setattr(kubernetes, "failing", 0)).start()
    kubernetes.print(pod, "two")
    assert next(lines) == ("M_1 train", "two")
    kubernetes.print(pod, "three")
    cluster.kubeflow.run.state = "SUCCEEDED"
    assert list(lines) == [("M_1 train", "three")]
