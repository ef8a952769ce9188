"""A rollout in shards: one TrainJob whose pods are the shards, or processes of one machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from lidr.components.merge.run import Merged
from lidr.components.shared.core import threads
from lidr.components.shared.core.errors import BadInput, EngineFailed, LaunchFailed
from lidr.components.shared.kubernetes.failure import BAD_INPUT, FAILED
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.kubernetes.launcher import TrainJobLauncher, job_name
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, locate_stage
from lidr.pipelines.tasks import rollout, shards
from tests.crds import needs_crds
from tests.fakes import FakeEngine, use_engine, world_stage
from tests.kubernetes_api import (
    KubernetesApi,
    ended,
    running,
    serve,
    wait_until,
    write_kubeconfig,
)
from tests.unit.merge.test_shards import PROMPTS, answer, content, recipe, separate

pytestmark = needs_crds

LAUNCH = Launch(
    launcher="trainjob", nodes=3, image="r/generate:1", runtime="lidr-rollout", queue="gpus"
)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with serve() as server:
        path = write_kubeconfig(server, tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        quick = partial(TrainJobLauncher, poll_seconds=0.05)
        monkeypatch.setattr(rollout, "TrainJobLauncher", quick)
        yield server


def roll_out(folder: Path, world: str, shards: int, asked: str = "") -> Merged:
    return rollout.roll_out(
        recipe=asked or recipe(),
        store=str(folder / "store"),
        run="",
        inputs=world,
        model=world,
        iteration=1,
        shards=shards,
        launch=LAUNCH.model_copy(update={"nodes": shards}).text(),
    )


@pytest.fixture
def pool(api: KubernetesApi) -> Iterator[ThreadPoolExecutor]:
    """For rollouts; whatever TrainJob they wait for, they end with the test."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
        for name in list(api.jobs):
            api.set_condition(name, "Failed")


@pytest.fixture
def launched(pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch) -> Future[Merged]:
    """A rollout of three shards, waiting for its TrainJob."""
    use_engine(monkeypatch, FakeEngine(answer))
    world = world_stage(str(tmp_path / "store"), PROMPTS).uri
    return pool.submit(roll_out, tmp_path, world, 3)


def made(api: KubernetesApi) -> dict:
    wait_until(lambda: bool(api.jobs))
    return next(iter(api.jobs.values()))


def command(job: dict) -> list[str]:
    trainer = job["spec"]["trainer"]
    assert trainer["command"] == ["python", "-m", "lidr.pipelines.tasks.shards"]
    return trainer["args"]


def test_rollout_makes_one_trainjob_whose_pods_are_the_shards(
    api, launched, tmp_path, monkeypatch, capfd
):
    job = made(api)
    name = job["metadata"]["name"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["runtimeRef"] == {"name": "lidr-rollout", "kind": "TrainingRuntime"}
    assert (job["spec"]["trainer"]["image"], job["spec"]["trainer"]["numNodes"]) == (
        "r/generate:1",
        3,
    )
    for index in range(3):
        pod = api.put_pod(name, index, **running())
        api.print(pod, f"lidr progress done={index + 1} total=9 unit=requests rate=1.5")
    wait_until(lambda: "done=6 total=27" in capfd.readouterr().err)
    for index in range(3):
        monkeypatch.setenv(shards.INDEX_VARIABLE, str(index))
        assert shards.main(command(job)) == 0
    api.set_condition(name, "Complete")
    merged = launched.result(timeout=30)
    whole = separate(tmp_path / "whole", monkeypatch)
    assert tuple(map(content, merged)) == tuple(map(content, whole))
    assert api.jobs == {}
    assert not [file for file in locate_stage(merged.responses).files() if "launch" in file]
    left = locate_stage(merged.responses)
    left.store.write(left.key("engine/left-by-a-kill.json"), b"{}")
    assert roll_out(tmp_path, world_stage(str(tmp_path / "store"), PROMPTS).uri, 3) == merged
    assert not left.store.list(left.key("engine"))


def test_a_rollout_with_another_number_of_shards_takes_the_place_of_the_first(
    api, pool, launched, tmp_path, monkeypatch
):
    first = made(api)
    assert shards.main([*command(first), "--shard", "1"]) == 0  # of three; not the second of two
    world = world_stage(str(tmp_path / "store"), PROMPTS).uri
    second = pool.submit(roll_out, tmp_path, world, 2)
    wait_until(lambda: bool(api.jobs) and made(api)["spec"]["trainer"]["numNodes"] == 2)
    for index in range(2):
        assert shards.main([*command(made(api)), "--shard", str(index)]) == 0
    api.set_condition(made(api)["metadata"]["name"], "Complete")
    merged = second.result(timeout=30)
    whole = separate(tmp_path / "whole", monkeypatch)
    assert tuple(map(content, merged)) == tuple(map(content, whole))


def test_rollout_names_the_shard_that_died(api, launched):
    job = made(api)
    name = job["metadata"]["name"]
    for index in (0, 2):
        assert shards.main([*command(job), "--shard", str(index)]) == 0
    api.put_pod(name, 1, **ended("OOMKilled", 137))
    api.set_condition(name, "Failed", "the pod of index 1 was killed")
    with pytest.raises(LaunchFailed, match=r"node-0-1-0: OOMKilled \(exit code 137\)"):
        launched.result(timeout=30)


def test_shard_that_refuses_its_input_is_named_in_its_own_words(api, launched, monkeypatch):
    def refuse(**_: object) -> str:
        raise BadInput("is broken", file="prompts/en.jsonl", line=7, remedy="Fix it.")

    job = made(api)
    monkeypatch.setattr(shards, "translate", refuse)
    assert shards.main([*command(job), "--shard", "2"]) == BAD_INPUT
    api.set_condition(job["metadata"]["name"], "Failed")
    with pytest.raises(BadInput, match=r"prompts/en\.jsonl:7: is broken \(node 2\)\. Fix it\."):
        launched.result(timeout=30)


def test_rollout_does_not_count_what_another_number_of_shards_has_reported(api, launched):
    """The third of three shards does other chunks than the third of eight."""
    store, prefix, count = command(made(api))
    stage = locate_stage(f"{store}/{prefix}")
    three, eight = shards.exchange_of(stage, int(count)), shards.exchange_of(stage, 8)
    for index in range(8):
        eight.succeed(shards.ShardDone(), index)
    assert (three.done(), eight.done()) == (0, 8)
    three.clear()
    assert eight.done() == 0, "a finished stage has none of them"


def test_runs_that_follow_one_trainjob_all_end_with_its_stages(
    api, pool, launched, tmp_path, monkeypatch, capfd
):
    """The first to find the TrainJob complete deletes it, merges and clears the summaries."""
    job = made(api)
    slow = partial(TrainJobLauncher, poll_seconds=2.0)
    monkeypatch.setattr(rollout, "TrainJobLauncher", slow)
    world = world_stage(str(tmp_path / "store"), PROMPTS).uri
    second = pool.submit(roll_out, tmp_path, world, 3)
    wait_until(lambda: "exists: adopted" in capfd.readouterr().err)
    for index in range(3):
        assert shards.main([*command(job), "--shard", str(index)]) == 0
    api.set_condition(job["metadata"]["name"], "Complete")
    merged = launched.result(timeout=30)
    assert second.result(timeout=30) == merged
    for stage in map(locate_stage, merged):
        assert not stage.store.list(stage.key("launch"))
        assert not stage.files(prefix="launch/")


def test_a_rollout_whose_responses_are_translated_otherwise_has_a_trainjob_of_its_own(
    api, pool, launched, tmp_path, monkeypatch
):
    """Both make the same generate stage; what shards of the one report is not of the other."""
    first = made(api)
    settings = json.loads(recipe())
    settings["translation"]["max_tokens"] += 1
    world = world_stage(str(tmp_path / "store"), PROMPTS).uri
    future = pool.submit(roll_out, tmp_path, world, 3, json.dumps(settings))
    wait_until(lambda: len(api.jobs) == 2)
    (second,) = (job for job in api.jobs.values() if job != first)
    ends = []
    for job, waiting in ((first, launched), (second, future)):
        for index in range(3):
            assert shards.main([*command(job), "--shard", str(index)]) == 0
        api.set_condition(job["metadata"]["name"], "Complete")
        ends.append(waiting.result(timeout=30))
    assert ends[0].responses == ends[1].responses
    assert ends[0].translations != ends[1].translations


def test_a_missing_chunk_has_the_shards_run_again(api, launched, tmp_path, monkeypatch):
    """Else the summaries would say for ever that every shard is done."""
    job = made(api)
    for index in range(3):
        assert shards.main([*command(job), "--shard", str(index)]) == 0
    store, prefix, count = command(job)
    translations = locate_stage(f"{store}/{prefix}")
    lost = translations.store.list(translations.key("translations"))[0].key
    translations.store.delete(lost)
    api.set_condition(job["metadata"]["name"], "Complete")
    with pytest.raises(EngineFailed, match=f"chunks are missing, first {lost}"):
        launched.result(timeout=30)
    assert shards.exchange_of(translations, int(count)).done() == 0


def test_shards_on_one_machine_share_its_cores(tmp_path, monkeypatch, capfd):
    tell = [sys.executable, "-c", f"import os; print(os.environ['{threads.SHARING}'])"]
    monkeypatch.setattr(rollout, "_command", lambda stage, shards: tell)
    rollout._run_here(stage_in(tmp_path), job_of("one"))
    assert capfd.readouterr().out.split() == ["2"] * 3, "two shards at a time"


def test_shards_on_one_machine_read_the_job_of_their_own_rollout(tmp_path, monkeypatch, capfd):
    """Another run on this machine may make the same stages at the same time."""
    program = """
import sys
from lidr.pipelines.tasks import shards
shards.work = lambda job, shard: print(f"{job.run}-{shard}") or shards.ShardDone()
sys.exit(shards.main(sys.argv[1:]))
"""
    real = rollout._command

    def telling(*given) -> list[str]:
        return [sys.executable, "-c", program, *real(*given)[3:]]

    monkeypatch.setattr(rollout, "_command", telling)
    stage = stage_in(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: rollout._run_here(stage, job_of(run)), ("one", "two")))
    assert sorted(capfd.readouterr().out.split()) == [
        f"{run}-{shard}" for run in ("one", "two") for shard in range(3)
    ]
    assert not stage.store.list("")


def stage_in(folder: Path) -> Stage:
    return Stage(LocalStore(folder / "store"), f"stages/translate/{'a' * 64}")


def job_of(run: str) -> shards.ShardJob:
    common = {"recipe": "", "store": "", "inputs": "", "model": "", "iteration": 1}
    return shards.ShardJob(**common, run=run, shards=3)


def test_trainjobs_of_two_stores_in_one_namespace_have_names_of_their_own(tmp_path):
    """Equal stages have equal digests, wherever they are."""
    names = {
        job_name("rollout", Stage(LocalStore(tmp_path / store), f"stages/generate/{'a' * 64}"))
        for store in ("one", "two")
    }
    assert len(names) == 2
    assert all(len(f"{name}-node-0-1023-abcde") < 63 for name in names)


def test_a_shard_without_a_store_says_so_in_one_line(tmp_path, capsys):
    (tmp_path / "generate").touch()  # where the folder of the stage would be
    for store, word in (("gs://x", "unknown scheme"), (str(tmp_path), "Not a directory")):
        assert shards.main([store, "generate/x", "2", "--shard", "1"]) == FAILED
        (line,) = capsys.readouterr().err.splitlines()
        assert word in line
