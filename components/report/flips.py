"""Items that one model has right and the other wrong, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest

from markupsafe import Markup

from components.report.blocks import Table, swatch
from components.report.history import Round
from components.report.samples import marked, shortened, visible
from components.report.words import language, number
from components.shared.errors import BadInput, StoreError
from components.shared.recipe import Languages
from components.shared.records import EvalItem
from components.shared.stage import open_stage

_MOST = 120
"""Items on a page, shared out among languages and both directions."""

_RIGHT = 0.5
"""An item counts as right from this score on; most have 0 or 1."""

Pair = tuple[EvalItem, EvalItem]


@dataclass(frozen=True, slots=True)
class Flip:
    """One item as the page shows it; the texts are escaped."""

    code: str
    language: Markup
    kind: str
    meaning: str
    task: str
    item: str
    prompt: Markup
    target: Markup
    old: Markup
    new: Markup


@dataclass(frozen=True, slots=True)
class Flips:
    """The section of two models.

    Attributes:
        identity: its anchor.
        title: its heading.
        lede: how to read it.
        before: name of the one model.
        after: name of the other.
        table: counts by language.
        languages: code and name of those that are shown.
        shown: a sample of the items, both directions of every language in turn.
    """

    identity: str
    title: str
    lede: str
    before: str
    after: str
    table: Table
    languages: Sequence[tuple[str, str]]
    shown: Sequence[Flip]


def flips_of_run(languages: Languages, rounds: Sequence[Round]) -> list[Flips]:
    """Return a section for each model of a run and its predecessor; none where items are gone."""
    found = []
    for last, item in pairwise(rounds):
        before, after = _items(last), _items(item)
        if before and after:
            identity = f"flips-{item.iteration}"
            found.append(flips(languages, before, after, (last.name, item.name), identity))
    return found


def flips(
    languages: Languages,
    before: Sequence[EvalItem],
    after: Sequence[EvalItem],
    names: tuple[str, str],
    identity: str = "flips",
) -> Flips:
    """Return the section of two models.

    Args:
        languages: the recipe's.
        before: items of the one model.
        after: those of the other; what only one of them has is left out.
        names: of both.
        identity: the section's anchor.
    """
    changed = _changed(before, after)
    codes = [code for code in languages.all if code in {old.language for old, _ in changed}]
    groups = [
        [(old, new) for old, new in changed if old.language == code and _is_right(new) == gained]
        for code in codes
        for gained in (True, False)
    ]
    turns = chain.from_iterable(zip_longest(*groups))
    shown = [pair for pair in turns if pair is not None][:_MOST]
    order = {code: place for place, code in enumerate(codes)}
    shown.sort(key=lambda pair: (order[pair[0].language], not _is_right(pair[1])))
    right, wrong = (sum(map(len, groups[start::2])) for start in (0, 1))
    sample = f" {number(len(shown))} of them are shown." if len(shown) < len(changed) else ""
    return Flips(
        identity=identity,
        title=f"Flipped from {names[0]} to {names[1]}",
        lede=f"{number(right)} items went from wrong to right, {number(wrong)} from right to "
        f"wrong.{sample}",
        before=names[0],
        after=names[1],
        table=_table(languages, codes, groups),
        languages=[(code, language(code)) for code in codes],
        shown=[_flip(languages, old, new) for old, new in shown],
    )


def _items(item: Round) -> list[EvalItem]:
    uri = str(item.state["evaluation"])
    try:
        found: list[EvalItem] = open_stage(uri).read_records(["items.parquet"], EvalItem)
    except StoreError:
        raise
    except BadInput:  # the stage has been pruned
        return []
    return found


def _changed(before: Sequence[EvalItem], after: Sequence[EvalItem]) -> list[Pair]:
    old = {(item.task, item.language, item.item_id): item for item in before}
    pairs = (
        (old[key], item)
        for item in after
        if (key := (item.task, item.language, item.item_id)) in old
    )
    return [(a, b) for a, b in pairs if _is_right(a) != _is_right(b)]


def _is_right(item: EvalItem) -> bool:
    return item.score >= _RIGHT


def _table(languages: Languages, codes: Sequence[str], groups: Sequence[Sequence[Pair]]) -> Table:
    counts: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        counts[codes[place // 2]].append(len(group))
    return Table(
        "Items that flipped",
        ["Language", "Wrong to right", "Right to wrong"],
        [
            [swatch(languages, code), number(counts[code][0]), number(counts[code][1])]
            for code in codes
        ],
    )


def _flip(languages: Languages, old: EvalItem, new: EvalItem) -> Flip:
    gained = _is_right(new)
    return Flip(
        code=old.language,
        language=swatch(languages, old.language),
        kind="gained" if gained else "lost",
        meaning="wrong to right" if gained else "right to wrong",
        task=old.task,
        item=old.item_id,
        prompt=visible(shortened(old.prompt)),
        target=visible(shortened(old.target)),
        old=marked(old.response, new.response),
        new=marked(new.response, old.response),
    )
