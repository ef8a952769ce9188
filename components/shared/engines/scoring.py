"""Splits score requests into forward passes, and combines their scores; for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lidr.components.shared.engines.base import Likelihoods, ScoreRequest
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import Failure

Score = tuple[float, bool]
"""A token's or text's log-probability (natural), and whether greedy decoding would write it."""

_ALL = -1
"""`Pass.place` of a pass that scores all continuations."""

_MAX_TOGETHER = 128
"""One-token continuations in one pass; vLLM's `logprob_token_ids` holds no more."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass of the model.

    Attributes:
        request: number of the request.
        context: token ids.
        targets: token ids of one continuation; or those of all continuations, if each is one
            token, as alternatives at the position after the context.
        place: index of the continuation in its request; -1 for all of them.
    """

    request: int
    context: list[int]
    targets: list[int]
    place: int

    @property
    def together(self) -> bool:
        """Whether the targets are alternatives to each other."""
        return self.place == _ALL


@dataclass
class Scoring:
    """The score requests in progress.

    Attributes:
        chat: the model's renderer.
        max_tokens: limit on the tokens of context and continuation together.
        together: whether one pass may score several one-token continuations.
        refused: answers to requests that cannot be scored, for the caller to yield.
    """

    chat: ChatRenderer
    max_tokens: int
    together: bool = True
    refused: list[Likelihoods] = field(default_factory=list)
    _pending: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    _found: dict[int, dict[int, Score]] = field(default_factory=dict)

    def passes(self, requests: Iterable[ScoreRequest]) -> Iterator[Pass]:
        """Yield the passes of requests; those that cannot be scored go to `refused`."""
        for number, request in enumerate(requests):
            context, continuations = self.chat.render_continuations(request)
            failure = self._failure(context, continuations)
            if failure:
                self.refused.append(Likelihoods(request.key, (), (), len(context), failure))
                continue
            self._pending[number] = (request.key, len(context), len(continuations))
            self._found[number] = {}
            if self.together and _all_single_tokens(continuations):
                yield Pass(number, context, [token for (token,) in continuations], _ALL)
                continue
            for place, tokens in enumerate(continuations):
                yield Pass(number, context, tokens, place)

    def collect(self, one: Pass, scores: Sequence[Score]) -> Iterator[Likelihoods]:
        """Record a pass's scores, one for each target; yield its request's answer once complete.

        No scores mean that the engine refused the pass, which fails its request.
        """
        if one.request not in self._pending:  # another pass of the same request was refused
            return
        found = self._found[one.request]
        key, tokens, count = self._pending[one.request]
        if one.together:
            found.update(enumerate(scores))
        else:
            found[one.place] = (sum(value for value, _ in scores), all(best for _, best in scores))
        if not scores:
            yield Likelihoods(key, (), (), tokens, Failure.ENGINE_REJECTED)
        elif len(found) == count:
            values = [found[place] for place in range(count)]
            yield Likelihoods(
                key, tuple(value for value, _ in values), tuple(best for _, best in values), tokens
            )
        if not scores or len(found) == count:
            del self._found[one.request], self._pending[one.request]

    def _failure(self, context: list[int], continuations: list[list[int]]) -> Failure | None:
        if len(context) + max(map(len, continuations)) > self.max_tokens:
            return Failure.PROMPT_TOO_LONG
        return None if all(continuations) else Failure.EMPTY


def _all_single_tokens(continuations: Sequence[Sequence[int]]) -> bool:
    return len(continuations) <= _MAX_TOGETHER and all(len(each) == 1 for each in continuations)
