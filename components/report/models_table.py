"""How to use or reproduce a run: where its models are, and its key figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from lidr.components.report.blocks import KeyFigure, Section, Table, verdict
from lidr.components.report.history import Counts, Round, final_round
from lidr.components.report.result import gap_of, off_target_average
from lidr.components.report.words import language, lead, limits, literal, number, percent, points
from lidr.components.shared.config.recipe import Recipe


def key_figures(settings: Recipe, rounds: list[Round]) -> list[KeyFigure]:
    """Return the run's key figures, with their values at the start or the change since."""
    first, final = rounds[0], final_round(rounds)
    dominant, others = settings.languages.dominant, settings.languages.others
    before, after = first.accuracy[dominant]["value"], final.accuracy[dominant]["value"]
    gap = [lead(gap_of(item, dominant)["value"]) for item in (first, final)]
    off = [percent(off_target_average(item, others)) for item in (first, final)]
    cut = [item.counts("evaluate")["average_truncated"] for item in (first, final)]
    moved = first is not final
    gain = points(final.average["value"] - first.average["value"])
    found = [
        KeyFigure(
            "Other languages",
            percent(final.average["value"]),
            f"{gain}; 95% interval {limits(final.average)}" if moved else limits(final.average),
        ),
        KeyFigure(
            language(dominant),
            percent(after),
            points(after - before) if moved else limits(final.accuracy[dominant]),
        ),
        KeyFigure("Gap, in points", gap[1], f"from {gap[0]}" if moved else "at the start"),
        KeyFigure("Off-target answers", off[1], f"from {off[0]}" if moved else "at the start"),
    ]
    if any(cut):
        note = f"from {percent(cut[0])}" if moved else "at the start"
        found.append(KeyFigure("Cut answers", percent(cut[1]), note))
    pairs = [item.counts("pair") for item in rounds if item.counts("pair")]
    if pairs:
        kept, made = (sum(counts[key] for counts in pairs) for key in ("pairs", "candidates"))
        found.append(KeyFigure("Preference pairs", number(kept), f"of {number(made)} candidates"))
    return [*found, KeyFigure("Final model", final.name, str(final.state["version"]))]


def models(rounds: list[Round], admission: Sequence[Mapping[str, str]] = ()) -> Section:
    """Return the section on where each model is, its registered version, and what M_0 is.

    Args:
        rounds: the run's iterations.
        admission: what was decided about M_0 when it was imported, one finding per property.
    """
    final = final_round(rounds)
    properties = [[found["property"], found["decision"]] for found in admission]
    heads = ["Property", "Decided on the model's own files"]
    decided = [Table("What M_0 is", heads, properties, wordy=True)] if properties else []
    return Section(
        "models",
        "Models",
        "Models are folders of safetensors files. The final one is the last that was promoted.",
        tables=[
            Table(
                "Where the models are",
                ["Model", "Role", "Registered as", "Files"],
                [
                    [
                        item.name,
                        _role(item, final),
                        str(item.state["version"]) or "–",
                        literal(item.model),
                    ]
                    for item in rounds
                ],
                wordy=True,
            ),
            *decided,
        ],
    )


def library_versions(rounds: list[Round]) -> str:
    """Return the library versions behind the last evaluation, as `lidr 0.1.0, torch 2.13.0`."""
    found: Counts = rounds[-1].stages["evaluate"].get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _role(item: Round, final: Round) -> Markup:
    if item is final:
        return Markup('<span class="badge good">final</span>')
    return Markup("start") if item.iteration == 0 else verdict(item)
