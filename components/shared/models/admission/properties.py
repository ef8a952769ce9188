"""The properties that admission decides, in order.

Each is a function that returns a one-line decision, "" if there is nothing to say, or raises
BadInput with a remedy. It looks at the model's files and the recipe, never at the model's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lidr.components.shared.config.engine_choice import choose_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.models.adapters import require_causal
from lidr.components.shared.models.admission import chats, training
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.admission.files import check_adapter, check_model
from lidr.components.shared.models.chat.vocabulary import require_embedded
from lidr.components.shared.models.context import context_length

Decide = Callable[[ModelCandidate], str]


def files(candidate: ModelCandidate) -> str:
    """Check that the files are complete and safe to open; return how many there are."""
    check_model(candidate.folder, candidate.names, templates=False)
    if candidate.adapter:
        check_adapter(candidate.adapter)
    names = candidate.names or sorted(path.name for path in candidate.folder.iterdir())
    weights = sum(name.endswith(".safetensors") for name in names)
    return f"{len(names)} files, {weights} of them safetensors"


def architecture(candidate: ModelCandidate) -> str:
    """Return which language model is used: the text model, if there are several inside."""
    engine, _ = choose_engine(candidate.recipe)
    if candidate.trained or engine is EngineName.TRANSFORMERS:
        require_causal(candidate.config)
    own, text = candidate.config.model_type, candidate.text_config.model_type
    return str(own) if own == text else f"{own}, of which the text model {text} is used"


def vocabulary(candidate: ModelCandidate) -> str:
    """Check that every token that can occur in a text has an embedding; return the counts."""
    return require_embedded(candidate.tokenizer, candidate.config, candidate.folder)


def context(candidate: ModelCandidate) -> str:
    """Return how many tokens a prompt and its answer may have."""
    given = candidate.recipe.model.max_length
    return f"{given or context_length(candidate.config, candidate.folder):,} tokens"


PROPERTIES: Mapping[str, Decide] = {
    "files": files,
    "architecture": architecture,
    "vocabulary": vocabulary,
    "context": context,
    "chat template": chats.template,
    "end of turn": chats.end_of_turn,
    "thinking": chats.thinking,
    "translation": chats.translation,
    "system text": chats.system_text,
    "date": chats.date,
    "quantisation": training.quantisation,
    "rotary": training.rotary,
    "attention": training.attention,
    "adapter": training.adapter,
    "lora": training.lora,
    "precision": training.precision,
}
"""The function of each property, in the order in which they are decided and shown."""

BLOCKING = ("files",)
"""If one of these is refused, no other property is decided."""

NEEDS = dict.fromkeys(
    ("end of turn", "thinking", "translation", "system text", "date"), "chat template"
)
"""The property that each of these depends on: if that is refused, they are not decided."""
