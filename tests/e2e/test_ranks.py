"""Torchrun's agent, two gloo processes on this CPU, DeepSpeed, against one process without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from lidr.components.shared.config.profile import Zero
from lidr.components.shared.core.errors import TrainingFailed
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.kubernetes.failure import RecordedFailure
from lidr.components.shared.models.admission import check_model
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.job import TrainingJob
from lidr.components.train.launch.local import LocalLauncher
from lidr.components.train.run import train
from lidr.components.train.trainer import run_training
from tests.unit.train.distributed.programs import PAIRS, job, rows, run, run_ranks, stage_of
from tests.unit.train.stages import launch, model_stage, pair_stage, recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_python")]

SETTINGS = {"machine": {"checkpoint_steps": 1, "shard_gigabytes": 1e-4}}


def weights(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    found = {}
    folder = Path(given["store"]) / given["stage"] / "model"
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of one process without DeepSpeed, with another model as the reference."""
    given = job(tmp_path_factory.mktemp("one"), 1, **SETTINGS)
    run_training(TrainingJob.model_validate(given))
    return given


def ranks_run(root: Path, zero: dict[str, object], **settings: object) -> dict[str, Any]:
    given = job(root, 1, zero=zero, **SETTINGS, **settings)
    summary = run(given)
    assert summary["counts"]["ranks"] == 2
    stage = stage_of(given)
    written = {entry.key for entry in stage.store.list(stage.key("model"))}
    assert {stage.key(name) for name in summary["digests"]} >= written
    return given


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ranks_run(tmp_path_factory.mktemp("three"), {"stage": 3})


def adapted(base: Path, stage: Path) -> dict[str, torch.Tensor]:
    return load_model(ModelFiles(base, stage / "adapter")).state_dict()


def margins(given: dict[str, Any]) -> dict[str, float]:
    table = pq.read_table(Path(given["store"]) / given["stage"] / "margins.parquet")
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def alike(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare loss curves, gradient norms and final weights within float32's tolerance."""
    for row, other in zip(rows(given), rows(expected), strict=True):
        for name in ("loss", "dpo_loss", "nll_loss", "grad_norm", "chosen_logps", "learning_rate"):
            assert row[name] == pytest.approx(other[name], rel=1e-5), name
        assert row["reward_margin"] == pytest.approx(other["reward_margin"], abs=1e-5)
    assert margins(given) == pytest.approx(margins(expected), abs=1e-4)
    found, other = weights(given), weights(expected)
    assert found.keys() == other.keys()
    for name, tensor in found.items():
        # Adam's first steps are +-lr wherever a gradient is next to nothing, whatever its size.
        assert (tensor - other[name]).abs().mean() < 1e-6, name
        assert torch.allclose(tensor, other[name], atol=1e-4), name


def test_two_ranks_train_as_one_process_does(one_process: dict[str, Any], tmp_path: Path):
    alike(ranks_run(tmp_path, {"stage": 2, "offload": "optimizer"}), one_process)


def test_so_do_two_ranks_that_share_the_weights(
    undisturbed: dict[str, Any], one_process: dict[str, Any]
):
    alike(undisturbed, one_process)
    names = {
        path.name for path in (Path(undisturbed["store"]) / "stages/train/abc/model").iterdir()
    }
    assert "model.safetensors.index.json" in names
    assert "tokenizer.json" in names


def test_the_train_step_of_a_profile_with_two_processes_gives_the_stage_of_one(tmp_path: Path):
    stages = []
    for root, processes in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        uri = train(
            recipe=recipe(),
            store=str(root),
            inputs=model_stage(root, 1),
            pairs=pair_stage(root, PAIRS),
            model=model_stage(root),
            iteration=1,
            launch=launch(processes=processes, zero=Zero(stage=2), shard_gigabytes=1e-4),
        )
        check_model(model_files(uri).folder)
        stages.append(open_stage(uri))
    one, two = stages
    assert (one.counts()["ranks"], two.counts()["ranks"]) == (1, 2)
    assert one.digest == two.digest, "the number of ranks is no part of it"
    assert one.files() == two.files()
    alike(
        {"store": tmp_path / "two", "stage": two.prefix},
        {"store": tmp_path / "one", "stage": one.prefix},
    )


def test_bfloat16_follows_float32(one_process: dict[str, Any], tmp_path: Path):
    given = ranks_run(tmp_path, {"stage": 3}, precision="bfloat16")
    for row, other in zip(rows(given), rows(one_process), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=2e-3)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-2)


def test_one_process_may_offload_and_then_go_without(one_process: dict[str, Any], tmp_path: Path):
    jobs = [
        job(tmp_path / str(number), 1, zero=zero, **SETTINGS)
        for number, zero in enumerate([{"stage": 3, "offload": "all"}, {}])
    ]
    for given in jobs:
        LocalLauncher(1).run(TrainingJob.model_validate(given))
    for given in jobs:
        alike(given, one_process)
    assert rows(jobs[1]) == rows(one_process)


def test_adapters_under_stage_3_with_all_weights_offloaded(tmp_path: Path):
    lora = {"rank": 4}
    alone = job(tmp_path / "one", 1, lora=lora, **SETTINGS)
    run_training(TrainingJob.model_validate(alone))
    zero = {"stage": 3, "offload": "all"}
    alike(ranks_run(tmp_path / "two", zero, lora=lora), alone)
    apart = job(tmp_path / "apart", 1, zero, lora={**lora, "merge": False}, **SETTINGS)
    run(apart)
    summed = adapted(Path(apart["start"]) / "model", Path(apart["store"]) / apart["stage"])
    for name, tensor in weights(alone).items():
        assert torch.allclose(summed[name], tensor, atol=1e-4), name


def test_a_kill_damage_and_a_stop_change_no_bit(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = job(tmp_path, 1, zero={"stage": 3}, **SETTINGS)
    # Rank 1 has 3 files in a checkpoint: it dies while those of step 2 are on their way.
    monkeypatch.setenv("ENDING", "kill 5")
    assert "rank 1 gets SIGKILL" in ended(given)
    assert complete(given) == [1]
    # Rank 1 alone is asked to end; both do, with a checkpoint of step 2.
    monkeypatch.setenv("ENDING", "term 1")
    said = ended(given)
    assert "resumes from the checkpoint of step 1" in said
    assert "training was asked to end" in said
    assert "exitcode  : 143 " in said
    assert complete(given) == [1, 2]
    # Rank 1 finds its part of step 2 damaged: both go on from step 1.
    (damaged,) = (tmp_path / "stages/train/abc/checkpoints/00000002").rglob("*rank_1_*optim*")
    damaged.write_bytes(b"damage")
    said, code = run_ranks(given)
    assert code == 0, said
    assert "resumes from the checkpoint of step 1" in said
    assert rows(given) == rows(undisturbed)
    for name, tensor in weights(undisturbed).items():
        assert torch.equal(weights(given)[name], tensor), name


def ended(given: dict[str, Any]) -> str:
    said, code = run_ranks(given, program="tests.unit.train.killed_rank")
    assert code == 1, said  # torchrun's own
    return said


def complete(given: dict[str, Any]) -> list[int]:
    folder = Path(given["store"]) / given["stage"] / "checkpoints"
    return sorted(int(path.parent.name) for path in folder.glob("*/COMPLETE"))


def test_a_loss_that_is_not_finite_ends_every_rank(tmp_path: Path):
    given = job(tmp_path, zero={"stage": 2}, learning_rate=1e30)
    with pytest.raises(TrainingFailed, match="gradient norm inf; the batch held the prompts p"):
        LocalLauncher(2).run(TrainingJob.model_validate(given))
    failure = stage_of(given).store.read(stage_of(given).key("launch/failure-0.json"))
    assert RecordedFailure.model_validate_json(failure).exit_code == 70
