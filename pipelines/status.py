"""The status of a run: one row for each step of each iteration, from any source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from lidr.components.shared.steps import BY_NAME, STEPS, TASKS

State = Literal["waiting", "running", "done", "skipped", "failed", "cancelled"]

SHOWN = tuple(step.name for step in STEPS if step.shown)
"""Steps that have a row, in the order in which a run executes them; others are bookkeeping."""

STEP_NAMES = {task: steps[0].name for task, steps in TASKS.items()}
"""By KFP component: the step it is shown as; the first one if it joins several."""


def logged_by(step: str) -> frozenset[str]:
    """Return the steps whose tasks may have printed a step's lines; {""} for ""."""
    tasks = BY_NAME[step].tasks if step else ()
    return frozenset({step, *(STEP_NAMES[task] for task in tasks)})


END = 1_000_000
"""The iteration of the report, which follows all others."""


def step_title(iteration: int, step: str) -> str:
    """Return e.g. `M_1 train`; only the step's name for the report."""
    return step if iteration == END else f"M_{iteration} {step}"


@dataclass(frozen=True)
class StepRow:
    """One step of one iteration.

    Attributes:
        iteration: t of the model M_t that it works for; END for the report.
        step: its name.
        state: its state; "" if only other fields are known.
        seconds: how long it has taken.
        done: units of work that are finished; 0 if they are not counted.
        total: units in all.
        unit: what is counted.
        rate: amount per second, or 0.
        rate_unit: what the rate counts.
        gpu_seconds: how long it held accelerators, summed over them.
        note: why it waits or failed.
        pod: name of the pod in which it failed.
    """

    iteration: int
    step: str
    state: State | Literal[""] = ""
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0
    rate_unit: str = ""
    gpu_seconds: float = 0.0
    note: str = ""
    pod: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """Sort key among the rows."""
        return self.iteration, SHOWN.index(self.step)

    def over(self, other: StepRow) -> StepRow:
        """Return the other row, overridden by this one's non-empty fields."""
        known = {
            name: value for name in self.__dataclass_fields__ if (value := self.__dict__[name])
        }
        return replace(other, **known)


@dataclass(frozen=True)
class Status:
    """The status of a run.

    Attributes:
        run: its name.
        state: of the run as a whole.
        place: where it runs, e.g. the address of Kubeflow Pipelines or the store.
        rows: its steps, in order.
        notes: further information, a sentence each.
        links: addresses by name.
    """

    run: str
    state: str
    place: str
    rows: tuple[StepRow, ...]
    notes: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)

    @property
    def gpu_hours(self) -> float:
        """GPU hours so far."""
        return sum(row.gpu_seconds for row in self.rows) / 3600

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


def merged(*sources: Iterable[StepRow]) -> tuple[StepRow, ...]:
    """Return the rows of several sources in order; later sources override earlier ones."""
    found: dict[tuple[int, int], StepRow] = {}
    for row in (row for source in sources for row in source):
        before = found.get(row.place)
        found[row.place] = row if before is None else row.over(before)
    return tuple(found[place] for place in sorted(found))
