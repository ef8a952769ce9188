"""The properties that admission decides, in order.

A property is a function of the candidate that returns its decision in a few words ("" where there
is nothing to say) and raises BadInput, with the remedy, where the model cannot be used. It measures
the model's own files and never looks at the model's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission.candidate import Candidate
from lidr.components.shared.models.admission.files import check_adapter, check_model

Decide = Callable[[Candidate], str]


def files(candidate: Candidate) -> str:
    """Decide whether its files are there, whole and safe to open."""
    check_model(candidate.folder, candidate.names)
    if candidate.adapter:
        check_adapter(candidate.adapter, candidate.adapter_names)
    names = candidate.names or sorted(path.name for path in candidate.folder.iterdir())
    weights = sum(name.endswith(".safetensors") for name in names)
    return f"{len(names)}, {weights} of safetensors"


def architecture(candidate: Candidate) -> str:
    """Decide which language model is trained: the text model inside, where there are several."""
    own, text = candidate.config.model_type, candidate.text_config.model_type
    return str(own) if own == text else f"{own}, of which the text model {text} is used"


def vocabulary(candidate: Candidate) -> str:
    """Decide whether every token that a text can become has an embedding."""
    tokens, rows = len(candidate.tokenizer), candidate.text_config.vocab_size
    if tokens > rows:
        raise BadInput(
            f"its tokenizer has {tokens} tokens, but the model embeds only {rows}",
            file=candidate.folder / "config.json",
            remedy="Take the tokenizer that belongs to the model, or resize its embeddings.",
        )
    return f"{tokens:,} tokens, {rows:,} embedded"


PROPERTIES: Mapping[str, Decide] = {
    "files": files,
    "architecture": architecture,
    "vocabulary": vocabulary,
}
"""By name, in the order in which they are decided and shown."""

FIRST = ("files",)
"""Those without which nothing else is looked at."""
