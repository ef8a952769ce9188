"""The command line: its options, its errors, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.recipes import reference_of
from lidr.pipelines import cli
from lidr.pipelines.cli.inputs import (
    or_default,
    parse_settings,
    read_profile,
    read_recipe,
    run_name,
)
from tests.yaml_text import read_documents

ENGINE = "lidr: note: engine: vllm, because profile cluster gives a generate step 1 GPU(s)\n"
INLINE = (
    "lidr: note: the pipeline holds the recipe itself, for its first task to put on the store: "
)

"""What is said where no store can be reached."""

SURFACE = {
    "run": {
        "recipe": ["recipe"],
        "store": ["--store"],
        "profile": ["--profile"],
        "seed": ["--seed"],
        "run": ["--run"],
        "settings": ["--set"],
        "shards": ["--shards"],
        "output": ["--output"],
    },
    "compile": {
        "recipe": ["recipe"],
        "output": ["--output", "-o"],
        "profile": ["--profile"],
        "max_unroll": ["--max-unroll"],
        "seed": ["--seed"],
        "settings": ["--set"],
        "run": ["--run"],
        "manifests": ["--manifests"],
        "promotion": ["--promotion"],
    },
    "fetch": {
        "recipe": ["recipe"],
        "profile": ["--profile"],
        "store": ["--store"],
        "settings": ["--set"],
        "to": ["--to"],
        "archives": ["--archives"],
        "source": ["--from"],
    },
    "export": {"model": ["model"], "to": ["--to"], "store": ["--store"]},
    "check": {
        "recipe": ["recipe"],
        "profile": ["--profile"],
        "settings": ["--set"],
        "only": ["--only"],
        "in_cluster": ["--in-cluster"],
        "timeout": ["--timeout"],
        "output": ["--output"],
    },
    "submit": {
        "recipe": ["recipe"],
        "profile": ["--profile"],
        "run": ["--run"],
        "seed": ["--seed"],
        "settings": ["--set"],
        "from_iteration": ["--from-iteration"],
        "every": ["--every"],
        "wait": ["--wait"],
        "dry_run": ["--dry-run"],
        "output": ["--output"],
    },
    "status": {
        "run": ["run"],
        "profile": ["--profile"],
        "store": ["--store"],
        "output": ["--output"],
    },
    "logs": {
        "run": ["run"],
        "step": ["step"],
        "iteration": ["--iteration"],
        "follow": ["--follow", "-f"],
        "everything": ["--all"],
        "profile": ["--profile"],
        "store": ["--store"],
    },
    "cancel": {
        "run": ["run"],
        "profile": ["--profile"],
        "store": ["--store"],
        "discard": ["--discard"],
        "output": ["--output"],
    },
    "evaluate": {
        "recipe": ["recipe"],
        "models": ["--model"],
        "store": ["--store"],
        "profile": ["--profile"],
        "seed": ["--seed"],
        "settings": ["--set"],
        "output": ["--output"],
        "list_tasks": ["--list-tasks"],
    },
    "plan": {
        "recipe": ["recipe"],
        "profile": ["--profile"],
        "seed": ["--seed"],
        "settings": ["--set"],
        "gpus": ["--gpus"],
        "node_mtbf_hours": ["--node-mtbf-hours"],
        "replacement_minutes": ["--replacement-minutes"],
        "slowness": ["--slowness"],
        "other_load": ["--other-load"],
        "replications": ["--replications"],
        "calibration": ["--calibration"],
        "calibrate": ["--calibrate"],
        "output": ["--output"],
    },
    "report": {
        "run": ["run"],
        "model": ["--model"],
        "against": ["--against"],
        "store": ["--store"],
    },
    "promote": {
        "name": ["name"],
        "version": ["version"],
        "to": ["--to"],
        "reason": ["--reason"],
        "force": ["--force"],
        "verify": ["--verify"],
        "copy_to": ["--copy-to"],
        "copy_files": ["--copy-files"],
        "evaluate": ["--evaluate"],
        "profile": ["--profile"],
        "store": ["--store"],
        "output": ["--output"],
    },
    "rollback": {
        "name": ["name"],
        "reason": ["--reason"],
        "store": ["--store"],
        "output": ["--output"],
    },
    "history": {"name": ["name"], "store": ["--store"], "output": ["--output"]},
    "notify": {
        "profile": ["--profile"],
        "every": ["--every"],
        "port": ["--port"],
    },
    "prune": {
        "store": ["--store"],
        "keep_last": ["--keep-last"],
        "grace": ["--grace"],
        "registries": ["--registry"],
        "forget": ["--forget"],
        "profile": ["--profile"],
        "record": ["--record"],
        "dry_run": ["--dry-run"],
        "yes": ["--yes"],
        "output": ["--output"],
    },
    "relocate": {
        "old": ["old"],
        "new": ["new"],
        "verify": ["--verify"],
        "dry_run": ["--dry-run"],
        "output": ["--output"],
    },
    "lineage": {
        "name": ["name"],
        "version": ["version"],
        "store": ["--store"],
        "verify": ["--verify"],
        "output": ["--output"],
    },
}

HEAVY = {"torch", "transformers", "peft", "vllm", "lm_eval", "mlflow", "kubernetes", "datasets"}


def lidr(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lidr.pipelines.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def imported_by(*arguments: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-m", "lidr.pipelines.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def main(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["lidr", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_no_option_appears_or_disappears_unnoticed():
    command = get_command(cli.app)
    commands = {name: cli.load_command(name) for name in SURFACE}
    surface = {
        name: {option.name: option.opts for option in each.params}
        for name, each in commands.items()
    }
    assert surface == SURFACE
    assert [option.opts for option in command.params] == [["--version"]]
    repeated = {
        name
        for name, each in commands.items()
        if any(option.name == "profile" and option.multiple for option in each.params)
    }
    assert repeated == {name for name, options in SURFACE.items() if "profile" in options}


def test_help_lists_every_command_with_the_first_line_of_its_own_help():
    assert set(cli.COMMANDS) == set(SURFACE)
    for name, line in cli.COMMANDS.items():
        assert cli.load_command(name).help.splitlines()[0] == line


def test_help_and_compile_import_nothing_heavy(tmp_path: Path):
    assert not imported_by("--help") & (HEAVY | {"kfp", "pydantic", "lingua"})
    compiling = ("compile", "tiny_world", "-o", str(tmp_path / "loop.yaml"))
    assert not imported_by(*compiling) & HEAVY
    planning = imported_by("plan", "llama3_8b_en_es_ru_de_fr")
    assert not planning & (HEAVY | {"kfp", "pyarrow", "lm_eval"})


def test_version(monkeypatch, capsys):
    monkeypatch.setattr("lidr.pipelines.cli.version", lambda name: "1.2.3")
    assert main(monkeypatch, capsys, "--version") == (0, "lidr 1.2.3\n", "")


def test_compile_writes_the_pipeline(monkeypatch, capsys, tmp_path: Path):
    file = tmp_path / "loop.yaml"
    arguments = ("compile", "tiny_world", "-o", str(file), "--seed", "3", "--max-unroll", "3")
    code, out, err = main(monkeypatch, capsys, *arguments)
    assert code == 0 and err.startswith(ENGINE + INLINE) and err.count("\n") == 2
    assert out.startswith(f"{file}: ") and "3 iterations, profile cluster" in out
    inputs = next(read_documents(file.read_text()))["root"]["inputDefinitions"]["parameters"]
    recipe = read_recipe("tiny_world", 3, ["generation.engine=vllm"])
    assert inputs["recipe"]["defaultValue"] == reference_of(recipe)
    assert inputs["run"]["defaultValue"].startswith("tiny-world-seed3-")


def test_compile_lays_profiles_over_one_another(monkeypatch, capsys, tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nsteps: {evaluate: {pool: h100}}\n")
    layers = [word for name in ("cluster", "spot", str(own)) for word in ("--profile", name)]
    file = tmp_path / "loop.yaml"
    code, out, err = main(monkeypatch, capsys, "compile", "tiny_world", "-o", str(file), *layers)
    assert code == 0 and err.startswith(ENGINE.replace("cluster", "own") + INLINE)
    assert "profile own" in out
    settings = list(read_documents(file.read_text()))[1]
    executors = settings["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    on_spot = {name for name, each in executors.items() if "lidr.dev/spot" in json.dumps(each)}
    assert on_spot == {"exec-generate", "exec-translate"}
    own.write_text("name: own\nsteps:\n  evaluate: {pool: h10}\n")
    code, _, err = main(monkeypatch, capsys, "compile", "tiny_world", "-o", str(file), *layers)
    assert code == 2
    assert err.startswith(f"lidr: error: {own}:3: steps.evaluate.pool: no pool 'h10'")


def test_compile_says_when_prompt_files_are_local(monkeypatch, capsys, tmp_path: Path):
    arguments = ("compile", "llama3_8b_gsm8k", "-o", str(tmp_path / "loop.yaml"))
    code, _, err = main(monkeypatch, capsys, *arguments, "--set", "prompts.files.es=es.jsonl")
    assert code == 0
    assert "prompts.files.es.0 name files of this machine; `lidr fetch`" in err
    code, _, err = main(monkeypatch, capsys, *arguments, "--set", "evaluation.data.x=x.jsonl")
    assert (code, "evaluation.data.x name files of this machine" in err) == (0, True)


def test_compile_refuses_what_a_cluster_would_not_take(monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr("lidr.pipelines.compiled.MAX_BYTES", 10_000)
    arguments = ("compile", "tiny_world", "-o", str(tmp_path / "loop.yaml"))
    code, _, err = main(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "bytes, more than 10,000" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny_wrld"], "no recipe 'tiny_wrld': no such file; the shipped ones are"),
        (["run", "absent.yaml"], "absent.yaml: no such file"),
        (["run", "tiny_world", "--set", "gate"], "--set gate: no key=value"),
        (["run", "tiny_world", "--set", "gate.bar=1"], "unknown key 'gate.bar'"),
        (["run", "tiny_world", "--set", "gate=]"], "the value is not YAML"),
        (["run", "tiny_world", "--set", "gate=!!bool x"], "does not fit its tag. Remove the tag."),
        (["run", "tiny_world", "--run", "../up"], "cannot name a run"),
        (["run", "tiny_world", "--run", ""], "'' cannot name a run"),
        (["run", "tiny_world", "--profile", "moon"], "no profile 'moon'"),
        (["run", "tiny_world", "--profile", "cluster", "--store", "s"], "is for Kubeflow"),
        (["run", "tiny_world", "--store", "file/below"], "cannot use the store"),
        (
            ["run", "llama3_8b_gsm8k", "--store", "s", "--set", "prompts.files.en=/none.jsonl"],
            "/none.jsonl: no such file",
        ),
        (["compile", "tiny_world", "-o", "no/such/folder/x.yaml"], "cannot be written"),
        (
            ["compile", "tiny_world", "-o", "x.yaml", "--max-unroll", "1"],
            "1 rounds are not between",
        ),
        (["compile", "tiny_world", "-o", "x.yaml", "--promotion", "--run", "r"], "takes no --run"),
        (
            ["compile", "tiny_world", "-o", "x.yaml", "--promotion", "--max-unroll", "3"],
            "takes no --run and no --max-unroll",
        ),
        (["plan", "tiny_world", "--calibrate", "s", "r"], "--calibrate takes no RECIPE"),
        (
            ["plan", "--calibrate", "s", "r", "--gpus", "4", "--seed", "0", "--slowness", "0"],
            "--calibrate takes no --seed and no --gpus and no --slowness",
        ),
        (["plan", "tiny_world", "--replacement-minutes", "9"], "--replacement-minutes needs nodes"),
        (["plan", "tiny_world", "--replications", "9"], "--replications needs a simulation"),
        (["plan", "tiny_world", "--gpus", "+4"], "not numbers from 1 to 100,000"),
        (["report", "absent", "--store", "s"], "s: no such store"),
        (["run", "tiny_world", "--store", ""], "--store is empty"),
        (["prune", "--store", "", "--keep-last", "3"], "--store is empty"),
        (["lineage", "m@champion", "--store", ""], "--store is empty"),
        (["history", "m", "--store", ""], "--store is empty"),
        (["report", "absent", "--store", "."], "has no iteration 0"),
        (["submit", "tiny_world", "--profile", "local"], "is for this machine"),
        (["status", "absent", "--store", "s"], "s: no such store"),
        (["logs", "x", "train", "--iteration", "1"], "does not tell iterations apart"),
        (["promote", "m", "--store", "s"], "no MLflow database at"),
        (["promote", "m", "--force"], "a forced promotion needs a reason"),
        (
            ["promote", "m", "--force", "--reason", "r", "--evaluate", "x"],
            "--evaluate does not go with --force",
        ),
        (["promote", "m", "--profile", "cluster"], "--profile needs --evaluate"),
        (["rollback", "m", "--reason", "r" * 1001], "no MLflow database at"),
        (["history", "m"], "no MLflow database at"),
        (["report", "--store", "s"], "takes a RUN, a RUN and --against, or --model"),
        (["report", "one", "--model", "m", "--store", "s"], "takes a RUN, a RUN and --against"),
        (["report", "--against", "one", "--model", "m", "--store", "s"], "takes a RUN"),
        (["report", "--model", "absent", "--store", "."], "there are runs of: none"),
        (["report", "one", "--against", "two", "--store", "."], "run 'one' in"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch, capsys, tmp_path: Path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, out, err = main(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("lidr: error: ") and err.count("\n") == 1
    assert message in err
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"file"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "absent"],
        ["report", "--model", "absent"],
        ["status", "absent"],
        ["logs", "absent"],
        ["cancel", "absent"],
        ["history", "absent"],
        ["lineage", "absent", "1"],
        ["promote", "absent"],
        ["rollback", "absent"],
        ["export", "absent@champion", "--to", "out"],
        ["run", "tiny_world", "--profile", "cluster"],
        ["run", "tiny_world", "--run", "../up"],
    ],
    ids=" ".join,
)
def test_a_store_that_is_misspelt_is_not_made(monkeypatch, capsys, tmp_path: Path, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = main(monkeypatch, capsys, *arguments, "--store", "s")
    assert code == 2 and err.startswith("lidr: error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_misspelt_is_told_before_anything_is_done(
    monkeypatch, capsys, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    code, out, err = main(
        monkeypatch, capsys, "evaluate", "tiny_world", "--store", "s", "--model", "/none"
    )
    assert (code, out) == (2, "")
    assert "lidr: error: no model at '/none'" in err
    assert not (tmp_path / "s" / "stages").exists()


def test_usage_errors_are_exit_code_2():
    wrong = lidr("run")
    assert wrong.returncode == 2
    assert "Missing argument" in wrong.stderr
    assert lidr("run", "tiny_world", "--seed", "-1").returncode == 2


def test_compile_writes_a_promotion(monkeypatch, capsys, tmp_path: Path):
    file = tmp_path / "promotion.yaml"
    code, out, err = main(
        monkeypatch, capsys, "compile", "tiny_world", "--promotion", "-o", str(file)
    )
    assert code == 0 and err.startswith(ENGINE + INLINE)
    assert "bytes, promotion, profile cluster" in out
    root = next(read_documents(file.read_text()))["root"]
    parameters = root["inputDefinitions"]["parameters"]
    assert set(parameters) == {"recipe", "store", "name", "version", "alias", "reason"}
    assert parameters["version"]["defaultValue"] == "@candidate"
    assert set(root["dag"]["tasks"]) == {
        "nominate",
        "prepare",
        "evaluate",
        "evaluate-2",
        "gate",
        "promote",
    }


def test_a_recipe_is_found_by_name_or_path(tmp_path: Path):
    shipped = read_recipe("tiny_world", None, None)
    assert read_recipe("tiny-world", None, None) == shipped
    copy = tmp_path / "mine.yaml"
    copy.write_text((Path(cli.__file__).parents[1] / "recipes/tiny_world.yaml").read_text())
    assert read_recipe(str(copy), None, None) == shipped
    assert read_profile("local").runner == "local"


def test_shipped_name_is_found_beside_a_folder_of_that_name(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny_world", "local", "mine"):
        (tmp_path / name).mkdir()
    assert read_recipe("tiny_world", None, None).name == "tiny-world"
    assert read_profile("local").runner == "local"
    for name in ("mine", "x" * 300, "x\0"):
        with pytest.raises(BadInput, match="no such file; the shipped ones are"):
            read_recipe(name, None, None)


def test_store_is_read_without_final_slashes(tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nstore: s3://bucket/store/\n")
    assert read_profile(str(own)).store == "s3://bucket/store"
    for given, store in (("s3://b//", "s3://b"), ("/", "/"), ("s3://", "s3://"), ("a/", "a")):
        assert read_profile(str(own), store=given).store == store


def test_equal_recipes_share_a_run_and_different_ones_do_not():
    base = read_recipe("tiny_world", None, None)
    again = read_recipe("tiny_world", 0, ["seed=0"])
    other = read_recipe("tiny_world", 1, ["training.nll_weight=0"])
    assert run_name(None, base) == run_name(None, again)
    assert run_name(None, base) != run_name(None, other)
    assert run_name(None, other).startswith("tiny-world-seed1-")
    assert run_name("mine", base) == "mine"


def test_settings_are_yaml():
    assert parse_settings(["a.b=1", "c=[x, y]", "d=true", "e=a=b"]) == {
        "a.b": 1,
        "c": ["x", "y"],
        "d": True,
        "e": "a=b",
    }
    with pytest.raises(BadInput):
        parse_settings(["=1"])


def test_plan_and_check_are_for_this_machine_unless_a_cluster_is_named(monkeypatch):
    monkeypatch.delenv("LIDR_KFP_HOST", raising=False)
    assert (or_default([]), or_default(["spot"])) == (["local"], ["spot"])
    monkeypatch.setenv("LIDR_KFP_HOST", "https://kfp")
    assert or_default([]) == ["cluster"]


def test_plan_for_this_machine_is_rough_and_says_so(monkeypatch, capsys):
    arguments = ("plan", "llama3_8b_en_es_ru_de_fr", "--profile", "local", "--output", "json")
    code, out, _ = main(monkeypatch, capsys, *arguments)
    found = json.loads(out)
    assert code == 0
    assert any("rough, maybe by a factor of three" in note for note in found["notes"])


def test_plan_says_which_gains_the_gate_can_see(monkeypatch, capsys):
    arguments = ("plan", "tiny_world", "--set", "gate.min_gain=0.01")
    code, out, _ = main(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "300 *" in out and "mean over 3 languages, above the bar of 1.0" in out
    code, out, _ = main(monkeypatch, capsys, *arguments, "--output", "json")
    table = json.loads(out)
    assert code == 0
    assert table["power"]["items"] == 300
    gains = [row["gains"][0] for row in table["power"]["rows"]]
    assert gains == sorted(gains, reverse=True)
