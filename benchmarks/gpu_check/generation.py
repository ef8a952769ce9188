"""Generation on the card, by the engines as the generate step starts them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu_check.card import now, peak_gib, reset_peak
from benchmarks.gpu_check.shapes import Result, Shape, uris_of
from lidr.components.shared.config.generation import VllmOptions
from lidr.components.shared.config.machine import EngineSettings
from lidr.components.shared.engines import ChatRequest, Decoding, Engine
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from lidr.components.shared.engines.vllm_engine import VllmEngine
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import PreferencePair
from lidr.components.shared.store.stage import open_stage


def transformers(folder: Path, shape: Shape) -> Result:
    """Measure the engine that needs nothing but transformers."""
    reset_peak()
    engine = TransformersEngine(
        model_files(uris_of(folder)["model"]).folder,
        dtype="auto",
        max_length=0,
        batch_tokens=EngineSettings().batch_tokens,
    )
    return {**_speed(engine, folder, shape), "peak_gib": peak_gib()}


def vllm(folder: Path, shape: Shape) -> Result:
    """Measure vLLM, whose memory is what it is given (`engine.gpu_memory_utilization`)."""
    engine = VllmEngine(
        model_files(uris_of(folder)["model"]).folder,
        dtype="auto",
        max_length=0,
        seed=0,
        options=VllmOptions(),
        machine=EngineSettings(),
    )
    return _speed(engine, folder, shape)


def _speed(engine: Engine, folder: Path, shape: Shape) -> Result:
    """Continue chats greedily, after a few that warm up."""
    stage = open_stage(uris_of(folder)["pairs"])
    chats = [each.prompt for each in stage.read_records(["pairs.parquet"], PreferencePair)]
    decoding = Decoding(max_tokens=shape.output)
    requests = [
        ChatRequest(str(number), chats[number % len(chats)], decoding)
        for number in range(shape.requests)
    ]
    list(engine.complete(requests[: max(2, shape.requests // 16)]))
    began = now()
    answers = list(engine.complete(requests))
    seconds = now() - began
    engine.close()
    return {
        "requests": len(answers),
        "prompt_tokens": sum(each.prompt_tokens for each in answers),
        "output_tokens": sum(each.output_tokens for each in answers),
        "output_tokens_per_second": round(sum(e.output_tokens for e in answers) / seconds, 1),
        "requests_per_second": round(len(answers) / seconds, 2),
    }
