"""The texts of notices: fixed words, names and numbers, never a model's text or a secret.

They are plain text, as the webhooks of Slack, Mattermost and Teams accept it. Error messages are
cut to their first line; an unexpected error only names its step, since its message may quote
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.redaction import redacted
from lidr.components.shared.core.text import one_line

NoticeKind = Literal["ended", "stopped", "failed", "waits", "silent"]

_MAX_CHARS = 400
"""Longest text that is taken from elsewhere."""

_MARKUP = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "@": "(at)", "`": "'"})
"""What chats read as a mention, a link or code."""


@dataclass(frozen=True)
class Notice:
    """A message that is sent once.

    Attributes:
        run: the run's name.
        kind: what happened.
        about: distinguishes it from others of its kind: an execution, a step and since when, or a
            run's result.
        text: what is sent.
    """

    run: str
    kind: NoticeKind
    about: str
    text: str

    @property
    def name(self) -> str:
        """Its name in the run's folder; notices with the same name are sent once."""
        return f"{self.kind}-{digest_of(self.about)[:12]}"


def chat_safe(text: str) -> str:
    """Return a text from elsewhere made safe for a chat: one line, no mentions, no secrets."""
    first = text.strip().partition("\n")[0]
    plain = one_line(redacted(first)).translate(_MARKUP)
    return plain if len(plain) <= _MAX_CHARS else f"{plain[: _MAX_CHARS - 1]}…"


def of_end(run: str, result: Mapping[str, Any]) -> Notice:
    """Return the notice of a run that has ended, or was stopped by gate, budget or reward check.

    Args:
        run: its name.
        result: the content of result.json.
    """
    models = result["iterations"]
    last, stopped = models[-1], result.get("stopped")
    kind: NoticeKind = "stopped" if stopped or last["decision"] == "stop" else "ended"
    why = f"M_{last['iteration']}: {last['reason']}"
    if stopped:
        why = f"M_{stopped['iteration']} was not made: {stopped['reason']}"
    used = result.get("used", {}).get("gpu_hours", 0.0)
    parts = [
        f"lidr: run {run} has {'stopped' if kind == 'stopped' else 'ended'}.",
        _scores(models),
        f"{chat_safe(why).rstrip('.')}.",
        f"Used: {used:,.1f} GPU hours." if used else "",
        f"Report: {one_line(redacted(str(result['report'])))}",
    ]
    about = "\n".join([str(result["final_model"]), str(len(models)), why])
    return Notice(run, kind, about, " ".join(filter(None, parts)))


def of_failure(run: str, execution: str, failure: Mapping[str, Any] | None, command: str) -> Notice:
    """Return the notice of a run that has failed.

    Args:
        run: its name.
        execution: which of its executions.
        failure: what the step noted on the store (`read_failure`); None where none did.
        command: the one that resumes the run.
    """
    where, why = "", "no step said why; see `lidr status`"
    if failure:
        at = f"M_{failure['iteration']} " if failure["iteration"] >= 0 else ""
        where = f" at {at}{failure['step']}"
        expected = failure.get("expected")
        why = chat_safe(failure["message"]) if expected else "an unexpected error, see `lidr logs`"
    text = f"lidr: run {run} has failed{where}: {why.rstrip('.')}. `{command}` resumes it."
    return Notice(run, "failed", execution, text)


def of_wait(run: str, step: str, minutes: float, since: float, why: str) -> Notice:
    """Return the notice of a step that waits.

    Args:
        run: its name.
        step: e.g. `M_1 train`.
        minutes: how long it has waited.
        since: when it was first seen waiting, in seconds since 1970.
        why: the reason; "" where none is known.
    """
    reason = f": {chat_safe(why).rstrip('.')}" if why else ""
    text = f"lidr: {step} of run {run} has waited for {minutes:.0f} minutes{reason}."
    return Notice(run, "waits", f"{step} {since:.0f}", text)


def of_silence(run: str, step: str, minutes: float, since: float, progress: str) -> Notice:
    """Return the notice of a running step that makes no progress.

    Args:
        run: its name.
        step: e.g. `M_1 train`.
        minutes: how long it has made none.
        since: when its present progress was first seen, in seconds since 1970.
        progress: that progress, e.g. `120 of 400 requests`; "" where the step reports none.
    """
    reached = f", at {chat_safe(progress)}" if progress else ""
    text = f"lidr: {step} of run {run} has made no progress for {minutes:.0f} minutes{reached}."
    return Notice(run, "silent", f"{step} {since:.0f}", text)


def _scores(models: list[Mapping[str, Any]]) -> str:
    """Return a sentence with the other languages' average: M_0's and the last promoted model's."""
    final = next((each for each in reversed(models) if each["promoted"]), models[0])
    first, last = (each["average"]["value"] for each in (models[0], final))
    if final is models[0]:
        opening = "No model was promoted" if len(models) > 1 else "Only the start was measured"
        return f"{opening}; the other languages' average is {first:.1%}."
    model = f"M_{final['iteration']}, {final['version']}"
    return f"Other languages' average {first:.1%} → {last:.1%} ({model})."
