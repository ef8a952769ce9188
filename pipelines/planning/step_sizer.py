"""The work of each kind of step: its workers, GPUs, seconds and price."""

from __future__ import annotations

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
from lidr.pipelines.planning.calibration import Calibration, Rate, toy_examples
from lidr.pipelines.planning.figures import Figures, Gpu
from lidr.pipelines.planning.requests import Load, Requests
from lidr.pipelines.planning.speed import ModelServer, training_flops
from lidr.pipelines.planning.work import Work


class StepSizer:
    """Sizes steps by a calibration if it has their speed, else by the GPU's figures.

    Args:
        recipe: what to learn.
        profile: where it runs.
        shape: of the model.
        figures: the shipped ones.
        requests: how many there are of each kind.
        resources: by kind of step.
        gpus: by kind of step; None on CPUs.
        calibration: one whose speeds hold here; None for none.
        notes: assumptions are appended to it.
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
        """Return the passes of policy and reference over all samples, at training's speed."""
        length = self._requests.pairs.length / 2
        tokens, rows = self._requests.score.prompt_tokens, self._requests.scored_tokens
        flops = reference_flops(self._shape, tokens, length, rows)
        startup, busy = self._training_seconds("score", flops, models=2)
        pieces = 2 * len(self._recipe.languages.all)
        return Work(
            "score",
            gpus=self._resources["score"].accelerators,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy / pieces,
            price=self._price("score"),
        )

    def engine_step(self, stage: StepKind, load: Load, workers: int, pieces: int) -> Work:
        """Return a step that sends requests to engines.

        Where a rollout has several shards, its pods are generate's, which go on to translate.

        Args:
            stage: the kind of step.
            load: its requests.
            workers: engines in parallel.
            pieces: chunk files it writes; several that are in progress together count as one.
        """
        sharded = self._profile.shards > 1 and stage in ("generate", "translate")
        follows = sharded and stage == "translate"
        pool: StepKind = "generate" if follows else stage
        gpu, resources = self._gpus[pool], self._resources[pool]
        share = self._share(load, workers)
        served = self._recipe.generation.engine == "openai"
        if rate := self._rate(stage):
            startup, busy = rate.fixed_seconds, rate.seconds(share.output_tokens)
            running = self._profile.engine.max_num_seqs or (gpu.sequences if gpu else 1)
        elif gpu:
            if served:
                self._note_once(
                    "the server of generation.engine openai is assumed to be as fast as the GPUs "
                    "that the profile gives the steps that ask it"
                )
            server = self._server(pool, gpu, resources)
            startup, busy = self._startup(server.weights), server.seconds(share)
            startup -= self._figures.times.pod_seconds if follows else 0.0
            running = server.sequences or gpu.sequences
        elif served:
            self._note_once(
                "the time that the server of generation.engine openai takes is not counted; "
                "--calibration of a run with it gives its speed"
            )
            startup, busy = self._figures.times.control_seconds, 0.0
            running = self._profile.engine.endpoint.concurrency
        else:
            server = self._server(pool, self._cores(pool), resources)
            startup, busy = self._figures.times.control_seconds, server.seconds(share)
            running = server.sequences or server.gpu.sequences
        if pieces > load.requests / running:  # then several of them are in progress together
            pieces = workers * max(1, load.requests // running // workers)
        return Work(
            stage,
            workers=workers,
            gpus=resources.accelerators,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy * workers / pieces,
            launcher=sharded,
            within=follows,
            price=self._price(pool),
        )

    def _share(self, load: Load, workers: int) -> Load:
        """Return the load of one worker, on average."""
        return Load(
            -(-load.requests // workers),
            load.prompt_tokens / workers,
            load.output_tokens / workers,
            load.longest,
        )

    def _server(self, stage: StepKind, gpu: Gpu, resources: Resources) -> ModelServer:
        options, machine = self._recipe.generation.vllm, self._profile.engine
        fp8 = options.quantization == "fp8"
        return ModelServer(
            stage,
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
        launch = Launch.of(self._profile)
        startup, busy = self._training_seconds("train", flops, ranks=launch.world_size)
        pieces = -(-pairs.steps // launch.checkpoint_steps)
        return Work(
            "train",
            workers=launch.nodes,
            gpus=self._resources["train"].accelerators,
            startup=startup,
            pieces=pieces,
            piece_seconds=busy / pieces,
            coupled=True,
            launcher=self._profile.training.launcher == "trainjob",
            price=self._price("train"),
        )

    def _training_seconds(
        self, kind: StepKind, flops: float, *, ranks: int = 1, models: int = 1
    ) -> tuple[float, float]:
        """Return the start-up and busy seconds of a step that computes at training's speed."""
        if rate := self._rate("train"):
            return rate.fixed_seconds, rate.seconds(flops / ranks)
        if gpu := self._gpus[kind]:
            speed = gpu.tflops * 1e12 * gpu.training_mfu * ranks
            return models * self._startup(2.0 * self._shape.parameters), flops / speed
        cores = self._cores(kind)
        speed = cores.tflops * 1e12 * cores.training_mfu
        return self._figures.times.control_seconds, flops / speed

    def prepare(self) -> Work:
        """Return the step prepare, which trains the tiny world's M_0 and only checks others."""
        resources = self._resources["prepare"]
        seconds = self._figures.times.control_seconds
        if self._recipe.is_toy:
            rate = self._calibration.toy if self._calibration else None
            if rate:
                seconds = rate.fixed_seconds + rate.seconds(toy_examples(self._recipe))
            else:
                self._note_once("training the tiny world's M_0 is not counted")
        return Work(
            "prepare", gpus=resources.accelerators, startup=seconds, price=self._price("prepare")
        )

    def pair(self) -> Work:
        """Return the pairing of one iteration, which needs no engine."""
        seconds = self._figures.times.control_seconds
        if self._calibration:
            seconds = self._calibration.pair.seconds(self._requests.pairs.candidates)
        return Work("pair", startup=seconds)

    def _rate(self, stage: str) -> Rate | None:
        if (known := self._calibration) is None:
            return None
        return {
            "generate": known.generate,
            "translate": known.translate,
            "evaluate": known.evaluate,
            "train": known.train,
        }[stage]

    def _price(self, kind: StepKind) -> float:
        resources = self._resources[kind]
        prices = self._profile.prices
        return prices.per_hour(resources.gpu or DEFAULT_GPU, spot=resources.spot) or 0.0

    def _cores(self, kind: StepKind) -> Gpu:
        """Return this machine's cores together as if they were a GPU, and note how rough that is.

        Raises:
            BadInput: the profile is a cluster's, whose nodes' cores are not known.
        """
        if self._profile.runner != "local":
            raise BadInput(
                f"profile {self._profile.name} gives step {kind} no GPU, and nothing is known of "
                "its nodes' speed",
                remedy=f"Set steps.{kind}.accelerators, choose another profile, or give "
                "--calibration a file made by lidr plan --calibrate.",
            )
        core, cores = self._figures.cpu_core, allowed_cores()
        self._note_once(
            f"rough, maybe by a factor of three: nothing has been measured, so {cores:g} cores are "
            f"taken to do {1000 * core.tflops:g} GFLOP/s each, without a GPU; --calibration gives "
            "measured speeds"
        )
        return core.model_copy(
            update={"tflops": core.tflops * cores, "bandwidth_gbs": core.bandwidth_gbs * cores}
        )

    def _note_once(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
