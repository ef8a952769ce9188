"""The sections for who wants to use or repeat a run: models, time spent, key figures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from components.report.blocks import Section, Table
from components.report.history import Counts, Round, final_round
from components.report.result import gap_of, off_target_average
from components.report.words import duration, language, limits, number, percent, points, signed
from components.shared.recipe import Recipe

_STEPS = ("world", "generate", "translate", "pair", "train", "evaluate", "judge", "gate")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the first screen."""

    label: str
    value: str
    note: str


def figures(settings: Recipe, rounds: list[Round]) -> list[Figure]:
    """Return the run's key figures, each with where it started."""
    first, final = rounds[0], final_round(rounds)
    dominant, others = settings.languages.dominant, settings.languages.others
    before, after = first.accuracy[dominant]["value"], final.accuracy[dominant]["value"]
    gap = [signed(gap_of(item, dominant)["value"]).lstrip("+") for item in (first, final)]
    off = [percent(off_target_average(item, others)) for item in (first, final)]
    moved = first is not final
    gain = points(final.average["value"] - first.average["value"])
    found = [
        Figure(
            "Average of the others",
            percent(final.average["value"]),
            f"{gain}; 95% interval {limits(final.average)}" if moved else limits(final.average),
        ),
        Figure(
            language(dominant),
            percent(after),
            points(after - before) if moved else limits(final.accuracy[dominant]),
        ),
        Figure("Gap, in points", gap[1], f"from {gap[0]}" if moved else "at the start"),
        Figure("Off-target answers", off[1], f"from {off[0]}" if moved else "at the start"),
    ]
    pairs = [item.counts("pair") for item in rounds if item.counts("pair")]
    if pairs:
        kept, made = (sum(counts[key] for counts in pairs) for key in ("pairs", "candidates"))
        found.append(Figure("Preference pairs", number(kept), f"of {number(made)} candidates"))
    return [*found, Figure("Final model", final.name, str(final.state["version"]))]


def models(rounds: list[Round]) -> Section:
    """Return where each model is and under which version it is registered."""
    final = final_round(rounds)
    return Section(
        "models",
        "Models",
        "Safetensors folders; the final model is the last one that was promoted.",
        tables=[
            Table(
                "Where the models are",
                ["Model", "Role", "Registered as", "Files"],
                [
                    [
                        item.name,
                        _role(item, final),
                        str(item.state["version"]) or "–",
                        Markup("<code>{}</code>").format(item.model),
                    ]
                    for item in rounds
                ],
                wordy=True,
            )
        ],
    )


def throughput(rounds: list[Round]) -> Section:
    """Return how long each stage took and how fast it was."""
    spent = sum(_seconds(marker) for item in rounds for marker in item.stages.values())
    lines = [
        [f"{item.name} {step}", *_pace(item, step)]
        for item in rounds
        for step in _STEPS
        if step in item.stages
    ]
    engines = {
        str(reason)
        for item in rounds
        for step in ("generate", "evaluate")
        if (reason := _engine(item.counts(step)))
    }
    return Section(
        "throughput",
        "Time and throughput",
        f"{duration(spent)} of work in all. A stage that an earlier run had finished counts with "
        f"the time it took then. {' '.join(sorted(engines))}".strip(),
        tables=[Table("Stages", ["Stage", "Time", "Work", "Tokens/s"], lines)],
    )


def versions(rounds: list[Round]) -> str:
    """Return the libraries' versions that wrote the last stage, as `lidr 0.1.0, torch 2.13.0`."""
    found: Counts = rounds[-1].stages["evaluate"].get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _role(item: Round, final: Round) -> Markup:
    if item is final:
        return Markup('<span class="badge good">final</span>')
    if not item.promoted:
        return Markup('<span class="badge bad">refused</span>')
    return Markup("start") if item.iteration == 0 else Markup("promoted")


def _engine(counts: Counts) -> str:
    if "engine" not in counts:
        return ""
    reason = counts.get("engine_reason", "")
    return f"Engine: {counts['engine']}{', because ' + reason if reason else ''}."


def _seconds(marker: Counts) -> float:
    return float(marker.get("seconds", 0.0))


def _pace(item: Round, step: str) -> list[str]:
    counts = item.counts(step)
    rate = counts.get("tokens_per_second", 0.0)
    if step == "train":
        rate = fmean([row.get("tokens_per_second", 0.0) for row in item.curves] or [0.0])
    units = ("responses", "translations", "pairs", "steps", "prompts", "judgements")
    work = next((f"{number(counts[unit])} {unit}" for unit in units if unit in counts), "–")
    return [duration(_seconds(item.stages[step])), work, number(rate) if rate else "–"]
