"""report.html: one file that asks no other host for anything."""

from __future__ import annotations

import yaml

from components.report.blocks import Section
from components.report.curves import training
from components.report.evidence import pairs, trust
from components.report.flips import flips_of_run
from components.report.history import Round
from components.report.html import page
from components.report.judged import judged
from components.report.ledger import figures, models, throughput, versions
from components.report.lineage import lineage
from components.report.outcomes import accuracy, balance, decisions
from components.report.result import outcome
from components.report.samples import samples
from components.report.words import language, listed
from components.shared.recipe import Recipe


def render(settings: Recipe, run: str, rounds: list[Round]) -> str:
    """Return the report as HTML; everything that came from a model or a recipe is escaped.

    Args:
        settings: the recipe.
        run: name of the run.
        rounds: its iterations.
    """
    return page(
        "report.html",
        run=run,
        settings=settings,
        subtitle=_subtitle(settings, rounds),
        outcome=outcome(settings, rounds)
        .replace(" → ", "\u00a0→\u00a0")
        .replace(" points", "\u00a0points"),
        figures=figures(settings, rounds),
        sections=sections_of(settings, rounds),
        flips=flips_of_run(settings.languages, rounds),
        samples=samples(settings, rounds),
        closing=[each for each in (lineage(rounds), models(rounds), throughput(rounds)) if each],
        recipe=yaml.safe_dump(
            settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
        versions=versions(rounds),
    )


def sections_of(settings: Recipe, rounds: list[Round]) -> list[Section]:
    """Return the report's sections, those that there is something for."""
    found = [
        accuracy(settings, rounds),
        balance(settings, rounds),
        judged(settings, rounds),
        decisions(settings, rounds),
        pairs(settings, rounds),
        trust(settings, rounds),
        training(rounds),
    ]
    return [section for section in found if section is not None]


def _subtitle(settings: Recipe, rounds: list[Round]) -> str:
    names = listed([language(code) for code in settings.languages.others])
    source = "A tiny synthetic model" if settings.is_world else settings.model.source
    dominant = language(settings.languages.dominant)
    refused = "" if rounds[-1].promoted else f" {rounds[-1].name} was refused by the gate."
    return f"{source} learns {names} from its own {dominant}.{refused}"
