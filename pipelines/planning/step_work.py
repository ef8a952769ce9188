"""The work of each kind of step: its workers, GPUs, seconds and price."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lidr.components.shared.config.budget import DEFAULT_GPU
from lidr.components.shared.config.pools import Resources, StepKind
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.threads import allowed_cores
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing.architecture import Architecture
from lidr.components.shared.sizing.flops import reference_flops
from lidr.pipelines.planning.calibration import Calibration, Rate, world_examples
from lidr.pipelines.planning.figures import Figures, Gpu
from lidr.pipelines.planning.requests import Load, Requests
from lidr.pipelines.planning.speed import ModelServer, training_flops
from lidr.pipelines.planning.work import Work


class StepWork:
    """Measures steps by a calibration where it has their speed, else by the GPU's figures.

    Args:
        recipe: what to learn.
        profile: where it runs.
        shape: of the model.
        figures: the shipped ones.
        requests: how many there are of each kind.
        resources: by kind of step.
        gpus: by kind of step; None on CPUs.
        calibration: one whose speeds hold here; None for none.
        notes: takes what was assumed.
    """

    def __init__(
        self,
        recipe: Recipe,
        profile: Profile,
        shape: Architecture,
        figures: Figures,
        requests: Requests,
        resources: Mapping[StepKind, Resources],
        gpus: Mapping[StepKind, Gpu | None],
        calibration: Calibration | None,
        notes: list[str],
    ) -> None:
        self._recipe, self._profile, self._shape = recipe, profile, shape
        self._figures, self._requests = figures, requests
        self._resources, self._gpus = resources, gpus
        self._calibration, self._notes = calibration, notes

    def score(self) -> Work:
        """Return the passes of two models over all samples, at the speed of training's."""
        length = self._requests.pairs.length / 2
        tokens, rows = self._requests.score.prompt_tokens, self._requests.scored_tokens
        flops = reference_flops(self._shape, math.ceil(tokens), length, math.ceil(rows))
        gpu = self._gpus["score"]
        if rate := self._rate("train"):
            startup, busy = rate.fixed_seconds, rate.seconds(flops)
        elif gpu:
            startup = 2 * self._startup(2.0 * self._shape.parameters)
            busy = flops / (gpu.tflops * 1e12 * gpu.training_mfu)
        else:
            cores = self._cores()
            speed = cores.tflops * 1e12 * cores.training_mfu
            startup, busy = self._figures.times.control_seconds, flops / speed
        gpus = self._resources["score"].accelerators
        pieces = 2 * len(self._recipe.languages.all)
        return Work(
            "score",
            gpus=gpus,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy / pieces,
            price=self._price("score"),
        )

    def served(self, stage: StepKind, load: Load, workers: int, pieces: int) -> Work:
        """Return a step that asks engines; its pieces are chunk files, or all under way."""
        gpu, resources = self._gpus[stage], self._resources[stage]
        share = self._share(load, workers)
        if rate := self._rate(stage):
            startup, busy = rate.fixed_seconds, rate.seconds(share.output_tokens)
            running = self._profile.engine.max_num_seqs or (gpu.sequences if gpu else 1)
        elif gpu:
            server = self._server(gpu, resources)
            startup, busy = self._startup(server.weights), server.seconds(share)
            running = server.sequences or gpu.sequences
        else:
            server = self._server(self._cores(), resources)
            startup, busy = self._figures.times.control_seconds, server.seconds(share)
            running = server.sequences or server.gpu.sequences
        if pieces > load.requests / running:  # then more than one of them is under way
            pieces = workers * max(1, load.requests // running // workers)
        return Work(
            stage,
            workers=workers,
            gpus=resources.accelerators,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy * workers / pieces,
            price=self._price(stage),
        )

    def _share(self, load: Load, workers: int) -> Load:
        """Return the load of one worker, on average."""
        return Load(
            -(-load.requests // workers),
            load.prompt_tokens / workers,
            load.output_tokens / workers,
            load.longest,
        )

    def _server(self, gpu: Gpu, resources: Resources) -> ModelServer:
        options, machine = self._recipe.generation.vllm, self._profile.engine
        fp8 = options.quantization == "fp8"
        return ModelServer(
            self._shape,
            gpu,
            max(1, resources.accelerators),
            self._figures.roofline,
            utilization=machine.gpu_memory_utilization,
            sequences=machine.max_num_seqs,
            weight_bytes=1.0 if fp8 else 2.0 if resources.accelerators else 4.0,
            cache_bytes=1.0 if options.kv_cache_dtype.startswith("fp8") else 2.0,
        )

    def _startup(self, weights: float) -> float:
        times = self._figures.times
        return times.pod_seconds + times.engine_seconds + weights / (times.load_gbs * 1e9)

    def train(self) -> Work:
        """Return the training of one iteration, on all nodes together."""
        settings, pairs = self._recipe.training, self._requests.pairs
        flops = training_flops(
            self._shape,
            pairs,
            settings.epochs,
            checkpointing=self._profile.training.gradient_checkpointing,
            lora=settings.lora.rank > 0,
        )
        launch, gpu = Launch.of(self._profile), self._gpus["train"]
        if rate := self._rate("train"):
            startup, busy = rate.fixed_seconds, rate.seconds(flops / launch.world_size)
        elif gpu:
            speed = gpu.tflops * 1e12 * gpu.training_mfu * launch.world_size
            startup = self._startup(2.0 * self._shape.parameters)
            busy = flops / speed
        else:
            cores = self._cores()
            speed = cores.tflops * 1e12 * cores.training_mfu
            startup, busy = self._figures.times.control_seconds, flops / speed
        pieces = -(-pairs.steps // launch.checkpoint_steps)
        return Work(
            "train",
            workers=launch.nodes,
            gpus=self._resources["train"].accelerators,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy / pieces,
            coupled=True,
            price=self._price("train"),
        )

    def prepare(self) -> Work:
        """Return the first step: M_0 of the tiny world is trained, any other is looked at."""
        resources = self._resources["prepare"]
        seconds = self._figures.times.control_seconds
        if self._recipe.is_toy:
            rate = self._calibration.toy if self._calibration else None
            if rate:
                seconds = rate.fixed_seconds + rate.seconds(world_examples(self._recipe))
            else:
                self._notes.append("training the tiny world's M_0 is not counted")
        return Work(
            "prepare", gpus=resources.accelerators, startup=seconds, price=self._price("prepare")
        )

    def pair(self) -> Work:
        """Return the pairing of one iteration, which asks no engine."""
        seconds = self._figures.times.control_seconds
        if self._calibration:
            seconds = self._calibration.pair.seconds(self._requests.pairs.candidates)
        return Work("pair", startup=seconds)

    def _rate(self, stage: str) -> Rate | None:
        if self._calibration is None:
            return None
        rates = {
            "generate": self._calibration.generate,
            "translate": self._calibration.translate,
            "evaluate": self._calibration.evaluate,
            "train": self._calibration.train,
        }
        return rates[stage]

    def _price(self, kind: StepKind) -> float:
        resources = self._resources[kind]
        return self._profile.prices.hour(resources.gpu or DEFAULT_GPU, spot=resources.spot)

    def _cores(self) -> Gpu:
        """Return this machine's cores together, as a GPU would be given; a note says how rough.

        Raises:
            BadInput: the profile is a cluster's, whose nodes' cores are not known.
        """
        if self._profile.runner != "local":
            raise BadInput(
                "the profile's steps have no GPUs, and nothing is known of its nodes' speed",
                remedy="Give --calibration a file made by lidr plan --calibrate, or another "
                "profile.",
            )
        core, cores = self._figures.cpu_core, allowed_cores()
        note = (
            f"rough, maybe by a factor of three: nothing has been measured, so {cores:g} cores are "
            f"taken to do {1000 * core.tflops:g} GFLOP/s each, without a GPU; --calibration gives "
            "measured speeds"
        )
        if note not in self._notes:
            self._notes.append(note)
        return core.model_copy(
            update={"tflops": core.tflops * cores, "bandwidth_gbs": core.bandwidth_gbs * cores}
        )
