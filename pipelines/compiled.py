"""Compiles the loop into KFP's intermediate representation (IR)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lidr.components.shared.config.budget import Account
from lidr.components.shared.config.evaluation import MAX_ITERATIONS
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.kubernetes.launch import Launch
from lidr.pipelines.acceptable import require_acceptable
from lidr.pipelines.lean import import_kfp
from lidr.pipelines.lifting import inline_groups, lift_conditions
from lidr.pipelines.naming import name_tasks
from lidr.pipelines.sharing import share_components
from lidr.pipelines.stamp import description_of
from lidr.pipelines.workflow_size import require_workflow_fits

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

    from lidr.pipelines.placement import Placement

MAX_BYTES = 350_000
"""Most bytes of a pipeline: its Argo Workflow is about twice as large, refused above 700 kB."""


def compile_loop(
    recipe: Recipe,
    profile: Profile,
    run: str,
    max_unroll: int,
    first: int = 1,
    watching: bool = False,
    *,
    resumed: bool = False,
    on_store: bool = False,
    account: str = "",
) -> str:
    """Return the pipeline as YAML; equal input gives equal bytes.

    Args:
        recipe: what to learn; tasks on a cluster get its reference on the store.
        profile: where to run.
        run: the default name of the run.
        max_unroll: rounds compiled in, from the recipe's `gate.max_iterations` to
            `MAX_ITERATIONS`.
        first: the first iteration compiled in; those before it are in the run's state.
        watching: whether a check for new inputs comes first (`components/watch`).
        resumed: whether an earlier execution of the run has evaluated M_0.
        on_store: whether the recipe is on the store; else the pipeline holds it once.
        account: budget and prices for the tasks, from a plan (`planning.budget.account_of`); "" to
            take them from the profile.

    Raises:
        BadInput: `max_unroll` or `first` is out of range, or a cluster would refuse what the
            profile asks for or a pipeline of this size.
    """
    if not recipe.gate.max_iterations <= max_unroll <= MAX_ITERATIONS:
        raise BadInput(
            f"{max_unroll} rounds are not between gate.max_iterations "
            f"({recipe.gate.max_iterations}) and {MAX_ITERATIONS}",
            remedy="Change --max-unroll, or --set gate.max_iterations=N.",
        )
    last = recipe.gate.max_iterations + resumed
    if not 1 <= first <= last:
        raise BadInput(
            f"iteration {first} is not between 1 and {last} (gate.max_iterations is "
            f"{recipe.gate.max_iterations})",
            remedy="Change --from-iteration.",
        )
    require_acceptable(profile)

    import_kfp()
    from lidr.pipelines.loop import LoopShape, build_loop

    loop = build_loop(
        recipe,
        profile.store,
        run,
        _placement(profile, account or Account.of(profile).text()),
        LoopShape(max_unroll, first, resumed, watching),
        profile.shards,
        Launch.of(profile).text(),
        description=description_of(recipe),
        by_reference=profile.runner == "kubeflow",
        on_store=on_store,
        roll_out=_roll_out(profile),
    )
    text = _compiled(loop, lifted=profile.runner == "kubeflow")
    if profile.runner == "kubeflow":
        require_workflow_fits(text)
    return text


def compile_promotion(recipe: Recipe, profile: Profile, *, on_store: bool = False) -> str:
    """Return the promotion pipeline as YAML; equal input gives equal bytes.

    Args:
        recipe: whose benchmarks and gate decide.
        profile: where to run.
        on_store: whether the recipe is on the store; else the pipeline holds it once.

    Raises:
        BadInput: a cluster would refuse what the profile asks for.
    """
    require_acceptable(profile)

    import_kfp()
    from lidr.pipelines.promote import build_promotion

    promotion = build_promotion(
        recipe,
        profile.store,
        _placement(profile),
        by_reference=profile.runner == "kubeflow",
        on_store=on_store,
    )
    return _compiled(promotion)


def _roll_out(profile: Profile) -> str:
    """Return how a profile's shards are started; "": on the task's machine."""
    in_pods = profile.runner == "kubeflow" and profile.shards > 1
    return Launch.of_rollout(profile).text() if in_pods else ""


def _placement(profile: Profile, account: str = "") -> Placement:
    from lidr.pipelines.placement import place_locally, placed_by

    return place_locally if profile.runner == "local" else placed_by(profile, account)


def _compiled(pipeline: BaseComponent, *, lifted: bool = False) -> str:
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        text = _rewritten(file.read_text(encoding="utf-8"), lifted=lifted)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise BadInput(
            f"the compiled pipeline has {size:,} bytes, more than {MAX_BYTES:,}",
            remedy="Lower --max-unroll, or shorten the profile's tolerations and secrets.",
        )
    return text


def as_manifests(text: str, namespace: str) -> str:
    """Return a compiled pipeline as `Pipeline` and `PipelineVersion` (pipelines.kubeflow.org).

    A version never changes, so its name has the digest of the pipeline. KFP's own compiler writes
    the same two, but without sharing components among rounds.

    Args:
        text: from `compile_loop`.
        namespace: of both; "" for the one in the kubectl context.
    """
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    info = documents[0]["pipelineInfo"]
    where = {"namespace": namespace} if namespace else {}
    version = f"{info['name']}-{digest_of_bytes(text.encode())[:12]}"
    described_as = {"displayName": info["name"], "description": info["description"]}
    spec = {**described_as, "displayName": version, "pipelineName": info["name"]}
    spec["pipelineSpec"] = documents[0]
    if len(documents) > 1:
        spec["platformSpec"] = documents[1]
    made = [
        _manifest("Pipeline", {"name": info["name"], **where}, described_as),
        _manifest("PipelineVersion", {"name": version, **where}, spec),
    ]
    return _dump(made)


def _manifest(kind: str, metadata: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    version = "pipelines.kubeflow.org/v2beta1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _rewritten(text: str, *, lifted: bool) -> str:
    """Return the IR with components shared among rounds; comments at its head are kept.

    Args:
        text: as KFP's compiler wrote it.
        lifted: whether to name tasks after their models and to put conditions on the tasks
            themselves, which only KFP's backend can run.
    """
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    if lifted:
        name_tasks(documents[0])
    share_components(documents[0], documents[1] if len(documents) > 1 else {})
    if lifted:
        lift_conditions(documents[0])
        inline_groups(documents[0])
    heading = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    return heading + _dump(documents)


def _dump(documents: list[dict[str, Any]]) -> str:
    return str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=True, width=1000))
