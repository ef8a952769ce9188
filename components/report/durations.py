"""The section on time: how long each stage took, its GPU hours, and what was reused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean

from markupsafe import Markup

from lidr.components.report import rows
from lidr.components.report.blocks import Chart, Section, Table
from lidr.components.report.history import Counts, Round
from lidr.components.report.svg import Heading
from lidr.components.report.words import counted, duration, hours, number
from lidr.components.shared.steps import BY_NAME, STATE_KEYS

_MAX_OPEN_ROWS = 40
"""A table with more rows is folded."""


@dataclass(frozen=True, slots=True)
class StageDuration:
    """What one stage took.

    Attributes:
        item: the iteration.
        step: its step.
        seconds: from the last start of the stage to its end; the slowest worker's if several
            shared it; 0 if another step's time includes it.
        gpu_seconds: seconds times GPUs, summed over workers; for a training, without the wait for
            nodes; None if not known.
        reused: whether it had been made before; totals leave it out.
    """

    item: Round
    step: str
    seconds: float
    gpu_seconds: float | None
    reused: bool


def durations_of(rounds: Sequence[Round], earlier: Collection[str] = ()) -> list[StageDuration]:
    """Return what every stage took; all uses of a stage but the first are marked as reused.

    Args:
        rounds: iterations of one run or several.
        earlier: URIs of stages that an earlier run made.
    """
    seen = set(earlier)
    found = []
    for item in rounds:
        for step in STATE_KEYS:
            if step not in item.stages:
                continue
            uri, marker = str(item.state[STATE_KEYS[step]]), item.stages[step]
            found.append(
                StageDuration(item, step, _seconds(marker), _gpu_seconds(step, marker), uri in seen)
            )
            seen.add(uri)
    return found


def total(times: Sequence[StageDuration]) -> tuple[float, float]:
    """Return the seconds and GPU seconds of all stages that were not reused."""
    fresh = [each for each in times if not each.reused]
    return sum(each.seconds for each in fresh), sum(each.gpu_seconds or 0.0 for each in fresh)


def throughput(rounds: Sequence[Round], times: Sequence[StageDuration], usage: str = "") -> Section:
    """Return the section on how long each stage took and how fast it was.

    Args:
        rounds: the iterations.
        times: from `durations_of`.
        usage: a sentence on what all attempts together used; "" for none.
    """
    seconds, gpu_seconds = total(times)
    on_gpus = any(each.gpu_seconds for each in times)
    head = ["Stage", "Time", *(["GPU hours"] if on_gpus else []), "Work", "Tokens/s"]
    unknown = [each for each in times if not each.reused and each.gpu_seconds is None]
    if gpu_seconds:
        used = (
            f", {hours(gpu_seconds)} GPU hours (the GPUs that a step could see, as long as it ran)"
        )
    elif unknown:
        used = ""
    else:
        used = "; no GPU hours beyond those of reused stages" if on_gpus else "; no step saw a GPU"
    if unknown:
        used += f"; the GPU hours of {counted(len(unknown), 'stage')} are not known"
    reused = sum(each.reused for each in times)
    verb = "was" if reused == 1 else "were"
    left_out = f"{counted(reused, 'stage')} {verb} reused and not counted. " if reused else ""
    return Section(
        "throughput",
        "Time and throughput",
        f"{duration(seconds)} of work in all{used}. "
        + left_out
        + "A stage that was interrupted counts from its last start. "
        + " ".join(filter(None, [usage, *_engines(rounds)])),
        charts=[_chart(times)] if seconds else [],
        tables=[
            Table(
                "Stages",
                head,
                [_line(each, on_gpus) for each in times],
                folded=len(times) > _MAX_OPEN_ROWS,
            )
        ],
    )


def _seconds(marker: Counts) -> float:
    counts = marker.get("counts", {})
    if counts.get("within"):  # the time of another step includes it
        return 0.0
    return max(float(marker.get("seconds", 0.0)), float(counts.get("held_seconds", 0.0)))


def _gpu_seconds(step: str, marker: Counts) -> float | None:
    counts = marker.get("counts", {})
    if not BY_NAME[step].gpus or counts.get("within"):
        return 0.0
    if "gpu_seconds" in counts:
        return float(counts["gpu_seconds"])
    gpus, seconds = marker.get("gpus"), _seconds(marker)
    if step == "train":  # the marker has the launcher's time, which includes the wait for nodes
        gpus, seconds = counts.get("gpus"), float(counts.get("seconds", seconds))
    return None if gpus is None else float(gpus) * seconds


def _chart(times: Sequence[StageDuration]) -> Chart:
    by_step: dict[str, float] = dict.fromkeys(STATE_KEYS, 0.0)
    for each in times:
        by_step[each.step] += 0.0 if each.reused else each.seconds
    lines = [(step, by_step[step], duration(by_step[step])) for step in STATE_KEYS if by_step[step]]
    summary = "; ".join(f"{step} {written}" for step, _, written in lines)
    heading = Heading("time", "Time by step", summary)
    return Chart(heading.title, rows.bars(heading, lines))


def _line(each: StageDuration, on_gpus: bool) -> list[str]:
    marker = each.item.stages[each.step]
    within = str(marker.get("counts", {}).get("within", ""))
    time = f"within {within}" if within else duration(each.seconds)
    if each.reused:
        time = Markup('{} <span class="badge plain">reused</span>').format(time)
    gpus = "–" if each.gpu_seconds is None else hours(each.gpu_seconds) if each.gpu_seconds else ""
    return [
        f"{each.item.name} {each.step}",
        time,
        *([gpus] if on_gpus else []),
        *_work_and_rate(each.item, each.step),
    ]


def _work_and_rate(item: Round, step: str) -> list[str]:
    counts = item.counts(step)
    rate = counts.get("tokens_per_second", 0.0)
    if step == "train":
        rates = [row["tokens_per_second"] for row in item.curves if "tokens_per_second" in row]
        rate = harmonic_mean(rates) if rates else 0.0  # slow steps count by their time
    units = ("responses", "translations", "pairs", "steps", "prompts", "items", "judgements")
    work = next((f"{number(counts[unit])} {unit}" for unit in units if unit in counts), "–")
    return [work, number(rate) if rate else "–"]


def _engines(rounds: Sequence[Round]) -> list[str]:
    """Return a sentence on each engine that was used: why, and if its GPUs are not counted."""
    found = set()
    for item in rounds:
        for step in ("generate", "evaluate"):
            counts = item.counts(step)
            if "engine" in counts:
                reason = counts.get("engine_reason", "")
                why = f", because {reason}" if reason else ""
                served = counts["engine"] == "openai"
                remote = "; its server's GPUs are not counted" if served else ""
                found.add(f"Engine: {counts['engine']}{why}{remote}.")
    return sorted(found)
