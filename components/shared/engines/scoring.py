"""What scoring text needs in every engine: requests cut into single passes, and put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lidr.components.shared.engines.base import Likelihoods, ScoreRequest
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import Failure

Score = tuple[float, bool]
"""Natural log of a text's probability, and whether greedy decoding would write it."""

_ALL = -1

_MAX_ROWS_IN_ONE = 128
"""Continuations of one token that one pass scores; vLLM's `logprob_token_ids` holds no more."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of the model.

    Attributes:
        request: whose it is, by number.
        context: token ids.
        targets: one continuation's token ids; or, where each continuation is one token, all of
            them, for the position after the context.
        place: of the continuation among the request's; -1 for all of them.
    """

    request: int
    context: list[int]
    targets: list[int]
    place: int

    @property
    def together(self) -> bool:
        """True where the targets are alternatives to each other."""
        return self.place == _ALL


@dataclass
class Scoring:
    """Score requests under way.

    Attributes:
        chat: renders them.
        room: tokens of the model's context.
        together: whether one pass may score several continuations of one token.
    """

    chat: ChatRenderer
    room: int
    together: bool = True
    refused: list[Likelihoods] = field(default_factory=list)
    """Answers to requests that cannot be scored, to be handed over by the caller."""
    _keys: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    _found: dict[int, dict[int, Score]] = field(default_factory=dict)

    def passes(self, requests: Iterable[ScoreRequest]) -> Iterator[Pass]:
        """Yield the passes of requests; those that cannot be scored go to `refused`."""
        for number, request in enumerate(requests):
            context, continuations = self.chat.render_continuations(request)
            failure = self._failure(context, continuations)
            if failure:
                self.refused.append(Likelihoods(request.key, (), (), len(context), failure))
                continue
            self._keys[number] = (request.key, len(context), len(continuations))
            self._found[number] = {}
            if self.together and _short(continuations):
                yield Pass(number, context, [token for (token,) in continuations], _ALL)
                continue
            for place, tokens in enumerate(continuations):
                yield Pass(number, context, tokens, place)

    def take(self, one: Pass, scores: Sequence[Score]) -> Iterator[Likelihoods]:
        """Note a pass's scores, one a target; yield its request's answer if that was the last."""
        found = self._found[one.request]
        if one.together:
            found.update(enumerate(scores))
        else:
            found[one.place] = (sum(value for value, _ in scores), all(best for _, best in scores))
        key, tokens, count = self._keys[one.request]
        if len(found) == count:
            values = [found[place] for place in range(count)]
            yield Likelihoods(
                key, tuple(value for value, _ in values), tuple(best for _, best in values), tokens
            )
            del self._found[one.request], self._keys[one.request]

    def _failure(self, context: list[int], continuations: list[list[int]]) -> Failure | None:
        if len(context) + max(map(len, continuations)) > self.room:
            return Failure.PROMPT_TOO_LONG
        return None if all(continuations) else Failure.EMPTY


def _short(continuations: Sequence[Sequence[int]]) -> bool:
    return len(continuations) <= _MAX_ROWS_IN_ONE and all(len(each) == 1 for each in continuations)
