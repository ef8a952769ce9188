"""The table of steps: consistent in itself, and all that it takes to add a step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lidr.components.shared import steps
from lidr.components.shared.config.pools import KINDS
from lidr.components.shared.steps import BY_NAME, MAKERS, STATE_KEYS, STEPS, TASKS

COMPONENTS = Path(steps.__file__).resolve().parents[1]

ROW = """
    Step(
        "critique",
        ("critique",),
        kind="judge",
        state="critiques",
        reads={"pairs": ("pair",), "critiqued": MODEL_STEPS},
        data={"pairs": "critique"},
        about="pairs",
        digest_tag="lidr.critiques_digest",
        noted=True,
    ),
"""

WITH_A_ROW_MORE = """
import sys, types
module = types.ModuleType("lidr.components.shared.steps")
sys.modules[module.__name__] = module
exec(compile(sys.stdin.read(), "steps.py", "exec"), module.__dict__)

from lidr.components.report.history import STATE_KEYS
from lidr.components.report.lineage import _STEPS
from lidr.components.shared.lineage.graph import MAKERS
from lidr.components.shared.registry.ancestry import JUDGING_TAGS
from lidr.components.shared.store.runs import _OPTIONAL_STATE
from lidr.pipelines.maintenance.prune_plan import _ABOUT
from lidr.pipelines.placement import KIND_BY_COMPONENT
from lidr.pipelines.status import SHOWN, STEP_NAMES, logged_by

assert STATE_KEYS["critique"] == "critiques" and "critiques" in _OPTIONAL_STATE
assert _STEPS.index("judge") < _STEPS.index("critique") < _STEPS.index("gate")
assert MAKERS["critiqued"] == ("train", "prepare", "model")
assert JUDGING_TAGS["critique"] == "lidr.critiques_digest" and _ABOUT["critique"] == "pairs"
assert KIND_BY_COMPONENT["critique"] == "judge"
assert SHOWN.index("judge") < SHOWN.index("critique") < SHOWN.index("gate")
assert STEP_NAMES["critique"] == "critique" and logged_by("critique") == {"critique"}
"""


def test_a_row_more_is_a_step_more_for_everything_that_walks_the_graph():
    source = Path(steps.__file__).read_text()
    place = '\n    Step(\n        "gate",'
    assert source.count(place) == 1
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_ROW_MORE],
        input=source.replace(place, ROW + place.lstrip("\n")),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_row_names_only_what_there_is(step: steps.Step):
    assert step.kind in KINDS
    assert {maker for makers in step.reads.values() for maker in makers} <= BY_NAME.keys()
    assert {*step.data, *step.any_iteration} <= step.reads.keys()
    assert {step.about, step.advances_from} <= {"", "source", *step.reads}


def test_rows_are_unique_and_agree_with_each_other():
    assert len(BY_NAME) == len(STEPS)
    assert len(set(STATE_KEYS.values())) == len(STATE_KEYS)
    read = [(name, makers) for step in STEPS for name, makers in step.reads.items()]
    assert all(MAKERS[name] == makers for name, makers in read)


def test_every_step_has_its_folder():
    folders = {path.parent.name for path in COMPONENTS.glob("*/run.py")}
    without = {"model", "rollout", "reference"}  # part of evaluate's command, of tasks, of train
    assert folders == BY_NAME.keys() - without


def test_a_task_with_a_step_s_name_is_that_step_s_component():
    own = {step.name for step in STEPS if step.name in step.tasks}
    assert {name for name in own if not (COMPONENTS / name / "component.py").is_file()} == set()


def test_a_task_that_joins_steps_has_the_place_of_its_first():
    assert [step.name for step in TASKS["conclude"]] == ["gate", "register", "state"]
    assert TASKS["roll-out"][0].kind == "generate"
