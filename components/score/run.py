"""score: the implicit reward of every response, beta * log(policy / reference), in nats.

Yang et al. 2025, arXiv 2503.04647: a tuned model shows the preferences that it has learnt in the
dominant language by how much likelier it makes a response, in any language, than the model that it
was tuned from. Both read the instruction in the dominant language, with a request to answer in the
response's language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from lidr.components.rollout.answers import read_answers
from lidr.components.rollout.prompts import PromptBook
from lidr.components.score.stage import ScoringModels, score_stage, scoring_models
from lidr.components.score.texts import (
    LanguageStats,
    LanguageTexts,
    ResponseEncoder,
    SampleKey,
    ScoredPair,
)
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.device import best_device
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.models.chat import ChatSettings
from lidr.components.shared.models.context import context_length
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.records.schema import Response, Score
from lidr.components.shared.records.scores import SCORES_FILE, score_counts
from lidr.components.shared.step import step
from lidr.components.shared.store.stage import Stage, open_stage


@dataclass(frozen=True, slots=True)
class SampleLogp:
    """The natural log of a model's probability of a response, over all its tokens."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [("prompt_id", pa.string()), ("sample", pa.int32()), ("logp", pa.float64())]
    )
    prompt_id: str
    sample: int
    logp: float


@step("score")
def score(
    recipe: str,
    store: str,
    inputs: str,
    responses: str,
    model: str,
    iteration: int,
    run: str = "",
) -> str:
    """Score every response with the implicit reward of a policy and its reference.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage: `scores.parquet` (Score), and
        `logps/<policy or reference>/<language>.parquet` (SampleLogp), each written when complete:
        a killed step goes on with the next language.

    Raises:
        BadInput: a model that `pairing.icr` names is missing, or the models' vocabularies differ.
    """
    settings = Recipe.model_validate_json(recipe)
    models = scoring_models(settings, store, inputs, model)
    stage = score_stage(settings, store, inputs, responses, models, iteration)
    if stage.done():
        emit("reused")
        return stage.uri
    book = PromptBook(open_stage(inputs), settings.prompts.per_iteration, iteration)
    dominant = settings.languages.dominant
    prompts = {each.prompt_id: each for each in book.read(dominant, 0, book.size(dominant))}
    arguments = settings.model.template_arguments
    files = {role: model_files(uri, arguments=arguments) for role, uri in models._asdict().items()}
    encoder = ResponseEncoder(settings, *_chat_and_context(settings, files), prompts)

    # Encoded anew for each model: the texts of all languages may not fit into memory.
    def texts_of(code: str) -> LanguageTexts:
        return encoder.encode(code, read_answers(responses, code))

    stats = {code: LanguageStats.of(texts_of(code)) for code in settings.languages.all}
    if cut := sum(each.cut for each in stats.values()):
        emit(
            "note",
            message=f"{cut:,} responses are scored only as far as the models' context reaches",
        )
    for role, role_files in files.items():
        _write_logps(settings, stage, role, role_files, stats, texts_of)
    scores = {
        code: _scores(settings, stage, code, each.failures, read_answers(responses, code))
        for code, each in stats.items()
    }
    stage.write_records(SCORES_FILE, [each for own in scores.values() for each in own], Score)
    counts = score_counts(scores)
    emit("number", name="scored", value=f"{counts['scored']:,} of {counts['responses']:,}")
    return stage.finish(counts | {"beta": settings.pairing.icr.beta})


def _chat_and_context(settings: Recipe, files: Mapping[str, ModelFiles]) -> tuple[Any, int]:
    """Return the renderer of the policy's chats, and the tokens that fit both models' contexts."""
    from lidr.components.shared.forward.loading import (
        load_chat,
        model_settings,
        require_same_vocabulary,
    )

    policy, reference = files["policy"].folder, files["reference"].folder
    require_same_vocabulary(policy, reference, "pairing.icr")
    longest = settings.model.max_length
    contexts = [context_length(model_settings(each), each, longest) for each in (policy, reference)]
    context = min([*contexts, *([longest] if longest else [])])
    return load_chat(ChatSettings.of(settings.model), policy, reference), context


def _write_logps(
    settings: Recipe,
    stage: Stage,
    role: str,
    files: ModelFiles,
    stats: Mapping[str, LanguageStats],
    texts_of: Callable[[str], LanguageTexts],
) -> None:
    """Write one model's log-probabilities of each language that the stage lacks."""
    left = {
        code: found
        for code, found in stats.items()
        if not stage.store.exists(stage.key(_logps_file(role, code)))
    }
    if not any(found.pairs for found in left.values()):
        for code in left:
            stage.write_records(_logps_file(role, code), [], SampleLogp)
        return
    from lidr.components.shared.forward.loading import free_models, load_model
    from lidr.components.shared.forward.logps import pair_logps
    from lidr.components.shared.forward.scoring import install_scoring

    bfloat16 = settings.training.in_bfloat16(gpu=best_device() == "cuda")
    emit("note", message=f"scoring with the {role}")
    model = load_model(files)
    trial = [pair for found in stats.values() for pair in found.trial]
    layout = install_scoring(model, trial, bfloat16=bfloat16, length_key="model.max_length")
    budget = Machine.from_environment().engine.batch_tokens
    meter = Meter(sum(found.pairs for found in left.values()), "pairs of samples", "tokens")
    for code in left:
        pairs = texts_of(code).pairs
        own = [pair.tokens for pair in pairs]
        logps = pair_logps(model, own, layout, budget, bfloat16, meter) if own else []
        stage.write_records(_logps_file(role, code), list(_records(pairs, logps)), SampleLogp)
        del pairs, own  # before those of the next language are read
    del model
    free_models()


def _logps_file(role: str, language: str) -> str:
    return f"logps/{role}/{language}.parquet"


def _records(pairs: Sequence[ScoredPair], logps: Any) -> Iterator[SampleLogp]:
    """Yield the log-probability of each sample, from those of pairs, shape (pairs, 2)."""
    for pair, values in zip(pairs, logps, strict=True):
        for (prompt_id, sample), value in zip(pair.samples, values.tolist(), strict=False):
            yield SampleLogp(prompt_id, sample, value)


def _scores(
    settings: Recipe,
    stage: Stage,
    code: str,
    failures: Mapping[SampleKey, str],
    answers: Sequence[Response],
) -> list[Score]:
    policy, reference = (_logps(stage, role, code) for role in ScoringModels._fields)
    if policy.keys() != reference.keys():
        raise BadInput(
            f"{stage.uri} holds log-probabilities of different responses for the two models",
            remedy=f"Delete {stage.uri} and run again.",
        )
    beta = settings.pairing.icr.beta
    return [
        Score(each.prompt_id, code, each.sample, beta * (policy[key] - reference[key]))
        if (key := (each.prompt_id, each.sample)) in policy
        else Score(each.prompt_id, code, each.sample, None, failures[key])
        for each in answers
    ]


def _logps(stage: Stage, role: str, code: str) -> dict[SampleKey, float]:
    found: list[SampleLogp] = stage.peek_records(_logps_file(role, code), SampleLogp)
    return {(each.prompt_id, each.sample): each.logp for each in found}
