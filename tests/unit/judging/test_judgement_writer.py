"""Judgements on the store: parts, and the file that they become."""

from __future__ import annotations

import contextlib
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lidr.components.judging.cases import Case
from lidr.components.judging.client import Reply
from lidr.components.judging.judgement_writer import JudgementWriter
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.judging.verdicts import Position
from lidr.components.shared.core.errors import CorruptStage, EngineFailed
from lidr.components.shared.records.judged import JudgeFailure, Judgement, Order
from lidr.components.shared.records.parquet import from_parquet, to_parquet
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

FILE = "judgements.parquet"
SEVEN = Reply("Fine.\nScore: 7", (Position("7", {"7": -0.1, "8": -2.5}),), None, 90, 6)
LATE = Reply(failure=JudgeFailure.TIMEOUT)


def cases(number: int) -> list[Case]:
    return [
        Case("samples", "es", f"p{n}", n % 4, Order.ALONE, list, f"{n:064x}") for n in range(number)
    ]


def reply(number: int) -> Reply:
    """Return a grade of 7, every 50th time a failure, every 100th one of the server."""
    if number % 100 == 0:
        return LATE
    text = f"{number} is what it is. " * 40 + "\ud800"
    return Reply(text) if number % 50 == 0 else Reply(f"{text}\nScore: 7", SEVEN.positions)


def empty_stage(folder: Path) -> Stage:
    return new_stage(open_store(str(folder)), "judge", 1, {}, {})


def names_of(stage: Stage) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in stage.store.list(stage.prefix)]


def written(stage: Stage, asked: list[Case]) -> bytes:
    """Let a writer take replies to all cases, the last one first, and return its file."""
    writer = JudgementWriter(stage, len(asked), 100, 1.0)
    for number, case in reversed(list(enumerate(asked))):
        writer.take(case, reply(number))
    writer.flush()
    writer.close([case.request for case in asked])
    return stage.store.read(stage.key(FILE))


def test_parts_become_the_bytes_of_all_records_in_order(tmp_path: Path):
    stage, asked = empty_stage(tmp_path), cases(5000)
    data = written(stage, asked)
    records = from_parquet(data, Judgement)
    assert [each.request for each in records] == [case.request for case in asked]
    assert data == to_parquet(records, Judgement)
    assert sum(each.failure == JudgeFailure.TIMEOUT for each in records) == 50
    assert names_of(stage) == [FILE]


def test_without_judgements_there_is_an_empty_file(tmp_path: Path):
    assert written(empty_stage(tmp_path), []) == to_parquet([], Judgement)


@pytest.mark.parametrize("deleted", [0, 1, 3, 4])
def test_a_step_killed_after_its_file_asks_again_only_what_the_server_failed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: int
):
    stage, asked = empty_stage(tmp_path), cases(300)
    delete, calls = LocalStore.delete, count()

    def killed(store: LocalStore, key: str) -> None:
        if next(calls) == deleted:
            raise KeyboardInterrupt
        delete(store, key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", killed)
        with contextlib.suppress(KeyboardInterrupt):
            written(stage, asked)
    assert len(names_of(stage)) == 1 + 4 - deleted
    writer = JudgementWriter(stage, len(asked), 600, 1.0)
    again = [case for case in asked if not writer.reuse(case)]
    assert again == [asked[0], asked[100], asked[200]]
    for case in again:
        writer.take(case, SEVEN)
    writer.close([case.request for case in asked])
    records = from_parquet(stage.store.read(stage.key(FILE)), Judgement)
    assert [records[n].failure for n in (0, 50, 100, 200)] == [None, "unparsable", None, None]
    assert writer.outcomes[asked[0].request] == JudgementOutcome(
        0, Order.ALONE, records[0].value, None, 90, 6
    )
    assert names_of(stage) == [FILE]


def test_an_answer_outlives_the_failure_before_it_wherever_two_attempts_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stage, asked = empty_stage(tmp_path), cases(300)
    requests, delete = [case.request for case in asked], LocalStore.delete
    for deleted in (0, 1):  # the first attempt leaves the failure, the second its answer
        calls = count()

        def killed(store: LocalStore, key: str, calls=calls, deleted=deleted) -> None:
            if next(calls) == deleted:
                raise KeyboardInterrupt
            delete(store, key)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(LocalStore, "delete", killed)
            if deleted == 0:
                written(stage, asked)
            writer = JudgementWriter(stage, len(asked), 600, 1.0)
            for case in [case for case in asked if not writer.reuse(case)]:
                writer.take(case, SEVEN)
            writer.close(requests)
    last = JudgementWriter(stage, len(asked), 600, 1.0)
    assert all(last.reuse(case) for case in asked)


def test_a_part_of_other_records_is_named(tmp_path: Path):
    stage, asked = empty_stage(tmp_path), cases(3)
    written(stage, asked)
    table = pq.read_table(stage.store.path(stage.key(FILE)))
    place = table.schema.get_field_index("turn")
    other = table.set_column(place, "turn", table["turn"].cast("double"))
    pq.write_table(other, stage.store.path(stage.key("judgements/000000.parquet")))
    with pytest.raises(CorruptStage, match=r"000000\.parquet has a column 'turn' of double"):
        JudgementWriter(stage, len(asked), 600, 1.0)


def test_what_the_server_said_of_a_rejected_request_outlives_the_process(tmp_path: Path):
    stage, [case] = empty_stage(tmp_path), cases(1)
    rejected = Reply("too long", failure=JudgeFailure.REJECTED)
    with pytest.raises(EngineFailed, match="the server said: too long"):
        JudgementWriter(stage, 1, 1, 0.0).take(case, rejected)
    with pytest.raises(EngineFailed, match="the server said: too long"):
        JudgementWriter(stage, 1, 1, 0.0).reuse(case)
