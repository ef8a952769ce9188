"""What lies on a store: markers, states, results, notes, audit entries, leases, events, stamps."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from random import Random
from typing import Any

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.text import printable
from lidr.components.shared.kubernetes.logs import progress_in
from lidr.components.shared.registry import audit
from lidr.components.shared.run_lease import _parse_owner as lease_holder
from lidr.components.shared.store.lease import _Observation, find_head
from lidr.components.shared.store.marker import marker_fault, parse_matching_marker, sealed
from lidr.components.shared.store.runs import read_states, run_names
from lidr.components.shared.store.stage import Stage
from lidr.components.shared.tracking.entries import Artifact, Dataset, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox
from lidr.pipelines.cli.board import Board, progress_text
from lidr.pipelines.events import parse_events
from lidr.pipelines.local_status import event_rows
from lidr.pipelines.stamp import MAX_CHARS, Stamp
from lidr.pipelines.stored import StoredRun
from tests.fakes import make_recipe
from tests.fuzz import mutations
from tests.fuzz.running import Target
from tests.fuzz.shelf import Shelf

_IDENTITY = {"step": "demo", "version": 1, "inputs": {"a": "b"}, "settings": {"x": [1, None]}}
_DIGEST = digest_of(_IDENTITY)
_MARKER = {
    "digest": _DIGEST,
    "identity": _IDENTITY,
    "counts": {"pairs": 3, "share": 0.25},
    "seconds": 1.5,
    "files": {"pairs.parquet": {"size": 9, "sha256": "0" * 64}},
    "facts": {},
}
_SEALED = sealed(_MARKER)


def _marker(random: Random) -> bytes:
    if random.random() < 0.5:
        return mutations.data(random, [_SEALED], 2)
    return mutations.as_json(random, mutations.tree(random, json.loads(_SEALED), 2))


def _check_marker(data: bytes) -> None:
    fault = marker_fault(data, _DIGEST)
    assert (fault == "") == (data == _SEALED), "every change is noticed, and nothing else"
    known = parse_matching_marker(data, _DIGEST)
    assert not known or known["identity"] == _IDENTITY
    stage = Stage(Shelf({f"stages/demo/{_DIGEST}/_SUCCESS": data}), f"stages/demo/{_DIGEST}")
    stage.counts()
    for name in stage.files():
        described = stage.marker()["files"][name]
        assert isinstance(described.get("size", 0), int)
        assert isinstance(described.get("sha256", ""), str)


_STATE = {
    "iteration": 0,
    "inputs": "/shelf/stages/prepare/a",
    "model": "/shelf/stages/prepare/a",
    "evaluation": "/elsewhere/stages/evaluate/b",
    "judgements": "",
    "decision": "",
    "version": "tiny/1",
    "verdict": "continue",
    "promoted": True,
    "reason": "the start",
    "finished": "2026-01-01T00:00:00+00:00",
}
_RESULT = {"iterations": [], "final_model": "/shelf/stages/train/c", "report": "/r.html"}
_RECIPE = json.loads(make_recipe().model_dump_json())


def _run(random: Random) -> dict[str, bytes]:
    files = {"recipe.json": _RECIPE, "result.json": _RESULT}
    files |= {f"iteration-{t}/state.json": {**_STATE, "iteration": t} for t in range(2)}
    chosen = random.choice(list(files))
    return {
        f"runs/r/{name}": mutations.as_json(random, mutations.tree(random, content, 2))
        if name == chosen
        else json.dumps(content).encode()
        for name, content in files.items()
    }


def _check_run(files: dict[str, bytes]) -> None:
    store = Shelf(files)
    assert run_names(store) == ["r"]
    for state in read_states(store, "r"):
        assert isinstance(state["promoted"], bool) and isinstance(state["verdict"], str)
        assert all(isinstance(state[name], str) for name in ("model", "evaluation", "reason"))
    found = StoredRun.read(store, "r")
    assert found is not None
    assert found.next_iteration in (0, 2)
    result = found.result
    assert result is None or isinstance(result["report"], str)


_ENTRY = asdict(
    TrackingEntry(
        "1-train",
        "end",
        1_700_000_000_000,
        tags={"lidr.step": "train"},
        params={"beta": "0.1"},
        metrics=[("loss", 0.5, 1), ("loss", float("nan"), 2)],
        headline=[("pairs", 3.0, 1)],
        datasets=[Dataset("pairs", "/s/stages/pair/x", "x", "training")],
        artifacts=[Artifact("runs/r/report.html", "report.html")],
    )
)


def _check_entry(data: bytes) -> None:
    entry = TrackingEntry.parse(data, "outbox/1-train/end.json")
    assert not any(".." in each.path.split("/") or each.path[0] == "/" for each in entry.artifacts)
    written = json.dumps(asdict(entry)).encode()
    assert repr(TrackingEntry.parse(written)) == repr(entry)


_NOTE_NAMES = ("start-17", "metrics-00000010", "failed-18", "end", "end-0a1b", "x", ".DS_Store")
_PLACES = ("run", "0-prepare", "1-train", "12-generate", "x", "", "-", "9" * 30 + "-train")


def _outbox(random: Random) -> dict[str, bytes]:
    files = {"runs/r/tracking/recipe.json": mutations.as_json(random, mutations.tree(random, {}))}
    for _ in range(random.randint(0, 6)):
        place = random.choice(_PLACES)
        name = mutations.text(random, _NOTE_NAMES, 1).replace("/", "")
        folder = random.choice(("outbox", "outbox", "sent/abc", "mlflow/abc"))
        end = random.choice((".json", ".json", "", ".json.tmp"))
        files[f"runs/r/tracking/{folder}/{place}/{name}{end}"] = mutations.as_json(random, _ENTRY)
    note = mutations.tree(random, {"run": "0af", "experiment": "1"})
    files["runs/r/tracking/mlflow/abc/run.json"] = mutations.as_json(random, note)
    return files


def _check_outbox(files: dict[str, bytes]) -> None:
    outbox = Outbox(Shelf(files), "r")
    waiting = outbox.waiting("abc")
    assert all(name in waiting.names[place] for place, name in waiting.left)
    assert outbox.steps_reported("1-train") >= 0
    note = outbox.read_note("mlflow/abc/run")
    assert note is None or isinstance(note["run"], str)
    assert isinstance(outbox.recipe(), dict)


_AUDIT = {
    "time": "2026-01-01T00:00:00+00:00",
    "actor": "ann@host",
    **asdict(
        audit.AliasMove("promote", "champion", 3, None, "better", False, "promote", "/s/gate")
    ),
}


def _trail(random: Random) -> dict[str, bytes]:
    name = random.choice(("20260101T000000.000001Z-ab", "20260101T000000.000001Z-ab", "x", "2026"))
    text = mutations.as_json(random, mutations.tree(random, _AUDIT, 2))
    files = {f"audit/{name}.json": text}
    return files | ({f"audit/{name}.done": b""} if random.random() < 0.5 else {})


def _check_trail(files: dict[str, bytes]) -> None:
    store = Shelf(files)
    noted = audit.record(store, audit.AliasMove("rollback", "champion", 2, 3))
    assert audit._time_of(noted.name)
    for entry in audit.entries(store):
        move = entry.move
        assert move.action in ("promote", "rollback") and isinstance(move.version, int)
        assert isinstance(move.forced, bool) and json.dumps(entry.to_dict())


_LEASE = {
    "owner": "ann@host 12",
    "token": "ab",
    "seconds": 15.0,
    "renewals": 3,
    "identity": "local:ab",
    "host": "host",
    "machine": "boot/1",
    "process": 12,
    "started": "99",
    "since": "2026-01-01T00:00:00+00:00",
    "cluster": "0123abcd",
    "namespace": "lidr",
}


def _lease(random: Random) -> dict[str, bytes]:
    names = ("000000000007.json", "000000000007.free", "7.json", "x", "000000000008.json", "free")
    return {
        f"lease/{random.choice(names)}": mutations.as_json(random, mutations.tree(random, _LEASE))
        for _ in range(random.randint(0, 3))
    }


def _check_lease(files: dict[str, bytes]) -> None:
    store = Shelf(files)
    head = find_head(store)
    assert head.number in (0, 7, 8)
    seen = _Observation(0.0)
    seen.stale(store, head, 15.0, time.monotonic())
    seen._read = -1e9
    seen.stale(store, head, 15.0, time.monotonic())
    assert 0 < seen._seconds(15.0) <= 3600
    assert isinstance(seen.owner(store, head), str)
    for text in files.values():
        held = lease_holder(text)
        if held:
            assert 0 < held.seconds <= 300 and held.ended_here in (True, False)
            assert not held.has_ended()  # this is no pod, so nobody is asked
            assert printable(held.refusal("r").message) == held.refusal("r").message


_EVENTS: list[dict[str, Any]] = [
    {"event": "started", "iteration": 0, "step": "generate", "shard": "1/2"},
    {"event": "started", "iteration": 1, "step": "train"},
    {
        "event": "progress",
        "done": 2,
        "total": 9,
        "unit": "steps",
        "rate": 3.5,
        "step": "train",
        "rate_unit": "tokens",
        "seconds_left": 12,
        "failures": {"truncated": 2},
    },
    {"event": "number", "name": "pairs", "value": "18 of 20", "step": "train"},
    {"event": "accuracy", "iteration": 1, "language": "es", "value": 0.5, "low": 0.4},
    {"event": "judged", "iteration": 1, "task": "care", "language": "es", "value": 0.6},
    {"event": "warning", "message": "it \x1b[2J looks inverted", "step": "train"},
    {"event": "finished", "seconds": 2.5, "step": "train"},
    {"event": "failed", "message": "the file is broken", "exit_code": 2, "step": "pair"},
]


def _events(random: Random) -> bytes:
    lines = []
    for number in range(random.randint(0, 8)):
        event = {**random.choice(_EVENTS), "time": 1000.0 + number}
        lines.append(mutations.as_json(random, mutations.tree(random, event, 1)))
    return b"\n".join(lines)


def _check_events(data: bytes) -> None:
    events = parse_events(data.split(b"\n"))
    board = Board(("en", "es"))
    for event in events:
        json.dumps(event, allow_nan=False)
        board.take(event)
        if event["event"] == "progress":
            assert "\x1b" not in progress_text(event)
    assert not any(c in "\x1b\x9b\x07\u202e" for message in board.messages for c in message)
    for running in (True, False):
        rows = list(event_rows(events, running=running))
        assert all(row.state for row in rows)
        assert all(c.isprintable() or c in "\n\t" for row in rows for c in f"{row.note}{row.unit}")


_STAMPS = [
    f"report: s3://b/k/runs/r/report.html\nlidr 0.1.0, recipe 0123456789abcdef from M_{first}, "
    "store s3://b/k"
    for first in (0, 1, 20)
]


def _stamp(random: Random) -> str | None:
    if random.random() < 0.05:
        return None
    return mutations.text(random, _STAMPS, 2)


def _check_stamp(text: str | None) -> None:
    found = Stamp.parse(text)
    if found is not None:
        assert Stamp.parse(found.text()) == found
        assert found.first >= 0 and len(found.text()) <= MAX_CHARS


_LOG_LINES = (
    "lidr progress done=3 total=9 unit=steps rate=12.5 rate_unit=tokens",
    "[rank0] lidr progress done=9 total=9",
    "lidr progress event=x done=1 total=2",
)


def _check_log_line(line: str) -> None:
    values = progress_in(line)
    if values is not None:
        assert "event" not in values and isinstance(values["done"], int)


def _refused_or_same(base: Any, edits: int = 2) -> Any:
    return lambda random: mutations.as_json(random, mutations.tree(random, base, edits))


TARGETS: list[Target] = [
    Target("_SUCCESS marker", _marker, _check_marker, 50_000),
    Target("state, result and recipe of a run", _run, _check_run, 40_000),
    Target("note for MLflow", _refused_or_same(_ENTRY), _check_entry, 60_000),
    Target("outbox of notes", _outbox, _check_outbox, 40_000),
    Target("audit entry", _trail, _check_trail, 20_000),
    Target("lease", _lease, _check_lease, 50_000),
    Target("events of a run", _events, _check_events, 40_000),
    Target("stamp in Kubeflow", _stamp, _check_stamp, 100_000),
    Target("line of a pod's log", lambda r: mutations.text(r, _LOG_LINES), _check_log_line, 80_000),
]
