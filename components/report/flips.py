"""Items that flipped between right and wrong: where gains and losses came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

from lidr.components.report import rows
from lidr.components.report.blocks import Chart, Filter, Section, Table, swatch
from lidr.components.report.browser import FLIPS_BUDGET, BrowserEntry, browser, shortened, within
from lidr.components.report.history import Round
from lidr.components.report.svg import Heading
from lidr.components.report.words import language, number
from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.core.errors import BadInput, CorruptStage, StoreError
from lidr.components.shared.core.languages import UNDETERMINED
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.paired import is_off_target, is_truncated
from lidr.components.shared.store.stage import open_stage

_MIN_RIGHT_SCORE = 0.5
"""Lowest score that counts as right; most scores are 0 or 1."""

_CAUSES = (
    ("off_target", "in another language"),
    ("cut", "cut at the token limit"),
    ("wrong", "wrong"),
)
"""What was wrong with an answer: the first of these that applies."""

Flip = tuple[EvalItem, EvalItem]
"""An item as the earlier and as the later model answered it."""

Group = tuple[str, bool]
"""Language, and whether its items went from wrong to right."""


def flips_of_run(languages: Languages, rounds: Sequence[Round]) -> list[Section]:
    """Return a section for each model of a run and the model that it was trained from.

    A pair is left out if the items of one of its models are gone.
    """
    by_iteration = {item.iteration: item for item in rounds}
    compared = [(by_iteration[item.source], item) for item in rounds[1:]]
    return flips_between(languages, compared)


def flips_between(languages: Languages, compared: Sequence[tuple[Round, Round]]) -> list[Section]:
    """Return a section for each pair of models with items; they share the page's byte budget."""
    found = []
    for at, (source, item) in enumerate(compared, start=1):
        before, after = items_of(source), items_of(item)
        if before and after:
            budget = FLIPS_BUDGET // len(compared)
            names = (source.name, item.name)
            found.append(flips(languages, before, after, names, f"flips-{at}", budget))
    return found


def flips(
    languages: Languages,
    before: Sequence[EvalItem],
    after: Sequence[EvalItem],
    names: tuple[str, str],
    identity: str = "flips",
    budget: int = FLIPS_BUDGET,
) -> Section:
    """Return the section on two models.

    Args:
        languages: the recipe's.
        before: items of the earlier model.
        after: items of the later model; an item that only one model has is left out.
        names: of the two models.
        identity: the section's anchor.
        budget: bytes for the items shown, which are taken from each `Group` in turn.
    """
    changed = _changed(before, after)
    present = {old.language for old, _ in changed}
    codes = [code for code in languages.all if code in present]
    groups: dict[Group, list[Flip]] = {(c, gained): [] for c in codes for gained in (True, False)}
    for old, new in changed:
        if old.language in codes:
            groups[old.language, _is_right(new)].append((old, new))
    flipped = [flip for flip in chain.from_iterable(zip_longest(*groups.values())) if flip]
    taken = within(_entries(names, flipped), budget)
    gained = sum(len(group) for (_, is_gain), group in groups.items() if is_gain)
    sample = f" {number(len(taken))} of them are shown." if len(taken) < len(flipped) else ""
    return Section(
        identity,
        f"Flipped from {names[0]} to {names[1]}",
        f"{number(gained)} items went from wrong to right, {number(len(flipped) - gained)} from "
        f"right to wrong.{sample}",
        charts=[_chart(identity, names, codes, groups)] if codes else [],
        tables=[_table(languages, codes, groups)] if codes else [],
        browser=browser(languages, taken, _filters(codes, flipped)) if taken else None,
    )


def items_of(item: Round) -> list[EvalItem]:
    """Return the items of a model's evaluation; none if the stage is gone or damaged."""
    try:
        stage = open_stage(str(item.state["evaluation"]))
        found: list[EvalItem] = stage.read_records(["items.parquet"], EvalItem)
    except StoreError:
        raise
    except (BadInput, CorruptStage):
        return []
    return found


def _changed(before: Sequence[EvalItem], after: Sequence[EvalItem]) -> list[Flip]:
    old = {(item.task, item.language, item.item_id): item for item in before}
    pairs = (
        (old[key], item)
        for item in after
        if (key := (item.task, item.language, item.item_id)) in old
    )
    return [(a, b) for a, b in pairs if _is_right(a) != _is_right(b)]


def _is_right(item: EvalItem) -> bool:
    return item.score >= _MIN_RIGHT_SCORE


def _cause(item: EvalItem) -> str:
    if is_off_target(item):
        return "off_target"
    return "cut" if is_truncated(item) else "wrong"


def _chart(
    identity: str, names: tuple[str, str], codes: Sequence[str], groups: dict[Group, list[Flip]]
) -> Chart:
    counted = [
        (language(code), float(len(groups[code, False])), float(len(groups[code, True])))
        for code in codes
    ]
    described = "; ".join(
        f"{name}: {number(gained)} to right, {number(lost)} to wrong"
        for name, lost, gained in counted
    )
    title = f"Items that flipped from {names[0]} to {names[1]}"
    image = rows.diverging_bars(Heading(f"{identity}-chart", title, described), counted)
    return Chart("Items", image, legend=(("lost", "right to wrong"), ("gained", "wrong to right")))


def _table(languages: Languages, codes: Sequence[str], groups: dict[Group, list[Flip]]) -> Table:
    """Return counts by language, and what was wrong with the answers that became right."""

    def line(code: str) -> list[str]:
        causes = Counter(_cause(old) for old, _ in groups[code, True])
        counts = [len(groups[code, True]), *(causes[key] for key, _ in _CAUSES)]
        return [*map(number, counts), number(len(groups[code, False]))]

    head = [f"before: {name}" for _, name in _CAUSES]
    return Table(
        "Items that flipped, and what was wrong with the answers that became right",
        ["Language", "Wrong to right", *head, "Right to wrong"],
        [[swatch(languages, code), *line(code)] for code in codes],
        folded=True,
    )


def _filters(codes: Sequence[str], flipped: Sequence[Flip]) -> list[Filter]:
    causes = {_cause(new if _is_right(old) else old) for old, new in flipped}
    tasks = dict.fromkeys(old.task for old, _ in flipped)
    return [
        Filter("language", "Language", [(code, language(code)) for code in codes]),
        Filter("change", "Change", [("gained", "wrong to right"), ("lost", "right to wrong")]),
        Filter("cause", "Problem", [each for each in _CAUSES if each[0] in causes]),
        # With one task per language, the language filter is enough.
        Filter("task", "Task", [(task, task) for task in tasks] if len(tasks) > len(codes) else []),
    ]


def _entries(names: tuple[str, str], flipped: Sequence[Flip]) -> Iterator[BrowserEntry]:
    for old, new in flipped:
        gained = _is_right(new)
        # In the colours of a preference pair: the right answer as the chosen one.
        colours = ("rejected", "chosen") if gained else ("chosen", "rejected")
        yield {
            "language": old.language,
            "about": f"{old.task} {old.item_id}",
            "badges": [("good", "wrong to right") if gained else ("bad", "right to wrong")],
            "prompt": shortened(old.prompt),
            "target": shortened(old.target),
            "sides": (
                (names[0], colours[0], shortened(old.response), _detected(old)),
                (names[1], colours[1], shortened(new.response), _detected(new)),
            ),
            "tags": {
                "language": old.language,
                "change": "gained" if gained else "lost",
                "cause": _cause(old if gained else new),
                "task": old.task,
            },
        }


def _detected(item: EvalItem) -> str:
    return "" if item.detected_language == UNDETERMINED else item.detected_language
