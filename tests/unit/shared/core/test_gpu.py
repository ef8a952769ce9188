"""How GPUs are shared out, as the profile says, and that vLLM is told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lidr.components.shared.config.generation import VllmOptions
from lidr.components.shared.config.machine import EngineSettings
from lidr.components.shared.core import gpu
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.core.gpu import gpu_count, gpu_present, parallel_sizes
from lidr.components.shared.engines import vllm_engine


@pytest.mark.parametrize(
    ("given", "gpus", "split"),
    [
        (None, 8, (8, 1)),
        ("", 8, (8, 1)),
        ("4", 8, (4, 2)),
        ("8", 8, (8, 1)),
        ("1", 2, (1, 2)),
        (None, 0, (1, 1)),
    ],
)
def test_layers_are_split_and_what_remains_are_stages(monkeypatch, given, gpus, split):
    monkeypatch.delenv("LIDR_TENSOR_PARALLEL", raising=False)
    if given is not None:
        monkeypatch.setenv("LIDR_TENSOR_PARALLEL", given)
    assert parallel_sizes(gpus) == split


@pytest.mark.parametrize(("given", "gpus"), [("3", 8), ("16", 8), ("0", 8), ("two", 8)])
def test_what_cannot_be_shared_out_is_bad_input(monkeypatch, given: str, gpus: int):
    monkeypatch.setenv("LIDR_TENSOR_PARALLEL", given)
    with pytest.raises(BadInput, match=f"LIDR_TENSOR_PARALLEL={given} does not divide the {gpus}"):
        parallel_sizes(gpus)


def test_a_missing_driver_is_no_fault_of_the_profile(monkeypatch):
    monkeypatch.setenv("LIDR_TENSOR_PARALLEL", "2")
    with pytest.raises(BadInput, match="no GPU is visible here, but LIDR_TENSOR_PARALLEL asks"):
        parallel_sizes(0)


NVIDIA = ("nvidiactl", "nvidia0", "nvidia1", "nvidia2")
AMD = ("kfd", "dri/renderD128", "dri/renderD129")


@pytest.mark.parametrize(
    ("files", "cuda", "hip", "count"),
    [
        ((), None, None, 0),
        ((), "0,1", None, 0),
        (NVIDIA, None, None, 3),
        (NVIDIA, "all", None, 3),
        (NVIDIA, "0,1,", None, 2),
        (NVIDIA, "2", "", 1),
        (NVIDIA, "GPU-8932f937,GPU-1e5b2c11", None, 2),
        (NVIDIA, "", None, 0),
        (NVIDIA, "-1", None, 0),
        (NVIDIA, "0,-1,1", None, 1),
        (NVIDIA, "NoDevFiles", None, 0),
        (AMD, None, None, 2),
        (AMD, "-1", None, 0),
        (AMD, "0", None, 1),
        (AMD, "-1", "0,1", 2),
        (AMD, "0,1,2", "1", 1),
        (AMD, None, "-1", 0),
        ((*NVIDIA, *AMD), "-1", "0,1", 2),
        (("nvidiactl",), None, None, 1),
    ],
)
def test_gpus_are_those_of_a_driver_that_its_own_variable_shows(
    monkeypatch, tmp_path: Path, files: tuple[str, ...], cuda: str, hip: str, count: int
):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    moved = [(names, tmp_path / driver.name, gpus) for names, driver, gpus in gpu._DRIVERS]
    monkeypatch.setattr(gpu, "_DRIVERS", moved)
    for variable, value in (("CUDA_VISIBLE_DEVICES", cuda), ("HIP_VISIBLE_DEVICES", hip)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert (gpu_count(), gpu_present()) == (count, count > 0)


def test_vllm_is_told(monkeypatch, tmp_path: Path):
    """Only here does vLLM not start: several GPUs are needed for what it is told."""
    told: dict[str, object] = {}

    def start(**arguments: object) -> None:
        told.update(arguments)
        raise RuntimeError("no GPUs")

    module = ModuleType("vllm")
    module.LLM = start
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(vllm_engine, "gpu_count", lambda: 8)
    monkeypatch.setenv("LIDR_TENSOR_PARALLEL", "4")
    monkeypatch.setattr(vllm_engine, "prepare_environment", lambda: None)
    monkeypatch.setattr(vllm_engine, "start_errors", lambda: (RuntimeError,))
    with pytest.raises(EngineFailed, match=r"no GPUs\. See vLLM.s log above\. .* more GPUs"):
        vllm_engine.VllmEngine(
            tmp_path,
            dtype="auto",
            max_length=0,
            seed=0,
            options=VllmOptions(),
            machine=EngineSettings(),
        )
    assert (told["tensor_parallel_size"], told["pipeline_parallel_size"]) == (4, 2)
