"""What the live screen shows: a run's events, folded into steps and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lidr.components.shared.steps import step_named

Event = dict[str, Any]

Scores = dict[str, float]
"""Fractions, 0 to 1, by language code."""


@dataclass
class BoardStep:
    """One step of one model.

    Attributes:
        name: e.g. "train".
        iteration: t of the model M_t that the step belongs to; -1 for the report.
        shard: which of several workers, e.g. "2/3"; "" if there is only one.
        seconds: how long it took; None while it runs, or if it failed.
        failed: whether it ended with an error.
        reused: whether an earlier execution had finished it.
        progress: its latest `progress` event.
    """

    name: str
    iteration: int
    shard: str = ""
    seconds: float | None = None
    failed: bool = False
    reused: bool = False
    progress: Event | None = None

    @property
    def title(self) -> str:
        """Name, with the shard if there are several: "generate 2/3"."""
        return f"{self.name} {self.shard}".strip()

    @property
    def outcome(self) -> str:
        """Title; once it has ended, with its time or "reused"."""
        if self.seconds is None:
            return self.title
        return f"{self.title} {'reused' if self.reused else seconds_text(self.seconds)}"


@dataclass
class Board:
    """The run so far.

    Attributes:
        languages: codes of the recipe's languages, the dominant one first.
        steps: all steps that started, in order.
        accuracy: by iteration and language.
        cut: share of answers cut at the token limit, by iteration and language.
        judged: the judge's score, by task, iteration and language.
        messages: numbers, warnings and failures of shards, the latest last.
    """

    languages: Sequence[str]
    steps: list[BoardStep] = field(default_factory=list)
    accuracy: dict[int, Scores] = field(default_factory=dict)
    cut: dict[int, Scores] = field(default_factory=dict)
    judged: dict[str, dict[int, Scores]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def running(self) -> list[BoardStep]:
        """The steps that are running; several if shards run in parallel."""
        return [step for step in self.steps if step.seconds is None and not step.failed]

    def take(self, event: Event) -> None:
        """Update the board with one event."""
        if "step" in event and not step_named(str(event["step"])).shown:
            return
        kind = event["event"]
        current = self.step_of(event)
        if kind == "started":
            iteration = 0 if event["step"] == "prepare" else int(event["iteration"])
            self.steps.append(BoardStep(event["step"], iteration, event.get("shard", "")))
        elif kind == "accuracy":
            iteration, language = event["iteration"], event["language"]
            self.accuracy.setdefault(iteration, {})[language] = event["value"]
            if "truncated" in event:
                self.cut.setdefault(iteration, {})[language] = event["truncated"]
        elif kind == "judged":
            task = self.judged.setdefault(event["task"], {})
            task.setdefault(event["iteration"], {})[event["language"]] = event["value"]
        elif kind == "failed":
            self._fail(current, event)
        elif kind == "number":
            self.messages.append(f"{_prefix(current)}{event['name']} {event['value']}")
        elif kind == "warning":
            self.messages.append(f"{_prefix(current)}warning: {event['message']}")
        elif current is not None:
            _advance(current, event)

    def _fail(self, step: BoardStep | None, event: Event) -> None:
        """Mark a step as failed; show a shard's error at once, as others may run for hours."""
        if event.get("shard"):
            self.messages.append(f"{_prefix(step)}failed: {event['message']}")
        if step is not None:
            step.failed = True

    def average(self, known: Scores) -> float | None:
        """Return the mean over all measured languages but the dominant one; None without any."""
        values = [known[code] for code in self.languages[1:] if code in known]
        return sum(values) / len(values) if values else None

    def step_of(self, event: Event) -> BoardStep | None:
        """Return the running step that an event comes from, or None."""
        named = event.get("step"), event.get("shard", "")
        mine = (step for step in reversed(self.running) if (step.name, step.shard) == named)
        return next(mine, None)


def _prefix(step: BoardStep | None) -> str:
    return "" if step is None else f"{label(step.iteration)} {step.title}: "


def _advance(step: BoardStep, event: Event) -> None:
    kind = event["event"]
    if kind == "progress":
        step.progress = event
    elif kind == "reused":
        step.reused = True
    elif kind == "finished":
        step.seconds = event["seconds"]


def label(iteration: int) -> str:
    """Return the model's name as in the paper; "end" for the report's -1."""
    return f"M_{iteration}" if iteration >= 0 else "end"


def seconds_text(seconds: float) -> str:
    """Return a duration as text: "3.2 s", "45 s", "2:05 min" or "22:30 h"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes}:{int(seconds) % 60:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def progress_text(event: Event) -> str:
    """Return a progress event as words: done and total, amount, rate, failures, time left."""
    parts = [f"{event['done']:,}/{event['total']:,} {event['unit']}"]
    if event.get("amount") and event.get("rate_unit", event["unit"]) != event["unit"]:
        parts.append(f"{event['amount']:,.0f} {event['rate_unit']}")
    if event.get("rate") and event.get("rate_unit"):
        parts.append(f"{event['rate']:,.0f} {event['rate_unit']}/s")
    if failures := event.get("failures"):
        parts.append(", ".join(f"{count:,} {reason}" for reason, count in failures.items()))
    if event.get("seconds_left") is not None and event["done"] < event["total"]:
        parts.append(f"{seconds_text(event['seconds_left'])} left")
    return ", ".join(parts)
