"""What is said in a notice: our own words, names and numbers, never a model's text or a secret.

The text is plain, as Slack, Mattermost and Teams' webhooks take it. Error messages are cut to
their first line; what libraries raise is named by where it happened alone, since it may quote
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.redaction import redacted
from lidr.components.shared.core.text import one_line

Kind = Literal["ended", "stopped", "failed", "waits", "silent"]

_MAX_CHARS = 400
"""Of what others have said: a reason."""

_MARKUP = str.maketrans({"<": "‹", ">": "›", "@": "(at)", "`": "'"})
"""What chats read as a mention, a link or code."""


@dataclass(frozen=True)
class Notice:
    """Something to tell once.

    Attributes:
        run: its name.
        kind: what happened.
        about: what tells it from others of its kind: an execution, or a step and since when.
        text: that is sent.
    """

    run: str
    kind: Kind
    about: str
    text: str

    @property
    def name(self) -> str:
        """Its name in the run's folder: equal for what is to be told once."""
        return f"{self.kind}-{digest_of(self.about)[:12]}"


def quoted(text: str) -> str:
    """Return what somebody else has said, fit for a chat: one line, no mentions, no secrets."""
    first = text.strip().partition("\n")[0]
    plain = one_line(redacted(first)).translate(_MARKUP)
    return plain if len(plain) <= _MAX_CHARS else f"{plain[: _MAX_CHARS - 1]}…"


def of_end(run: str, result: Mapping[str, Any]) -> Notice:
    """Return the notice of a run that has come to its end, whichever stop that was.

    Args:
        run: its name.
        result: the content of result.json.
    """
    models = result["iterations"]
    last, stopped = models[-1], result.get("stopped")
    kind: Kind = "stopped" if stopped or last["decision"] == "stop" else "ended"
    why = f"M_{last['iteration']}: {last['reason']}"
    if stopped:
        why = f"M_{stopped['iteration']} was not made: {stopped['reason']}"
    parts = [
        f"lidr: run {run} has {'stopped' if kind == 'stopped' else 'ended'}.",
        _scores(models),
        f"{quoted(why).rstrip('.')}.",
        f"Used: {used:,.1f} GPU hours."
        if (used := result.get("used", {}).get("gpu_hours", 0.0))
        else "",
        f"Report: {quoted(str(result['report']))}",
    ]
    about = "\n".join([str(result["final_model"]), str(len(models)), why])
    return Notice(run, kind, about, " ".join(filter(None, parts)))


def of_failure(run: str, execution: str, failure: Mapping[str, Any] | None, command: str) -> Notice:
    """Return the notice of a run that has failed.

    Args:
        run: its name.
        execution: which of its executions.
        failure: what the step noted on the store (`read_failure`); None where none did.
        command: that goes on.
    """
    where, why = "", "no step said why; `lidr status` has the rest"
    if failure:
        at = f"M_{failure['iteration']} " if failure["iteration"] >= 0 else ""
        where = f" at {at}{failure['step']}"
        expected = failure.get("expected")
        why = quoted(failure["message"]) if expected else "an unexpected error, see `lidr logs`"
    text = f"lidr: run {run} has failed{where}: {why.rstrip('.')}. `{command}` goes on."
    return Notice(run, "failed", execution, text)


def of_wait(run: str, place: str, minutes: float, since: float, why: str) -> Notice:
    """Return the notice of a step that waits.

    Args:
        run: its name.
        place: the step, e.g. `M_1 train`.
        minutes: for how long.
        since: when it was first seen to, in seconds since 1970.
        why: it does.
    """
    reason = f": {quoted(why).rstrip('.')}" if why else ""
    text = f"lidr: {place} of run {run} has waited for {minutes:.0f} minutes{reason}."
    return Notice(run, "waits", f"{place} {since:.0f}", text)


def of_silence(run: str, place: str, minutes: float, since: float, far: str) -> Notice:
    """Return the notice of a step that runs and makes no progress.

    Args:
        run: its name.
        place: the step, e.g. `M_1 train`.
        minutes: for how long.
        since: when it was first seen as far as it is, in seconds since 1970.
        far: how far it is, e.g. `120/400 requests`; "" where nothing counts it.
    """
    reached = f", at {quoted(far)}" if far else ""
    text = f"lidr: {place} of run {run} has made no progress for {minutes:.0f} minutes{reached}."
    return Notice(run, "silent", f"{place} {since:.0f}", text)


def _scores(models: list[Mapping[str, Any]]) -> str:
    """Return the average of the other languages, at the start and of the last promoted model."""
    final = next((each for each in reversed(models) if each["promoted"]), models[0])
    first, then = (each["average"]["value"] for each in (models[0], final))
    if final is models[0]:
        return f"No model was promoted; the others' average is {first:.1%}."
    return f"Others' average {first:.1%} → {then:.1%} (M_{final['iteration']}, {final['version']})."
