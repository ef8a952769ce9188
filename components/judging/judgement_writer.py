"""Stores judgements as they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from lidr.components.judging.cases import Case
from lidr.components.judging.client import Reply
from lidr.components.judging.outcomes import JudgementOutcome, outcome_of
from lidr.components.judging.verdicts import Verdict, read_preference, read_score
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.events import Meter
from lidr.components.shared.records.judged import JudgeFailure, Judgement, Order
from lidr.components.shared.records.parquet import ROW_GROUP_ROWS, tables_to_parquet
from lidr.components.shared.store.stage import Stage

_FILE = "judgements.parquet"
_PARTS = "judgements/"

_TRANSIENT = (
    JudgeFailure.TIMEOUT,
    JudgeFailure.RATE_LIMITED,
    JudgeFailure.SERVER_ERROR,
    JudgeFailure.UNREACHABLE,
)
"""Failures of the server, not of the judge: such cases are asked again at the end of the step, and
when a step that did not finish is repeated; a finished stage keeps them."""

_REMEDIES = {
    JudgeFailure.TRUNCATED: "Raise judge.max_tokens",
    JudgeFailure.REJECTED: "Do what the server asks for (judge.top_logprobs: 0 asks for no "
    "log-probabilities)",
    JudgeFailure.TIMEOUT: "Raise judge.request_seconds or lower judge.concurrency in the profile",
    JudgeFailure.RATE_LIMITED: "Lower judge.concurrency in the profile",
    JudgeFailure.SERVER_ERROR: "Look at the server's log",
    JudgeFailure.UNREACHABLE: "Look at the server's log",
}
"""What may help against a kind of failure; for any other kind, another judge may."""

_ROWS_PER_BATCH = 1024
"""How many judgements of an earlier attempt are in memory as records at once."""


class JudgementWriter:
    """Reads replies, writes judgements in parts, and raises if too many of them failed.

    Args:
        stage: the stage to write to, which is not complete.
        total: how many judgements the finished stage will hold.
        chunk_size: judgements per part.
        max_failed_share: share of the judgements that may fail.
    """

    def __init__(self, stage: Stage, total: int, chunk_size: int, max_failed_share: float) -> None:
        self._stage = stage
        self._chunk_size = chunk_size
        self._total = total
        self._max_failed = max_failures(max_failed_share, total)
        self._unwritten: list[Judgement] = []
        self._transient: list[Judgement] = []
        self._files = set(_judgement_files(stage))
        self._next_part = _part_after(self._files)
        self.outcomes: dict[str, JudgementOutcome] = {
            judgement.request: outcome_of(judgement)
            for judgement in _bare_judgements(stage, sorted(self._files))
        }
        """Outcomes of all judgements so far, by the digest of their request."""
        self.failures: Counter[str] = Counter()
        self._meter = Meter(total, "judgements", "tokens")

    def reuse(self, case: Case) -> bool:
        """Return whether a case was judged before, without a server failure; if so, count it."""
        found = self.outcomes.get(case.request)
        if found is None or found.failure in _TRANSIENT:
            return False
        self._meter.total -= 1  # so that rate and time left are those of new requests
        self._count(found)
        return True

    def take(self, case: Case, reply: Reply) -> None:
        """Store the judgement that a reply gives.

        Raises:
            EngineFailed: too many judgements failed.
        """
        judgement = _judgement(case, reply)
        outcome = self.outcomes[judgement.request] = outcome_of(judgement)
        (self._transient if outcome.failure in _TRANSIENT else self._unwritten).append(judgement)
        if len(self._unwritten) >= self._chunk_size:
            self.flush()
        self._count(outcome)
        self._meter.advance(1, outcome.output_tokens, self.failures)

    def withdraw_server_failures(self, cases: Iterable[Case]) -> list[Case]:
        """Return the cases to ask again because the server failed, and no longer count them."""
        withdrawn = {judgement.request for judgement in self._transient}
        self.failures -= Counter(str(judgement.failure) for judgement in self._transient)
        self._transient = []
        self._meter.total += len(withdrawn)
        return [case for case in cases if case.request in withdrawn]

    def flush(self) -> None:
        """Write the judgements that have not been written yet, as one more part."""
        if self._unwritten:
            name = f"{_PARTS}{self._next_part:06d}.parquet"
            self._stage.write_records(name, self._unwritten, Judgement)
            self._files.add(name)
            self._next_part += 1
            self._unwritten = []

    def close(self, requests: Sequence[str]) -> None:
        """Replace the parts by one file with the judgements of these requests, in this order.

        The parts are joined as tables: as records they would take several times the memory.
        """
        self._unwritten += self._transient
        self.flush()
        names = sorted(self._files)  # a repeated judgement is in a later file
        tables = self._stage.unfinished_tables(names, Judgement.schema.names, Judgement)
        table = _joined(tables)
        rows = {request: row for row, request in enumerate(table["request"].to_pylist())}
        groups = _groups(table, [rows[request] for request in requests])
        self._stage.write(_FILE, tables_to_parquet(groups, Judgement))
        for name in names:  # oldest first: a part left by a kill overrides nothing newer
            if name.startswith(_PARTS):
                self._stage.store.delete(self._stage.key(name))

    def _count(self, outcome: JudgementOutcome) -> None:
        if not outcome.failure:
            return
        self.failures[outcome.failure] += 1
        if self.failures.total() <= self._max_failed:
            return
        most = JudgeFailure(self.failures.most_common(1)[0][0])
        raise EngineFailed(
            failures_text(self.failures, self._total)
            + (f"; the server said: {outcome.said}" if outcome.said else ""),
            remedy=_REMEDIES.get(most, "Choose a judge that does what the prompts ask")
            + ", or raise judge.max_failed_share: running again then asks only for what is "
            "missing.",
        )


def max_failures(share: float, total: int) -> int:
    """Return how many of `total` judgements may fail."""
    return int(share * total + 1e-9)


def failures_text(failures: Counter[str], total: int) -> str:
    """Return how many judgements failed, and why."""
    reasons = ", ".join(f"{count} {name}" for name, count in failures.most_common())
    return f"the judge failed {failures.total()} of {total} judgements ({reasons})"


def _judgement_files(stage: Stage) -> list[str]:
    """Return the names of the files with judgements that a stage has so far."""
    skip = len(stage.prefix) + 1
    names = [entry.key[skip:] for entry in stage.store.list(stage.prefix)]
    return [name for name in names if name == _FILE or name.startswith(_PARTS)]


def _bare_judgements(stage: Stage, names: Sequence[str]) -> Iterator[Judgement]:
    """Yield the judgements in files of a stage, without their log-probabilities."""
    columns = [name for name in Judgement.schema.names if name != "logprobs"]
    for table in stage.unfinished_tables(names, columns, Judgement):
        for batch in table.to_batches(max_chunksize=_ROWS_PER_BATCH):
            yield from (Judgement(**row, logprobs=[]) for row in batch.to_pylist())


def _part_after(names: Iterable[str]) -> int:
    """Return the number of the next part: one above the highest so far."""
    numbers = (
        int(name.removeprefix(_PARTS).removesuffix(".parquet"))
        for name in names
        if name.startswith(_PARTS)
    )
    return max(numbers, default=-1) + 1


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Return one table of all judgements; `raw` gets a type that may exceed 2 GiB in total."""
    schema = Judgement.schema
    place = schema.get_field_index("raw")
    large = schema.set(place, schema.field(place).with_type(pa.large_string()))
    tables = (each.cast(large) for each in tables)
    return pa.concat_tables([large.empty_table(), *tables]).combine_chunks()


def _groups(table: pa.Table, rows: Sequence[int]) -> Iterator[pa.Table]:
    """Yield these rows of a table, a row group at a time, so that no second full table is made."""
    for start in range(0, len(rows) or 1, ROW_GROUP_ROWS):
        group = pa.array(rows[start : start + ROW_GROUP_ROWS], pa.int64())
        yield table.take(group).cast(Judgement.schema)


def _judgement(case: Case, reply: Reply) -> Judgement:
    verdict = _verdict(case, reply)
    return Judgement(
        task=case.task,
        language=case.language,
        item_id=case.item_id,
        turn=case.turn,
        order=case.order,
        raw=reply.text,
        logprobs=_logprob_rows(verdict.alternatives or {}),
        value=verdict.value,
        failure=verdict.failure,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        request=case.request,
    )


def _verdict(case: Case, reply: Reply) -> Verdict:
    """Read a reply; the value of a comparison is the probability that the model's answer wins."""
    read = read_score if case.order is Order.ALONE else read_preference
    verdict = Verdict(None, reply.failure) if reply.failure else read(reply.text, reply.positions)
    if verdict.value is None:  # keep the alternatives to the last token
        alternatives = reply.positions[-1].alternatives if reply.positions else {}
        return Verdict(None, verdict.failure, alternatives)
    if case.order is Order.CANDIDATE_SECOND:
        return Verdict(1.0 - verdict.value, None, verdict.alternatives)
    return verdict


def _logprob_rows(alternatives: Mapping[str, float]) -> list[dict[str, object]]:
    """Return tokens with their log-probabilities, the likeliest first."""
    ordered = sorted(alternatives.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"token": token, "logprob": logprob} for token, logprob in ordered]
