"""The section with a sample of kept and dropped pairs, to search and filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from markupsafe import Markup

from lidr.components.report.blocks import Browser, Filter, Section, Table
from lidr.components.report.browser import PAIRS_BUDGET, BrowserEntry, browser, shortened, within
from lidr.components.report.history import Round
from lidr.components.report.words import MINUS, language, literal, number, spelled
from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.records.samples import (
    MARGINS_FILE,
    SAMPLE_FILE,
    PairMargin,
    PairSample,
    pair_key,
)
from lidr.components.shared.records.schema import DropReason, PairKind
from lidr.components.shared.store.stage import open_stage

_KEPT = "kept"

_LEARNT = (
    ("chosen", "prefers the chosen text"),
    ("rejected", "prefers the rejected text"),
    ("none", "not measured"),
)

_WORST_CHOSEN = "worst_chosen"
_SWAPPED: dict[str, str] = {
    PairKind.TRANSLATION_CHOSEN: PairKind.OWN_CHOSEN,
    PairKind.OWN_CHOSEN: PairKind.TRANSLATION_CHOSEN,
    PairKind.BEST_CHOSEN: _WORST_CHOSEN,
}
"""The kind that a pair becomes when its sides are swapped."""

_READ = 'python -c "import pyarrow.parquet as p; print(p.read_table({!r}).slice(0, 9).to_pylist())"'


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One candidate of an iteration, kept or dropped; `margin` is None if it was not measured."""

    item: Round
    pair: PairSample
    margin: float | None

    @property
    def swapped(self) -> bool:
        """Whether chosen and rejected were swapped after its kind was set (in a control run)."""
        return bool(self.item.counts("pair").get("swapped"))

    @property
    def kind(self) -> str:
        """The kind of pair, given its chosen and rejected texts as they are now."""
        return _SWAPPED.get(self.pair.kind, self.pair.kind) if self.swapped else self.pair.kind


def samples(
    languages: Languages, rounds: Sequence[Round], to_store: str = "../../"
) -> Section | None:
    """Return the section with a sample of candidates; None without any.

    They are taken in turn from every iteration, language, kind and outcome.

    Args:
        languages: the recipe's.
        rounds: the run's iterations.
        to_store: relative path from the page's folder to the store's.
    """
    paired = [item for item in rounds if item.counts("pair")]
    candidates = [_candidates(item) for item in paired]
    turns = [each for each in chain.from_iterable(zip_longest(*candidates)) if each is not None]
    if not turns:
        return None
    taken = within(_entries(turns), PAIRS_BUDGET)
    shown = turns[: len(taken)]
    return Section(
        "pairs-browser",
        "Pair browser",
        _lede(paired, shown),
        tables=[_files(paired, to_store)],
        browser=_browser(languages, taken, shown),
    )


def _candidates(item: Round) -> list[_Candidate]:
    stage = open_stage(str(item.state["pairs"]))
    if not stage.files(prefix=SAMPLE_FILE):  # an older version made it
        return []
    margins = _margins(item)
    pairs: list[PairSample] = stage.read_records([SAMPLE_FILE], PairSample)
    return [_Candidate(item, pair, margins.get(pair_key(pair))) for pair in pairs]


def _margins(item: Round) -> dict[str, float]:
    if not item.counts("train"):
        return {}
    stage = open_stage(str(item.state["model"]))
    if not stage.files(prefix=MARGINS_FILE):
        return {}
    return {row.pair: row.margin for row in stage.read_records([MARGINS_FILE], PairMargin)}


def _entries(candidates: Sequence[_Candidate]) -> Iterator[BrowserEntry]:
    for each in candidates:
        pair = each.pair
        entry: BrowserEntry = {
            "language": pair.language,
            "about": f"{_meaning(each)} · to train {each.item.name} · {pair.prompt_id}",
            "badges": _badges(each),
            "prompt": shortened(pair.prompt),
            "sides": (
                ("Chosen", "chosen", _text(pair.chosen), _language_of(each, "chosen")),
                ("Rejected", "rejected", _text(pair.rejected), _language_of(each, "rejected")),
                *((("The model's output", "plain", _text(pair.raw), ""),) if pair.raw else ()),
            ),
            "tags": {
                "language": pair.language,
                "outcome": pair.reason or _KEPT,
                "model": each.item.name,
                "kind": each.kind,
                "learnt": _learnt(each.margin),
            },
        }
        if each.margin is not None:
            entry["rank"] = round(each.margin, 3)
        yield entry


def _meaning(each: _Candidate) -> str:
    own, other = language(each.pair.language), language(each.pair.other_language)
    meanings: dict[str, str] = {
        PairKind.TRANSLATION_CHOSEN: f"{other} answer, translated, over the {own} answer",
        PairKind.OWN_CHOSEN: f"{own} answer over the translated {other} answer",
        PairKind.BEST_CHOSEN: f"best {own} sample over the worst",
        _WORST_CHOSEN: f"worst {own} sample over the best",
    }
    return meanings.get(each.kind, each.kind)


def _badges(each: _Candidate) -> list[tuple[str, str]]:
    if each.pair.reason:
        return [("plain", f"dropped: {spelled(each.pair.reason)}")]
    rule = each.pair.recovered
    found = [("plain", f"translation recovered: {spelled(rule)}")] if rule else []
    if each.margin is None:
        return found
    margin = f"reward margin {each.margin:+.2f}".replace("-", MINUS)
    return [*found, ("good" if each.margin > 0 else "bad", margin)]


def _text(text: str | None) -> str | None:
    return None if text is None else shortened(text)


def _language_of(each: _Candidate, side: str) -> str:
    """Return the language of a side's text; "" if it is known not to be the prompt's."""
    was_chosen = (side == "chosen") != each.swapped
    off_target = DropReason.OFF_TARGET if was_chosen else DropReason.OFF_TARGET_REJECTED
    return "" if each.pair.reason == off_target else each.pair.language


def _learnt(margin: float | None) -> str:
    if margin is None:
        return "none"
    return "chosen" if margin > 0 else "rejected"


def _browser(languages: Languages, taken: Sequence[str], shown: Sequence[_Candidate]) -> Browser:
    seen_outcomes = {each.pair.reason or _KEPT for each in shown}
    outcomes = [_KEPT, *(str(reason) for reason in DropReason)]
    found = {_learnt(each.margin) for each in shown}
    kinds = {each.kind for each in shown}
    trained = dict.fromkeys(each.item.name for each in shown)
    seen = {each.pair.language for each in shown}
    names = {
        PairKind.TRANSLATION_CHOSEN: "translation chosen",
        PairKind.OWN_CHOSEN: "own answer chosen",
        PairKind.BEST_CHOSEN: "best sample chosen",
        _WORST_CHOSEN: "worst sample chosen",
    }
    return browser(
        languages,
        taken,
        [
            Filter("language", "Language", [(c, language(c)) for c in languages.all if c in seen]),
            Filter("outcome", "Outcome", [(r, spelled(r)) for r in outcomes if r in seen_outcomes]),
            Filter("kind", "Kind", [(k, name) for k, name in names.items() if k in kinds]),
            Filter("learnt", "Trained model", [each for each in _LEARNT if each[0] in found]),
            Filter("model", "To train", [(n, n) for n in trained]),
        ],
        "reward margin" if found - {"none"} else "",
    )


def _lede(paired: Sequence[Round], shown: Sequence[_Candidate]) -> str:
    made = sum(item.counts("pair")["candidates"] for item in paired)
    measured = sum(each.margin is not None for each in shown)
    margin = (
        f" The reward margin (beta times the log-ratio of trained model to reference on the chosen "
        f"text, minus the same on the rejected text, in nats) was measured for {number(measured)} "
        "of them."
    )
    return (
        f"What the models were taught to prefer, and over what: {number(len(shown))} of "
        f"{number(made)} candidates, taken in turn from every language, kind and outcome; within "
        "each, those whose sides differ come first. Words that only one side has are marked."
        f"{margin if measured else ''}"
    )


def _files(paired: Sequence[Round], to_store: str) -> Table:
    return Table(
        "All candidates, as Parquet: pairs with their texts, and dropped ones with the reasons",
        ["To train", "Pairs", "Dropped", "How to read the pairs"],
        [
            [
                item.name,
                _link(item, to_store, "pairs.parquet", number(item.counts("pair")["pairs"])),
                _link(item, to_store, "dropped.parquet", "with reasons"),
                literal(_READ.format(f"{item.state['pairs']}/pairs.parquet")),
            ]
            for item in paired
        ],
        wordy=True,
    )


def _link(item: Round, to_store: str, name: str, text: str) -> Markup:
    """Return a link from the page to a stage's file on the same store."""
    stage = str(item.state["pairs"]).rpartition("/stages/")[2]
    return Markup('<a href="{}stages/{}/{}">{}</a>').format(to_store, stage, name, text)
