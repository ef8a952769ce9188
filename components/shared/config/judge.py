"""The recipe's `judge` section: which model judges open-ended answers, and on which questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lidr.components.shared.config.base_model import LanguageCode, Strict
from lidr.components.shared.config.source import SourceText, parse_source, require_no_language

JudgedName = Literal["x_alpacaeval", "mt_bench", "care", "head_to_head"]

PAIRWISE: tuple[JudgedName, ...] = ("x_alpacaeval", "head_to_head")
"""Tasks whose answers are compared with other answers; those of other tasks get a score."""


def _one_per_language(source: str) -> str:
    address = parse_source(source).address
    other_braces = set("{}") & set(address.replace("{language}", ""))
    if source and ("{language}" not in address or other_braces):
        raise ValueError(f"{address!r} must hold {{language}}, and no other braces")
    return source


FilePerLanguage = Annotated[SourceText, AfterValidator(_one_per_language)]
"""A source in whose address `{language}` stands for the code, or ""."""


class JudgeEndpoint(Strict):
    """The model that a server with OpenAI's chat completions API serves as the judge.

    The profile's `judge` says where the server is, and how it is used.
    """

    model: str = Field(min_length=1)
    """Name that the judge is served under, best that of a fixed version. Required."""


class Price(Strict):
    """What the judge costs, in US dollars per million tokens."""

    input: float = Field(0.0, ge=0.0)
    """Price of input tokens. Default 0."""
    output: float = Field(0.0, ge=0.0)
    """Price of output tokens. Default 0."""

    def dollars(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of a number of tokens, in US dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


class JudgedTask(Strict):
    """Questions that the model answers and the judge judges, one file per language."""

    name: JudgedName
    """x_alpacaeval: against reference answers. mt_bench: a score for every turn. care: a score by
    the question's own criteria. head_to_head: against the answers of the model before. Required."""
    questions: FilePerLanguage = ""
    """A source, as in `prompts.files`, in which `{language}` stands for the code, and whose sha256
    may be one per language: a JSON array or JSON Lines with `id` and `instruction`, `prompt` or
    `turns`, and, where there are any, `reference` (a text, or one for each turn) and `criteria`.
    Required, except for head_to_head: without any, it compares the answers to x_alpacaeval."""
    references: FilePerLanguage = ""
    """Answers to be compared with, in the same form, with `id` and `response`. Required for
    x_alpacaeval, and for it alone."""
    languages: tuple[LanguageCode, ...] = ()
    """ISO 639-1 codes. Default: all of the recipe's."""
    limit: int = Field(0, ge=0)
    """Questions per language. Default 0: all."""
    max_tokens: int = Field(1024, ge=1)
    """Longest answer, in tokens. Default 1024."""

    @property
    def is_pairwise(self) -> bool:
        """Whether the judge compares two answers, rather than scoring one."""
        return self.name in PAIRWISE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages must differ from one another: {', '.join(self.languages)}")
        if not self.questions and self.name != "head_to_head":
            raise ValueError(f"{self.name} needs questions")
        for key in () if self.questions else ("limit", "max_tokens"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key} of head_to_head belongs to x_alpacaeval, whose answers it compares"
                )
        if bool(self.references) != (self.name == "x_alpacaeval"):
            wrong = "has no" if self.name == "x_alpacaeval" else "takes no"
            raise ValueError(f"{self.name} {wrong} references")
        return self


class Judge(Strict):
    """The judge stage: a language model judges open-ended answers."""

    endpoint: JudgeEndpoint
    """The model that judges. Required."""
    tasks: tuple[JudgedTask, ...] = ()
    """What is judged of every model; each name once. Required, but where `pairing.rewarder` is
    judge, which needs none."""
    prompts: Annotated[str, AfterValidator(require_no_language)] = ""
    """Folder or `s3://` prefix with pairwise.md, score.md and rubric.md of your own, as far as the
    tasks (and the rewarder: score.md) need them. Default empty: lidr's."""
    max_tokens: int = Field(512, ge=1)
    """Longest judgement, in tokens. Default 512."""
    top_logprobs: int = Field(20, ge=0, le=20)
    """Alternatives whose log-probabilities weight a verdict. Default 20; 0 for a judge that gives
    none, whose verdicts are then used unweighted."""
    price: Price = Price()
    """Prices for the cost in the report."""
    max_failed_share: float = Field(0.1, ge=0.0, le=1.0)
    """The stage fails where more of the judgements than this share failed. Default 0.1."""
    chunk_size: int = Field(50, ge=1)
    """Judgements per file while the stage is under way: the most that a killed judge step loses,
    besides requests under way. Default 50."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: each name may appear once, not twice: {', '.join(twice)}")
        for task in self.tasks:
            if not task.questions and "x_alpacaeval" not in names:
                raise ValueError("head_to_head needs questions where there is no x_alpacaeval")
        return self

    def answered_by(self, task: JudgedTask) -> JudgedTask:
        """Return the task whose questions and answers a task judges: usually that task itself."""
        if task.questions:
            return task
        return next(other for other in self.tasks if other.name == "x_alpacaeval")

    def languages_of(self, task: JudgedTask, everything: Sequence[str]) -> tuple[str, ...]:
        """Return the languages of a task: its own, those of its answers, or the recipe's."""
        return task.languages or self.answered_by(task).languages or tuple(everything)

    def require_languages(self, known: Sequence[str]) -> None:
        """Refuse a task in a language that the recipe, or the task whose answers it judges, lacks.

        Raises:
            ValueError: with the task and the language.
        """
        for task in self.tasks:
            answered = self.languages_of(self.answered_by(task), known)
            for allowed, whose in ((known, "the recipe"), (answered, "its questions' task")):
                if strangers := set(task.languages) - set(allowed):
                    listed = ", ".join(sorted(strangers))
                    raise ValueError(f"judge.tasks: {task.name}: {whose} has no {listed}")

    def resolved(self, resolve: Callable[[str], str]) -> Judge:
        """Return the section with every path resolved."""
        tasks = tuple(
            task.model_copy(
                update={
                    "questions": resolve(task.questions),
                    "references": resolve(task.references),
                }
            )
            for task in self.tasks
        )
        return self.model_copy(update={"tasks": tasks, "prompts": resolve(self.prompts)})
