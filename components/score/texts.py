"""The token sequences to score: a response in any language behind the dominant-language prompt."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lidr.components.rollout.answers import usable_text
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.chat import scoring_messages
from lidr.components.shared.records.schema import Failure, Prompt, Response

SampleKey = tuple[str, int]
"""Prompt id and number of the sample."""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two samples of one prompt, scored in one pass; the last of an odd number is alone.

    Attributes:
        tokens: prompt and both answers.
        samples: keys of the one or two samples.
    """

    tokens: TokenPair
    samples: tuple[SampleKey, ...]


@dataclass
class LanguageTexts:
    """The responses of one language.

    Attributes:
        pairs: samples to score, by two.
        failures: why other samples are not scored.
        cut: how many samples were cut at the models' context.
    """

    pairs: list[ScoredPair] = field(default_factory=list)
    failures: dict[SampleKey, str] = field(default_factory=dict)
    cut: int = 0


@dataclass(frozen=True)
class LanguageStats:
    """What is kept of one language's texts while those of another are in memory.

    Attributes:
        pairs: how many there are.
        trial: the first two and the longest, which decide how batches are laid out.
        failures: why samples are not scored.
        cut: how many samples were cut at the models' context.
    """

    pairs: int
    trial: tuple[TokenPair, ...]
    failures: dict[SampleKey, str]
    cut: int

    @classmethod
    def of(cls, texts: LanguageTexts) -> LanguageStats:
        """Return what is kept of a language's texts."""
        tokens = [pair.tokens for pair in texts.pairs]
        longest = max(range(len(tokens)), key=lambda place: tokens[place].longest, default=0)
        trial = [tokens[place] for place in sorted({0, 1, longest}) if place < len(tokens)]
        return cls(len(tokens), tuple(trial), texts.failures, texts.cut)


class ResponseEncoder:
    """Encodes responses as they would follow the dominant-language instruction.

    Args:
        settings: the recipe.
        chat: renderer of the policy's chats.
        context: maximum number of tokens of prompt and response together.
        prompts: in the dominant language, by id.
    """

    def __init__(
        self, settings: Recipe, chat: ChatRenderer, context: int, prompts: Mapping[str, Prompt]
    ) -> None:
        self._settings = settings
        self._chat = chat
        self._context = context
        self._prompts = prompts

    def encode(self, language: str, answers: Sequence[Response]) -> LanguageTexts:
        """Return one language's responses as tokens.

        Args:
            language: the one that was asked for.
            answers: every sample of every prompt.
        """
        by_prompt: dict[str, list[Response]] = {}
        for answer in answers:
            by_prompt.setdefault(answer.prompt_id, []).append(answer)
        found = LanguageTexts()
        for prompt_id, samples in by_prompt.items():
            ordered = sorted(samples, key=lambda each: each.sample)
            found.pairs += self._pairs_of_prompt(found, language, prompt_id, ordered)
        return found

    def _pairs_of_prompt(
        self, found: LanguageTexts, language: str, prompt_id: str, samples: Sequence[Response]
    ) -> Iterator[ScoredPair]:
        dominant = self._settings.languages.dominant
        messages = scoring_messages(self._prompts[prompt_id].text, language, dominant)
        prompt = array("i", self._chat.render_answer(messages))
        room = self._context - len(prompt)
        sides: list[tuple[SampleKey, array[int]]] = []
        for answer in samples:
            key, text = (prompt_id, answer.sample), usable_text(self._settings, answer)
            if text is None or room < 1:
                why = answer.failure if text is None else None
                found.failures[key] = why or Failure.PROMPT_TOO_LONG
                continue
            tokens = self._chat.encode_answer(messages, text, ended=answer.failure is None)
            found.cut += len(tokens) > room
            sides.append((key, array("i", tokens[:room])))
        for first in range(0, len(sides), 2):
            both = sides[first : first + 2]
            texts = [tokens for _, tokens in both]
            name = f"{prompt_id}/{first}"
            pair = TokenPair(name, prompt_id, language, prompt, texts[0], texts[-1])
            yield ScoredPair(pair, tuple(key for key, _ in both))
