"""report.html: one file that asks no other host for anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import yaml

from lidr.components.report.blocks import Section
from lidr.components.report.curves import training
from lidr.components.report.durations import durations_of, throughput
from lidr.components.report.flips import flips_of_run
from lidr.components.report.gates import decisions
from lidr.components.report.history import Round, models_of
from lidr.components.report.html import page
from lidr.components.report.imbalance import Column, imbalance
from lidr.components.report.judged import judged
from lidr.components.report.lineage import lineage
from lidr.components.report.models_table import figures, models, versions
from lidr.components.report.outcomes import accuracy, balance
from lidr.components.report.pair_sections import pairs
from lidr.components.report.result import outcome
from lidr.components.report.reward_section import reward_check
from lidr.components.report.samples import samples
from lidr.components.report.spent import NOT_COUNTED, Spent
from lidr.components.report.words import language, listed, model
from lidr.components.shared.config.recipe import Recipe

GO_ON = "The same command goes on where the run stopped: what was finished is kept."

TRAIN_ON = (
    "With --set pairing.reward.on_stop=train and another --run it is trained on all the same, and "
    "what is finished is used again."
)

CAVEAT = (
    "The tiny world's weaknesses are injected and its dominant language starts near perfection: "
    "this run shows the mechanism, it is not evidence for the method on real models."
)


def render(
    settings: Recipe,
    run: str,
    rounds: list[Round],
    earlier: Collection[str] = (),
    failure: str = "",
    admission: Sequence[Mapping[str, str]] = (),
    spent: Spent = NOT_COUNTED,
    full: str = "",
) -> str:
    """Return the report as HTML; everything that came from a model or a recipe is escaped.

    Args:
        settings: the recipe.
        run: name of the run.
        rounds: its iterations; there may be none where it failed.
        earlier: URIs of stages that another run had made before.
        failure: why the run failed; "" where it did not.
        admission: what was decided about M_0, one finding a property.
        spent: what the run has used.
        full: URI of the whole report, where this is to be its overview: without samples, and small.
    """
    said = f"{unbroken(outcome(settings, rounds))} " if rounds else ""
    ended = spent.facts or _stopped(rounds)
    facts = [("Why it failed", failure), ("To go on", GO_ON)] if failure else ended
    return page(
        product="lidr report",
        name=run,
        title=_failed(rounds) if failure else _ended_early(rounds, spent) or said.rstrip(),
        subtitle=(said if facts else "") + _subtitle(settings, rounds),
        figures=figures(settings, models_of(rounds)) if rounds else [],
        sections=_shown(settings, rounds, earlier, admission, spent, full) if rounds else [],
        facts=facts,
        recipe=""
        if full
        else yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        contents=not full,
        notes=[
            f"This is an overview. The whole report, with pairs and samples: {full}"
            if full
            else "",
            CAVEAT if settings.is_toy else "",
            versions(models_of(rounds)) if rounds else "",
        ],
    )


_OVERVIEW = (
    *("imbalance", "accuracy", "gap", "judged", "gate", "reward", "training", "models"),
    "throughput",
)
"""Sections that hold numbers alone."""


def _shown(
    settings: Recipe,
    rounds: list[Round],
    earlier: Collection[str],
    admission: Sequence[Mapping[str, str]],
    spent: Spent,
    full: str,
) -> list[Section]:
    """Return the sections of a page: of an overview those without a model's text."""
    found = sections_of(settings, rounds, earlier, admission, spent)
    return [each for each in found if each.identity in _OVERVIEW] if full else found


def _failed(rounds: list[Round]) -> str:
    if not rounds:
        return "The run failed before its start was measured"
    return f"The run failed after {rounds[-1].name}"


def _ended_early(rounds: list[Round], spent: Spent) -> str:
    """Return the title of a run that stopped before a training; "" of any other."""
    if spent.stop:
        return f"{model(spent.stop['iteration'])} was not begun: the budget does not hold it"
    if not rounds or rounds[-1].measured:
        return ""
    return f"{rounds[-1].name} was not trained: the reward cannot be trusted"


def _stopped(rounds: list[Round]) -> list[tuple[str, str]]:
    """Return why the loop ended before a training, and what can be done; [] where it did not."""
    if not rounds or rounds[-1].measured:
        return []
    last = rounds[-1]
    found = last.counts("pair").get("reward", {}).get("findings", [])
    remedies = dict.fromkeys(each["remedy"] for each in found if each["level"] == "stop")
    to_do = " ".join([*remedies, TRAIN_ON])
    return [("Why it stopped", str(last.state["reason"])), ("What to do", to_do)]


def unbroken(sentence: str) -> str:
    """Return a sentence whose numbers stay with their units and arrows at a line's end."""
    return sentence.replace(" → ", "\u00a0→\u00a0").replace(" points", "\u00a0points")


def sections_of(
    settings: Recipe,
    rounds: list[Round],
    earlier: Collection[str] = (),
    admission: Sequence[Mapping[str, str]] = (),
    spent: Spent = NOT_COUNTED,
) -> list[Section]:
    """Return the report's sections, those that there is something for."""
    languages, models_made = settings.languages, models_of(rounds)
    columns = [Column(item.name, item, languages.dominant) for item in models_made]
    found = [
        imbalance(languages, columns),
        accuracy(settings, models_made),
        balance(settings, models_made),
        judged(settings, models_made),
        decisions(settings, models_made),
        *flips_of_run(languages, models_made),
        pairs(settings, rounds),
        reward_check(settings, rounds),
        training(rounds),
        samples(languages, rounds),
        lineage(rounds),
        models(models_made, admission),
        throughput(rounds, durations_of(rounds, earlier), spent.sentence),
    ]
    return [section for section in found if section is not None]


def _subtitle(settings: Recipe, rounds: list[Round]) -> str:
    names = listed([language(code) for code in settings.languages.others])
    source = "A tiny synthetic model" if settings.is_toy else settings.model.source
    dominant = language(settings.languages.dominant)
    recipe = f"Recipe {settings.name}, seed {settings.seed}."
    if not rounds:
        return f"{source} was to learn {names} from its own {dominant}. {recipe}"
    last = models_of(rounds)[-1]
    said = {
        "keep": f" {last.name} was not promoted, for want of evidence: {last.predecessor} stays.",
        "stop": f" {last.name} was not promoted: {last.predecessor} stays.",
    }.get(last.decision, "")
    return f"{source} learns {names} from its own {dominant}.{said} {recipe}"
