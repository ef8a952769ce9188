"""lidr plan: counts, speeds, costs, and what it says of bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.sizing.architecture import read_architecture
from lidr.pipelines.checks.capacity import pair_memory_findings
from lidr.pipelines.checks.finding import CheckInputs
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.planning.estimate import Estimate, PlanInputs, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.pair_memory import pair_bytes, pair_memory_fault, planned_pairs
from lidr.pipelines.planning.requests import Lengths, Load, PlannedPrompts, Requests, read_prompts
from lidr.pipelines.planning.scaling import with_gpus
from lidr.pipelines.planning.scenario import Scenario, simulate_plan
from lidr.pipelines.planning.shapes import known_models, model_config
from lidr.pipelines.planning.simulator import Trouble
from lidr.pipelines.planning.speed import ModelServer
from tests.layers import layer
from tests.pipelines.test_cli import main

LLAMA = "llama3_8b_en_es_ru_de_fr"

PARAMETERS = {  # as the hub's model pages name them
    "meta-llama/Meta-Llama-3-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
}

ONE_H100 = {  # Llama 3.1 8B in FP8: tokens in, tokens out, output tokens/s (source tensorrt-llm)
    (128, 128): 28_312,
    (128, 2048): 22_714,
    (128, 4096): 14_325,
    (500, 2000): 17_660,
    (1000, 1000): 15_220,
    (1000, 2000): 13_899,
    (2048, 128): 3_450,
    (2048, 2048): 9_305,
    (5000, 500): 3_459,
}

TWO_H100 = {  # Llama 3.3 70B in FP8
    (128, 128): 6_378,
    (128, 2048): 6_651,
    (128, 4096): 4_199,
    (500, 2000): 5_222,
    (1000, 1000): 4_205,
    (1000, 2000): 4_146,
    (2048, 128): 762,
    (2048, 2048): 3_082,
    (5000, 500): 898,
}


def plan(name: str, profile: str = "cluster", *settings: str, gpus: int = 0) -> Estimate:
    recipe, placed = read_recipe(name, None, settings), read_profile(*profile.split())
    placed = with_gpus(placed, recipe, gpus) if gpus else placed
    inputs = PlanInputs(recipe, placed, model_config(recipe.model), read_prompts(recipe), figures())
    return estimate(inputs)


def published(model: str, gpus: int, figures_of: dict[tuple[int, int], int]) -> list[float]:
    """Return predicted over published output tokens a second, vLLM's own share left out."""
    h100 = figures().gpu("H100")
    fp8 = h100.model_copy(update={"tflops": 2 * h100.tflops})
    shape = read_architecture(known_models()[model])
    peaks = figures().roofline.model_copy(update={"engine": 1.0})
    server = ModelServer(
        "generate", shape, fp8, gpus, peaks, sequences=2048, weight_bytes=1, cache_bytes=1
    )
    ratios = []
    for (prompt, output), speed in figures_of.items():
        load = Load(3000, 3000.0 * prompt, 3000.0 * output, output)
        ratios.append(load.output_tokens / server.seconds(load) / speed)
    return ratios


@pytest.mark.parametrize(("model", "parameters"), PARAMETERS.items())
def test_shipped_shapes_have_the_parameters_that_are_published(model: str, parameters: int):
    assert read_architecture(known_models()[model]).parameters == parameters


def test_the_roofline_gives_the_published_speeds():
    small = published("meta-llama/Llama-3.1-8B-Instruct", 1, ONE_H100)
    large = published("meta-llama/Llama-3.1-70B-Instruct", 2, TWO_H100)
    assert all(0.8 < ratio < 1.25 for ratio in small), small
    assert all(0.7 < ratio < 1.3 for ratio in large), large


def test_every_figure_names_a_source():
    known = figures()
    used = {name for gpu in known.gpus.values() for name in gpu.sources}
    used |= set(known.roofline.sources)
    assert used <= set(known.sources)
    assert all(gpu.sources for gpu in known.gpus.values())


def test_requests_are_those_the_steps_make():
    recipe = read_recipe(
        LLAMA,
        None,
        [
            "prompts.per_iteration=10",
            "generation.samples=3",
            "generation.temperature=1",
            "translation.round_trip_sample=4",
        ],
    )
    measured = Lengths(
        prompt=dict.fromkeys(recipe.languages.all, 10.0),
        answer=dict.fromkeys(recipe.languages.all, 100.0),
        translation={"en-es": 120.0, "es-en": 90.0},
        evaluation=dict.fromkeys(recipe.languages.all, 50.0),
        kept=0.5,
    )
    work = Requests(recipe, PlannedPrompts(10, {}), figures().lengths, measured)
    assert work.generate == Load(150, 1500.0, 15_000.0, 2048)
    assert work.translate.requests == 4 * 2 * (30 + 4)
    every_prompt = recipe.model_copy(
        update={"translation": recipe.translation.model_copy(update={"round_trip_sample": 100})}
    )
    wide = Requests(every_prompt, PlannedPrompts(10, {}), figures().lengths, measured)
    assert wide.translate.requests == 4 * 2 * (30 + 10), "one round trip for a prompt"
    assert work.translate.output_tokens == 3 * 2 * 34 * 100 + 30 * 210 + 4 * 210
    assert (work.pairs.candidates, work.pairs.pairs, work.pairs.steps) == (240, 120, 1)
    assert work.pairs.tokens == pytest.approx(0.5 * (240 * 210 + 30 * 20 - 30 * 10))
    assert work.evaluate.requests == 5 * 250
    assert work.evaluate.output_tokens == 5 * 250 * 50


def test_no_request_is_longer_than_the_recipe_lets_it_be():
    recipe = read_recipe(
        LLAMA,
        None,
        ["generation.max_tokens=50", "translation.max_tokens=20", "training.max_length=16"],
    )
    work = Requests(recipe, PlannedPrompts(10, {}), figures().lengths, Lengths())
    assert work.generate.output_tokens == 5 * 10 * 50
    assert work.translate.output_tokens == 4 * 2 * (10 + 10) * 20
    assert work.pairs.length <= 32


def test_a_prompt_leaves_the_rest_of_max_length_to_each_side():
    recipe = read_recipe(LLAMA, None, ["training.max_length=1024"])
    codes = recipe.languages.all
    translation = {f"{one}-{two}": 800.0 for one in codes for two in codes}
    measured = Lengths(
        prompt=dict.fromkeys(codes, 600.0),
        answer=dict.fromkeys(codes, 800.0),
        translation=translation,
    )
    pairs = Requests(recipe, PlannedPrompts(10, {}), figures().lengths, measured).pairs
    assert (pairs.length, pairs.responses) == (600 + 2 * 424, 80 * 2 * 424)


def test_the_last_step_of_all_epochs_may_be_a_partial_one():
    settings = ["training.batch_size=64", "training.epochs=10"]
    recipe = read_recipe(LLAMA, None, settings)
    measured = Lengths(kept=65 / 80)
    pairs = Requests(recipe, PlannedPrompts(10, {}), figures().lengths, measured).pairs
    assert (pairs.pairs, pairs.steps) == (65, 11)


def test_a_number_of_items_that_is_assumed_is_said_also_with_a_limit():
    assumed = figures().lengths
    for limit, said in ((0, ["arc_{language}"]), (2000, ["arc_{language}"]), (100, [])):
        settings = ['evaluation.tasks=["arc_{language}"]', f"evaluation.limit={limit}"]
        recipe = read_recipe(LLAMA, None, settings)
        work = Requests(recipe, PlannedPrompts(10, {}), assumed, Lengths())
        assert work.unknown_tasks() == said, limit


@pytest.mark.parametrize(
    ("task", "set_to", "longest"),
    [
        ("mgsm_paper_{language}", 0, 2048),
        ("mgsm_steps_{language}", 300, 300),
        ("mmlu_prox_lite_{language}", 0, 2048),
        ("mgsm_direct_{language}", 0, 512),
        ("a_task_of_my_own_{language}", 0, 512),
    ],
)
def test_evaluation_answers_are_as_long_as_evaluate_lets_them_be(task, set_to, longest):
    settings = [f'evaluation.tasks=["{task}"]', f"evaluation.max_tokens={set_to}"]
    recipe = read_recipe(LLAMA, None, settings)
    measured = Lengths(evaluation=dict.fromkeys(recipe.languages.all, 10_000.0))
    work = Requests(recipe, PlannedPrompts(10, {}), figures().lengths, measured)
    assert work.evaluate.longest == longest
    assert work.evaluate.output_tokens == work.evaluate.requests * longest


def test_the_limit_of_generation_shortens_no_evaluation_answer():
    """Nothing has been measured: an answer has the assumed length, up to evaluation's own limit."""
    limits = [[], ["generation.max_tokens=24"], ["evaluation.max_tokens=96"]]
    own, generated, limited = (
        Requests(
            read_recipe(LLAMA, None, settings), PlannedPrompts(10, {}), figures().lengths, Lengths()
        ).evaluate
        for settings in limits
    )
    assert generated == own
    assert limited.output_tokens == 96 * limited.requests < own.output_tokens


def test_stored_models_have_the_bytes_of_their_own_type(tmp_path: Path):
    parameters = read_architecture(model_config(read_recipe(LLAMA, None, None).model)).parameters
    rounds = read_recipe(LLAMA, None, None).gate.max_iterations
    assert plan(LLAMA).store_bytes["models"] == 2 * parameters * rounds
    precise = plan(LLAMA, "cluster", "training.precision=float32")
    assert precise.store_bytes["models"] == 2 * parameters * rounds, "as the start's files"
    config = model_config(read_recipe(LLAMA, None, None).model)
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    wide = plan(LLAMA, "cluster", f"model.source={tmp_path}")
    assert wide.store_bytes["models"] == 4 * parameters * rounds
    adapter = ["training.lora.rank=8", "training.lora.merge=false"]
    small = plan(LLAMA, "cluster", *adapter)
    assert small.store_bytes["models"] < 0.01 * wide.store_bytes["models"]
    assert small.store_bytes["checkpoints"] < 0.01 * wide.store_bytes["checkpoints"]


def test_prompt_files_are_counted_and_measured(tmp_path: Path):
    rows = [json.dumps({"id": str(i), "instruction": "x" * 40}) for i in range(3000)]
    for code in ("en", "es", "de"):
        (tmp_path / f"{code}.jsonl").write_text("\n".join(rows) + "\n")
    files = {code: f"{tmp_path}/{code}.jsonl" for code in ("en", "es", "de")}
    settings = [f"prompts.files.{code}={file}" for code, file in files.items()]
    recipe = read_recipe("llama3_8b_gsm8k", None, [*settings, "prompts.per_iteration=100000"])
    found = read_prompts(recipe)
    assert (found.count, found.missing) == (3000, ("ru", "fr"))
    assert found.characters == {"en": 40, "es": 40, "de": 40}
    (tmp_path / "de.jsonl").write_text('{"id": "1", "instruction": "x"}\n{"id": "2"}\n')
    with pytest.raises(BadInput, match=r"de\.jsonl:2: field 'instruction' or 'question'"):
        read_prompts(recipe)


def test_a_parquet_file_without_the_field_says_which_ones_it_has(tmp_path: Path):
    pq.write_table(pa.table({"id": ["1"], "query": ["How many?"]}), tmp_path / "en.parquet")
    settings = [f"prompts.files.en={tmp_path}/en.parquet"]
    with pytest.raises(BadInput, match=r"the line has id, query"):
        read_prompts(read_recipe("llama3_8b_gsm8k", None, settings))


def test_steps_use_the_gpus_the_pipeline_gives_them():
    found = plan(LLAMA)
    gpus = {work.stage: work.gpus for work in found.works}
    assert gpus == {
        "prepare": 0, "evaluate": 1, "register": 0, "generate": 1, "translate": 1, "pair": 0,
        "train": 8, "gate": 0, "report": 0,
    }  # fmt: skip
    stages = [work.stage for work in found.works]
    once = ["generate", "translate", "pair", "train", "evaluate", "gate", "register"]
    assert stages == ["prepare", "evaluate", "register", *once, *once, "report"]


def test_more_work_takes_longer_and_more_gpus_do_it_sooner(tmp_path):
    small, large = (plan(LLAMA, "cluster", f"prompts.per_iteration={n}") for n in (1000, 64_000))
    assert large.gpu_hours > 30 * small.gpu_hours
    wide = plan(LLAMA, "cluster", "prompts.per_iteration=64000", gpus=64)
    assert wide.seconds < large.seconds / 5
    assert wide.gpu_hours > large.gpu_hours
    fused = plan(LLAMA, f"cluster {layer(tmp_path, engine={'fused': True})}")
    assert fused.gpu_hours < small.gpu_hours  # one engine less is started


def test_shards_translate_in_the_pods_that_generate(tmp_path):
    shards = layer(tmp_path, shards=4)
    found = plan(LLAMA, f"cluster {shards}", "prompts.per_iteration=8000")
    pods = {work.stage: work.pods for work in found.works}
    assert (pods["generate"], pods["translate"]) == (5, 0), "the launcher and four shards"
    assert found.pods == sum(work.pods for work in found.works)


@pytest.mark.parametrize("gpus", [1, 8, 16, 512, 100_000])
@pytest.mark.parametrize("launcher", ["local", "trainjob"])
def test_a_profile_for_other_gpus_is_one_that_could_be_written(gpus, launcher):
    recipe, placed = read_recipe(LLAMA, None, ()), read_profile("cluster")
    training = placed.training.model_copy(update={"nodes": 1, "launcher": launcher})
    placed = placed.model_copy(update={"shards": 1, "training": training})
    found = with_gpus(placed, recipe, gpus)
    assert Profile.model_validate(found.model_dump()) == found


def test_what_follows_train_shrinks_with_it():
    placed = read_profile("cluster")
    follows = placed.steps.model_copy(update={"prepare": type(placed.steps.prepare)()})
    placed = placed.model_copy(update={"steps": follows})
    assert placed.resources_of("prepare").accelerators == 8
    found = with_gpus(placed, read_recipe(LLAMA, None, ()), 4)
    assert [found.resources_of(kind).accelerators for kind in ("train", "prepare")] == [4, 4]


def test_shards_without_chunks_are_named():
    notes = " ".join(plan(LLAMA, gpus=16).notes)
    assert "16 shards, but 2 chunks of 500 prompts: 14 have nothing to do" in notes


def test_a_row_of_a_simulation_has_the_notes_that_depend_on_its_gpus():
    recipe, placed = read_recipe(LLAMA, None, ()), read_profile("cluster")
    read = model_config(recipe.model), read_prompts(recipe), figures()
    rows = simulate_plan(PlanInputs(recipe, placed, *read), Scenario((1, 8, 16), Trouble(), 2))
    alone, eight, sixteen = (row["notes"] for row in rows)
    assert [note.partition(":")[0] for note in alone] == ["training does not fit"]
    idle = "prompts: {} have nothing to do; lower generation.chunk_size"
    assert [note.partition(" 500 ")[2] for note in eight] == [idle.format(6)]
    assert [note.partition(" 500 ")[2] for note in sixteen] == [idle.format(14)]


def test_a_gpu_without_figures_may_be_left_out():
    with pytest.raises(BadInput) as caught:
        figures().gpu("H1O0")
    assert caught.value.remedy.endswith("or leave it empty: plans then assume an H100.")


def test_memory_is_the_train_steps_own_plan(tmp_path):
    found = plan(LLAMA)
    assert found.fits and not found.remedy
    alone = plan(LLAMA, gpus=1)
    assert alone.fits is False
    assert "training.zero" in alone.remedy or "nodes" in alone.remedy
    assert "GiB of its node's memory" in alone.remedy
    for memory, remedy in ((6, "set training.max_length below"), (3, "choose accelerators")):
        small = layer(tmp_path, training={"gpu_memory_gib": memory})
        assert plan(LLAMA, f"cluster {small}").remedy.startswith(remedy)


def test_an_engine_that_cannot_hold_the_model_is_bad_input(tmp_path: Path):
    settings = [
        "model.source=hf://meta-llama/Llama-3.1-70B-Instruct@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    ]
    with pytest.raises(BadInput, match="141 GB of weights leave no room on 1 GPU"):
        plan(LLAMA, "cluster", *settings)


@pytest.mark.parametrize(("profile", "engines"), [("cluster", 3.0), ("cluster spot", 2.25)])
def test_prices_follow_from_the_pools(profile: str, engines: float):
    found = plan(LLAMA, profile)
    prices = {work.stage: work.price for work in found.works if work.gpus}
    assert prices == {
        "evaluate": engines, "generate": engines, "translate": engines, "train": 3.0,
    }  # fmt: skip
    assert found.cost == pytest.approx(sum(w.gpu_hours * w.price for w in found.works))


def test_every_step_is_planned_on_its_own_pool():
    profile = read_profile("cluster").model_dump(mode="json", exclude_unset=True)
    profile["pools"]["l4"] = {"gpu": "L4", "accelerators": 2}
    profile["steps"]["evaluate"] = {"pool": "l4"}
    profile["prices"]["gpus"]["L4"] = {"on_demand": 0.7}
    recipe = read_recipe(LLAMA, None, None)
    config, prompts = model_config(recipe.model), read_prompts(recipe)
    placed = Profile.model_validate(profile)
    works = {
        w.stage: w for w in estimate(PlanInputs(recipe, placed, config, prompts, figures())).works
    }
    before = {work.stage: work for work in plan(LLAMA).works}
    assert (works["evaluate"].gpus, works["evaluate"].price) == (2, 0.7)
    assert works["evaluate"].seconds > before["evaluate"].seconds
    assert works["generate"] == before["generate"]


@pytest.mark.parametrize(
    ("price", "spot", "noted"),
    [
        ({"H10O": {"on_demand": 3.0}}, False, ["H100 of generate, translate, evaluate, train"]),
        ({"H100": {"on_demand": 3.0}}, True, ["H100 on spot nodes of evaluate"]),
        ({"H100": {"on_demand": 0.0, "spot": 0.0}}, True, []),
        ({}, False, []),
    ],
)
def test_a_plan_notes_the_gpus_whose_price_is_not_known(price, spot: bool, noted: list[str]):
    profile = read_profile("cluster").model_dump(mode="json", exclude_unset=True)
    profile["prices"]["gpus"] = price
    profile["steps"]["evaluate"] = {"pool": "h100", "accelerators": 1, "spot": spot}
    recipe = read_recipe(LLAMA, None, None)
    config, prompts = model_config(recipe.model), read_prompts(recipe)
    placed = Profile.model_validate(profile)
    notes = estimate(PlanInputs(recipe, placed, config, prompts, figures())).notes
    start = "the cost leaves out GPUs without a price in prices.gpus: "
    assert [each.removeprefix(start) for each in notes if each.startswith(start)] == noted


def test_fewer_gpus_than_one_pod_of_any_step_are_refused():
    recipe = read_recipe(LLAMA, None, None)
    profile = read_profile("cluster").model_dump(mode="json", exclude_unset=True)
    profile["steps"]["prepare"] = {**profile["steps"]["generate"], "accelerators": 8}
    placed = Profile.model_validate(profile)
    with pytest.raises(BadInput, match="--gpus 4 are too few for one pod of prepare, which has 8"):
        with_gpus(placed, recipe, 4)
    assert with_gpus(placed, recipe, 8).shards == 8
    profile["steps"]["score"] = {**profile["steps"]["prepare"], "accelerators": 16}
    assert with_gpus(Profile.model_validate(profile), recipe, 8).shards == 8, "nothing is scored"


def test_pods_of_translate_count_only_where_there_are_no_shards():
    recipe = read_recipe(LLAMA, None, None)
    profile = read_profile("cluster").model_dump(mode="json", exclude_unset=True)
    profile["steps"]["translate"] = {**profile["steps"]["generate"], "accelerators": 4}
    placed = Profile.model_validate(profile)
    assert with_gpus(placed, recipe, 2).shards == 2, "generate's pods translate"
    with pytest.raises(BadInput, match="--gpus 1 are too few for one pod of translate"):
        with_gpus(placed, recipe, 1)


def test_simulation_of_cpus_has_no_gpus_and_of_an_endless_step_no_cost(monkeypatch, capsys):
    trouble = ("--slowness", "0.1", "--output", "json")
    code, out, _ = main(monkeypatch, capsys, "plan", "tiny_world", *trouble)
    assert code == 0
    assert [row["gpus"] for row in json.loads(out)["simulation"]] == [0]
    arguments = ("plan", LLAMA, "--gpus", "1024", "--node-mtbf-hours", "0.01", "--output", "json")
    code, out, _ = main(monkeypatch, capsys, *arguments, "--profile", "cluster")
    (row,) = json.loads(out)["simulation"]
    assert row["never"] and set(row["cost"].values()) == set(row["seconds"].values()) == {None}
    assert (row["nodes_lost"], row["waited_seconds"]) == (None, None)


def test_memory_that_pair_lacks_is_noted_and_found_by_check():
    placed, many = read_profile("cluster"), "prompts.per_iteration=10000000"
    wanted = read_recipe(LLAMA, None, [many])
    pairs = planned_pairs(wanted, read_prompts(wanted))
    assert pairs.candidates == 2 * 4 * 10_000_000 * wanted.generation.samples
    assert pair_bytes(pairs) > pairs.candidates * 2000
    assert pair_memory_fault(placed, pairs).endswith("and steps.control.memory is 4Gi")
    assert pair_memory_fault(Profile(name="here"), pairs) == "", "a process here has no limit"
    assert pair_memory_fault(placed, replace(pairs, candidates=10_000)) == ""
    tiny = replace(pairs, candidates=100, languages=4)
    assert 0.5 < pair_bytes(tiny) / 2**30 < 0.6, "512 MiB were too few on a cluster"
    noted = [note for note in plan(LLAMA, "cluster", many).notes if "steps.control.memory" in note]
    (found,) = pair_memory_findings(CheckInputs(wanted, placed, 60))
    assert len(noted) == 1 and noted[0].startswith(found.detail)
    assert found.state == "missing" and "steps.control.memory" in found.remedy
    assert not list(pair_memory_findings(CheckInputs(read_recipe(LLAMA, None, None), placed, 60)))


def test_a_pool_without_a_type_of_gpu_is_noted():
    recipe = read_recipe("tiny_world", None, None)
    config, prompts = model_config(recipe.model), read_prompts(recipe)
    steps = {"generate": {"accelerators": 1}, "train": {"accelerators": 1}}
    placed = Profile.model_validate({"name": "p", "steps": steps})
    (note,) = [
        note
        for note in estimate(PlanInputs(recipe, placed, config, prompts, figures())).notes
        if "H100" in note
    ]
    assert "generate, translate, evaluate, train, prepare: H100 is assumed" in note


def test_steps_that_ask_a_server_are_planned_without_gpus_of_their_own():
    steps = {"generate": {}, "translate": {}, "evaluate": {}, "train": {"accelerators": 8}}
    placed = read_profile("cluster").model_dump(mode="json") | {"steps": steps}
    recipe = read_recipe(LLAMA, None, ["generation.engine=openai"])
    inputs = PlanInputs(
        recipe,
        Profile.model_validate(placed),
        model_config(recipe.model),
        read_prompts(recipe),
        figures(),
    )
    plan = estimate(inputs)
    asked = [work for work in plan.works if work.stage in ("generate", "translate", "evaluate")]
    startup = figures().times.control_seconds
    assert {(work.gpus, work.seconds) for work in asked} == {(0, startup)}
    assert next(work.gpu_hours for work in plan.works if work.stage == "train") > 0
    (note,) = [note for note in plan.notes if "openai" in note]
    assert note.startswith("the time that the server of generation.engine openai takes is not")
    (note,) = [
        n for n in estimate(replace(inputs, profile=read_profile("cluster"))).notes if "openai" in n
    ]
    assert "is assumed to be as fast as the GPUs" in note
    local = replace(inputs, recipe=read_recipe(LLAMA, None, ["generation.engine=transformers"]))
    with pytest.raises(BadInput, match=r"profile cluster gives step evaluate no GPU") as error:
        estimate(local)
    assert "steps.evaluate.accelerators" in error.value.remedy


def test_json_has_gpu_hours_of_every_stage_and_in_total(monkeypatch, capsys):
    arguments = ("plan", LLAMA, "--gpus", "4,64", "--node-mtbf-hours", "3", "--output", "json")
    code, out, err = main(monkeypatch, capsys, *arguments, "--profile", "cluster")
    found = json.loads(out)
    assert (code, err) == (0, "")
    hours = {stage["stage"]: stage["gpu_hours"] for stage in found["stages"]}
    assert hours["train"] > 0 and hours["gate"] == 0
    assert found["total"]["gpu_hours"] == pytest.approx(sum(hours.values()))
    assert found["total"]["seconds"] == pytest.approx(sum(s["seconds"] for s in found["stages"]))
    assert found["memory"]["fits"] is True and found["parameters"] == 8_030_261_248
    assert [row["gpus"] for row in found["simulation"]] == [4, 64]
    for row in found["simulation"]:
        assert row["seconds"]["p10"] <= row["seconds"]["median"] <= row["seconds"]["p90"]
        assert row["seconds"]["low"] <= row["seconds"]["mean"] <= row["seconds"]["high"]
        assert row["nodes_lost"] > 0
    assert found["power"]["rows"] and found["notes"] and found["sources"]


def test_text_shows_the_tables(monkeypatch, capsys):
    arguments = ("plan", LLAMA, "--gpus", "1024", "--node-mtbf-hours", "0.05")
    code, out, _ = main(monkeypatch, capsys, *arguments, "--profile", "cluster")
    assert code == 0
    assert "tokens out" in out and "translate" in out and "a training rank needs" in out
    assert "would never end, because its nodes are lost before they finish a piece" in out
    (cells,) = [line.split() for line in out.splitlines() if line.split()[:2] == ["1,024", "never"]]
    assert cells[1:6] == ["never"] * 5, "no time, no hours, no lost nodes, no wait"
    assert "Points that are detected" in out


def test_a_model_in_a_folder_is_read_there(tmp_path: Path):
    config = known_models()["Qwen/Qwen2.5-0.5B-Instruct"] | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = plan(LLAMA, "cluster", f"model.source={tmp_path}")
    assert found.parameters < 494_032_768


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no RECIPE is named"),
        ([LLAMA, "--gpus", "4,many"], "--gpus 4,many: not numbers from 1 to 100,000"),
        ([LLAMA, "--gpus", "0"], "not numbers from 1"),
        ([LLAMA, "--profile", "typo.yaml"], "no figures for GPU 'H10' (did you mean 'H100'?)"),
        ([LLAMA, "--set", "model.source=folder"], "folder/config.json: cannot be read"),
        ([LLAMA, "--calibration", "none.json"], "none.json: no such file"),
        ([LLAMA, "--calibration", "bad.json"], "bad.json:1: unknown key 'speed'"),
        (["--calibrate", "store", "absent"], "no run 'absent' on"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, tmp_path: Path, arguments, message):
    monkeypatch.chdir(tmp_path)
    profile = read_profile("cluster").model_dump(mode="json", exclude_unset=True)
    profile["pools"]["h100"]["gpu"] = "H10"
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "bad.json").write_text('{"speed": 1}\n')
    code, out, err = main(monkeypatch, capsys, "plan", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("lidr: error: ") and err.count("\n") == 1
    assert message in err


def test_a_configuration_that_is_nested_too_deeply_is_no_json(monkeypatch, capsys, tmp_path: Path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    words = ("plan", LLAMA, "--set", f"model.source={tmp_path}")
    code, _, err = main(monkeypatch, capsys, *words)
    assert code == 2
    assert f"{tmp_path}/config.json: not JSON" in err


def test_prices_in_a_profile_are_checked():
    profile = read_profile("cluster")
    assert profile.prices.per_hour("H100", spot=True) == 2.25
    assert profile.prices.per_hour("L4", spot=False) is None
