"""Loading of what a training run starts from: tokenizer, pairs and models, each one checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lidr.components.shared.config.recipe import Training
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.threads import fit_threads
from lidr.components.shared.engines.transformers_engine import merged
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings, named_ends
from lidr.components.shared.models.chat.vocabulary import require_embedded
from lidr.components.shared.models.context import context_of
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.shared.records.samples import CUT_FILE, CutSide
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.data.tokens import TokenPairs, check_pairs, tokenize_pairs
from lidr.components.train.distributed.zero import size_of

_FILE = "pairs.parquet"


def load_chat(settings: ChatSettings, folder: Path, *others: Path) -> ChatRenderer:
    """Return what renders a model's chats.

    Args:
        settings: how.
        folder: the model.
        others: further models that read its tokens.

    Raises:
        BadInput: its tokenizer writes tokens that one of the models has no embedding for.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for model in (folder, *others):
        require_embedded(tokenizer, _config(model), model)
    return ChatRenderer(tokenizer, settings, named_ends(folder))


def load_pairs(uri: str, chat: ChatRenderer, start: Path, settings: Training) -> TokenPairs:
    """Return the pairs of a stage as tokens, and tell the user how many are cut, by language.

    Args:
        uri: the pair stage.
        chat: of the start model.
        start: the start model's folder; its context bounds a pair too.
        settings: the recipe's.

    Raises:
        BadInput: there are no pairs, or some of them cannot be trained on.
    """
    stage = open_stage(uri)
    records = stage.read_records([_FILE], PreferencePair)
    if not records:
        raise BadInput(
            f"there are no pairs in {uri}",
            remedy="See dropped.parquet beside them: loosen pairing.filters or raise max_tokens.",
        )
    file = f"{uri}/{_FILE}"
    check_pairs(records, file)
    room = min(settings.max_length, context_of(_config(start), start, settings.max_length))
    sides = stage.read_records(stage.files(prefix=CUT_FILE), CutSide)
    pairs = tokenize_pairs(records, chat, room, settings.prompt_overflow, file, sides)
    cut = ", ".join(_cut_of(code, count) for code, count in pairs.languages.items())
    emit("note", message=f"pairs cut at {room} tokens: {cut}")
    return pairs


def load_model(files: ModelFiles, dtype: torch.dtype = torch.float32) -> Any:
    """Return a model in float32, on the GPU where there is one, its adapter added to its weights.

    Weights are held in float32 also where passes run in bfloat16: at a learning rate of 5e-7 most
    updates are below a bfloat16 weight's precision and would be lost.
    """
    model = AutoModelForCausalLM.from_pretrained(
        files.folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    if files.adapter:
        model = merged(model, files.adapter)
    fit_threads(sum(map(size_of, model.parameters())))
    return model.to("cuda") if torch.cuda.is_available() else model


def _config(folder: Path) -> Any:
    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _cut_of(language: str, count: dict[str, int]) -> str:
    dropped = f" and {count['dropped']} dropped" if count["dropped"] else ""
    total = count["pairs"] + count["dropped"]
    return f"{language} {count['cut']} of {total}{dropped}"
