"""The steps of the loop, in one table: what each reads, makes and needs.

Whatever walks the graph of steps reads this table: status, placement, lineage, retention, tracking,
registration and the report. Whoever adds a step adds a row here, its folder, and its call in
`pipelines/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lidr.components.shared.config.pools import StepKind

MODEL_STEPS = ("train", "prepare", "model")
"""Steps whose stages hold a model; `model` stands for one that was named on the command line."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: its name in stage addresses, in events and on the screen.
        tasks: KFP components that run it: its own, or one that joins several steps.
        kind: the kind of step whose resources it gets in the profile.
        gpus: whether it uses GPUs where there are some.
        state: the key of an iteration's state that holds its stage; "" for none.
        reads: for each input, by its name in the stage's marker, the steps that may have made it.
        data: for each input that is a data set, what it is used for (MLflow's context).
        any_iteration: inputs that may come from another iteration: shared ones (the prompts), and
            models or evaluations that serve as comparison.
        advances_from: the input from an earlier model: this stage's iteration is one more than that
            input's. "source" for steps that bring a model in from outside; "" if the iteration is
            its inputs'.
        about: the input that the stage describes (an evaluation describes its model); `lidr prune`
            keeps the stage as long as that input. "" for none.
        digest_tag: the tag of a registered version that holds its stage's digest; "" for none.
        noted: whether its finished stages are recorded in runs/<run>/iteration-<t>/stages/.
        tracked: whether it is tracked in MLflow.
        delivery_seconds: seconds it spends at its end on sending queued records to MLflow; 0:
            others send them.
        shown: whether it has a row on the screen and in `lidr status`.
        releases_lease: whether it releases the run's lease at its end: it runs in the exit task;
            whoever resumes the run must be able to take the lease at once.
    """

    name: str
    tasks: tuple[str, ...] = ()
    kind: StepKind = "control"
    gpus: bool = False
    state: str = ""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    any_iteration: tuple[str, ...] = ()
    advances_from: str = ""
    about: str = ""
    digest_tag: str = ""
    noted: bool = False
    tracked: bool = True
    delivery_seconds: float = 0.0
    shown: bool = True
    releases_lease: bool = False


STEPS = (
    Step("watch", ("check-inputs",), tracked=False),
    Step(
        "prepare",
        ("prepare",),
        kind="prepare",
        gpus=True,
        state="inputs",
        advances_from="source",
    ),
    Step("model", advances_from="source", tracked=False, shown=False),
    Step("rollout", ("roll-out",), kind="generate", gpus=True, tracked=False),
    Step(
        "generate",
        ("generate", "roll-out"),
        kind="generate",
        gpus=True,
        state="responses",
        reads={"inputs": ("prepare",), "model": MODEL_STEPS},
        data={"inputs": "generation"},
        any_iteration=("inputs",),
        advances_from="model",
        digest_tag="lidr.responses_digest",
        noted=True,
    ),
    Step(
        "translate",
        ("translate", "roll-out"),
        kind="translate",
        gpus=True,
        state="translations",
        reads={"responses": ("generate",), "model": MODEL_STEPS},
        data={"responses": "translation"},
        digest_tag="lidr.translations_digest",
        noted=True,
    ),
    Step("merge", ("roll-out",), noted=True),
    Step(
        "score",
        ("score",),
        kind="score",
        gpus=True,
        state="scores",
        reads={
            "inputs": ("prepare",),
            "responses": ("generate",),
            "policy": MODEL_STEPS,
            "reference": MODEL_STEPS,
        },
        data={"responses": "scoring"},
        any_iteration=("inputs", "policy", "reference"),
        digest_tag="lidr.scores_digest",
        noted=True,
    ),
    Step(
        "grade",
        ("grade",),
        kind="judge",
        state="grades",
        reads={"inputs": ("prepare",), "responses": ("generate",)},
        data={"responses": "grading"},
        any_iteration=("inputs",),
        digest_tag="lidr.grades_digest",
        noted=True,
    ),
    Step(
        "pair",
        ("pair",),
        state="pairs",
        reads={
            "inputs": ("prepare",),
            "responses": ("generate",),
            "translations": ("translate",),
            "scores": ("score",),
            "grades": ("grade",),
            "model": MODEL_STEPS,
        },
        data={"responses": "pairing", "translations": "pairing"},
        any_iteration=("inputs",),
        digest_tag="lidr.pairs_digest",
        noted=True,
    ),
    Step("reference", reads={"pairs": ("pair",), "model": MODEL_STEPS}, tracked=False, shown=False),
    Step(
        "train",
        ("train",),
        kind="train",
        gpus=True,
        state="model",
        reads={"pairs": ("pair",), "start": MODEL_STEPS, "reference": MODEL_STEPS},
        data={"pairs": "training"},
        any_iteration=("reference",),
        advances_from="start",
        noted=True,
    ),
    Step(
        "evaluate",
        ("evaluate",),
        kind="evaluate",
        gpus=True,
        state="evaluation",
        reads={"model": MODEL_STEPS, "inputs": ("prepare",)},
        data={"inputs": "evaluation"},
        any_iteration=("inputs",),
        about="model",
        digest_tag="lidr.evaluation_digest",
        noted=True,
    ),
    Step(
        "judge",
        ("judge",),
        kind="judge",
        state="judgements",
        reads={"evaluation": ("evaluate",), "before": ("evaluate",)},
        data={"evaluation": "judging"},
        any_iteration=("before",),
        about="evaluation",
        digest_tag="lidr.judgements_digest",
        noted=True,
    ),
    Step(
        "gate",
        ("conclude",),
        state="decision",
        reads={
            "before": ("evaluate",),
            "after": ("evaluate",),
            "judged_before": ("judge",),
            "judged_after": ("judge",),
        },
        any_iteration=("before", "judged_before"),
        about="after",
        digest_tag="lidr.gate_digest",
    ),
    Step(
        "register",
        ("conclude",),
        reads={
            "model": MODEL_STEPS,
            "evaluation": ("evaluate",),
            "judgements": ("judge",),
            "decision": ("gate",),
        },
        about="model",
        delivery_seconds=30.0,
    ),
    Step("state", ("conclude",), tracked=False, shown=False),
    Step("nominate", ("nominate",), tracked=False, shown=False),
    Step("promote", ("promote",), tracked=False),
    Step("report", ("finish",), delivery_seconds=30.0, releases_lease=True),
    Step("cleanup", ("finish",), delivery_seconds=15.0, shown=False, releases_lease=True),
)
"""In the order in which a run executes them; pruning and placement rely on it."""

BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS}

MAKERS: Mapping[str, tuple[str, ...]] = {
    name: makers for step in STEPS for name, makers in step.reads.items()
}
"""By the name of an input, in any step: the steps that may have made it."""

STATE_KEYS: Mapping[str, str] = {step.name: step.state for step in STEPS if step.state}
"""By step: the key of an iteration's state that holds its stage."""

TASKS: Mapping[str, tuple[Step, ...]] = {
    task: tuple(step for step in STEPS if task in step.tasks)
    for task in dict.fromkeys(task for step in STEPS for task in step.tasks)
}
"""By KFP component: the steps that it runs; the first one decides its placement."""


def step_named(name: str) -> Step:
    """Return a step's row; a step that is not in the table is neither tracked nor shown."""
    return BY_NAME.get(name) or Step(name, tracked=False, shown=False)
