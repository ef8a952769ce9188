from __future__ import annotations

import gc
import json
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, Trainer

from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.training import Training
from lidr.components.shared.core.errors import BadInput, StoreError, TrainingFailed
from lidr.components.shared.forward.loading import load_chat
from lidr.components.shared.forward.tokens import TokenPair, tokenize_pairs
from lidr.components.shared.models.admission import check_model
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.samples import MARGINS_FILE, PairMargin
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, new_stage, open_stage
from lidr.components.train import assembly, trainer
from lidr.components.train.assembly import training_order
from lidr.components.train.forward.loss import PairLosses
from lidr.components.train.metrics import StepSums, TroubleMonitor, find_troubles
from lidr.components.train.preference import PreferenceTrainer
from lidr.components.train.run import train
from lidr.components.train.trainer import main
from tests.disks import small_disk
from tests.models import tiny_model
from tests.unit.train.stages import launch, model_stage, pair_stage, preference, recipe
from tests.warm import python

PAIRS = [preference(number, "es" if number % 2 else "en") for number in range(20)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def arguments(
    root: Path, seed: int = 0, machine: dict[str, object] | None = None, **training: object
) -> dict[str, object]:
    world = model_stage(root, seed)
    return {
        "recipe": recipe(**training),
        "launch": launch(**machine or {}),
        "store": str(root),
        "inputs": world,
        "pairs": pair_stage(root, PAIRS),
        "model": world,
        "iteration": 1,
    }


def rows(uri: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in open_stage(uri).read("metrics.jsonl").splitlines()]


def weights(uri: str) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(model_files(uri).folder).state_dict()


def test_a_stage_holds_a_loadable_model_and_a_row_per_step(root: Path):
    uri = train(**arguments(root))
    stage = open_stage(uri)
    check_model(model_files(uri).folder)
    assert not stage.files(prefix="checkpoints")
    assert not stage.store.list(stage.key("checkpoints"))
    counts = stage.counts()
    assert (counts["pairs"], counts["steps"]) == (20, 3)
    assert counts["languages"]["es"] == {"pairs": 10, "cut": 0, "dropped": 0}
    found = rows(uri)
    assert counts["final"] == found[-1]
    assert [row["step"] for row in found] == [1, 2, 3]
    assert set(found[0]) == {
        *("step", "loss", "dpo_loss", "nll_loss", "reward_margin", "reward_accuracy"),
        *("chosen_reward", "rejected_reward", "chosen_logps", "rejected_logps"),
        *("grad_norm", "learning_rate", "tokens_per_second"),
    }
    assert train(**arguments(root)) == uri  # reused


def test_live_metrics_are_written_before_the_stage_ends(tmp_path: Path, monkeypatch):
    heard: list[str] = []
    curves = SimpleNamespace(
        update=lambda rows: heard.append("update"), close=lambda: heard.append("close")
    )
    monkeypatch.setattr(trainer, "_curve_writer", lambda *_: curves)
    train(**arguments(tmp_path))
    assert heard == ["update", "update", "update", "close"]


def test_checkpoints_and_exchange_stay_until_the_marker_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = arguments(tmp_path, machine={"checkpoint_steps": 2})

    finish = Stage.finish

    def full(stage: Stage, *arguments: Any, **keys: Any) -> str:
        if stage.prefix.startswith("stages/train/"):
            raise StoreError("the store is full")
        return finish(stage, *arguments, **keys)  # that of the reference's log-probabilities

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "finish", full)
        with pytest.raises(StoreError, match="full"):
            train(**given)
    assert list(Path(tmp_path, "stages", "train").rglob("COMPLETE"))
    stage = open_stage(train(**given))
    assert not stage.store.list(stage.key("checkpoints"))
    assert not [name for name in stage.marker()["files"] if name.startswith("checkpoints")]
    stage.write("checkpoints/00000002/COMPLETE", b"{}")  # killed before all of it was deleted
    stage.write("launch/summary-0.json", b"{}")
    train(**given)
    assert not stage.store.list(stage.key("checkpoints"))
    assert not stage.store.list(stage.key("launch"))


@pytest.mark.parametrize("write", [torch.save, save_file])
def test_a_disk_that_is_too_full_for_a_checkpoint_is_named(monkeypatch: pytest.MonkeyPatch, write):
    with small_disk("1M") as disk:
        trainer = object.__new__(PreferenceTrainer)
        trainer.args = SimpleNamespace(output_dir=str(disk))
        tensors = {"weights": torch.zeros(1 << 20)}
        monkeypatch.setattr(Trainer, "_save_checkpoint", lambda *_: write(tensors, disk / "file"))
        with pytest.raises(StoreError, match=r"too full for a checkpoint.*TMPDIR"):
            trainer._save_checkpoint(None, None)


def test_the_margins_at_the_end_are_those_of_the_model_that_was_written(root: Path):
    given = arguments(root)
    stage = open_stage(train(**given))
    margins = stage.read_records([MARGINS_FILE], PairMargin)
    assert len(margins) == 2, "a tenth of the pairs"
    folders = [model_files(uri).folder for uri in (stage.uri, str(given["inputs"]))]
    pairs = tokenize_pairs(PAIRS, ChatRenderer.load(folders[0], PLAIN_CHAT), 128).pairs
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for folder in folders)
    for found in margins:
        [pair] = [pair for pair in pairs if pair.key == found.pair]
        gains = [
            log_probability(policy, pair.prompt, side)
            - log_probability(reference, pair.prompt, side)
            for side in (pair.chosen, pair.rejected)
        ]
        assert found.margin == pytest.approx(0.1 * (gains[0] - gains[1]).item(), abs=1e-4)
        assert abs(found.margin) > 1e-4


def reference_losses(model_folder: Path, reference_folder: Path) -> tuple[float, float]:
    """The first step's DPO and NLL terms over all pairs, by hand in float64."""
    pairs = tokenize_pairs(PAIRS, ChatRenderer.load(model_folder, PLAIN_CHAT), 128).pairs
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        for folder in (model_folder, reference_folder)
    ]
    dpo = nll = 0.0
    for pair in pairs:
        policy, reference = (
            [log_probability(model, pair.prompt, side) for side in (pair.chosen, pair.rejected)]
            for model in models
        )
        margin = 0.1 * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
        dpo += -torch.nn.functional.logsigmoid(margin).item() / len(pairs)
        nll += -policy[0].item() / len(pair.chosen) / len(pairs)
    return dpo, nll


def log_probability(model, prompt: list[int], response: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0]
    logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return logps[torch.arange(len(response)), torch.tensor(response)].sum()


@pytest.mark.parametrize("micro", [20, 4, 1])
def test_the_loss_is_the_papers_at_every_micro_batch_and_with_another_reference(
    tmp_path: Path, micro: int
):
    settings = {"batch_size": 20, "reference": "base", "dpo_weight": 0.5, "nll_weight": 2.0}
    given = arguments(tmp_path, machine={"micro_batch_size": micro}, **settings)
    given["model"] = model_stage(tmp_path, 1)
    uri = train(**given)
    dpo, nll = reference_losses(
        model_files(given["model"]).folder, model_files(given["inputs"]).folder
    )
    (row,) = rows(uri)
    assert row["dpo_loss"] == pytest.approx(dpo, abs=2e-6)
    assert row["nll_loss"] == pytest.approx(nll, abs=2e-6)
    assert row["loss"] == pytest.approx(0.5 * dpo + 2.0 * nll, abs=4e-6)
    # So is the gradient.
    apart = tmp_path / "other"  # the stage is the same: another store computes it again
    other = arguments(apart, machine={"micro_batch_size": 10}, **settings)
    other["model"] = model_stage(apart, 1)
    assert row["grad_norm"] == pytest.approx(rows(train(**other))[0]["grad_norm"], rel=1e-5)


def test_the_reference_model_is_gone_before_the_start_model_is_loaded(tmp_path, monkeypatch):
    loaded: list[weakref.ref] = []
    load = assembly.load_model

    def load_model(*given: Any) -> Any:
        assert not any(each() for each in loaded), "the one before is still there"
        model = load(*given)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(assembly, "load_model", load_model)
    given = arguments(tmp_path, batch_size=20, reference="base")
    gc.disable()  # as good as off where millions of older objects live
    try:
        train(**{**given, "model": model_stage(tmp_path, 1)})
    finally:
        gc.enable()
    assert len(loaded) == 2


def test_the_last_smaller_batch_weighs_its_own_pairs_only(tmp_path: Path):
    """20 pairs in batches of 16: the second step has 4, in one micro-batch or in four."""
    whole, parts = (
        rows(train(**arguments(tmp_path / str(micro), machine=machine, batch_size=16)))[1]
        for micro in (16, 1)
        for machine in [{"micro_batch_size": micro}]
    )
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-3)
    assert whole["grad_norm"] == pytest.approx(parts["grad_norm"], rel=1e-2)


def test_weights_of_zero_leave_sft_on_chosen_or_plain_dpo(root: Path):
    sft = rows(train(**arguments(root, dpo_weight=0.0, epochs=2)))
    dpo = rows(train(**arguments(root, nll_weight=0.0, epochs=2)))
    assert all(row["loss"] == pytest.approx(row["nll_loss"]) for row in sft)
    assert all(row["loss"] == pytest.approx(row["dpo_loss"]) for row in dpo)
    assert sft[-1]["nll_loss"] < sft[0]["nll_loss"] - 0.2
    assert dpo[-1]["dpo_loss"] < 0.6 < sft[-1]["dpo_loss"] + 0.1
    assert dpo[-1]["reward_accuracy"] == 1.0


def test_sft_learns_nothing_from_the_rejected_texts(root: Path):
    uri = train(**arguments(root, dpo_weight=0.0))
    given = arguments(root, dpo_weight=0.0)
    others = [preference(n, "es" if n % 2 else "en", rejected="Nina") for n in range(20)]
    given["pairs"] = pair_stage(root / "other", others)
    for name, tensor in weights(train(**dict(given, iteration=1))).items():
        assert torch.allclose(tensor, weights(uri)[name], atol=1e-4), name


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = arguments(tmp_path, machine={"checkpoint_steps": 2}, epochs=2)
    # A checkpoint is 5 uploads: the first kill falls into the second one (of step 4), the second
    # kill into the export, behind the checkpoints of step 4 and of the end, step 5.
    killed(given, uploads=6)
    assert "checkpoint of step 2" in killed(given, uploads=10)
    uri = train(**given)
    assert "checkpoint of step 5" in capsys.readouterr().err
    calm = arguments(tmp_path / "other", machine={"checkpoint_steps": 2}, epochs=2)
    undisturbed = train(**calm)
    for name in open_stage(uri).files(prefix="model/"):
        assert open_stage(uri).read(name) == open_stage(undisturbed).read(name), name
    assert untimed(uri) == untimed(undisturbed)


def test_a_restored_checkpoint_is_deleted_once_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = arguments(tmp_path, machine={"checkpoint_steps": 2}, epochs=2)
    killed(given, uploads=6)  # in the second checkpoint
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    load, step = PreferenceTrainer._load_rng_state, PreferenceTrainer.training_step
    found: list[bool] = []

    def note(then: Any) -> Any:
        def noting(*given: Any, **keys: Any) -> Any:
            found.append(any(scratch.rglob("restored")))
            return then(*given, **keys)

        return noting

    monkeypatch.setattr(PreferenceTrainer, "_load_rng_state", note(load))
    monkeypatch.setattr(PreferenceTrainer, "training_step", note(step))
    train(**given)
    assert found == [True, False, False, False]


def killed(given: dict[str, object], uploads: int) -> str:
    """Run the step in a process that ends by SIGKILL after some uploads; return its log."""
    command = [python(), "-m", "tests.unit.train.killed", str(uploads), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stderr


def untimed(uri: str) -> list[dict[str, float]]:
    return [{**row, "tokens_per_second": 0} for row in rows(uri)]


def test_settings_of_generation_that_transformers_dislikes_are_copied_as_they_are(tmp_path: Path):
    """As many Llama 2, Vicuna and Mistral derivatives have them; saving them, it raises."""
    disliked = b'{"do_sample": false, "temperature": 0.9, "top_p": 0.6, "eos_token_id": 1}'
    folder = tiny_model(tmp_path / "model")
    (folder / "generation_config.json").write_bytes(disliked)
    stage = new_stage(LocalStore(tmp_path), "prepare", 1, {}, {})
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    start = stage.finish({})
    given = arguments(tmp_path, machine={"checkpoint_steps": 1})
    uri = train(**{**given, "inputs": start, "model": start})
    assert open_stage(uri).read("model/generation_config.json") == disliked


def test_a_loss_that_is_not_finite_names_step_and_prompts(root: Path):
    given = arguments(root, learning_rate=1e30, batch_size=4)
    with pytest.raises(
        TrainingFailed, match=r"step 2: .*nan.* prompts p\d+, p\d+, p\d+, p\d+\. Low"
    ):
        train(**given)


def test_no_pairs_is_bad_input(root: Path):
    given = dict(arguments(root), pairs=pair_stage(root, []))
    with pytest.raises(BadInput, match=r"no pairs in .*loosen pairing\.filters"):
        train(**given)


def test_pairs_that_cannot_be_trained_on_leave_nothing_behind(tmp_path: Path):
    given = arguments(tmp_path)
    before = {entry.key for entry in LocalStore(tmp_path).list("")}
    bad = [
        ("1 pairs have an empty chosen text.*p7", preference(7, chosen=" \n")),
        ("1 pairs appear more than once.*p3.*translation_chosen", preference(3, "es")),
        ("leave no room for a response.*p8.*prompt_overflow", preference(8, prompt="Nina 4 " * 99)),
    ]
    for number, (words, pair) in enumerate(bad):
        elsewhere = tmp_path.with_name(f"{tmp_path.name}-{number}")
        uri = pair_stage(elsewhere, [*(each for each in PAIRS if each.prompt_id == "p3"), pair])
        with pytest.raises(BadInput, match=rf"pairs\.parquet: .*{words}"):
            train(**dict(given, pairs=uri))
    assert {entry.key for entry in LocalStore(tmp_path).list("")} == before


def test_long_prompts_can_be_dropped_and_cuts_are_told_beforehand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pairs = [*PAIRS[:4], preference(8, prompt="Nina 4 " * 99), preference(9, chosen="Nina 4 " * 99)]
    given = dict(
        arguments(tmp_path, prompt_overflow="drop"), pairs=pair_stage(tmp_path / "other", pairs)
    )
    counts = open_stage(train(**given)).counts()
    assert counts["languages"]["es"] == {"pairs": 3, "cut": 1, "dropped": 1}
    log = capsys.readouterr().err
    assert "pairs cut at 128 tokens: en 0 of 2, es 1 of 4 and 1 dropped" in log
    assert log.index("pairs cut") < log.index("reference pairs")


def test_a_tokenizer_of_another_model_is_bad_input(tmp_path: Path):
    folder = tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    with pytest.raises(BadInput, match=r"config\.json: .* tokens, but the model embeds only 100"):
        load_chat(PLAIN_CHAT, folder)


def test_micro_batches_by_tokens_change_nothing_but_rounding(tmp_path: Path):
    whole, parts = (
        rows(train(**arguments(tmp_path / str(tokens), machine={"micro_batch_tokens": tokens})))
        for tokens in (9999, 1)
    )
    for key in ("loss", "dpo_loss", "nll_loss", "chosen_logps"):
        assert whole[2][key] == pytest.approx(parts[2][key], rel=1e-3)
    assert whole[0]["loss"] == pytest.approx(parts[0]["loss"], rel=1e-6)


def test_train_stage_is_the_same_on_every_machine(tmp_path: Path):
    """No setting of the profile is in the address; what is finished is found from any machine."""
    uri = train(**arguments(tmp_path))
    other = {
        "micro_batch_tokens": 1,
        "micro_batch_size": 2,
        "gradient_checkpointing": True,
        "checkpoint_steps": 1,
        "shard_gigabytes": 0.5,
    }
    assert set(other) == set(TrainingSettings.model_fields)
    assert train(**arguments(tmp_path, machine=other)) == uri
    assert train(**arguments(tmp_path, beta=0.5)) != uri


def test_a_tie_counts_half_in_the_reward_accuracy():
    """In the first step the policy is its own reference: no pair is won, and none is lost."""
    sums, zeros = StepSums(), torch.zeros(5)
    chosen = torch.tensor([0.0, -1e-6, 2.0, -1.0, 0.0])
    pairs = [TokenPair("", "", "es", [1], [2], [2 if n == 4 else 3]) for n in range(5)]
    sums.add(zeros, PairLosses(zeros, zeros, zeros, zeros, chosen, zeros), pairs)
    means, _ = sums.means(lambda each: each)
    assert means["reward_accuracy"] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4), "one is no pair"


def test_metrics_that_speak_against_the_result_become_warnings(
    capsys: pytest.CaptureFixture[str],
):
    good = {
        "reward_accuracy": 0.9,
        "reward_margin": 0.3,
        "chosen_reward": 0.2,
        "chosen_logps": -38.0,
    }
    bad = {
        "reward_accuracy": 0.4,
        "reward_margin": -0.1,
        "chosen_reward": -0.5,
        "chosen_logps": -45.0,
    }
    still = {**good, "reward_accuracy": 0.0, "reward_margin": -1e-7, "chosen_reward": 0.0}
    assert find_troubles([still], Training()) == {}  # one step: nothing has moved
    monitor = TroubleMonitor(Training())
    assert monitor.check_end([good] * 20) == []
    monitor.check([good] * 10 + [bad], 20)  # not at the end of a tenth
    assert "lidr warning" not in capsys.readouterr().err
    monitor.check([good] * 10 + [bad] * 2, 20)
    inverted, falling = monitor.check_end([good] * 18 + [bad] * 2)
    assert "inverted" in inverted
    assert falling.endswith("fell from -40.0 to -45.0; raise training.nll_weight")
    alone = find_troubles([bad], Training(dpo_weight=0))["falling"]
    assert alone.endswith("; lower training.learning_rate"), "a factor changes no step of AdamW"
    assert capsys.readouterr().err.count("lidr warning") == 2  # once each


def test_every_epoch_has_an_order_of_its_own():
    order = training_order(10, 2.5, 7)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order[:10] != order[10:20]
    assert len(order) == 25
    assert order == training_order(10, 2.5, 7) != training_order(10, 2.5, 8)
    assert training_order(3, 0.01, 0) != []


def test_the_program_reports_bad_input_with_its_exit_code(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = {
        "store": str(tmp_path),
        "stage": "stages/train/abc",
        "pairs": pair_stage(root, []),
        "start": model_stage(root),
        "reference": model_stage(root),
        "training": {},
        "seed": 1,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main([str(tmp_path / "job.json"), str(tmp_path / "summary.json")]) == 2
    assert "no pairs" in capsys.readouterr().err
    job["pairs"] = pair_stage(root, PAIRS)
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main([str(tmp_path / "job.json"), str(tmp_path / "summary.json")]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["counts"]["steps"] == 1


def test_the_program_ends_without_cleanup_after_what_is_unforeseen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "job.json").write_text("{}")
    assert main([str(tmp_path / "job.json"), str(tmp_path / "summary.json")]) == 1
    assert "ValidationError" in capsys.readouterr().err
