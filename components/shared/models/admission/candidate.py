"""A model that asks to be admitted: its files, and what is read of them once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.adapters import skeleton
from lidr.components.shared.models.admission.files import check_templates
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings, named_ends


@dataclass(frozen=True)
class ModelCandidate:
    """A model, its adapter and what it is wanted for.

    Attributes:
        recipe: what it is to learn.
        folder: its files, or the small ones of them.
        names: of all its files where the weights were left where they are; None: the folder's.
        adapter: a LoRA adapter's files, or the small ones of them; None for none.
        adapter_names: as `names`.
        trained: whether it is to be trained, or only to be asked.
    """

    recipe: Recipe
    folder: Path
    names: Collection[str] | None = None
    adapter: Path | None = None
    adapter_names: Collection[str] | None = None
    trained: bool = True

    @cached_property
    def config(self) -> Any:
        """The model's configuration.

        Raises:
            BadInput: transformers has no code for its architecture.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(
                f"its configuration does not load: {_first_line(error)}",
                file=self.folder / "config.json",
                remedy="Choose a model that transformers has code for.",
            ) from error

    @property
    def text_config(self) -> Any:
        """The configuration of the language model inside, where the model reads images too."""
        return self.config.get_text_config()

    @cached_property
    def skeleton(self) -> Any:
        """The model without memory for its weights: its layers by name and shape."""
        return skeleton(self.config)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer.

        Raises:
            BadInput: it does not load.
        """
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"its tokenizer does not load: {_first_line(error)}",
                file=self.folder,
                remedy="Add it again with tokenizer.save_pretrained(folder).",
            ) from error

    @cached_property
    def chat(self) -> ChatRenderer:
        """What renders the model's chats.

        Raises:
            BadInput: its template cannot be used as the recipe wants it, or nothing ends a turn.
        """
        if not self.tokenizer.chat_template:
            raise BadInput(
                "its tokenizer has no chat template",
                file=self.folder / "tokenizer_config.json",
                remedy="Add it as chat_template.jinja.",
            )
        check_templates(self.folder)  # it is rendered from here on
        settings = ChatSettings.of(self.recipe.model)
        return ChatRenderer(self.tokenizer, settings, named_ends(self.folder))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
