"""A model to be admitted: its files, and what is loaded from them once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.models.adapters import skeleton
from lidr.components.shared.models.admission.files import check_templates
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings, eos_token_ids
from lidr.components.shared.models.context import load_tokenizer

_MAX_SAID_CHARS = 300
"""Longest part of a library's error message that a refusal quotes."""


@dataclass(frozen=True)
class ModelCandidate:
    """A model, its adapter and the recipe that uses it.

    Attributes:
        recipe: the recipe that the model is admitted for.
        folder: its files, with or without weights.
        names: names of all its files, if `folder` lacks the weights; None if it is complete.
        adapter: folder of a LoRA adapter, with its weights; None without one.
        trained: whether the model will be trained, not only used for inference.
    """

    recipe: Recipe
    folder: Path
    names: Collection[str] | None = None
    adapter: Path | None = None
    trained: bool = True

    @cached_property
    def config(self) -> Any:
        """The model's configuration.

        Raises:
            BadInput: it does not load: its values are wrong, or transformers has no code for its
                architecture.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except Exception as error:  # checks of its values raise types of their own
            raise BadInput(
                f"its configuration does not load: {one_line(str(error))[:_MAX_SAID_CHARS]}",
                file=self.folder / "config.json",
                remedy="Correct it, or choose a model that transformers has code for.",
            ) from error

    @property
    def text_config(self) -> Any:
        """The configuration of the text model inside, if the model reads images too."""
        return self.config.get_text_config()

    @cached_property
    def skeleton(self) -> Any:
        """The model on the meta device: its layers, without weights; as `new_skeleton`."""
        return self.new_skeleton()

    def new_skeleton(self) -> Any:
        """Return the model on the meta device, to be changed by the caller.

        Raises:
            BadInput: it is not a causal language model, or transformers cannot build it from its
                configuration, e.g. one that a newer transformers wrote.
        """
        try:
            return skeleton(self.config)
        except BadInput:
            raise
        except Exception as error:  # each architecture reads its values in its own way
            said = one_line(f"{type(error).__name__}: {error}")[:_MAX_SAID_CHARS]
            raise BadInput(
                f"transformers cannot build the model from its configuration ({said})",
                file=self.folder / "config.json",
                remedy="Correct it, or choose a model that this transformers can build.",
            ) from error

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer.

        Raises:
            BadInput: it does not load.
        """
        return load_tokenizer(self.folder)

    @cached_property
    def chat(self) -> ChatRenderer:
        """The renderer of the model's chats.

        Raises:
            BadInput: there is no chat template, or it does not allow what the recipe asks for, or
                nothing ends a turn.
        """
        if not self.tokenizer.chat_template:
            raise BadInput(
                "its tokenizer has no chat template",
                file=self.folder / "tokenizer_config.json",
                remedy="Add it as chat_template.jinja.",
            )
        settings = ChatSettings.of(self.recipe.model)
        check_templates(self.folder, settings.arguments)  # before the first rendering
        return ChatRenderer(self.tokenizer, settings, eos_token_ids(self.folder))
