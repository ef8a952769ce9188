"""pair: makes preference pairs from responses and their translations, scores or grades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lidr.components.pair.candidates import MIN_COMPARED_CHARS, Candidate, Decided
from lidr.components.pair.reward.verdict import (
    findings,
    measure,
    reason_of,
    to_counts,
    verdict_of,
)
from lidr.components.pair.rewarders import Rewarder, RewarderInputs, rewarder_of
from lidr.components.pair.sample import checked_sample, sample_of
from lidr.components.pair.stage import after_pairs, min_pairs, pair_stage
from lidr.components.shared.config.pairing import Pairing
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.languages import UNDETERMINED, LanguageIdentifier
from lidr.components.shared.core.text import is_repetitive
from lidr.components.shared.records.chat import answer_messages
from lidr.components.shared.records.samples import (
    CUT_FILE,
    SAMPLE_FILE,
    CutSide,
    PairSample,
    pair_key,
)
from lidr.components.shared.records.schema import DroppedPair, DropReason, PreferencePair
from lidr.components.shared.step import step
from lidr.components.shared.store.recipes import resolve_recipe
from lidr.components.shared.store.stage import Stage, open_stage


class Paired(NamedTuple):
    """A pair stage, and what follows it: `train` or `stop`."""

    pairs: str
    next_step: str


def pair_and_check(recipe: str, store: str, **given: Any) -> Paired:
    """Make an iteration's pairs, and say whether training follows.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        given: the other arguments of `pair`.
    """
    uri = pair(recipe=recipe, store=store, **given)
    settings = Recipe.model_validate_json(resolve_recipe(store, recipe))
    return Paired(uri, after_pairs(settings, open_stage(uri).counts()))


@step("pair")
def pair(
    recipe: str,
    store: str,
    inputs: str,
    responses: str,
    rewards: str,
    model: str,
    iteration: int,
    run: str = "",
) -> str:
    """Let the recipe's rewarder make pairs of an iteration's responses, and filter them.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        rewards: URI of the stage that the rewarder needs: translate, score or grade.
        model: URI of the stage that holds M_t, whose answers these are.
        iteration: t + 1.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `pairs.parquet` (PreferencePair), `dropped.parquet` (DroppedPair),
        `sample.parquet` (PairSample: some kept and dropped pairs with their texts), and, where
        kept pairs have cut sides, `cut.parquet` (CutSide).
    """
    settings = Recipe.model_validate_json(recipe)
    stage = pair_stage(settings, store, inputs, responses, rewards, model, iteration)
    if stage.done():
        emit("reused")
        return stage.uri
    rewarder = rewarder_of(RewarderInputs(settings, inputs, responses, rewards))
    found = rewarder.candidates()
    detected = languages_of(found, LanguageIdentifier(settings.languages.all))
    decided = decide(settings.pairing, found, detected)
    if settings.pairing.swap:
        decided = [(candidate.swapped(), reason) for candidate, reason in decided]
    _write(stage, decided, iteration, model)
    counts = _counts(settings, rewarder, decided, detected)
    _report(counts)
    return stage.finish(counts)


def languages_of(found: Sequence[Candidate], identifier: LanguageIdentifier) -> dict[str, str]:
    """Return the language of each text on either side of the candidates."""
    texts = dict.fromkeys(text for each in found for text in (each.chosen, each.rejected) if text)
    return dict(zip(texts, identifier.identify(list(texts)), strict=True))


def decide(pairing: Pairing, found: Sequence[Candidate], detected: Mapping[str, str]) -> Decided:
    """Return each candidate with the first reason to drop it, in pipeline order; None keeps it.

    Args:
        pairing: which filters are active.
        found: the candidates.
        detected: the language of each text.
    """
    return [(candidate, _drop_reason(pairing, candidate, detected)) for candidate in found]


def _drop_reason(
    pairing: Pairing, candidate: Candidate, detected: Mapping[str, str]
) -> DropReason | None:
    """Return what went wrong first: in generating, then in translating, then in the filters."""
    chosen, rejected, on = candidate.chosen or "", candidate.rejected or "", pairing.active
    longer, shorter = sorted((len(chosen), len(rejected)), reverse=True)
    both = on.empty or pairing.swap
    required = (candidate.chosen, candidate.rejected) if both else (candidate.chosen,)
    blank = any(text is not None and not text.strip() for text in required)
    causes = (
        (candidate.unanswered, True),
        (DropReason.EMPTY, blank),
        (candidate.cut, on.truncated),
        (candidate.failure, True),
        (DropReason.IDENTICAL, on.identical and candidate.identical),
        (DropReason.OFF_TARGET, on.off_target and _off_target(candidate, chosen, detected)),
        (
            DropReason.OFF_TARGET_REJECTED,
            pairing.off_target_rejected == "drop" and _off_target(candidate, rejected, detected),
        ),
        (DropReason.REPETITION, on.repetition and is_repetitive(chosen)),
        (
            DropReason.LENGTH_RATIO,
            on.length_ratio
            and longer > MIN_COMPARED_CHARS
            and longer > pairing.max_length_ratio * shorter,
        ),
    )
    return next((reason for reason, holds in causes if reason and holds), None)


def _off_target(candidate: Candidate, text: str, detected: Mapping[str, str]) -> bool:
    # Prompts about translation may ask for any language, so their answers are never off-target.
    language = detected.get(text, UNDETERMINED)
    return not candidate.untranslated and language not in (candidate.language, UNDETERMINED)


def _write(stage: Stage, decided: Decided, iteration: int, model: str) -> None:
    pairs = [_pair(candidate, iteration, model) for candidate, reason in decided if reason is None]
    dropped = [
        DroppedPair(c.prompt_id, c.language, c.other_language, c.kind, reason, c.sample, c.raw)
        for c, reason in decided
        if reason is not None
    ]
    stage.write_records("pairs.parquet", pairs, PreferencePair)
    stage.write_records("dropped.parquet", dropped, DroppedPair)
    if cut := [side for each in decided for side in _cut_sides(each, iteration, model)]:
        stage.write_records(CUT_FILE, cut, CutSide)
    # Changing the sample needs no new VERSION: training does not read it.
    stage.write_records(SAMPLE_FILE, sample_of(decided), PairSample)


def _cut_sides(
    decided: tuple[Candidate, DropReason | None], iteration: int, model: str
) -> Iterator[CutSide]:
    """Yield the sides of a kept pair that come from an answer cut at max_tokens."""
    candidate, reason = decided
    if reason is None and candidate.cut_sides:
        key = pair_key(_pair(candidate, iteration, model))
        yield from (CutSide(key, side) for side in candidate.cut_sides)


def _pair(candidate: Candidate, iteration: int, model: str) -> PreferencePair:
    return PreferencePair(
        prompt=answer_messages(candidate.prompt),
        chosen=[{"role": "assistant", "content": candidate.chosen or ""}],
        rejected=[{"role": "assistant", "content": candidate.rejected or ""}],
        prompt_id=candidate.prompt_id,
        language=candidate.language,
        other_language=candidate.other_language,
        kind=candidate.kind,
        iteration=iteration,
        source_model=digest_of_uri(model),
        sample=candidate.sample,
    )


def _counts(
    settings: Recipe,
    rewarder: Rewarder,
    decided: Decided,
    detected: Mapping[str, str],
) -> dict[str, Any]:
    kept = [candidate for candidate, reason in decided if reason is None]
    whole = [c for c, _ in decided if c.missing is None]
    identical = sum(c.identical for c in whole) / len(whole) if whole else 0.0
    checked = checked_sample(decided)
    places = measure(rewarder.observe(checked, detected))
    found = findings(settings, places, len(kept), identical)
    return {
        "pairs": len(kept),
        "candidates": len(decided),
        "identical_share": identical,
        "swapped": settings.pairing.swap,
        "rewarder": settings.pairing.rewarder,
        **rewarder.counts(),
        "languages": {code: _language_counts(decided, code) for code in settings.languages.all},
        "reward": {
            "verdict": verdict_of(found),
            "reason": reason_of(found),
            "findings": to_counts(found),
            "min_pairs": min_pairs(settings),
            "prompts": _prompts_of(checked),
            "all_prompts": _prompts_of(decided),
            "places": {
                key: place.to_counts(settings.pairing.reward.min_texts)
                for key, place in places.items()
            },
        },
    }


def _prompts_of(decided: Decided) -> int:
    return len({candidate.prompt_id for candidate, _ in decided})


def _report(counts: Mapping[str, Any]) -> None:
    """Report the number of pairs and what the reward check found."""
    emit("number", name="pairs", value=_pairs_line(counts))
    for finding in counts["reward"]["findings"]:
        emit("warning", message=f"{finding['text']}. {finding['remedy']}")
    reward = counts["reward"]
    if reward["prompts"] < reward["all_prompts"]:
        message = "the reward check looks at {prompts:,} of {all_prompts:,} prompts".format_map(
            reward
        )
        emit("note", message=message)
    emit("number", name="reward check", value=reward["verdict"])


def _pairs_line(counts: Mapping[str, Any]) -> str:
    """Return the number of pairs, and why the rest was dropped, most frequent reason first."""
    dropped: Counter[str] = Counter()
    for row in counts["languages"].values():
        dropped.update(row["dropped"])
    reasons = [f"{count:,} {name.replace('_', ' ')}" for name, count in dropped.most_common()]
    line = f"{counts['pairs']:,} of {counts['candidates']:,}"
    return f"{line} (dropped: {', '.join(reasons)})" if reasons else line


def _language_counts(decided: Decided, code: str) -> dict[str, Any]:
    own = [(c, reason) for c, reason in decided if c.language == code]
    dropped = Counter(str(reason) for _, reason in own if reason is not None)
    return {
        "candidates": len(own),
        "kept": sum(reason is None for _, reason in own),
        "identical": sum(c.missing is None and c.identical for c, _ in own),
        "kept_identical": sum(reason is None and c.identical for c, reason in own),
        "dropped": dict(sorted(dropped.items())),
    }
