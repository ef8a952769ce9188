"""prepare: put what the loop starts from on the store: M_0, the prompts, the evaluation items."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lidr.components.shared.config.evaluation import MAX_ITERATIONS
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import canonical_json, digest_of_bytes
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.engines.base import ChatRequest
from lidr.components.shared.inputs.duplicates import (
    Duplicate,
    counts_of,
    find_duplicates,
    note_of_duplicates,
    without_duplicates,
)
from lidr.components.shared.inputs.files import read_file
from lidr.components.shared.inputs.prompt_files import (
    load_prompts,
    note_of_unread,
    place_of,
    unread_fields,
)
from lidr.components.shared.inputs.translation_tasks import (
    note_of_translation_tasks,
    translation_task_ids,
)
from lidr.components.shared.models.admission import check_adapter, check_model
from lidr.components.shared.models.chat import ChatRenderer, ChatSettings
from lidr.components.shared.models.chat.identity import chat_identity
from lidr.components.shared.models.context import context_length
from lidr.components.shared.models.outside import (
    ModelLocation,
    fetch_model,
    model_fingerprint,
    resolve_model,
)
from lidr.components.shared.models.stages import admit_files
from lidr.components.shared.records.chat import answer_messages
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.step import step
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.shared.store.runs import note_admission
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.toy.pretrain import build_base_model
from lidr.components.toy.problems import draw_problems, question

_MAX_TOY_PROMPTS = 9_000
"""Most prompts for one iteration: `toy.problems` can draw 48,000 for all five."""

VERSION = 1
IMPORT_VERSION = 2
"""Of stages with imported models; 2 because their chat format and end of turn changed."""

_MAX_TEMPLATE_TOKENS = 512
"""Tokens that a chat template adds at most; prompts near the context are counted exactly."""


@step("prepare")
def prepare(recipe: str, store: str, run: str = "") -> str:
    """Build the tiny world, or check and import a recipe's own model and prompts.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `prompts/<language>.parquet`, and either `model/` with
        `evaluation/<language>.jsonl` (tiny world) or `model.json` that says where M_0
        is, with `duplicates.jsonl` unless `prompts.deduplicate` is off.

    Raises:
        BadInput: a prompt file or the model folder is unusable (file, line and remedy are named),
            or no task measures the dominant language, or none another one.
    """
    settings = Recipe.model_validate_json(recipe)
    settings.require_measured()
    target = open_store(store)
    put_recipe(target, recipe)
    return _tiny_world(settings, target) if settings.is_toy else _import(settings, target, run)


def _tiny_world(settings: Recipe, store: Store) -> str:
    if settings.prompts.per_iteration > _MAX_TOY_PROMPTS:
        raise BadInput(
            f"the tiny world has {_MAX_TOY_PROMPTS:,} prompts for an iteration",
            remedy="Lower prompts.per_iteration.",
        )
    stage = new_stage(
        store,
        "prepare",
        VERSION,
        {},
        {
            "seed": settings.seed,
            "languages": settings.languages.model_dump(mode="json"),
            "per_iteration": settings.prompts.per_iteration,
            **chat_identity(settings.model),
            **settings.toy.model_dump(mode="json"),
        },
    )
    if stage.done():
        emit("reused")
        return stage.uri
    for code in settings.languages.all:
        _write_prompts_and_items(stage, settings, code)
    _pretrain(stage, settings)
    return stage.finish({"prompts": settings.prompts.per_iteration * MAX_ITERATIONS})


def _write_prompts_and_items(stage: Stage, settings: Recipe, code: str) -> None:
    count = settings.prompts.per_iteration * MAX_ITERATIONS
    prompts = [
        Prompt(problem.prompt_id, code, question(problem, code), problem.answer)
        for problem in draw_problems(settings.seed, "prompts", count)
    ]
    stage.write_records(f"prompts/{code}.parquet", prompts, Prompt)
    items = [
        {
            "item_id": problem.prompt_id,
            "question": question(problem, code),
            "answer": problem.answer,
        }
        for problem in draw_problems(settings.seed, "evaluation", settings.toy.evaluation_items)
    ]
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    stage.write(f"evaluation/{code}.jsonl", ("\n".join(lines) + "\n").encode())


def _pretrain(stage: Stage, settings: Recipe) -> None:
    meter: Meter | None = None

    def report(done: int, total: int, loss: float) -> None:
        nonlocal meter
        meter = meter or Meter(total, "steps", "steps")
        meter.advance(1, 1)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_base_model(
            folder,
            settings.seed,
            solutions=settings.toy.solutions,
            weak_solutions=settings.toy.weak_solutions,
            translations=settings.toy.translations,
            passes=settings.toy.passes,
            report=report,
        )
        for path in sorted(folder.iterdir()):
            stage.upload(f"model/{path.name}", path)


def _import(settings: Recipe, store: Store, run: str) -> str:
    prompts, duplicates = _distinct_prompts(settings)
    source, own_adapter = resolve_model(settings.model.source, unpinned=settings.model.unpinned)
    adapter_source = settings.model.adapter or own_adapter
    _admit(settings, ModelLocation(source, adapter_source), store, run)
    adapter = _adapter_fields(adapter_source)
    read = {"model": model_fingerprint(source), "prompts": _digest_of_prompts(prompts)}
    if adapter:
        read["adapter_digest"] = adapter["adapter_digest"]
    stage = new_stage(
        store,
        "prepare",
        IMPORT_VERSION,
        read,
        {
            "languages": settings.languages.model_dump(mode="json"),
            "max_length": settings.model.max_length,
            **_deduplication(settings),
            **chat_identity(settings.model, fetch_model(source, weights=False)),
        },
    )
    if stage.done():
        emit("reused")
        return stage.uri
    _require_fit(settings, fetch_model(source, weights=False), prompts)
    check_model(fetch_model(source), arguments=settings.model.template_arguments)
    for code, rows in prompts.items():
        stage.write_records(f"prompts/{code}.parquet", rows, Prompt)
    described = {"source": source, "digest": read["model"], **adapter}
    stage.write("model.json", json.dumps(described).encode())
    facts = {"model": described, "prompt_files": _prompt_files(settings)}
    counts: dict[str, object] = {"prompts": len(prompts[settings.languages.dominant])}
    if _deduplication(settings):
        lines = [json.dumps(asdict(each)) for each in duplicates]
        stage.write("duplicates.jsonl", "".join(f"{line}\n" for line in lines).encode())
        counts["duplicates"] = counts_of(duplicates)
    return stage.finish(counts, facts)


def _distinct_prompts(settings: Recipe) -> tuple[dict[str, list[Prompt]], list[Duplicate]]:
    """Return the prompts of each language and the duplicates left out; log notes on both."""
    dominant, deduplicate = settings.languages.dominant, settings.prompts.deduplicate
    fields: set[str] = set()
    whole = load_prompts(settings, found_fields=fields)
    if unread := unread_fields(settings.prompts, fields):
        emit("note", message=note_of_unread(unread))
    duplicates = find_duplicates(whole[dominant], deduplicate, settings.seed)
    if deduplicate.mode != "off":
        emit("note", message=note_of_duplicates(duplicates, len(whole[dominant])))
    prompts = without_duplicates(whole, duplicates)
    if found := translation_task_ids(settings, prompts[dominant]):
        emit("note", message=note_of_translation_tasks(found))
    return prompts, duplicates


def _deduplication(settings: Recipe) -> dict[str, object]:
    """Return the deduplication settings in a stage's identity; {} if it is off."""
    chosen = settings.prompts.deduplicate
    if chosen.mode == "off":
        return {}
    return {"deduplicate": chosen.model_dump(), "seed": settings.seed}


def _admit(settings: Recipe, model: ModelLocation, store: Store, run: str) -> None:
    """Log what is decided about the model, or refuse it, before any time is spent on it."""
    admission = admit_files(settings, model)
    for line in admission.lines:
        emit("note", message=line)
    admission.require()
    if run:
        note_admission(store, run, admission.to_dict())


def _prompt_files(settings: Recipe) -> dict[str, list[dict[str, str]]]:
    """Return each language's prompt files, with the digests of their bytes."""
    return {
        code: [
            {"file": file, "sha256": digest_of_bytes(read_file(file, "prompts.files"))}
            for file in settings.prompts.files[code]
        ]
        for code in settings.languages.all
    }


def _adapter_fields(source: str) -> dict[str, str]:
    """Return the fields of model.json on a LoRA adapter; {} without one."""
    if not source:
        return {}
    check_adapter(fetch_model(source))
    return {"adapter": source, "adapter_digest": model_fingerprint(source, check_adapter)}


def _digest_of_prompts(prompts: Mapping[str, Sequence[Prompt]]) -> str:
    """Return `digest_of` of the prompts by language, made row by row: there may be millions."""
    digest = hashlib.sha256()
    for number, (code, rows) in enumerate(sorted(prompts.items())):
        digest.update(f"{',' if number else '{'}{canonical_json(code)}:[".encode())
        for place, p in enumerate(rows):
            row = canonical_json([p.prompt_id, p.text, p.answer, p.translation_task])
            digest.update(f"{',' * (place > 0)}{row}".encode("utf-8", "surrogatepass"))
        digest.update(b"]")
    digest.update(b"}" if prompts else b"{}")
    return digest.hexdigest()


def _require_fit(settings: Recipe, folder: Path, prompts: Mapping[str, Sequence[Prompt]]) -> None:
    """Refuse prompts that leave no room for an answer, before any GPU time is spent."""
    from transformers import AutoConfig

    own = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    context = settings.model.max_length or context_length(own, folder)
    chat = ChatRenderer.load(folder, ChatSettings.of(settings.model))
    for code, rows in prompts.items():
        for prompt in rows:
            if 4 * len(prompt.text) + _MAX_TEMPLATE_TOKENS < context:
                continue  # byte-level tokenizers make at most four tokens of a character
            tokens = len(chat.render(ChatRequest("", answer_messages(prompt.text))))
            if tokens >= context:
                file, line = place_of(prompt.prompt_id, code, settings.prompts)
                raise BadInput(
                    f"prompt {prompt.prompt_id!r} has {tokens} tokens, the context {context}",
                    file=file,
                    line=line,
                    remedy="Shorten the prompt, or remove its id"
                    + (", or raise model.max_length." if settings.model.max_length else "."),
                )
