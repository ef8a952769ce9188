"""What a recipe takes under a profile: every step with its GPUs, time and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.config.budget import DEFAULT_GPU, gpus_without_price
from lidr.components.shared.config.pools import StepKind
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing.architecture import Architecture, read_architecture
from lidr.components.shared.sizing.memory import GIB, PROCESS_BYTES, Memory, MemoryPlan, plan_for
from lidr.components.shared.sizing.remedies import memory_remedy
from lidr.components.shared.sizing.storage import model_bytes
from lidr.pipelines.planning.calibration import Calibration
from lidr.pipelines.planning.figures import Figures, Gpu, figures
from lidr.pipelines.planning.pair_memory import pair_memory_fault
from lidr.pipelines.planning.requests import Lengths, Load, PlannedPrompts, Requests, read_prompts
from lidr.pipelines.planning.shapes import model_config
from lidr.pipelines.planning.step_sizer import StepSizer
from lidr.pipelines.planning.work import Work

_RECORD_BYTES_PER_TOKEN = 3.0
"""On the store: a response's text, compressed with zstd, and the columns beside it."""


@dataclass(frozen=True)
class PlanInputs:
    """What an estimate is made from.

    Attributes:
        recipe: what to learn.
        profile: where it runs.
        config: config.json of the model.
        prompts: what the prompt files hold.
        figures: the shipped ones.
        calibration: measured on a finished run; None if there is none.
    """

    recipe: Recipe
    profile: Profile
    config: Mapping[str, Any]
    prompts: PlannedPrompts
    figures: Figures
    calibration: Calibration | None = None

    @classmethod
    def read(cls, recipe: Recipe, profile: Profile) -> PlanInputs:
        """Read a recipe's config.json and prompt files, for a plan without a calibration.

        Raises:
            BadInput: one of them cannot be read.
        """
        config = model_config(recipe.model)
        return cls(recipe, profile, config, read_prompts(recipe), figures())


@dataclass(frozen=True)
class PlannedStep:
    """One step of the run.

    Attributes:
        iteration: t of the model M_t that is made in it; 0 for the steps of M_0. `report` has the
            last one's.
        load: the requests to an engine, or those of `score`; empty for other steps.
        work: the step's size, for the simulator.
    """

    iteration: int
    load: Load
    work: Work


@dataclass(frozen=True)
class Estimate:
    """A plan of a whole run.

    Attributes:
        steps: in their order.
        parameters: of the model.
        memory: of one rank while training.
        fits: whether this memory fits the GPU; None on CPUs.
        remedy: settings with which training fits, if it does not.
        pods: how many the run starts in all.
        store_bytes: what the run needs on the store, by kind; checkpoints only while training.
        notes: what was assumed.
        idle_shards: the note that says how many shards have nothing to do; "" if all have work.
    """

    steps: tuple[PlannedStep, ...]
    parameters: int
    memory: Memory
    fits: bool | None
    remedy: str
    pods: int
    store_bytes: Mapping[str, float]
    notes: tuple[str, ...]
    idle_shards: str = ""

    @property
    def works(self) -> list[Work]:
        """The steps as the simulator takes them."""
        return [step.work for step in self.steps]

    @property
    def seconds(self) -> float:
        """Of the whole run, if nothing goes wrong and no step waits."""
        return sum(work.seconds for work in self.works)

    @property
    def gpu_hours(self) -> float:
        """Of the whole run, if nothing goes wrong."""
        return sum(work.gpu_hours for work in self.works)

    @property
    def cost(self) -> float:
        """Of the whole run's GPUs."""
        return sum(work.gpu_hours * work.price for work in self.works)


def estimate(inputs: PlanInputs) -> Estimate:
    """Estimate a run.

    Raises:
        BadInput: the model's family, a type of GPU or the speed of a cluster's CPUs is not known,
            or the model does not fit one engine.
    """
    return _Estimator(inputs).estimate()


def needed_bytes(inputs: PlanInputs) -> tuple[float, float]:
    """Return the bytes that a run needs on the store, and those of a training rank's memory.

    Raises:
        BadInput: the model's family or a type of GPU is not known.
    """
    return _Estimator(inputs).needed_bytes()


class _Estimator:
    def __init__(self, inputs: PlanInputs) -> None:
        self._recipe, self._profile = inputs.recipe, inputs.profile
        self._figures, self._prompts = inputs.figures, inputs.prompts
        self._config = inputs.config
        self._shape: Architecture = read_architecture(dict(inputs.config))
        self._notes: list[str] = []
        self._idle_shards = ""
        kinds = self._kinds()
        self._resources = {kind: inputs.profile.resources_of(kind) for kind in (*kinds, "prepare")}
        self._calibration = self._fitting_calibration(inputs.calibration)
        lengths = inputs.calibration.lengths.lengths() if inputs.calibration else Lengths()
        self._requests = Requests(self._recipe, self._prompts, self._figures.lengths, lengths)
        self._gpus = {kind: self._gpu(kind) for kind in kinds}
        self._work = StepSizer(
            self._recipe,
            self._profile,
            self._shape,
            self._figures,
            self._requests,
            self._resources,
            self._gpus,
            self._calibration,
            self._notes,
        )
        self._note_gpus()
        self._note_prompts(measured=inputs.calibration is not None)

    def _kinds(self) -> tuple[StepKind, ...]:
        """Return the kinds of step, besides prepare, that use accelerators if they have any."""
        needed = self._recipe.pairing.reward_step
        rewarded: tuple[StepKind, ...] = () if needed == "grade" else (needed,)
        return ("generate", *rewarded, "evaluate", "train")

    def estimate(self) -> Estimate:
        plan = self._plan()
        steps = tuple(map(self._with_overhead, self._steps()))
        gpu = self._gpus["train"]
        fits = plan.fits(self._memory(gpu)) if gpu else None
        bare = gpus_without_price(self._profile, self._resources)
        if bare and self._profile.prices.gpus:
            self._notes.append(f"the cost leaves out GPUs without a price in prices.gpus: {bare}")
        if fault := pair_memory_fault(self._profile, self._requests.pairs):
            self._notes.append(f"{fault}: raise it")
        if self._recipe.is_judged:
            self._notes.append("the judge's requests and their price are not counted")
        if self._recipe.pairing.reward_step == "grade":
            self._notes.append(
                f"the judge grades {self._requests.responses:,} responses an iteration; their time "
                "and price are not counted"
            )
        return Estimate(
            steps=steps,
            parameters=self._shape.parameters,
            memory=plan.memory(),
            fits=fits,
            remedy=self._remedy(plan, gpu) if gpu and not fits else "",
            pods=sum(step.work.pods for step in steps),
            store_bytes=self._store_bytes(),
            notes=tuple(self._notes),
            idle_shards=self._idle_shards,
        )

    def needed_bytes(self) -> tuple[float, float]:
        plan = self._plan()
        process = 0 if plan.gpu else PROCESS_BYTES
        return sum(self._store_bytes().values()), plan.memory().peak + process

    def _steps(self) -> Iterator[PlannedStep]:
        """Yield the loop's steps in the order of pipelines/loop.py and pipelines/iteration.py."""
        yield PlannedStep(0, Load(), self._work.prepare())
        yield from self._evaluation(0)
        for number in range(1, self._recipe.gate.max_iterations + 1):
            yield from self._rollout(number)
            yield PlannedStep(number, Load(), self._work.pair())
            yield PlannedStep(number, Load(), self._work.train())
            yield from self._evaluation(number)
        yield self._control(self._recipe.gate.max_iterations, "report")

    def _with_overhead(self, step: PlannedStep) -> PlannedStep:
        """Add the time around a step, as calibrated; the shipped figures of a step include it."""
        around = self._calibration.between if self._calibration else 0.0
        return replace(step, work=replace(step.work, startup=step.work.startup + around))

    def _evaluation(self, number: int) -> Iterator[PlannedStep]:
        load = self._requests.evaluate
        yield PlannedStep(
            number, load, self._work.engine_step("evaluate", load, workers=1, pieces=1)
        )
        if number:
            yield self._control(number, "gate")
        yield self._control(number, "register")

    def _rollout(self, number: int) -> Iterator[PlannedStep]:
        chunk = self._recipe.generation.chunk_size
        chunks = -(-self._prompts.count // chunk)
        workers = min(self._profile.shards, chunks)
        if workers < self._profile.shards and number == 1:
            self._idle_shards = (
                f"{self._profile.shards} shards, but {chunks} chunks of "
                f"{chunk:,} prompts: {self._profile.shards - workers} have nothing to do; "
                "lower generation.chunk_size"
            )
            self._notes.append(self._idle_shards)
        generate, translate = self._requests.generate, self._requests.translate
        kinds, needed = len(self._recipe.languages.all), self._recipe.pairing.reward_step
        if self._profile.engine.fused:
            generate, translate = generate + translate, Load()
        work = self._work.engine_step("generate", generate, workers, chunks * kinds)
        yield PlannedStep(number, generate, work)
        kinds = 2 * len(self._recipe.languages.others)
        if translate.requests:
            work = self._work.engine_step("translate", translate, workers, chunks * kinds)
            yield PlannedStep(number, translate, work)
        elif needed == "translate":
            yield self._control(number, "translate")
        if self._profile.shards > 1:
            merge = self._control(number, "merge")
            yield replace(merge, work=replace(merge.work, within=True))
        if needed == "score":
            yield PlannedStep(number, self._requests.score, self._work.score())
        elif needed == "grade":
            yield self._control(number, "grade")

    def _control(self, number: int, stage: str) -> PlannedStep:
        seconds = self._figures.times.control_seconds
        if self._calibration:
            seconds = self._calibration.seconds.get(stage, 0.0)
        return PlannedStep(number, Load(), Work(stage, startup=seconds))

    def _fitting_calibration(self, given: Calibration | None) -> Calibration | None:
        """Return the calibration if its speeds hold for this plan, else None.

        Its lengths are used in either case.
        """
        gpus = self._resources["generate"].accelerators
        if given is None or given.fits(self._shape.parameters, gpus):
            if given and gpus:
                self._notes.append(
                    "the calibration does not name its run's type of GPU: its speeds hold for "
                    "that type alone"
                )
            return given
        self._notes.append(
            f"the calibration is of a model of {given.parameters:,} parameters on {given.gpus} "
            "GPU(s) a worker: its lengths are used, its speeds are not"
        )
        return None

    def _gpu(self, kind: StepKind) -> Gpu | None:
        resources = self._resources[kind]
        return self._figures.gpu(resources.gpu or DEFAULT_GPU) if resources.accelerators else None

    def _note_gpus(self) -> None:
        used = self._resources.items()
        bare = [kind for kind, each in used if each.accelerators and not each.gpu]
        if bare:
            self._notes.append(
                f"no type of GPU is named for {', '.join(bare)}: {DEFAULT_GPU} is assumed"
            )

    def _plan(self) -> MemoryPlan:
        launch = Launch.of(self._profile)
        on_gpu = self._gpus["train"] is not None
        return plan_for(self._config, self._recipe.training, launch, gpu=on_gpu)

    def _memory(self, gpu: Gpu) -> float:
        """Return the bytes of a training GPU: as the profile says, else as its type has."""
        return self._profile.training.gpu_memory_gib * GIB or gpu.memory_gb * 1e9

    def _remedy(self, plan: MemoryPlan, gpu: Gpu) -> str:
        launch, memory = Launch.of(self._profile), self._memory(gpu)
        return memory_remedy(plan, memory, self._config, self._recipe.training, launch)

    def _store_bytes(self) -> dict[str, float]:
        rounds, pairs = self._recipe.gate.max_iterations, self._requests.pairs
        gpu = self._gpus["train"] is not None
        rollout = self._requests.generate.output_tokens + self._requests.translate.output_tokens
        evaluated = self._requests.evaluate.tokens * (rounds + 1)
        return {
            "models": model_bytes(self._recipe, self._shape, self._config, gpu=gpu),
            "records": _RECORD_BYTES_PER_TOKEN * (rounds * (rollout + pairs.tokens) + evaluated),
            "checkpoints": 2 * self._figures.times.checkpoint_bytes * self._plan().trained,
        }

    def _note_prompts(self, *, measured: bool) -> None:
        assumed = self._figures.lengths
        if self._prompts.missing:
            self._notes.append(
                f"no prompt files for {', '.join(self._prompts.missing)}: "
                f"{self._prompts.count:,} prompts of {assumed.prompt_characters:g} characters "
                "(in English) are assumed"
            )
        if not measured:
            tokens = assumed.translated("en", assumed.answer_characters)
            self._notes.append(
                f"answers are assumed to have {math.ceil(tokens):,} tokens in English, and in "
                "another language as many as its script takes; --calibration gives measured lengths"
            )
        for name in self._requests.unknown_tasks():
            self._notes.append(f"{name} is assumed to have {assumed.evaluation_items:,} items")
