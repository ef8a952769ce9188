"""The compiled pipeline against every trap known of KFP 2.17.

Each test names what goes wrong: in `kfp.local`, on the backend, or on the cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lidr.components.shared.config.budget import ACCOUNT, Account
from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.config.recipe import load_recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.store.recipes import reference_of
from lidr.pipelines.cli.inputs import read_recipe, run_name
from lidr.pipelines.compiled import MAX_BYTES, as_manifests, compile_loop
from lidr.pipelines.placement import DECIDERS
from lidr.pipelines.workflow_size import LIMIT, workflow_bytes
from tests.yaml_text import read_documents

HERE = Path(__file__).resolve().parents[2] / "pipelines"
RECIPES = sorted((HERE / "recipes").glob("*.yaml"))
PROFILES = {name: HERE / f"profiles/{name}.yaml" for name in ("local", "cluster")}

CONTROL_FLOW = ("comp-condition-", "comp-exit-handler-", "comp-iteration", "comp-learn")


def compiled(recipe: Path, profile: Profile, rounds: int = 5) -> str:
    science = load_recipe(recipe)
    return compile_loop(science, profile, run_name(None, science), rounds)


@pytest.fixture(scope="module", params=PROFILES)
def profile(request) -> Profile:
    return load_profile(PROFILES[request.param])


@pytest.fixture(scope="module")
def documents(profile: Profile) -> list[dict]:
    text = compiled(HERE / "recipes/tiny_world.yaml", profile)
    return list(read_documents(text))


@pytest.fixture(scope="module")
def ir(documents: list[dict]) -> dict:
    return documents[0]


@pytest.fixture(scope="module")
def dags(ir: dict) -> dict[str, dict]:
    found = {name: body["dag"] for name, body in ir["components"].items() if "dag" in body}
    return found | {"root": ir["root"]["dag"]}


@pytest.fixture(scope="module")
def tasks(dags: dict) -> list[tuple[str, dict]]:
    return [(name, task) for dag in dags.values() for name, task in dag["tasks"].items()]


@pytest.fixture(scope="module")
def containers(ir: dict) -> dict[str, dict]:
    executors = ir["deploymentSpec"]["executors"]
    return {name: body["container"] for name, body in executors.items()}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_five_rounds_stay_below_what_argo_takes(recipe: Path, profile: Profile):
    assert len(compiled(recipe, profile).encode()) < MAX_BYTES


def test_equal_input_gives_equal_bytes():
    arguments = HERE / "recipes/tiny_world.yaml", load_profile(PROFILES["cluster"])
    assert compiled(*arguments) == compiled(*arguments)


def test_no_oneof(ir: dict):
    assert "valueFromOneof" not in json.dumps(ir)


def test_an_if_tests_an_input_of_its_sub_pipeline(dags: dict, profile: Profile):
    """A bare If on a named output is silently False in kfp.local; a cluster's rounds bear it."""
    conditions = [
        (name, task)
        for name, dag in dags.items()
        for task in dag["tasks"].values()
        if "condition" in task.get("triggerPolicy", {})
    ]
    lifted = profile.runner == "kubeflow"
    rounds = [each for each in conditions if "next_step" not in str(each[1]["triggerPolicy"])]
    assert len(rounds) == (5 if lifted else 1), "in kfp.local all rounds share one"
    learning = len(rounds) if lifted else 1
    assert len(conditions) == len(rounds) + learning, "what follows the pairs bears a round's name"
    places = ("comp-exit-handler", "comp-iteration") if lifted else ("comp-iteration", "comp-learn")
    for name, task in conditions:
        assert name.startswith(places)
        told, wanted = ("verdict", "continue") if (name, task) in rounds else ("next_step", "train")
        given = told if lifted else f"pipelinechannel--{told}"
        condition = f"inputs.parameter_values['{given}'] == '{wanted}'"
        assert task["triggerPolicy"]["condition"] == condition
        verdict = task["inputs"]["parameters"][given]
        read = {"taskOutputParameter"} if lifted else {"componentInputParameter"}
        assert verdict.keys() == read


def test_nothing_outside_an_if_reads_from_inside(dags: dict):
    for name, dag in dags.items():
        if name.startswith(("comp-condition-", "comp-iteration", "comp-learn")):
            assert "outputs" not in dag


def test_no_parallel_for(tasks: list):
    """Its body gets the loop item instead of a parameter of a task in its own DAG."""
    iterators = ("parameterIterator", "artifactIterator", "iteratorPolicy")
    assert not [name for name, task in tasks if any(key in task for key in iterators)]


def test_the_iteration_has_no_outputs_and_no_recursion(ir: dict, dags: dict):
    for name, dag in dags.items():
        used = {task["componentRef"]["name"] for task in dag["tasks"].values()}
        assert name not in used
        if name.startswith("comp-iteration"):
            assert "outputDefinitions" not in ir["components"][name]


def test_rounds_stand_one_after_another(dags: dict):
    rounds = dags["comp-exit-handler-1"]["tasks"]
    numbers = [
        task["inputs"]["parameters"]["number"]["runtimeValue"]["constant"]
        for name, task in rounds.items()
        if name.startswith("iteration")
    ]
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    for number in range(2, 6):
        assert f"conclude-{number}" in rounds[f"iteration-{number}"]["dependentTasks"]
        assert f"iteration-{number}" in rounds[f"conclude-{number + 1}"]["dependentTasks"]


def test_at_most_five_rounds():
    with pytest.raises(BadInput, match="6 rounds"):
        compiled(HERE / "recipes/tiny_world.yaml", load_profile(PROFILES["cluster"]), 6)


@pytest.mark.parametrize(("resumed", "last"), [(False, 2), (True, 3)])
def test_first_iteration_beyond_the_last_is_told_the_bound(resumed: bool, last: int):
    recipe = load_recipe(HERE / "recipes/tiny_world.yaml")
    recipe = recipe.model_copy(
        update={"gate": recipe.gate.model_copy(update={"max_iterations": 2})}
    )
    said = rf"iteration 4 is not between 1 and {last} \(gate.max_iterations is 2\)"
    with pytest.raises(BadInput, match=said):
        compile_loop(recipe, load_profile(PROFILES["cluster"]), "mine", 5, 4, resumed=resumed)


def test_caching_is_off_everywhere(tasks: list):
    """KFP's cache key ignores the code in the image."""
    for name, task in tasks:
        assert not task.get("cachingOptions", {}).get("enableCache", False), name
        if not task["componentRef"]["name"].startswith(("comp-condition", "comp-exit")):
            assert "cachingOptions" in task, name


def test_nothing_is_installed_when_a_task_starts(containers: dict):
    for name, container in containers.items():
        text = " ".join(container["command"] + container["args"])
        assert "pip install" not in text, name
        assert "ensurepip" not in text, name


def test_only_lightweight_components(ir: dict, containers: dict):
    """kfp.local refuses all others: container components, importers, PVCs."""
    assert all("container" in body for body in ir["deploymentSpec"]["executors"].values())
    for container in containers.values():
        assert "kfp.dsl.executor_main" in " ".join(container["command"])


def test_component_bodies_hold_no_logic(containers: dict):
    for name, container in containers.items():
        source = container["command"][-1]
        body = source.split('"""')[-1].split("return ")
        assert len(body) == 2, name
        assert (
            body[0].strip().startswith(("from lidr.components.", "from lidr.pipelines.tasks "))
        ), name


def test_parameters_only(ir: dict):
    """Every consumer downloads all of an artifact before its code starts; nothing reads these."""
    shown = {}
    for name, body in {"root": ir["root"], **ir["components"]}.items():
        assert "artifacts" not in body.get("inputDefinitions", {})
        for artifact in body.get("outputDefinitions", {}).get("artifacts", {}).values():
            shown[name.removeprefix("comp-")] = artifact["artifactType"]["schemaTitle"]
    rollout = dict.fromkeys(("generate", "translate", "evaluate", "conclude"), "system.Metrics")
    assert shown == {**rollout, "finish": "system.HTML"}


def test_inputs_are_text_and_whole_numbers(ir: dict):
    """Integers inside lists arrive as floats; None as a default raises in kfp.local."""
    filled_in = {"TASK_FINAL_STATUS", "TASK_CONFIG"}
    allowed = {"STRING", "NUMBER_INTEGER", *filled_in}
    for name, body in {"root": ir["root"], **ir["components"]}.items():
        for key, given in body.get("inputDefinitions", {}).get("parameters", {}).items():
            assert given["parameterType"] in allowed, (name, key)
            if given["parameterType"] == "NUMBER_INTEGER" and "defaultValue" in given:
                assert given["defaultValue"] == int(given["defaultValue"])
            optional = given.get("isOptional", False)
            if optional and given["parameterType"] not in filled_in:
                assert given["defaultValue"] is not None


def test_every_input_of_the_root_has_a_default(ir: dict):
    inputs = ir["root"]["inputDefinitions"]["parameters"]
    assert set(inputs) == {"recipe", "store", "run", "max_iterations"}
    assert all("defaultValue" in given for given in inputs.values())


def test_no_environment_is_set_but_the_profile_s_tracking_server(
    containers: dict, profile: Profile
):
    """It would override the laptop user's own; an image's name is nobody's setting."""
    wanted = [{"name": "MLFLOW_TRACKING_URI", "value": profile.tracking_uri}]
    account = [{"name": ACCOUNT, "value": text}] if (text := Account.of(profile).text()) else []
    for name, container in containers.items():
        given = [each for each in container.get("env", []) if each["name"] != "LIDR_IMAGE"]
        own = account if name.removeprefix("exec-") in DECIDERS and profile.tracking_uri else []
        assert given == [*(wanted if profile.tracking_uri else []), *own], name


def test_an_exit_handler_guards_the_loop(dags: dict):
    """kfp.local runs an exit task only when it takes the final status."""
    finish = dags["root"]["tasks"]["finish"]
    assert finish["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert finish["inputs"]["parameters"]["status"] == {
        "taskFinalStatus": {"producerTask": "exit-handler-1"}
    }


def test_exit_handler_has_nothing_behind_it(dags: dict):
    """Kubeflow calls a run SUCCEEDED that failed inside it, where a task behind it was omitted."""
    assert set(dags["root"]["tasks"]) == {"exit-handler-1", "finish"}


def test_iteration_has_one_task_of_bookkeeping(dags: dict):
    """Kubeflow spends 20 seconds on each task, whatever it does."""
    rounds = dags["comp-exit-handler-1"]["tasks"]
    kinds = [re.sub(r"-\d+$", "", name) for name in rounds]
    assert sorted(set(kinds)) == ["conclude", "evaluate", "iteration", "prepare"]
    assert kinds.count("conclude") == kinds.count("iteration") + 1 == 6


def test_recipe_stands_in_a_cluster_s_pipeline_at_most_once():
    recipe, profile = (
        load_recipe(HERE / "recipes/tiny_world.yaml"),
        load_profile(PROFILES["cluster"]),
    )
    for on_store, times in ((True, 0), (False, 1)):
        text = compile_loop(recipe, profile, "mine", 5, on_store=on_store)
        assert text.count("weak_solutions") == times, on_store
        assert f"defaultValue: {reference_of(recipe)}" in text


def test_images_come_from_the_profile(containers: dict, profile: Profile):
    if profile.runner == "local":
        assert {container["image"] for container in containers.values()} == {"python:3.11"}
        return
    for name, container in containers.items():
        step = name.removeprefix("exec-").rstrip("-0123456789")
        kind = {"prepare": "train", "train": "train"}.get(step, "control")
        kind = "generate" if step in ("generate", "translate", "evaluate") else kind
        assert container["image"] == getattr(profile.images, kind), name
        assert "{{" not in container["image"], name


def test_tasks_are_retried_on_a_cluster_only(tasks: list, profile: Profile):
    for name, task in tasks:
        control_flow = task["componentRef"]["name"].startswith(CONTROL_FLOW)
        retried = task.get("retryPolicy", {}).get("maxRetryCount", 0)
        assert bool(retried) == (profile.runner == "kubeflow" and not control_flow), name


def test_the_train_step_hands_its_place_to_the_trainjob(ir: dict, profile: Profile):
    """Its own pod only waits: it must not hold the accelerators that the nodes need."""
    train = ir["components"]["comp-train"]
    passed = {each["field"]: each.get("applyToTask", False) for each in _passed(train)}
    if profile.training.launcher == "local" and profile.runner == "kubeflow":
        assert passed == {}
        return
    assert passed == {
        "RESOURCES": False,
        "KUBERNETES_NODE_SELECTOR": False,
        "KUBERNETES_TOLERATIONS": False,
        "KUBERNETES_AFFINITY": False,
        "ENV": True,
    }


def _passed(component: dict) -> list[dict]:
    return component.get("taskConfigPassthroughs", [])


def test_how_ranks_are_started_is_a_constant_of_the_train_task(dags: dict, profile: Profile):
    found = [dag["tasks"]["train"] for dag in dags.values() if "train" in dag["tasks"]]
    assert len(found) == (1 if profile.runner == "local" else 5)
    for task in found:
        text = task["inputs"]["parameters"]["launch"]["runtimeValue"]["constant"]
        assert Launch.parse(text) == Launch.of(profile)
        assert len(text) < 500


def test_tasks_bear_the_names_of_their_models_on_a_cluster(dags: dict, profile: Profile):
    shown = [task["taskInfo"]["name"] for dag in dags.values() for task in dag["tasks"].values()]
    if profile.runner == "local":
        assert "M_1 train" not in shown
        return
    steps = ("generate", "translate", "pair", "train", "evaluate", "gate and register")
    rounds = [f"M_{t} {step}" for t in range(1, 6) for step in steps]
    start = ["M_0 prepare", "M_0 evaluate", "M_0 gate and register", "report"]
    groups = [f"M_{t}" for t in range(1, 6)]
    assert sorted(shown) == sorted([*rounds, *start, *groups, "iterations"])


def test_components_that_are_steps_are_shared_all_the_same(ir: dict):
    executed = [name for name, body in ir["components"].items() if "executorLabel" in body]
    assert not [name for name in executed if re.search(r"-\d+$", name)]


def test_docstrings_reach_the_user_interface(ir: dict):
    for name, body in ir["components"].items():
        if "executorLabel" in body:
            for key, given in body["inputDefinitions"]["parameters"].items():
                assert given.get("description"), (name, key)


def test_settings_and_secrets_are_references(documents: list, profile: Profile):
    if profile.runner == "local":
        assert len(documents) == 1
        return
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(documents[0]["deploymentSpec"]["executors"])
    for body in executors.values():
        assert {given["secretName"] for given in body["secretAsEnv"]} == set(profile.secrets)
        assert {given["configMapName"] for given in body["configMapAsEnv"]} == set(
            profile.config_maps
        )


@pytest.fixture(scope="module")
def sharded() -> dict[str, dict]:
    profile = load_profile(HERE / "profiles/cluster.yaml").model_copy(update={"shards": 8})
    text = compile_loop(load_recipe(HERE / "recipes/tiny_world.yaml"), profile, "mine", 5)
    components = next(read_documents(text))["components"]
    return {name: body["dag"]["tasks"] for name, body in components.items() if "dag" in body}


def test_shards_are_one_task_whose_pods_are_a_trainjob_s(sharded: dict):
    """As tasks of their own, five rounds of 16 would not fit into Argo's Workflow."""
    body, *others = [tasks for tasks in sharded.values() if "roll-out" in tasks]
    assert len(others) == 4, "a round each"
    assert set(body) == {"roll-out", "pair", "train", "evaluate"}
    given = body["roll-out"]["inputs"]["parameters"]
    assert given["shards"]["runtimeValue"]["constant"] == 8
    launch = Launch.parse(given["launch"]["runtimeValue"]["constant"])
    assert (launch.launcher, launch.nodes, launch.runtime) == ("trainjob", 8, "lidr-rollout")
    assert launch.image.endswith("/generate:0.1.0")


def test_shards_on_a_cluster_need_a_trainjob(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nrunner: kubeflow\nstore: s3://b/p\nshards: 8\n")
    with pytest.raises(BadInput, match=r"mine.yaml:4: shards: 8 shards are pods of a TrainJob"):
        load_profile(file)


@pytest.mark.parametrize("on_store", [True, False])
def test_five_rounds_of_sixteen_shards_with_a_judge_fit_into_half_of_a_workflow(on_store: bool):
    """A real Argo counted 455,256 bytes of this run, whose every task was gone through."""
    profile = load_profile(HERE / "profiles/kind.yaml").model_copy(update={"shards": 16})
    task = "{name: care, questions: 's3://b/{language}.jsonl'}"
    judge = f"judge={{endpoint: {{model: j}}, tasks: [{task}]}}"
    recipe = read_recipe("tiny_world", None, [judge, "gate.max_iterations=5"])
    text = compile_loop(recipe, profile, "mine", 5, on_store=on_store)
    assert 511_701 * 1.1 > workflow_bytes(text) > 511_701 * 0.99  # measured, with longer steps
    assert workflow_bytes(text) < LIMIT / 2


def test_sharded_rounds_are_as_small(sharded: dict):
    assert len(json.dumps(sharded)) < MAX_BYTES / 4


BREAKS = ("\u2028", "\u2029", "\x85", "\x7f", "\ufffe", "\ufeff", "\r\n", "\x0c", "é", "'\"#: -")


@pytest.mark.parametrize("sign", BREAKS)
def test_a_string_of_the_recipe_arrives_whatever_signs_it_holds(profile, sign):
    """YAML 1.1 takes U+2028 and its kin for ends of lines, in comments and in scalars."""
    text = f"a{sign}b"
    science = load_recipe(RECIPES[-1], {"generation.stop": [text]})
    made = compile_loop(science, profile, run_name(None, science), 2)
    made = as_manifests(made, "kubeflow") if profile.runner == "kubeflow" else made
    documents = list(read_documents(made))
    found = [json.loads(each) for each in recipes_in(documents)]
    assert found and all(each["generation"]["stop"] == [text] for each in found)


def recipes_in(value: object) -> Iterator[str]:
    """Yield the recipes that a compiled pipeline holds, as JSON."""
    if isinstance(value, str) and value.startswith('{"name":'):
        yield value
    parts = value.values() if isinstance(value, dict) else value
    for part in parts if isinstance(value, dict | list) else ():
        yield from recipes_in(part)
