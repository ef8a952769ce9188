"""How much work a recipe is: requests and tokens of every step of one iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from lidr.components.evaluate.limits import max_tokens_of
from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.files import is_parquet, json_lines, prompt_text, read_file
from lidr.pipelines.planning.figures import AssumedLengths

_SAMPLE_ROWS = 2000
"""How many prompts of a file are measured."""


@dataclass(frozen=True)
class Load:
    """Requests to an engine.

    Attributes:
        requests: how many.
        prompt_tokens: of all requests together.
        output_tokens: of all answers together.
        longest: the most tokens that one answer may have.
    """

    requests: int = 0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    longest: int = 1

    def __add__(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
            max(self.longest, other.longest),
        )

    @property
    def tokens(self) -> float:
        """Tokens read and written."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True)
class PairLoad:
    """What one iteration trains on.

    Attributes:
        candidates: pairs before the filters.
        pairs: those that the filters keep.
        tokens: of the kept pairs, prompt and both sides.
        responses: tokens of both sides alone, for which the head computes logits.
        length: mean tokens of a candidate, prompt and both sides.
        steps: optimizer steps, over all epochs.
        languages: how many the recipe has, the dominant one included.
    """

    candidates: int
    pairs: int
    tokens: float
    responses: float
    length: float
    steps: int
    languages: int


@dataclass(frozen=True)
class Lengths:
    """What a run measured: tokens per request, and the share of the pairs that was kept.

    A length that is missing is assumed.

    Attributes:
        prompt: of a request for an answer, by language.
        answer: of an answer, by language.
        translation: of a translation, by direction, e.g. `en-es`.
        evaluation: of an answer to an evaluation item, by language.
        kept: share of the candidate pairs that the filters kept.
    """

    prompt: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, float] = field(default_factory=dict)
    translation: Mapping[str, float] = field(default_factory=dict)
    evaluation: Mapping[str, float] = field(default_factory=dict)
    kept: float = 1.0


@dataclass(frozen=True)
class PlannedPrompts:
    """What the prompt files hold.

    Attributes:
        count: prompts of one iteration.
        characters: mean length by language, of the files that were read.
        missing: languages whose files were not read.
    """

    count: int
    characters: Mapping[str, float]
    missing: tuple[str, ...] = ()


class Requests:
    """Counts the work of one iteration.

    Args:
        recipe: what to learn.
        prompts: what its prompt files hold.
        assumed: lengths for which nothing was measured.
        measured: lengths that a run measured.
    """

    def __init__(
        self, recipe: Recipe, prompts: PlannedPrompts, assumed: AssumedLengths, measured: Lengths
    ) -> None:
        self._recipe = recipe
        self._assumed = assumed
        self._measured = measured
        self._prompts = prompts
        self._answers = prompts.count * recipe.generation.samples

    @property
    def generate(self) -> Load:
        """Answers to every prompt in every language."""
        total, longest = Load(), self._recipe.generation.max_tokens
        for code in self._recipe.languages.all:
            asked, answered = self._prompt(code), self._answer(code)
            total += Load(self._answers, asked * self._answers, answered * self._answers, longest)
        return total

    @property
    def translate(self) -> Load:
        """Translations both ways, and the round-trip sample; none if the rewarder needs none."""
        if self._recipe.pairing.reward_step != "translate":
            return Load()
        dominant, total = self._recipe.languages.dominant, Load()
        trips = min(self._recipe.translation.round_trip_sample, self._prompts.count)
        for other in self._recipe.languages.others:
            for source, target in ((dominant, other), (other, dominant)):
                total += self._translated(source, target, self._answer(source), self._answers)
                total += self._translated(target, source, self._translation(source, target), trips)
        return total

    @property
    def score(self) -> Load:
        """Samples that policy and reference read; each prompt is read once for two samples."""
        recipe = self._recipe
        if recipe.pairing.reward_step != "score":
            return Load()
        prompts = -(-recipe.generation.samples // 2) * self._prompts.count
        asked = self._prompt(recipe.languages.dominant) * prompts * len(recipe.languages.all)
        return Load(2 * self.responses, 2 * asked + self.scored_tokens)

    @property
    def scored_tokens(self) -> float:
        """Tokens of responses for which policy and reference compute logits."""
        return 2 * sum(self._answer(code) * self._answers for code in self._recipe.languages.all)

    @property
    def responses(self) -> int:
        """How many responses one iteration has, in all languages."""
        return self._answers * len(self._recipe.languages.all)

    @property
    def pairs(self) -> PairLoad:
        """Pairs that the rewarder makes.

        `lidr` makes two for each sample and other language, `icr` and `judge` one for each prompt
        and language.
        """
        settings, sides = self._recipe.training, list(self._sides())
        tokens = responses = 0.0
        for count, own, both in sides:
            asked = min(self._prompt(own), settings.max_length)  # answers get what is left
            answers = min(both, 2 * max(settings.max_length - asked, 0.0))
            tokens += (asked + answers) * count
            responses += answers * count
        candidates = sum(count for count, *_ in sides)
        kept = round(candidates * self._measured.kept)
        share = kept / max(candidates, 1)
        return PairLoad(
            candidates,
            kept,
            tokens * share,
            responses * share,
            tokens / max(candidates, 1),
            max(1, -(-round(kept * settings.epochs) // settings.batch_size)),
            len(self._recipe.languages.all),
        )

    def _sides(self) -> Iterator[tuple[int, str, float]]:
        """Yield the number of candidates, their language, and the tokens of one's two sides."""
        languages = self._recipe.languages
        if self._recipe.pairing.rewarder != "lidr":
            for code in languages.all:
                yield self._prompts.count, code, 2 * self._answer(code)
            return
        for other in languages.others:
            for own, back in ((other, languages.dominant), (languages.dominant, other)):
                yield self._answers, own, self._answer(own) + self._translation(back, own)

    @property
    def evaluate(self) -> Load:
        """All items of all tasks, once."""
        settings, total = self._recipe.evaluation, Load()
        for task, code in settings.tasks_in(self._recipe.languages.all).items():
            count = self._items(task)
            answer = self._measured.evaluation.get(code) or self._unlimited(code)
            asked = self._assumed.evaluation_prompt_tokens
            longest = max_tokens_of(settings, task)
            total += Load(count, asked * count, min(answer, longest) * count, longest)
        return total

    def unknown_tasks(self) -> list[str]:
        """Return the tasks whose number of items is assumed."""
        limit = self._recipe.evaluation.limit
        if self._recipe.is_toy or (limit and limit <= self._assumed.evaluation_items):
            return []
        known = tuple(self._assumed.items)
        return [name for name in self._recipe.evaluation.tasks if not name.startswith(known)]

    def _items(self, task: str) -> int:
        known = self._recipe.items_per_task
        if self._recipe.is_toy and known:
            return known
        sizes = (size for name, size in self._assumed.items.items() if task.startswith(name))
        count = next(sizes, self._assumed.evaluation_items)
        return min(count, known or count)

    def _translated(self, source: str, target: str, text: float, count: int) -> Load:
        asked = text + self._assumed.instruction_tokens + self._assumed.template_tokens
        longest = self._recipe.translation.max_tokens
        return Load(count, asked * count, self._translation(source, target) * count, longest)

    def _prompt(self, code: str) -> float:
        """Tokens of a request for an answer."""
        if measured := self._measured.prompt.get(code):
            return measured
        if characters := self._prompts.characters.get(code):
            tokens = self._assumed.tokens(code, characters)
        else:
            tokens = self._assumed.translated(code, self._assumed.prompt_characters)
        return tokens + self._assumed.template_tokens

    def _answer(self, code: str) -> float:
        return min(self._unlimited(code), self._recipe.generation.max_tokens)

    def _unlimited(self, code: str) -> float:
        """Tokens of an answer before its limit, which evaluation and generation set differently."""
        return self._measured.answer.get(code) or self._assumed.translated(
            code, self._assumed.answer_characters
        )

    def _translation(self, source: str, target: str) -> float:
        """Tokens of a text's translation."""
        tokens = self._measured.translation.get(f"{source}-{target}") or self._answer(target)
        return min(tokens, self._recipe.translation.max_tokens)


def read_prompts(recipe: Recipe) -> PlannedPrompts:
    """Count a recipe's prompts, and measure the length of each file's first ones.

    Raises:
        BadInput: a prompt file is broken; file and line are named.
    """
    settings = recipe.prompts
    if recipe.is_toy:
        return PlannedPrompts(settings.per_iteration, {})
    sizes, characters, missing = [], {}, []
    for code in recipe.languages.all:
        files = settings.files[code]
        if not all(map(_is_readable, files)):
            missing.append(code)
            continue
        found = [_sample(file, settings) for file in files]
        sizes.append(sum(count for count, _ in found))
        characters[code] = fmean(len(text) for _, texts in found for text in texts)
    count = min([settings.per_iteration, *sizes])
    return PlannedPrompts(count, characters, tuple(missing))


def _is_readable(source: str) -> bool:
    """Return whether a file is on this machine or on S3, as a plan asks no other server."""
    address = parse_source(source).address
    here = on_this_machine(source) and Path(address.removeprefix("file://")).exists()
    return here or address.startswith("s3://")


def _sample(source: str, settings: Prompts) -> tuple[int, list[str]]:
    """Return the number of rows of a prompt file, and the texts of its first ones."""
    file, data = parse_source(source).address, read_file(source, "prompts.files")
    if is_parquet(file):
        return _sample_parquet(file, data, settings)
    rows = islice(json_lines(file, data), _SAMPLE_ROWS)
    texts = [prompt_text(row, settings, file, line) for line, row in rows]
    if not texts:
        raise BadInput("no prompts in the file", file=file, remedy="Add at least one line.")
    if len(texts) < _SAMPLE_ROWS:
        return len(texts), texts
    return sum(1 for line in data.split(b"\n") if line.strip()), texts


def _sample_parquet(file: str, data: bytes, settings: Prompts) -> tuple[int, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(BytesIO(data))
        names = (*settings.fields.text, *settings.fields.input)
        columns = [name for name in names if name in parquet.schema_arrow.names]
        batches = parquet.iter_batches(_SAMPLE_ROWS, columns=columns or None)
        rows: Sequence[dict[str, Any]] = next(batches).to_pylist()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise BadInput(
            "not a Parquet file with prompts", file=file, remedy="Write it again, or use .jsonl."
        ) from error
    texts = [prompt_text(row, settings, file, line) for line, row in enumerate(rows, start=1)]
    return int(parquet.metadata.num_rows), texts
