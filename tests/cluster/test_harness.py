"""The harness of tests/cluster itself, without a cluster: options, table, arithmetic, words."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.cluster import __main__ as program
from tests.cluster.cluster import _KUBEFLOW_FAULT, Cluster
from tests.cluster.commands import Done
from tests.cluster.contents import contents, differences, require_equal
from tests.cluster.documents import commands_of
from tests.cluster.faults.journal import Journal, Row, counted, markdown, rows
from tests.cluster.faults.kinds import DECK, Kind, duration, shuffled
from tests.cluster.faults.series import victims_of
from tests.cluster.options import parse
from tests.cluster.parts import PARTS, groups
from tests.cluster.parts.faults import BEGIN, END, faults_told, write
from tests.cluster.parts.install import PAGE
from tests.cluster.parts.policies import CLOSED, OPEN, SOURCES
from tests.cluster.probes import reached
from tests.cluster.results import Failure, Figures, LeftOut, Result, line, table
from tests.cluster.standin import stand_in, wanted_outputs
from tests.cluster.workflow import PodNode, covered, pods_of, stored_bytes, window_of, worked
from tests.pipelines.test_sharing import compiled
from tests.yaml_text import read_yaml


def test_without_a_cluster_it_says_what_it_would_need_and_ends_with_2(capsys):
    assert program.main([]) == 2
    told = capsys.readouterr().err
    assert "--kubeconfig" in told
    assert "faults" in told
    assert len(told.splitlines()) < 10


def test_parts_run_in_their_order_whatever_the_command_line_says():
    given = ["--kubeconfig", "f", "--kfp-host", "u", "--part", "faults", "--part", "check"]
    assert parse(given, list(PARTS)).parts == ("check", "faults")
    everything = tuple(part for part in PARTS if part != "record")
    assert parse(given[:4], list(PARTS)).parts == everything
    assert "record" in parse([*given, "--record"], list(PARTS)).parts


def test_a_component_s_command_is_split_as_a_shell_would():
    given = ["--kubeconfig", "f", "--kfp-host", "u", "--stop", "node=kill -9 '1 2'"]
    assert parse(given, list(PARTS)).stop == {"node": ["kill", "-9", "1 2"]}
    with pytest.raises(SystemExit):
        parse([*given, "--stop", "node"], list(PARTS))


def test_the_line_of_json_counts_parts_and_carries_every_figure():
    results = [
        Result("a", "passed", 1, ""),
        Result("b", "failed", 61, "no"),
        Result("c", "left out", 0, ""),
    ]
    told = json.loads(line(results, Figures(0.03, 1000, 50, [True, True])))
    assert told == {
        "parts": {"a": "passed", "b": "failed", "c": "left out"},
        "passed": 1,
        "failed": 1,
        "overhead_share": 0.03,
        "workflow_bytes": 1000,
        "kills": 50,
        "equal": True,
    }
    assert "1:01  no" in table(results)


def test_figures_are_equal_only_where_every_run_was():
    assert Figures().equal is None
    assert Figures(compared=[True, False]).equal is False


def test_a_part_that_cannot_be_told_neither_passes_nor_fails(monkeypatch):
    def left_out(cluster):
        raise LeftOut("nothing enforces them")

    def failing(cluster):
        raise Failure("it does\nnot")

    monkeypatch.setitem(program.PARTS, "check", left_out)
    monkeypatch.setitem(program.PARTS, "submit", failing)
    assert program._result(None, "check").state == "left out"
    assert program._result(None, "submit").found == "it does not"


def test_parts_that_have_ended_count_where_a_later_one_is_interrupted(tmp_path, monkeypatch):
    from tests.cluster.options import Options

    def interrupted(cluster, group, results):
        if group == ["submit"]:
            raise KeyboardInterrupt
        beside(cluster, group, results)

    beside = program._run_beside
    removed: list[str] = []
    monkeypatch.setitem(program.PARTS, "check", lambda cluster: "all is there")
    monkeypatch.setattr(program, "_run_beside", interrupted)
    monkeypatch.setattr(Cluster, "remove", lambda self: removed.append("all"))
    found = program.run_parts(Cluster(Options("f", "u", ("check", "submit"), folder=tmp_path)))
    assert [(each.part, each.state, each.found) for each in found] == [
        ("check", "passed", "all is there")
    ]
    assert removed == ["all"]


def test_an_interruption_waits_until_what_was_stopped_is_there_again(tmp_path, monkeypatch):
    from tests.cluster.options import Options

    def faults(cluster: Cluster) -> str:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        cluster.interrupted.wait(30)
        time.sleep(0.5)
        restarted.append("node")
        return ""

    restarted: list[str] = []
    monkeypatch.setitem(program.PARTS, "faults", faults)
    with pytest.raises(KeyboardInterrupt):
        program._run_beside(
            Cluster(Options("f", "u", ("faults",), folder=tmp_path)), ["faults"], {}
        )
    assert restarted == ["node"]


def test_commands_of_a_page_are_those_behind_the_dollar_sign():
    block = "```console\n$ one  # why\noutput\n$ two \\\n  three\n```"
    page = f"# A\n## B\n{block}\n## C\n```console\n$ four\n```\n"
    assert commands_of(page, "B") == ["one", "two \\\n  three"]
    assert commands_of(page, "A") == ["one", "two \\\n  three", "four"]
    assert commands_of(page, "D") == []


def test_the_installation_s_commands_are_found_in_the_document():
    printed = commands_of(PAGE.read_text("utf-8"), "Installing lidr")
    assert any("overlays/gke/cluster" in command for command in printed)
    assert any(command.endswith("overlays/gke") for command in printed)
    secrets = commands_of(PAGE.read_text("utf-8"), "Secrets")
    assert any("lidr-object-store" in command for command in secrets)


def node(path: str, begin: int, seconds: int) -> PodNode:
    return PodNode(path, path, begin, begin + seconds)


def test_an_iteration_lasts_until_the_next_one_begins_or_the_loop_ends():
    pods = [
        node("x(0).root(0).prepare(0).executor(0)", 0, 5),
        node("x(0).root(0).iteration-driver(0)", 10, 4),
        node("x(0).root(0).iteration(0).train(0).executor(0)", 20, 30),
        node("x(0).root(0).next-state(0).executor(0)", 60, 5),
        node("x(0).root(0).iteration-2-driver(0)", 70, 4),
        node("x(0).root(0).iteration-2(0).train(0).executor(0)", 80, 10),
        node("x(0).root(0).exit-handler-1.onExit(0).cleanup-driver(0)", 100, 5),
    ]
    assert [pod.iteration for pod in pods] == [0, 1, 1, 0, 2, 2, 0]
    assert window_of(pods, 1) == (10, 70)
    assert window_of(pods, 2) == (70, 100)
    assert [pod.role for pod in pods[:2]] == ["executor", "driver"]


def test_work_that_overlaps_counts_once_and_only_within_the_window():
    assert covered([(0, 10), (5, 12), (20, 30)], (2, 25)) == 15
    assert covered([], (0, 10)) == 0


def test_work_is_what_lies_between_a_step_s_first_line_and_its_last():
    log = (
        "2026-11-29T13:00:00.000000001Z I1129 launcher\n"
        "2026-11-29T13:00:02.500000000Z lidr started step=train iteration=1\n"
        "2026-11-29T13:00:03.000000000Z lidr note step=train message=lidr finished soon\n"
        "2026-11-29T13:00:12.500000000Z lidr finished step=train seconds=10.0\n"
    )
    [(begin, end)] = worked(log)
    assert end - begin == 10


def test_a_trainjob_is_at_work_from_its_first_rank_s_first_words():
    log = (
        "2026-11-29T13:00:00Z lidr started step=train\n"
        "2026-11-29T13:00:02Z lidr note step=train message=TrainJob lidr-train-1 made in n\n"
        "2026-11-29T13:00:30Z [rank0] lidr note message=pairs cut\n"
        "2026-11-29T13:00:40Z [rank0] lidr number name=loss\n"
        "2026-11-29T13:00:50Z lidr finished step=train seconds=50\n"
    )
    assert [end - begin for begin, end in worked(log)] == [2, 20]


def test_nodes_that_argo_compressed_are_read():
    import base64
    import gzip

    pod = {
        "id": "w-1-77",
        "name": "w-1(0).root(0).train-driver(0)",
        "templateName": "system-container-driver",
        "type": "Pod",
        "startedAt": "2026-11-29T13:00:00Z",
        "finishedAt": "2026-11-29T13:00:04Z",
    }
    packed = base64.b64encode(gzip.compress(json.dumps({"w-1-77": pod}).encode())).decode()
    [found] = pods_of({"metadata": {"name": "w-1"}, "status": {"compressedNodes": packed}})
    assert (found.pod, found.end - found.begin) == ("w-1-system-container-driver-77", 4)


def test_a_workflow_s_bytes_are_those_of_its_compact_json_with_nodes_compressed():
    assert stored_bytes('{ "a": "é" }') == len('{"a":"é"}'.encode())
    nodes = {str(n): {"inputs": "x" * 1000} for n in range(100)}
    whole = {"spec": {"templates": ["y" * 500]}, "status": {"phase": "Running", "nodes": nodes}}
    assert 500 < stored_bytes(json.dumps(whole)) < 3000
    assert stored_bytes('{"status": {"compressedNodes": "abcd"}}') == 37


def test_a_stand_in_writes_every_output_and_goes_on():
    spec = {
        "components": {
            "comp-a": {
                "executorLabel": "exec-a",
                "outputDefinitions": {"parameters": {"Output": {"parameterType": "STRING"}}},
            },
            "comp-b": {
                "executorLabel": "exec-b",
                "outputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}},
            },
        },
        "deploymentSpec": {
            "executors": {
                name: {"container": {"command": ["python"], "args": ["{{$}}"], "image": "i"}}
                for name in ("exec-a", "exec-b")
            }
        },
        "root": {
            "dag": {
                "tasks": {
                    "a": {"componentRef": {"name": "comp-a"}},
                    "b": {
                        "componentRef": {"name": "comp-b"},
                        "inputs": {
                            "parameters": {
                                "verdict": {
                                    "taskOutputParameter": {
                                        "producerTask": "a",
                                        "outputParameterKey": "Output",
                                    }
                                }
                            }
                        },
                    },
                }
            }
        },
    }
    assert wanted_outputs(spec) == {("comp-a", "Output"): "continue"}
    made = read_yaml(stand_in(yaml.safe_dump(spec), "image"))["deploymentSpec"]["executors"]
    assert made["exec-a"]["container"]["args"][1:] == ["continue", "--", "python", "{{$}}"]
    assert made["exec-b"]["container"]["args"][1] == "1"
    assert made["exec-a"]["container"]["image"] == "image"


def test_stand_ins_hold_every_condition_of_the_loop():
    loop, _ = compiled(3, runner="kubeflow", training={"launcher": "trainjob"})
    continues = {("comp-conclude", "verdict"): "continue"}
    assert wanted_outputs(loop) == {**continues, ("comp-pair", "next_step"): "train"}


def test_a_stand_in_s_script_writes_what_it_is_given(tmp_path):
    import subprocess

    from tests.cluster.standin import _SCRIPT

    file = tmp_path / "deep" / "Output"
    command = ["sh", "-ec", _SCRIPT, "stand-in", str(file), "continue", "--", "sh", "-c", "exit 3"]
    subprocess.run(command, check=True)
    assert file.read_text() == "continue"


def test_every_closed_way_leads_to_somebody_who_is_open_to_another():
    ways = [(source, target) for target, sources in CLOSED.items() for source in sources]
    assert len(ways) >= 20
    for source, target in ways:
        assert OPEN[target]
        assert source not in OPEN[target]
        assert source in {*SOURCES, "outside"}


def test_a_probe_s_lines_say_what_it_reached():
    assert reached('["a", 1, true]\nnoise\n["b", 2, false]\n') == {("a", 1): True, ("b", 2): False}


def test_the_deck_has_fifty_faults_of_every_kind_and_a_seed_repeats_its_order():
    import random

    assert len(DECK) == 50
    targets = {kind.target for kind in DECK}
    assert targets == {
        "executor",
        "driver",
        "rank",
        "argo",
        "kfp",
        "mlflow",
        "postgres",
        "store",
        "node",
        "disk",
    }
    assert shuffled(random.Random(1), 120) == shuffled(random.Random(1), 120)
    assert len(shuffled(random.Random(1), 120)) == 120
    lost = [kind for kind in DECK if kind.action == "lose"]
    assert shuffled(random.Random(1), 2, lost) == [*lost, *lost]
    assert shuffled(random.Random(1), 2, []) == []
    spans = [duration(Kind("stop", "kfp"), random.Random(n), 300) for n in range(200)]
    assert 30 <= min(spans) < 40
    assert 250 < max(spans) <= 300


def test_a_lost_node_is_away_for_longer_than_pods_tolerate():
    import random

    [lost] = {kind for kind in DECK if kind.action == "lose"}
    assert lost.stops and lost.target == "node"
    assert duration(lost, random.Random(1), longest=30) > 300 + 40


def test_parts_with_runs_of_their_own_run_beside_one_another_and_all_others_alone():
    found = groups(PARTS)
    assert [part for group in found for part in group] == list(PARTS)
    assert [group for group in found if len(group) > 1] == [
        ["cancel", "schedule", "size", "queue", "reward", "budget", "notices", "record"]
    ]
    crowd = [group for group in groups(PARTS, crowded=True) if len(group) > 1]
    assert crowd == [
        ["submit", "cancel", "schedule", "size", "queue", "reward", "budget", "notices", "record"]
    ]
    assert groups(["check", "cancel", "faults"]) == [["check"], ["cancel"], ["faults"]]


def test_a_table_of_more_faults_is_not_overwritten_by_one_of_fewer(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n| **all** | 3 | 1 | 2 | 3 |\n{END}\n")
    write([Row("few", 2, 2, 0, 2)], 0, page)
    assert faults_told(page.read_text()) == 3
    write([Row("many", 4, 4, 0, 4)], 0, page)
    assert faults_told(page.read_text()) == 4


def pod(
    name: str, phase: str = "Running", path: str = "", *, working: bool = True, **labels: str
) -> dict:
    annotations = {"workflows.argoproj.io/node-name": path} if path else {}
    metadata = {"name": name, "namespace": "n", "labels": labels, "annotations": annotations}
    own = {"name": "node" if "jobset.sigs.k8s.io/jobset-name" in labels else "main"}
    own["state"] = {"running": {}} if working else {"terminated": {}}
    status = {"phase": phase, "containerStatuses": [{"name": "wait"}, own]}
    return {"metadata": metadata, "status": status}


def test_victims_are_running_pods_of_the_lives_by_their_role():
    pods = [
        pod("d", path="w(0).root(0).train-driver(0)", **{"pipeline/runid": "r1"}),
        pod("e", path="w(0).root(0).train(0).executor(0)", **{"pipeline/runid": "r1"}),
        pod("done", "Succeeded", **{"pipeline/runid": "r1"}),
        pod("ending", working=False, **{"pipeline/runid": "r1"}),
        pod("other", **{"pipeline/runid": "r2"}),
        pod("k", **{"jobset.sigs.k8s.io/jobset-name": "job"}),
    ]
    found = {each.name: each.role for each in victims_of(pods, {"r1": 1}, {"job": 1})}
    assert found == {"d": "driver", "e": "executor", "k": "rank"}


def test_faults_count_once_their_run_has_ended_also_after_an_interruption(tmp_path: Path):
    journal = Journal(tmp_path / "faults.jsonl")
    kill = {"entry": "kill", "words": "rank pod killed", "target": "p", "seconds": 0}
    journal.add(**kill, lives=[1])
    journal.add(entry="attempt", life=1, begin=0, code=1, told="")
    journal.add(**kill, lives=[1])
    journal.add(entry="attempt", life=1, begin=0, code=0, told="")
    journal.add(entry="end", life=1, equal=True)
    journal.add(**kill, lives=[2])  # interrupted before this one's end
    [row] = rows(Journal(tmp_path / "faults.jsonl").entries())
    assert (row.tried, row.equal) == (2, 2)
    assert row.again >= 1
    assert counted([row])["tried"] == 2
    assert "| rank pod killed | 2 |" in markdown([row])


def test_a_fault_on_two_lives_is_equal_only_where_both_are():
    kill = {"entry": "kill", "time": 5, "words": "MLflow stopped", "lives": [1, 2]}
    ends = [{"entry": "end", "life": 1, "equal": True}, {"entry": "end", "life": 2, "equal": False}]
    [row] = rows([kill, *ends])
    assert (row.tried, row.equal) == (1, 0)


def test_contents_that_differ_are_named():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]
    with pytest.raises(Failure, match=r"1 of 1 files differ: a"):
        require_equal({}, {"a": "1"})
    with pytest.raises(Failure, match="nothing to compare"):
        require_equal({}, {})


def test_contents_of_a_store_are_its_finished_stages_files(tmp_path):
    import hashlib

    stage = tmp_path / "stages" / "pair" / "ab"
    stage.mkdir(parents=True)
    (stage / "f.parquet").write_bytes(b"x")
    sha256 = hashlib.sha256(b"x").hexdigest()
    (stage / "_SUCCESS").write_text(json.dumps({"files": {"f.parquet": {"sha256": sha256}}}))
    (tmp_path / "stages" / "pair" / "unfinished").mkdir()
    assert contents(str(tmp_path)) == {"pair/ab/f.parquet": sha256}
    (stage / "f.parquet").write_bytes(b"y")
    with pytest.raises(Failure, match="not what its marker says"):
        contents(str(tmp_path))


def test_what_was_made_is_removed_latest_first_and_kept_only_on_demand(tmp_path, monkeypatch):
    from tests.cluster import removal
    from tests.cluster.options import Options

    monkeypatch.setattr(removal, "remove_runs", lambda profile, since: done.append("runs"))
    monkeypatch.setattr(removal, "remove_store", lambda uri: done.append("store"))
    for keep, expected in ((False, ["runs", "store", "port", "pod"]), (True, ["port"])):
        done: list[str] = []
        cluster = Cluster(Options("f", "http://kfp", (), keep=keep, folder=tmp_path))
        cluster.afterwards(lambda done=done: done.append("pod"))
        cluster.afterwards(lambda done=done: done.append("port"), always=True)
        cluster.remove()
        assert done == expected


@pytest.mark.parametrize(("said", "submissions"), [(_KUBEFLOW_FAULT, 2), ("out of memory", 1)])
def test_a_run_that_kubeflow_itself_has_ended_is_submitted_once_more(
    said: str, submissions: int, monkeypatch: pytest.MonkeyPatch
):
    given: list[tuple[str, ...]] = []

    def lidr(self: Cluster, *arguments: str, **keys: object) -> Done:
        given.append(arguments)
        return Done(arguments, int(len(given) == 1), "", f"failed ({said})" * (len(given) == 1))

    monkeypatch.setattr(Cluster, "lidr", lidr)
    cluster = Cluster(parse(["--kubeconfig", "f", "--kfp-host", "u"], list(PARTS)))
    assert cluster.submitted("first", "seed=1").code == (submissions == 1)
    assert len(given) == submissions
    assert len(set(given)) == 1


def test_everything_of_a_test_is_below_a_prefix_of_the_user_s_store(tmp_path):
    from tests.cluster.options import Options

    cluster = Cluster(Options("f", "http://kfp", (), folder=tmp_path, seed=7))
    assert cluster.profile.store.endswith("/lidr-test-7")
    assert cluster.profile.kubeflow.experiment == "lidr-test-7"
    assert cluster.profile.kubeflow.host == "http://kfp"
    with_nodes = cluster.layers(training={"nodes": 2})
    assert with_nodes != cluster.layers()
