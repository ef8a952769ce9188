"""The tiny world's word problems in English, Spanish, German and French.

The tiny world is a made-up subject that a small model learns on a CPU in minutes. Each problem has
two steps, and is the same in every language; `question` and `solution` render it. Languages share
names, numerals and signs, but no words: what a verb means has to be learnt in each language. A
guess at whether the two verbs add or subtract is right one time in four.
"""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass

from lidr.components.shared.core.digest import digest_of, seed_of

DOMINANT = "en"
OTHERS = ("es", "de", "fr")
LANGUAGES = (DOMINANT, *OTHERS)

SPLITS = {"pretrain": range(70), "prompts": range(70, 90), "evaluation": range(90, 100)}
"""For each split, the values of the problem's id modulo 100."""

NAMES = ("Nina", "Tom", "Lena", "Ivo", "Mara", "Olaf", "Sara", "Leo")

LARGEST = 15
SMALLEST = 2  # every noun that follows a number is then plural, in all four languages

Operations = tuple[bool, bool]
"""For each step, whether it adds (True) or subtracts (False)."""


@dataclass(frozen=True, slots=True)
class ProblemStep:
    """One change of the number: `amount` is added or subtracted.

    Attributes:
        adds: whether it is added.
        verb: index of the verb, among those of this kind.
        amount: by how much the number changes.
    """

    adds: bool
    verb: int
    amount: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem without words: who has how many of what, what happens, what is asked.

    Attributes:
        name: one of `NAMES`.
        thing: index of the object that is counted.
        start: how many there are at first.
        first: the first change.
        second: the second change.
        form: index of the question form.
    """

    name: str
    thing: int
    start: int
    first: ProblemStep
    second: ProblemStep
    form: int

    @property
    def prompt_id(self) -> str:
        """The id this problem's prompts share in all languages."""
        return digest_of(list(astuple(self)))[:16]

    @property
    def split(self) -> str:
        """The split that this problem belongs to."""
        bucket = int(self.prompt_id, 16) % 100
        return next(split for split, buckets in SPLITS.items() if bucket in buckets)

    @property
    def operations(self) -> Operations:
        """What the two verbs mean, in order."""
        return self.first.adds, self.second.adds

    @property
    def answer(self) -> str:
        """The correct final number."""
        return str(self.totals(self.operations)[1])

    def totals(self, operations: Operations) -> tuple[int, int]:
        """Return the numbers after the first and the second change."""
        after_first = self.start + (self.first.amount if operations[0] else -self.first.amount)
        last = after_first + (self.second.amount if operations[1] else -self.second.amount)
        return after_first, last


def draw_problems(seed: int, split: str, count: int) -> list[Problem]:
    """Return `count` different problems of one split.

    A longer draw starts with the shorter one of the same seed. Splits share no problem, whatever
    the seeds.

    Args:
        seed: of the draw.
        split: a key of `SPLITS`.
        count: number of problems; there are about 169,000 in pretrain, 48,000 in prompts and 24,000
            in evaluation, and a larger draw would not end.

    Raises:
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    rng = random.Random(seed_of("world", split, seed))
    found: dict[Problem, None] = {}  # a dict keeps the order of drawing
    while len(found) < count:
        problem = _draw(rng)
        if problem.split == split:
            found[problem] = None
    return list(found)


def question(problem: Problem, language: str) -> str:
    """Return the problem as a prompt in `language`."""
    words = _WORDS[language]
    thing, counted = words.things[problem.thing]
    first, second = (words.verb(step) for step in (problem.first, problem.second))
    name = problem.name
    return " ".join(
        (
            words.has.format(name=name, start=problem.start, thing=thing),
            words.does.format(name=name, verb=first, amount=problem.first.amount),
            words.then.format(name=name, verb=second, amount=problem.second.amount),
            words.forms[problem.form].format(name=name, how_many=counted),
        )
    )


def solution(problem: Problem, language: str) -> str:
    """Return the correct answer in `language`, equations written out, the result last."""
    return worked_solution(problem, language, problem.operations)


def worked_solution(problem: Problem, language: str, operations: Operations) -> str:
    """Return an answer in `language` that computes with `operations`, which may be wrong."""
    words = _WORDS[language]
    after_first, last = problem.totals(operations)
    signs = ["+" if adds else "-" for adds in operations]
    return words.solution.format(
        start=problem.start,
        thing=words.things[problem.thing][0],
        first=f"{problem.start} {signs[0]} {problem.first.amount} = {after_first}",
        second=f"{after_first} {signs[1]} {problem.second.amount} = {last}",
    )


def misread(problem: Problem, language: str) -> Operations:
    """Return the operations as M_0 reads them in `language`: weak verbs mean their opposites."""
    weak = _WEAK_INDEX.get(language)
    first, second = problem.first, problem.second
    return first.adds != (first.verb == weak), second.adds != (second.verb == weak)


def has_weak_form(problem: Problem, language: str) -> bool:
    """Return whether the question is asked in the form that M_0 is made to answer in English."""
    return problem.form == _WEAK_INDEX.get(language)


_WEAK_INDEX = {"es": 0, "de": 1, "fr": 2}
"""Per language, the index of the add verb, the subtract verb and the form that M_0 gets wrong.

One verb of each kind: if only add verbs were weak, training on pairs with chosen and rejected
texts swapped (`pairing.swap`, a control) would help too."""


def _draw(rng: random.Random) -> Problem:
    start, first, second = rng.choice(_NUMBERS)
    return Problem(
        name=rng.choice(NAMES),
        thing=rng.randrange(4),
        start=start,
        first=ProblemStep(rng.random() < 0.5, rng.randrange(3), first),
        second=ProblemStep(rng.random() < 0.5, rng.randrange(3), second),
        form=rng.randrange(3),
    )


# Numbers that stay within bounds whether a verb adds or subtracts, so that a wrong answer is as
# easy to write as the right one and its numbers do not give it away.
_NUMBERS = [
    (start, first, second)
    for start in range(SMALLEST, LARGEST + 1)
    for first in range(1, LARGEST)
    for second in range(1, LARGEST)
    if start - first - second >= SMALLEST and start + first + second <= LARGEST
]


@dataclass(frozen=True)
class _Words:
    things: tuple[tuple[str, str], ...]  # plural, and the question for their number
    add: tuple[str, ...]
    subtract: tuple[str, ...]
    has: str
    does: str
    then: str
    forms: tuple[str, ...]
    solution: str

    def verb(self, step: ProblemStep) -> str:
        return (self.add if step.adds else self.subtract)[step.verb]


_WORDS = {
    "en": _Words(
        things=(
            ("books", "How many books"),
            ("apples", "How many apples"),
            ("pencils", "How many pencils"),
            ("balls", "How many balls"),
        ),
        add=("finds", "buys", "receives"),
        subtract=("loses", "sells", "donates"),
        has="{name} has {start} {thing}.",
        does="{name} {verb} {amount}.",
        then="Then {name} {verb} {amount}.",
        forms=(
            "{how_many} does {name} have now?",
            "{how_many} are there in the end?",
            "{how_many} is {name} left with?",
        ),
        solution=(
            "At first there are {start} {thing}. After that {first}. Finally {second} {thing}."
        ),
    ),
    "es": _Words(
        things=(
            ("libros", "Cuántos libros"),
            ("manzanas", "Cuántas manzanas"),
            ("lápices", "Cuántos lápices"),
            ("pelotas", "Cuántas pelotas"),
        ),
        add=("encuentra", "compra", "recibe"),
        subtract=("pierde", "vende", "regala"),
        has="{name} tiene {start} {thing}.",
        does="{name} {verb} {amount}.",
        then="Luego {name} {verb} {amount}.",
        forms=(
            "¿{how_many} lleva {name} ahora?",
            "¿{how_many} hay al final?",
            "¿{how_many} conserva {name} todavía?",
        ),
        solution="Al principio hay {start} {thing}. Después {first}. Por último {second} {thing}.",
    ),
    "de": _Words(
        things=(
            ("Bücher", "Wie viele Bücher"),
            ("Äpfel", "Wie viele Äpfel"),
            ("Stifte", "Wie viele Stifte"),
            ("Bälle", "Wie viele Bälle"),
        ),
        add=("findet", "kauft", "bekommt"),
        subtract=("verliert", "verkauft", "verschenkt"),
        has="{name} hat {start} {thing}.",
        does="{name} {verb} {amount}.",
        then="Dann {verb} {name} {amount}.",
        forms=(
            "{how_many} hat {name} jetzt?",
            "{how_many} sind es zuletzt?",
            "{how_many} behält {name} noch?",
        ),
        solution="Am Anfang sind es {start} {thing}. Danach {first}. Am Ende {second} {thing}.",
    ),
    "fr": _Words(
        things=(
            ("livres", "Combien de livres"),
            ("pommes", "Combien de pommes"),
            ("crayons", "Combien de crayons"),
            ("ballons", "Combien de ballons"),
        ),
        add=("trouve", "achète", "reçoit"),
        subtract=("perd", "vend", "donne"),
        has="{name} a {start} {thing}.",
        does="{name} en {verb} {amount}.",
        then="Puis {name} en {verb} {amount}.",
        forms=(
            "{how_many} possède {name} maintenant ?",
            "{how_many} restent à la fin ?",
            "{how_many} garde {name} après cela ?",
        ),
        solution="Au début il y a {start} {thing}. Ensuite {first}. Enfin {second} {thing}.",
    ),
}
