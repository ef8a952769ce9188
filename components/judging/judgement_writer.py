"""Stores judgements as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lidr.components.judging.cases import Case
from lidr.components.judging.client import Reply
from lidr.components.judging.verdicts import Verdict, read_preference, read_score
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.events import Meter
from lidr.components.shared.core.text import one_line
from lidr.components.shared.records.judged import JudgeFailure, Judgement, Order
from lidr.components.shared.store.stage import Stage

_FILE = "judgements.parquet"
_PARTS = "judgements/"

_TRANSIENT = (
    JudgeFailure.TIMEOUT,
    JudgeFailure.RATE_LIMITED,
    JudgeFailure.SERVER_ERROR,
    JudgeFailure.UNREACHABLE,
)
"""Failures of the server, not of the judge: a step that did not finish asks such cases again when
it is repeated; a finished stage keeps them."""

_REMEDIES = {
    JudgeFailure.TRUNCATED: "Raise judge.max_tokens",
    JudgeFailure.REJECTED: "Do what the server asks for (judge.top_logprobs: 0 asks for no "
    "log-probabilities)",
    JudgeFailure.TIMEOUT: "Raise judge.request_seconds or lower judge.concurrency in the profile",
    JudgeFailure.RATE_LIMITED: "Lower judge.concurrency in the profile",
    JudgeFailure.SERVER_ERROR: "Look at the server's log",
    JudgeFailure.UNREACHABLE: "Look at the server's log",
}
"""What may help against a kind of failure; against the others another judge."""

_MAX_SAID_CHARS = 300


class JudgementWriter:
    """Reads replies, writes judgements in parts, and raises if too many of them failed.

    Args:
        stage: the stage to write to, which is not complete.
        total: how many judgements it will hold.
        chunk_size: judgements per part.
        max_failed_share: share of the judgements that may fail.
    """

    def __init__(self, stage: Stage, total: int, chunk_size: int, max_failed_share: float) -> None:
        self._stage = stage
        self._chunk_size = chunk_size
        self._total = total
        self._max_failed = int(max_failed_share * total + 1e-9)
        self._unwritten: list[Judgement] = []
        names = _judgement_files(stage)
        self._parts = sum(name.startswith(_PARTS) for name in names)
        self.judgements: dict[str, Judgement] = {
            judgement.request: judgement
            for name in names
            for judgement in stage.peek_records(name, Judgement)
        }
        """All judgements so far, by the digest of their request."""
        self.failures: Counter[str] = Counter()
        self._meter = Meter(total, "judgements", "tokens")

    def reuse(self, case: Case) -> bool:
        """Return whether a case has been judged before; if so, count it."""
        found = self.judgements.get(case.request)
        if found is None or found.failure in _TRANSIENT:
            return False
        self._meter.total -= 1  # so that rate and time left are those of what is asked
        self._count(found)
        return True

    def take(self, case: Case, reply: Reply) -> None:
        """Store the judgement that a reply gives.

        Raises:
            EngineFailed: too many judgements failed.
        """
        judgement = _judgement(case, reply)
        self.judgements[judgement.request] = judgement
        if judgement.failure not in _TRANSIENT:
            self._unwritten.append(judgement)
        if len(self._unwritten) >= self._chunk_size:
            self.flush()
        self._count(judgement)
        self._meter.advance(1, judgement.output_tokens, self.failures)

    def flush(self) -> None:
        """Write the judgements that have not been written yet, as one more part."""
        if self._unwritten:
            name = f"{_PARTS}{self._parts:06d}.parquet"
            self._stage.write_records(name, self._unwritten, Judgement)
            self._parts += 1
            self._unwritten = []

    def close(self, judgements: list[Judgement]) -> None:
        """Replace the parts by one file with all judgements, in this order."""
        self._stage.write_records(_FILE, judgements, Judgement)
        for name in _judgement_files(self._stage):
            if name.startswith(_PARTS):
                self._stage.store.delete(self._stage.key(name))

    def _count(self, judgement: Judgement) -> None:
        if not judgement.failure:
            return
        self.failures[judgement.failure] += 1
        failed = self.failures.total()
        if failed <= self._max_failed:
            return
        reasons = ", ".join(f"{count} {name}" for name, count in self.failures.most_common())
        most = JudgeFailure(self.failures.most_common(1)[0][0])
        said = one_line(judgement.raw)[:_MAX_SAID_CHARS]
        refused = judgement.failure is JudgeFailure.REJECTED and said
        raise EngineFailed(
            f"the judge failed {failed} of {self._total} judgements ({reasons})"
            + (f"; the server said: {said}" if refused else ""),
            remedy=_REMEDIES.get(most, "Choose a judge that does what the prompts ask")
            + ", or raise judge.max_failed_share: running again then asks only for what is "
            "missing.",
        )


def _judgement_files(stage: Stage) -> list[str]:
    """Return the names of the files with judgements that a stage has so far."""
    skip = len(stage.prefix) + 1
    names = [entry.key[skip:] for entry in stage.store.list(stage.prefix)]
    return [name for name in names if name == _FILE or name.startswith(_PARTS)]


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
