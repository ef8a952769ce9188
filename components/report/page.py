"""report.html: one file that loads nothing from other hosts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from lidr.components.report.blocks import Section
from lidr.components.report.curves import training
from lidr.components.report.durations import durations_of, throughput
from lidr.components.report.flips import flips_of_run
from lidr.components.report.gates import decisions
from lidr.components.report.history import Round, models_of
from lidr.components.report.html import page
from lidr.components.report.imbalance import imbalance
from lidr.components.report.judged import judged
from lidr.components.report.lineage import lineage
from lidr.components.report.models_table import key_figures, library_versions, models
from lidr.components.report.outcomes import accuracy, balance
from lidr.components.report.pair_sections import pairs
from lidr.components.report.result import outcome
from lidr.components.report.reward_section import reward_check
from lidr.components.report.samples import samples
from lidr.components.report.usage import NO_USAGE, RunUsage
from lidr.components.report.words import language, listed, model
from lidr.components.shared.config.recipe import Recipe

_CONTINUE = "Run the same command again: it continues where the run stopped; finished work is kept."

_TRAIN_ANYWAY = (
    "To train anyway, use --set pairing.reward.on_stop=train and another --run; finished stages "
    "are reused."
)

CAVEAT = (
    "The tiny world's weaknesses are injected and its dominant language starts near perfection: "
    "this run shows the mechanism and is no evidence for the method on real models."
)


def render(
    settings: Recipe,
    run: str,
    rounds: list[Round],
    sections: Sequence[Section],
    failure: str = "",
    usage: RunUsage = NO_USAGE,
    full: str = "",
    *,
    cancelled: bool = False,
) -> str:
    """Return the report as HTML; everything that came from a model or a recipe is escaped.

    Args:
        settings: the recipe.
        run: name of the run.
        rounds: its iterations; there may be none if it failed.
        sections: as `sections_of` returns them.
        failure: why the run failed; "" if it did not, or was cancelled.
        usage: what the run has used.
        full: URI of the full report, for an overview, which is small and without samples; "" for
            the full report itself.
        cancelled: whether its user ended it.
    """
    result = f"{non_breaking(outcome(settings, rounds))} " if rounds else ""
    ended = usage.facts or _stopped(rounds)
    why = [("Why it failed", failure)] if failure else []
    facts = [*why, ("To continue", _CONTINUE)] if failure or cancelled else ended
    return page(
        product="lidr report",
        name=run,
        title=_broken_off(rounds, "was cancelled" if cancelled else "failed")
        if failure or cancelled
        else _ended_early(rounds, usage) or result.rstrip(),
        subtitle=(result if facts else "") + _subtitle(settings, rounds),
        figures=key_figures(settings, models_of(rounds)) if rounds else [],
        sections=[each for each in sections if not full or each.identity in _OVERVIEW],
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
            library_versions(models_of(rounds)) if rounds else "",
        ],
    )


_OVERVIEW = (
    *("imbalance", "accuracy", "gap", "judged", "gate", "reward", "training", "models"),
    "throughput",
)
"""The overview's sections: those with numbers alone, without texts of a model."""


def _broken_off(rounds: list[Round], how: str) -> str:
    when = f"after {rounds[-1].name}" if rounds else "before its start was measured"
    return f"The run {how} {when}"


def _ended_early(rounds: list[Round], usage: RunUsage) -> str:
    """Return the title for a run that stopped before a training; "" for any other run."""
    if usage.stop:
        return f"{model(usage.stop['iteration'])} was not made: it would exceed the budget"
    if not rounds or rounds[-1].measured:
        return ""
    measures = {each["measure"] for each in _stop_findings(rounds[-1])}
    why = "there were too few pairs" if measures == {"pairs"} else "the reward cannot be trusted"
    return f"{rounds[-1].name} was not trained: {why}"


def _stop_findings(item: Round) -> list[dict[str, Any]]:
    found = item.counts("pair").get("reward", {}).get("findings", [])
    return [each for each in found if each["level"] == "stop"]


def _stopped(rounds: list[Round]) -> list[tuple[str, str]]:
    """Return why the loop ended before a training, and what can be done; [] if it did not."""
    if not rounds or rounds[-1].measured:
        return []
    last = rounds[-1]
    remedies = dict.fromkeys(each["remedy"] for each in _stop_findings(last))
    anyway = [_TRAIN_ANYWAY] if last.counts("pair").get("pairs") else []  # else nothing to train on
    to_do = " ".join([*remedies, *anyway])
    return [("Why it stopped", str(last.state["reason"])), ("What to do", to_do)]


def non_breaking(sentence: str) -> str:
    """Return a sentence that does not break beside an arrow or before "points"."""
    return sentence.replace(" → ", "\u00a0→\u00a0").replace(" points", "\u00a0points")


def sections_of(
    settings: Recipe,
    rounds: list[Round],
    earlier: Collection[str] = (),
    admission: Sequence[Mapping[str, str]] = (),
    usage: RunUsage = NO_USAGE,
) -> list[Section]:
    """Return the report's sections; those without content are left out.

    Args:
        settings: the recipe.
        rounds: the run's iterations, M_0 at least.
        earlier: URIs of stages that an earlier run made.
        admission: what was decided about M_0, one finding per property.
        usage: what the run has used.
    """
    languages, models_made = settings.languages, models_of(rounds)
    found = [
        imbalance(languages, models_made),
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
        throughput(rounds, durations_of(rounds, earlier), usage.sentence),
    ]
    return [section for section in found if section is not None]


def _subtitle(settings: Recipe, rounds: list[Round]) -> str:
    names = listed([language(code) for code in settings.languages.others])
    source = "A tiny synthetic model" if settings.is_toy else settings.model.source
    learnt = f"{names} from its own {language(settings.languages.dominant)}"
    if settings.pairing.rewarder != "lidr":
        all_names = listed([language(code) for code in settings.languages.all])
        learnt = f"{all_names} from the better of its own answers"
    recipe = f"Recipe {settings.name}, seed {settings.seed}."
    if not rounds:
        return f"{source} was to learn {learnt}. {recipe}"
    last = models_of(rounds)[-1]
    verdict = {
        "keep": f" {last.name} was not promoted for lack of evidence: {last.predecessor} stays.",
        "stop": f" {last.name} was not promoted: {last.predecessor} stays.",
    }.get(last.decision, "")
    return f"{source} learns {learnt}.{verdict} {recipe}"
