"""The TrainJob launcher with the real SDK and client, against an API server over HTTP."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from kfp import dsl

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import (
    BadInput,
    LaunchFailed,
    LidrError,
    TrainingFailed,
    Unavailable,
)
from lidr.components.shared.kubernetes import trainer_sdk
from lidr.components.shared.kubernetes import trainjobs as cluster
from lidr.components.shared.kubernetes.failure import RecordedFailure, failure_of
from lidr.components.shared.kubernetes.launch import Launch, Placement
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from lidr.components.train.job import TrainingJob, TrainingSummary
from lidr.components.train.launch import launcher_of
from lidr.components.train.launch.trainjob import ClusterLauncher
from tests.crds import needs_crds
from tests.json_server import serving
from tests.kubernetes_api import (
    KubernetesApi,
    Refused,
    ended,
    running,
    serve,
    unschedulable,
    wait_until,
    waiting,
    write_kubeconfig,
)
from tests.unit.train.launch import jobs

pytestmark = needs_crds


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with serve() as server:
        path = write_kubeconfig(server, tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield server


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return jobs.make_job(tmp_path / "store")


@pytest.fixture
def launched(
    api: KubernetesApi, job: TrainingJob
) -> Iterator[Callable[..., Future[TrainingSummary]]]:
    """Start a launcher in a thread; whatever it waits for, it ends with the test."""
    pool = ThreadPoolExecutor(1)
    futures: list[Future[TrainingSummary]] = []

    def start(launch: Launch = jobs.LAUNCH, **options: float) -> Future[TrainingSummary]:
        futures.append(pool.submit(jobs.launcher(launch, **options).run, job))
        return futures[-1]

    yield start
    api.failing = 0
    jobs.exchange(job).succeed(jobs.SUMMARY)
    for name in list(api.jobs):
        api.set_condition(name, "Complete")
    for future in futures:
        future.exception(timeout=30)
    pool.shutdown()


def posts(api: KubernetesApi) -> int:
    return sum(method == "POST" for method, _ in api.requests)


def exchange_stage(job: TrainingJob) -> Stage:
    return Stage(LocalStore(Path(job.store)), job.stage)


def complete(api: KubernetesApi, job: TrainingJob) -> None:
    """What trainer program and controller do at a good end."""
    jobs.exchange(job).succeed(jobs.SUMMARY)
    api.set_condition(jobs.NAME, "Complete")


def made(api: KubernetesApi) -> dict:
    wait_until(lambda: jobs.NAME in api.jobs)
    return api.jobs[jobs.NAME]


def test_a_trainjob_is_made_followed_and_removed(api, job, launched, capfd):
    future = launched()
    found = made(api)
    assert jobs.exchange(job).job() == job
    pod = api.put_pod(jobs.NAME, **running())
    api.print(pod, "[rank0] hello", "[rank0] lidr progress done=3 total=9 unit=steps rate=1.5")
    wait_until(lambda: "total=9" in capfd.readouterr().err)
    complete(api, job)
    assert future.result(timeout=30) == jobs.SUMMARY
    assert api.jobs == {}

    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert found["spec"]["runtimeRef"] == {"name": "lidr-training", "kind": "TrainingRuntime"}
    trainer = found["spec"]["trainer"]
    assert (trainer["image"], trainer["numNodes"]) == ("r/train:1", 2)
    assert trainer["command"] == ["python", "-m", "lidr.components.train.launch.node"]
    assert trainer["args"] == [job.store, job.stage, "--processes", "4"]
    assert len(f"{jobs.NAME}-node-0-1023-abcde") < 63


def test_what_kfp_hands_over_reaches_the_nodes(api, job):
    config = dsl.TaskConfig(
        resources={
            "requests": {"cpu": "16", "memory": "1Gi"},
            "limits": {"memory": "256Gi", "nvidia.com/gpu": "8"},
        },
        node_selector={"pool": "gpu"},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        env=[
            {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"},
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "t"}}},
        ],
    )
    settings = {"nccl": {"NCCL_DEBUG": "WARN"}, "deadline_hours": 2, "priority": "high"}
    pods = {"pod_labels": {"identity": "on"}, "pod_annotations": {"team": "nlp"}, "shm": "32Gi"}
    launch = jobs.LAUNCH.model_copy(update={**settings, **pods, "service_account": "trainer"})
    launcher = launcher_of(launch, Placement.of(config))
    assert isinstance(launcher, ClusterLauncher)
    launcher._poll_seconds = 0.05

    seen: list[dict] = []

    def finish(name: str) -> None:
        threading.Timer(0.2, complete, (api, job)).start()
        threading.Timer(0.1, lambda: seen.append(api.jobs[name])).start()

    api.before_create = finish
    launcher.run(job)
    spec = seen[0]["spec"]
    quantities = {"cpu": "16", "memory": "256Gi", "nvidia.com/gpu": "8"}
    assert spec["trainer"]["resourcesPerNode"] == {"requests": quantities, "limits": quantities}
    assert spec["trainer"]["env"] == [
        {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"},
        {"name": "NCCL_DEBUG", "value": "WARN"},
    ]
    assert spec["activeDeadlineSeconds"] == 7200
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    assert node["template"]["spec"]["template"] == {
        "metadata": {"labels": {"identity": "on"}, "annotations": {"team": "nlp"}},
        "spec": {
            "serviceAccountName": "trainer",
            "nodeSelector": {"pool": "gpu"},
            "tolerations": config.tolerations,
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}}],
        },
    }
    labels = seen[0]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpus"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"


def test_the_profile_s_pool_decides_over_nodes_and_queue():
    steps = {"train": {"pool": "big", "accelerators": 8, "shm": "32Gi", "memory": "64Gi"}}
    profile = Profile.model_validate(
        {
            "name": "p",
            "pools": {"big": {"queue": "gpus", "priority": "high"}},
            "steps": steps,
            "training": {"launcher": "trainjob"},
            "pod_labels": {"identity": "on"},
        }
    )
    launch = Launch.parse(Launch.of(profile).text())
    assert (launch.queue, launch.priority, launch.shm) == ("gpus", "high", "32Gi")
    assert (launch.processes, launch.pod_labels) == (8, {"identity": "on"})


def test_a_launcher_that_was_killed_leaves_its_trainjob_to_the_next(api, job, launched, tmp_path):
    first = jobs.start(Path(job.store), tmp_path / "kubeconfig")
    uid = made(api)["metadata"]["uid"]
    jobs.end(first, signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    asked = len(api.requests)  # by the first, perhaps for the pods as well
    future = launched()
    wait_until(lambda: [r for r in api.requests[asked:] if r[1].endswith("/pods")])
    assert api.jobs[jobs.NAME]["metadata"]["uid"] == uid
    complete(api, job)
    assert future.result(timeout=30) == jobs.SUMMARY
    assert posts(api) == 1


def test_of_two_launchers_the_slower_one_adopts(api, job, launched):
    def other(name: str) -> None:
        api.before_create = lambda name: None
        jobs_made = {
            **api.jobs.get(name, {}),
            "metadata": {
                "name": name,
                "uid": "other",
                "annotations": {"lidr.dev/stage": f"{job.store}/{job.stage}"},
            },
            "spec": {},
        }
        api.jobs[name] = jobs_made

    api.before_create = other
    future = launched()
    wait_until(lambda: [r for r in api.requests if r[1].endswith("/pods")])
    assert api.jobs[jobs.NAME]["metadata"]["uid"] == "other"
    complete(api, job)
    assert future.result(timeout=30) == jobs.SUMMARY


def test_a_trainjob_of_another_store_is_not_adopted(api, job, launched):
    spec = {"name": jobs.NAME, "annotations": {"lidr.dev/stage": "s3://other/stages/train/x"}}
    api.jobs[jobs.NAME] = {"metadata": spec, "spec": {}}
    with pytest.raises(BadInput, match="works for 's3://other"):
        launched().result(timeout=30)


def test_a_trainjob_that_failed_before_is_recreated(api, job, launched):
    annotations = {"lidr.dev/stage": f"{job.store}/{job.stage}"}
    api.jobs[jobs.NAME] = {
        "metadata": {"name": jobs.NAME, "uid": "old", "annotations": annotations},
        "spec": {},
    }
    api.set_condition(jobs.NAME, "Failed")
    future = launched()
    wait_until(lambda: posts(api) == 1 and jobs.NAME in api.jobs)
    complete(api, job)
    assert future.result(timeout=30) == jobs.SUMMARY


def test_another_trainjob_is_created_once_the_pods_of_the_failed_one_have_ended(
    api, job, launched, monkeypatch, capfd
):
    monkeypatch.setattr(retry, "REPORT_SECONDS", 0.2)
    annotations = {"lidr.dev/stage": f"{job.store}/{job.stage}"}
    api.jobs[jobs.NAME] = {
        "metadata": {"name": jobs.NAME, "uid": "old", "annotations": annotations},
        "spec": {},
    }
    api.set_condition(jobs.NAME, "Failed")
    api.slow_to_end = True
    future = launched()
    wait_until(lambda: "deletionTimestamp" in api.jobs[jobs.NAME]["metadata"])
    wait_until(lambda: "waiting for the pods of the earlier TrainJob" in capfd.readouterr().err)
    assert posts(api) == 0
    del api.jobs[jobs.NAME]
    wait_until(lambda: posts(api) == 1 and jobs.NAME in api.jobs)
    complete(api, job)
    assert future.result(timeout=30) == jobs.SUMMARY


def test_sigterm_leaves_a_trainjob_of_another_run(api, job, tmp_path):
    name = socket.gethostname()
    api.pods[name] = {"metadata": {"name": name, "labels": {"pipeline/runid": "run-8"}}}
    annotations = {"lidr.dev/stage": f"{job.store}/{job.stage}", "lidr.dev/kfp-run": "run-7"}
    api.jobs[jobs.NAME] = {
        "metadata": {"name": jobs.NAME, "uid": "first", "annotations": annotations},
        "spec": {"trainer": {"numNodes": 2}},
    }
    process = jobs.start(Path(job.store), tmp_path / "kubeconfig")
    wait_until(lambda: [r for r in api.requests if r[1].endswith("/pods")])
    said = jobs.end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert "is another run's and goes on" in said
    assert jobs.NAME in api.jobs


@pytest.mark.parametrize(("run", "again"), [("run-7", False), ("run-8", True)])
def test_a_retry_does_not_repeat_what_cannot_come_out_otherwise(
    api, job, launched, run: str, again: bool
):
    name = socket.gethostname()
    api.pods[name] = {"metadata": {"name": name, "labels": {"pipeline/runid": "run-7"}}}
    future = launched()
    assert made(api)["metadata"]["annotations"]["lidr.dev/kfp-run"] == "run-7"
    nan = RecordedFailure(kind="training_failed", message="the loss is NaN")
    jobs.exchange(job).fail(nan)
    assert fail_with(api, future, TrainingFailed).startswith("the loss is NaN")
    api.pods[name] = {"metadata": {"name": name, "labels": {"pipeline/runid": run}}}
    future = launched()
    if again:
        wait_until(lambda: posts(api) == 2)
        complete(api, job)
        assert future.result(timeout=30) == jobs.SUMMARY
    else:
        with pytest.raises(TrainingFailed, match="the loss is NaN"):
            future.result(timeout=30)
        assert posts(api) == 1


def test_a_summary_on_the_store_needs_no_trainjob(api, job, launched):
    """The launcher was lost between the summary and the stage's marker."""
    jobs.exchange(job).succeed(jobs.SUMMARY)
    assert launched().result(timeout=30) == jobs.SUMMARY
    assert posts(api) == 0


def test_sigterm_deletes_the_trainjob(api, job, tmp_path):
    process = jobs.start(Path(job.store), tmp_path / "kubeconfig")
    made(api)
    wait_until(lambda: [r for r in api.requests if r[1].endswith("/pods")])
    said = jobs.end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert "deleted" in said
    assert api.jobs == {}


@pytest.mark.parametrize("told", ["", "lidr-tiny-world-npmxt-metadata-0-1-retry-" + "impl-" * 8])
def test_sigterm_of_an_evicted_launcher_leaves_it(api, job, tmp_path, monkeypatch, told: str):
    """A pod whose name is longer than a host's may be has it from Kubeflow."""
    if told:
        monkeypatch.setenv("KFP_POD_NAME", told)
    name = told or socket.gethostname()
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    api.pods[name] = {
        "metadata": {"name": name, "labels": {}},
        "status": {"conditions": [disrupted]},
    }
    process = jobs.start(Path(job.store), tmp_path / "kubeconfig")
    made(api)
    wait_until(lambda: [r for r in api.requests if r[1].endswith("/pods")])
    said = jobs.end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert "goes on" in said
    assert jobs.NAME in api.jobs


def impatient() -> Launch:
    return jobs.LAUNCH.model_copy(update={"admission_minutes": 0.01})


def test_one_that_is_never_admitted_is_given_up(api, launched):
    future = launched(impatient())
    made(api)
    with pytest.raises(LaunchFailed, match=r"2 pods running for 0.01 minutes .* 'gpus' has not"):
        future.result(timeout=30)
    assert api.jobs == {}


def test_the_resource_that_is_missing_is_named(api, launched, capfd):
    future = launched(impatient())
    made(api)
    message = "0/5 nodes are available: 2 Insufficient memory, 5 Insufficient nvidia.com/gpu."
    api.put_pod(jobs.NAME, **unschedulable(message))
    with pytest.raises(LaunchFailed, match=r"too little memory and nvidia\.com/gpu: 0/5"):
        future.result(timeout=30)
    said = capfd.readouterr().err
    assert said.count("too little memory and nvidia.com/gpu") == 1, "warned once, while it waits"


def test_an_image_that_cannot_be_pulled_is_named(api, launched):
    future = launched(impatient())
    made(api)
    api.put_pod(jobs.NAME, **waiting("ImagePullBackOff", "no such image r/train:1"))
    with pytest.raises(LaunchFailed, match="ImagePullBackOff: no such image"):
        future.result(timeout=30)


def fail_with(api: KubernetesApi, future: Future[TrainingSummary], kind: type[LidrError]) -> str:
    api.set_condition(jobs.NAME, "Failed", "jobset failed")
    with pytest.raises(kind) as raised:
        future.result(timeout=30)
    return str(raised.value)


def test_a_node_out_of_memory_is_named_with_its_last_words(api, launched):
    future = launched()
    made(api)
    api.put_pod(jobs.NAME, 0, **running())
    pod = api.put_pod(jobs.NAME, 1, **ended("OOMKilled", 137))
    api.print(pod, "step 1", "step 2: allocating")
    said = fail_with(api, future, LaunchFailed)
    assert f"pod {pod}: OOMKilled (exit code 137)" in said
    assert "step 2: allocating" in said
    assert "Raise the step's memory in the profile" in said
    assert jobs.NAME in api.jobs, "it stays to be looked at"


def test_a_record_without_a_log_does_not_hide_the_pod_s(api, job, launched):
    future = launched()
    made(api)
    pod = api.put_pod(jobs.NAME, 1, **ended("Error", 1))
    api.print(pod, "Killed by the kernel")
    jobs.exchange(job).fail(RecordedFailure(kind="launch_failed", message="rank 4 died", node=1))
    said = fail_with(api, future, LaunchFailed)
    assert "rank 4 died (node 1); jobset failed" in said
    assert "Killed by the kernel" in said


def test_a_hub_that_is_away_on_a_node_may_come_back(api, job, launched):
    future = launched()
    made(api)
    api.put_pod(jobs.NAME, 0, **ended("Error", 1))
    away = failure_of(Unavailable("the hub does not answer", remedy="Wait."))
    assert away.exit_code == 1, "the Job's podFailurePolicy must not end it"
    jobs.exchange(job).fail(away)
    assert fail_with(api, future, Unavailable).startswith("the hub does not answer")


def test_a_node_that_starts_again_forgets_why_it_failed(job):
    exchange = jobs.exchange(job)
    for node in (0, 1):
        exchange.fail(RecordedFailure(kind="stopped", message=f"{node} stopped", node=node))
    exchange.forget_failure(0)
    found = exchange.failure()
    assert found is not None and found.message == "1 stopped"
    exchange.forget_failure(1)
    assert exchange.failure() is None


@pytest.mark.parametrize("name", ["failure-0.json", "summary-0.json", "job.json"])
def test_a_file_of_another_version_is_one_clear_error(job, name: str):
    exchange = jobs.exchange(job)
    stage = exchange_stage(job)
    stage.store.write(stage.key(f"launch/{name}"), b'{"shape": "of another version"}')
    ask = {"f": exchange.failure, "s": exchange.summary, "j": exchange.job}[name[0]]
    with pytest.raises(BadInput) as raised:
        ask()
    (line,) = str(raised.value).splitlines()
    assert f"launch/{name} is damaged or of another version: " in line
    assert ": Field required. Use one image" in line


def test_an_evicted_node_is_named(api, launched):
    future = launched()
    made(api)
    api.put_pod(
        jobs.NAME, 1, phase="Failed", reason="Evicted", message="The node was low on memory."
    )
    assert "Evicted: The node was low on memory." in fail_with(api, future, LaunchFailed)


def test_what_a_rank_raised_is_raised_here(api, job, launched):
    future = launched()
    made(api)
    api.put_pod(jobs.NAME, 0, **ended("Error", 1))
    lost = RecordedFailure(kind="launch_failed", message="rank 0 exited with 1", time=1.0)
    nan = RecordedFailure(
        kind="training_failed", message="the loss is NaN", remedy="Lower it.", node=1, time=2.0
    )
    jobs.exchange(job).fail(lost)
    jobs.exchange(job).fail(nan)
    assert fail_with(api, future, TrainingFailed).startswith("the loss is NaN (node 1)")


def test_a_trainjob_that_somebody_deletes_is_missed(api, launched):
    future = launched()
    made(api)
    api.jobs.clear()
    with pytest.raises(LaunchFailed, match="somebody deleted it"):
        future.result(timeout=30)


def test_complete_without_a_summary_is_no_success(api, launched):
    future = launched()
    made(api)
    api.set_condition(jobs.NAME, "Complete")
    with pytest.raises(LaunchFailed, match="left nothing on the store"):
        future.result(timeout=30)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_api_server_that_fails_for_a_while_is_waited_for(
    api, job, launched, capfd, monkeypatch, status
):
    monkeypatch.setattr(retry, "REPORT_SECONDS", 0.3)
    future = launched()
    made(api)
    api.failing = status
    seen = len(api.requests)
    wait_until(lambda: len(api.requests) > seen + 3)
    assert not future.done()
    complete(api, job)
    api.failing = 0
    assert future.result(timeout=30) == jobs.SUMMARY
    told = capfd.readouterr().err
    assert f"HTTP {status}" in told
    assert f"the Kubernetes API at {api.url} answers again" in told


def test_an_api_server_that_fails_for_long_is_given_up_without_deleting(api, launched):
    future = launched(retry_seconds=0.3)
    made(api)
    api.failing = 500
    with pytest.raises(LaunchFailed, match=r"is up, but cannot do its work \(HTTP 500\)"):
        future.result(timeout=30)
    assert jobs.NAME in api.jobs


def test_an_api_server_that_falls_silent_is_given_up(api, monkeypatch):
    # a float would be no limit, and this test would hang
    limit = type(trainer_sdk._CALL_SECONDS)(1)
    monkeypatch.setattr(trainer_sdk, "_CALL_SECONDS", limit)
    namespace = cluster.Cluster("lidr", seconds=0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = namespace._backend.custom_api.api_client.configuration
        settings.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LaunchFailed, match="does not answer"):
            namespace.read("x")
        with pytest.raises(LaunchFailed, match=r"cannot read TrainingRuntime .* does not answer"):
            create(namespace)
        namespace._backend.custom_api.api_client.close()  # as at exit: it waits for its threads


def create(namespace: cluster.Cluster) -> bool:
    return namespace.create("x", "train", {}, ["a", "b", "c"], jobs.LAUNCH, Placement())


def test_an_api_server_that_falls_silent_as_a_trainjob_is_made_is_given_up(api, monkeypatch):
    monkeypatch.setattr(trainer_sdk, "_CALL_SECONDS", 1)
    ended_test = threading.Event()
    api.before_create = lambda name: ended_test.wait(60)
    try:
        with pytest.raises(LaunchFailed, match=r"cannot create TrainJob x: .* does not answer"):
            create(cluster.Cluster("lidr", seconds=0.1))
    finally:
        ended_test.set()


def test_a_cluster_is_known_without_a_request(api):
    """Outside of the retries, a silent API server would stop the launcher for ever."""
    assert cluster.Cluster("lidr").namespace == "lidr"
    assert api.requests == []


def test_a_missing_right_is_no_passing_fault(api, launched):
    future = launched()
    made(api)
    api.failing = 403
    with pytest.raises(BadInput, match="may not"):
        future.result(timeout=30)


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (403, 'trainjobs is forbidden: User "me" cannot create resource "trainjobs"', "the Role"),
        (403, 'User "me" cannot create resource "x" in the namespace "team-quota"', "the Role"),
        (403, 'admission webhook "k" denied the request: no team label', "policy or quota"),
        (403, '"x" is forbidden: exceeded quota: lidr, requested: count/trainjobs=1', "quota"),
        (403, "unable to create x in namespace lidr because it is being terminated", "namespace"),
        (401, "Unauthorized", "Renew the service account's token or the kubeconfig"),
    ],
)
def test_a_request_that_is_denied_has_the_remedy_of_its_cause(api, status, message, remedy):
    def refuse(name: str) -> None:
        raise Refused(status, "Forbidden", message)

    api.before_create = refuse
    with pytest.raises(BadInput) as denied:
        create(cluster.Cluster("lidr", seconds=0.1))
    verb = "may not" if remedy == "the Role" else "cannot"
    assert denied.value.message == f"{verb} create TrainJob x: {message}"
    assert remedy in denied.value.remedy
    assert ("Role" in denied.value.remedy) == (verb == "may not")


def no_chunk(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, dict[str, str]]:
    return 200, "no chunk\r\n", {"Transfer-Encoding": "chunked"}


def cut(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str]:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    raise ConnectionAbortedError


@pytest.mark.parametrize("answer", [no_chunk, cut])
def test_an_answer_that_breaks_off_is_one_of_an_api_server_that_fails(api, answer):
    """Its status and headers came; with an unread body the call had counted as answered."""
    namespace = cluster.Cluster("lidr", seconds=0.1)
    with serving(answer) as url:
        namespace._backend.core_api.api_client.configuration.host = url
        for ask in (namespace.pods, namespace.pod):
            with pytest.raises(LaunchFailed, match="does not answer"):
                ask("x")
        assert namespace.log("x", "node") == ""


def test_a_missing_runtime_is_named_before_anything_is_made(api, launched):
    api.runtimes.clear()
    with pytest.raises(BadInput, match="no TrainingRuntime 'lidr-training' in namespace lidr"):
        launched().result(timeout=30)
    assert posts(api) == 0


def test_a_runtime_that_the_sdk_cannot_use_is_named_with_the_reason(api, launched):
    del api.runtimes["lidr-training"]["metadata"]["labels"]["trainer.kubeflow.org/framework"]
    with pytest.raises(BadInput) as refused:
        launched().result(timeout=30)
    assert "cannot use TrainingRuntime 'lidr-training' in namespace lidr: " in str(refused.value)
    assert "must have trainer.kubeflow.org/framework label" in str(refused.value)
    assert posts(api) == 0


def test_the_log_of_rank_0_comes_once_also_across_faults_and_restarts(
    api, job, launched, capfd, monkeypatch
):
    monkeypatch.setenv("LIDR_RETRY_SECONDS", "60")  # on a busy machine two requests may take long
    future = launched()
    made(api)
    said = ""

    def has_said(line: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return line in said

    pod = api.put_pod(jobs.NAME, **running())
    api.print(pod, "line 1", "line 2", "line 2")
    wait_until(lambda: has_said("line 2"))
    api.failing = 502
    api.print(pod, "line 3")
    seen = len(api.requests)
    wait_until(lambda: len(api.requests) > seen + 1)
    api.failing = 0
    wait_until(lambda: has_said("line 3"))
    api.put_pod(jobs.NAME, **ended("Error", 1))
    again = api.put_pod(jobs.NAME, attempt=1, **running())
    api.print(again, "line 4")
    wait_until(lambda: has_said("line 4"))
    complete(api, job)
    future.result(timeout=30)
    has_said("")
    lines = [line for line in said.splitlines() if line.startswith("line")]
    assert lines == ["line 1", "line 2", "line 2", "line 3", "line 4"]
    assert has_said("all nodes are restarted")
