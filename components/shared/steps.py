"""The steps of the loop, in one table: what each reads, makes and needs.

Whatever walks the graph of steps reads this table: status, placement, lineage, retention, tracking,
registration and the report. Adding a step is one row here, and its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lidr.components.shared.config.pools import StepKind

MODEL_STEPS = ("train", "prepare", "model")
"""Steps whose stages hold a model; `model` is one that was named on the command line."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: as in a stage's address, in events and on the screen.
        tasks: components of Kubeflow that do it: its own, or one that joins several steps.
        kind: whose resources it has in the profile.
        gpus: whether it uses GPUs where there are some.
        state: the key of an iteration's state that holds its stage; "" where it has none.
        reads: by the name in its stage's marker, the steps that may have made an input.
        data: by the name of an input that is a data set, what it is used for (MLflow's context).
        aside: names of inputs that are of whichever iteration: what all iterations share, and what
            a model is compared with.
        further_than: the input whose model its stage is one round further than; "" where it
            belongs to the round of what it read.
        about: the input that its stage is a statement about, which is kept as long; "" for none.
        digest_tag: the tag of a registered version that holds its stage's digest; "" for none.
        noted: whether each iteration writes down which stages it ended with.
        tracked: whether MLflow hears of it.
        delivers: seconds for which it delivers to MLflow what waits, before it ends; 0 where that
            is left to others.
        shown: whether it is a row of its own on the screen and in `lidr status`.
        hands_over: whether other tasks may come much later than usual once it has ended.
    """

    name: str
    tasks: tuple[str, ...] = ()
    kind: StepKind = "control"
    gpus: bool = False
    state: str = ""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    further_than: str = ""
    about: str = ""
    digest_tag: str = ""
    noted: bool = False
    tracked: bool = True
    delivers: float = 0.0
    shown: bool = True
    hands_over: bool = False


STEPS = (
    Step("watch", ("check-inputs",), tracked=False),
    Step(
        "prepare",
        ("prepare",),
        kind="prepare",
        gpus=True,
        state="inputs",
        further_than="source",
    ),
    Step("model", further_than="source", tracked=False, shown=False),
    Step("rollout", ("roll-out",), kind="generate", gpus=True, tracked=False),
    Step(
        "generate",
        ("generate", "roll-out"),
        kind="generate",
        gpus=True,
        state="responses",
        reads={"inputs": ("prepare",), "model": MODEL_STEPS},
        data={"inputs": "generation"},
        aside=("inputs",),
        further_than="model",
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
    Step("merge", ("merge", "roll-out"), noted=True),
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
        aside=("inputs", "policy", "reference"),
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
        aside=("inputs",),
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
        aside=("inputs",),
        digest_tag="lidr.pairs_digest",
        noted=True,
    ),
    Step(
        "reference",
        reads={"pairs": ("pair",), "model": MODEL_STEPS},
        tracked=False,
        shown=False,
    ),
    Step(
        "train",
        ("train",),
        kind="train",
        gpus=True,
        state="model",
        reads={"pairs": ("pair",), "start": MODEL_STEPS, "reference": MODEL_STEPS},
        data={"pairs": "training"},
        aside=("reference",),
        further_than="start",
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
        aside=("inputs",),
        about="model",
        digest_tag="lidr.evaluation_digest",
        noted=True,
    ),
    Step(
        "judge",
        ("judge",),
        kind="judge",
        state="judgements",
        reads={"evaluation": ("evaluate",)},
        data={"evaluation": "judging"},
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
        aside=("before", "judged_before"),
        about="after",
        digest_tag="lidr.gate_digest",
    ),
    Step(
        "register",
        ("conclude",),
        reads={"model": MODEL_STEPS, "evaluation": ("evaluate",), "decision": ("gate",)},
        about="model",
        delivers=30.0,
    ),
    Step("state", ("conclude",), tracked=False, shown=False),
    Step("nominate", ("nominate",), tracked=False, shown=False),
    Step("promote", ("promote",), tracked=False),
    Step("report", ("finish",), delivers=30.0, hands_over=True),
    Step("cleanup", ("finish",), delivers=15.0, shown=False, hands_over=True),
)
"""In the order of an iteration."""

BY_NAME: Mapping[str, Step] = {step.name: step for step in STEPS}

MAKERS: Mapping[str, tuple[str, ...]] = {
    name: makers for step in STEPS for name, makers in step.reads.items()
}
"""By the name under which a stage was read, in whichever step: the steps that may have made it."""

STATE_KEYS: Mapping[str, str] = {step.name: step.state for step in STEPS if step.state}
"""By step: the key of an iteration's state that holds its stage."""

TASKS: Mapping[str, tuple[Step, ...]] = {
    task: tuple(step for step in STEPS if task in step.tasks)
    for task in dict.fromkeys(task for step in STEPS for task in step.tasks)
}
"""By Kubeflow's component: the steps that it does, the first of which gives it its place."""


def step_named(name: str) -> Step:
    """Return a step's row; one that is not in the table is neither tracked nor shown."""
    return BY_NAME.get(name) or Step(name, tracked=False, shown=False)
