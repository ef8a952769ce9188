"""Reads the pairs of a training run from their stage and tokenizes them."""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.config.training import Training
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.forward.loading import model_settings
from lidr.components.shared.forward.tokens import TokenPairs, check_pairs, tokenize_pairs
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.models.context import context_length
from lidr.components.shared.records.samples import CUT_FILE, CutSide
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.stage import open_stage

_FILE = "pairs.parquet"


def load_pairs(uri: str, chat: ChatRenderer, start: Path, settings: Training) -> TokenPairs:
    """Return the pairs of a stage as tokens; report how many are cut, by language.

    Args:
        uri: the pair stage.
        chat: of the start model.
        start: the start model's folder; pairs are also cut to its context.
        settings: the recipe's.

    Raises:
        BadInput: there are no pairs, or some of them cannot be trained on.
    """
    stage = open_stage(uri)
    records = stage.read_records([_FILE], PreferencePair)
    if not records:
        raise BadInput(
            f"there are no pairs in {uri}",
            remedy="See dropped.parquet there: loosen pairing.filters or raise max_tokens.",
        )
    file = f"{uri}/{_FILE}"
    check_pairs(records, file)
    # A model without a limit of its own bounds nothing.
    context = context_length(model_settings(start), start, settings.max_length + 1)
    limit = min(settings.max_length, context)
    sides = stage.read_records(stage.files(prefix=CUT_FILE), CutSide)
    by_model = context <= settings.max_length
    pairs = tokenize_pairs(
        records, chat, limit, settings.prompt_overflow, file, sides, by_model=by_model
    )
    cut = ", ".join(_count_text(code, count) for code, count in pairs.languages.items())
    emit("note", message=f"pairs cut at {limit} tokens: {cut}")
    return pairs


def _count_text(language: str, count: dict[str, int]) -> str:
    dropped = f" and {count['dropped']} dropped" if count["dropped"] else ""
    total = count["pairs"] + count["dropped"]
    return f"{language} {count['cut']} of {total}{dropped}"
