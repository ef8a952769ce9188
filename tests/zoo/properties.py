"""What holds for every shape: each property is a function of a pen that asserts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lidr.components.shared.engines import ChatRequest, Completion, Decoding, ScoreRequest
from lidr.components.shared.forward.batches import micro_batches
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.forward.scoring import install_scoring, score
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.records.chat import TRANSLATION_PRIMER as PRIMER
from lidr.components.shared.records.chat import TRANSLATION_STOP
from lidr.components.shared.records.samples import MARGINS_FILE, PairMargin
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    PreferencePair,
    Response,
)
from lidr.components.shared.store.stage import open_stage
from tests.zoo.pen import Pen, preference, read
from tests.zoo.scripted import ScriptedEngine
from tests.zoo.truth import (
    FIRST_DAY,
    SECOND_DAY,
    day,
    greedy,
    load,
    log_probability,
    turn,
)

PROMPT = "Nina has 4 books. Nina finds 2. How many books are left?"
ANSWER = "At first 4 books. After that 4 + 2 = 6."
THOUGHT = "Nina has 4 books, and finds 2."

LONG = " Nina tiene 4 libros." * 8
PAIRS = [
    preference(0, PROMPT, ANSWER, "Luego Nina pierde 3."),
    preference(1, "Nina hat 4 Bücher.", "6", "Nina hat 6 Bücher." + LONG),
    preference(2, PROMPT + LONG, "Quedan 6." + LONG, "6 books"),
    preference(3, "尼娜有四本书。", "六本。", "Six."),
    preference(4, PROMPT, "Finally 6 - 3 = 3 books." + LONG, "Puis Nina perd 3." + LONG),
    preference(5, "Nina a 4 livres.", "Nina trouve 2.", "У Нины две книги."),
]
LN2 = math.log(2)


@dataclass(frozen=True)
class Told:
    """What became of a text that a model wrote.

    Attributes:
        found: what was read.
        prompt: token ids of what it answers.
        written: those of the text.
    """

    found: Completion
    prompt: list[int]
    written: list[int]


def told(pen: Pen, text: str) -> Told:
    """Let the model answer with a text."""
    chat = [{"role": "user", "content": PROMPT}]
    with ScriptedEngine(pen.engine, pen.tokenizer, lambda *_: text) as engine:
        (found,) = engine.complete([ChatRequest("a", chat, Decoding(max_tokens=64))])
    return Told(found, engine.prompts["a"], engine.written["a"])


def generation_stops_where_training_ends(pen: Pen) -> None:
    """The token that ends what generation reads is the one that training teaches."""
    shape = pen.shape
    answer = told(pen, shape.written(ANSWER))
    (pair,) = pen.tokens([preference(0, PROMPT, ANSWER, "6")])
    (end,) = pen.ids(shape.end)
    assert answer.found.finish_reason == FinishReason.STOP
    assert (answer.written[-1], pair.chosen[-1], pair.rejected[-1]) == (end, end, end)
    assert {end, *pen.ids(*shape.stops)} <= pen.chat.stops


def what_is_written_is_what_is_trained(pen: Pen) -> None:
    """Writing a text, reading it, and training on it is one and the same sequence of tokens."""
    answer = told(pen, pen.shape.written(ANSWER))
    assert (answer.found.text.strip(), answer.found.failure) == (ANSWER, None)
    (pair,) = pen.tokens([preference(0, PROMPT, answer.found.text, "6")])
    if not pen.shape.opened:  # a template that begins a thought has no such place in a past turn
        wrote = answer.prompt + answer.written
        trained = [*pair.prompt, *pair.chosen]
        assert trained == wrote, _differing(pen, trained, wrote)


def tokens_are_the_template_s(pen: Pen) -> None:
    """A pair's tokens are the template's own rendering of the conversation."""
    for record in PAIRS:
        (pair,) = pen.tokens([record])
        prompt = record.prompt[0]["content"]
        for side, tokens in ((record.chosen, pair.chosen), (record.rejected, pair.rejected)):
            expected = turn(pen.tokenizer, pen.shape.end, prompt, side[0]["content"])
            found = [*pair.prompt, *tokens]
            assert found == expected, _differing(pen, found, expected)


def _differing(pen: Pen, found: list[int], expected: list[int]) -> str:
    """Say where two sequences of tokens part."""
    pairs = zip(found, expected, strict=False)
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
    ours, own = (
        pen.tokenizer.convert_ids_to_tokens(tokens[max(0, place - 3) : place + 4])
        for tokens in (found, expected)
    )
    return f"from token {max(0, place - 3)} on: found {ours}, the template writes {own}"


def thoughts_are_left_out(pen: Pen) -> None:
    """What a model thinks is no part of its answer, and a thought without end is a failure."""
    if not pen.shape.thinks:
        return
    found = told(pen, pen.shape.written(ANSWER, THOUGHT)).found
    assert (found.text, found.failure) == (ANSWER, None)
    unclosed = pen.shape.written(ANSWER, THOUGHT).partition(THOUGHT)[0] + "Nina " * 80
    found = told(pen, unclosed).found
    assert (found.text, found.failure) == ("", Failure.UNCLOSED_THOUGHT)


def the_primer_begins_the_answer(pen: Pen) -> None:
    """The paper's primer stands where the answer begins, or is not used."""
    chat = [{"role": "user", "content": PROMPT}]
    primed, plain = (pen.chat.render(ChatRequest("a", chat, primer=p)) for p in (PRIMER, ""))
    if primed != plain:
        expected = turn(pen.tokenizer, pen.shape.end, PROMPT, f"{PRIMER}6")
        assert primed == expected[: len(primed)], _differing(pen, primed, expected)


def log_probabilities_are_the_bare_model_s(pen: Pen) -> None:
    """Each pair's log-probabilities are the model's own, and no batch changes them."""
    bare, pairs = load(pen.folder), pen.tokens(PAIRS)
    expected = [
        [log_probability(bare, pair.prompt, side) for side in (pair.chosen, pair.rejected)]
        for pair in pairs
    ]
    model = load_model(ModelFiles(pen.folder))
    layout = install_scoring(model, pairs)
    model.eval()
    for rows in ([0, 1, 2, 3, 4, 5], [5, 1], [3, 2, 0], [4]):
        found = _scores(model, layout, [pairs[row] for row in rows])
        _near(found, [expected[row] for row in rows], 1e-4)


def _scores(model: Any, layout: Any, pairs: Any) -> list[list[float]]:
    import torch

    with torch.no_grad():
        scores = [[0.0, 0.0]] * len(pairs)
        for rows in micro_batches(range(len(pairs)), pairs, layout, 10_000, 0):
            part = score(model, layout([pairs[row] for row in rows], model.device))
            for row, found in zip(rows, part.tolist(), strict=True):
                scores[row] = found
    return scores


def _near(found: list[list[float]], expected: list[list[float]], bound: float) -> None:
    ours, own = (list(chain.from_iterable(rows)) for rows in (found, expected))
    worst = max(abs(a - b) for a, b in zip(ours, own, strict=True))
    assert worst < bound, f"they differ by {worst}: {ours} and {own}"


def the_first_losses_are_ln_2(pen: Pen) -> None:
    """Where nothing is learnt, policy and reference agree in every batch."""
    recipe = pen.recipe(training={"learning_rate": 1e-9})
    for row in read(pen.train(recipe, PAIRS), "metrics.jsonl"):
        assert abs(row["dpo_loss"] - LN2) < 1e-5, f"step {row['step']}: {row['dpo_loss']}"


def a_batch_is_each_alone(pen: Pen) -> None:
    """Answers and likelihoods do not depend on what else is asked, and are transformers' own."""
    engine, bare = pen.engine, load(pen.folder)
    texts = [record.prompt[0]["content"] for record in PAIRS]
    chats = [[{"role": "user", "content": text}] for text in [*texts[:4], "A", PROMPT + LONG * 2]]
    decoding = Decoding(max_tokens=12)
    requests = [ChatRequest(str(n), chat, decoding) for n, chat in enumerate(chats)]
    together = {each.key: each for each in engine.complete(requests)}
    ends = sorted(engine._chat.stops)
    for request in requests:
        (alone,) = engine.complete([request])
        assert together[request.key] == alone
        prompt = pen.chat.render(request)
        own = greedy(bare, prompt, ends, 12)
        assert (alone.prompt_tokens, alone.output_tokens) == (len(prompt), len(own))
        read = pen.chat.parse_answer(request, pen.chat.decode([t for t in own if t not in ends]))
        assert (alone.text, alone.failure) == read[:2]


def a_likelihood_is_the_bare_model_s(pen: Pen) -> None:
    """Likelihoods do not depend on what else is asked, and are transformers' own."""
    engine, bare = pen.engine, load(pen.folder)
    chats = [record.prompt for record in PAIRS]
    requests = [ScoreRequest(str(n), chat, ("A", "six books", "6")) for n, chat in enumerate(chats)]
    together = {each.key: each for each in engine.score(requests)}
    for request in requests:
        context, texts = pen.chat.render_continuations(request)
        own = [log_probability(bare, context, text) for text in texts]
        for found in (together[request.key], *engine.score([request])):
            _near([list(found.logprobs)], [own], 1e-4)


def exported_is_trained(pen: Pen) -> None:
    """The margins that training ends with are those of the files that it wrote."""
    uri = pen.train(pen.recipe(training={"epochs": 2.0}), PAIRS)
    _has_its_margins(pen, uri, load(model_files(uri).folder))


def an_adapter_is_trained(pen: Pen) -> None:
    """So it is with adapters, merged or alone as PEFT reads them."""
    from peft import PeftModel

    for merge in (True, False):
        lora = {"rank": 4, "merge": merge}
        uri = pen.train(pen.recipe(training={"epochs": 2.0, "lora": lora}), PAIRS)
        files = model_files(uri)
        policy = load(files.folder)
        if files.adapter:
            policy = PeftModel.from_pretrained(policy, files.adapter)
        _has_its_margins(pen, uri, policy)


def _has_its_margins(pen: Pen, uri: str, policy: Any) -> None:
    """Hold the margins that a training told against those of a model that it wrote."""
    pairs, reference = {pair.key: pair for pair in pen.tokens(PAIRS)}, load(pen.folder)
    for told in open_stage(uri).read_records([MARGINS_FILE], PairMargin):
        pair = pairs[told.pair]
        gains = [
            log_probability(policy, pair.prompt, side)
            - log_probability(reference, pair.prompt, side)
            for side in (pair.chosen, pair.rejected)
        ]
        margin = 0.1 * (gains[0] - gains[1])
        assert abs(margin) > 1e-3
        assert abs(told.margin - margin) < 1e-4 * max(1.0, abs(margin))


def two_days_are_one(pen: Pen) -> None:
    """A run that goes on on another day reads, and trains on, the same tokens."""
    found = []
    for when in (FIRST_DAY, SECOND_DAY):
        with day(when):
            prompt = told(pen, pen.shape.written(ANSWER)).prompt
            found.append((prompt, pen.tokens(PAIRS)))
    assert found[0] == found[1]


def an_iteration_runs(pen: Pen) -> None:
    """From prompts to M_1, and M_1's own answers."""
    recipe = pen.recipe()

    def says(request: ChatRequest, prompt: str) -> str:
        translates = "<sentence>" in request.messages[-1]["content"]
        text = "Nina tiene 6 libros." if translates else ANSWER
        if not translates:
            return pen.shape.written(text)
        if prompt.endswith(PRIMER):
            return f"{text}{TRANSLATION_STOP}{pen.shape.end}"
        return pen.shape.written(f"{PRIMER}{text}{TRANSLATION_STOP}")

    uris = pen.iterated(recipe, says)
    responses = open_stage(uris["responses"])
    rows = responses.read_records(responses.files(prefix="responses/"), Response)
    assert {(row.text.strip(), row.failure) for row in rows} == {(ANSWER, None)}
    pairs = open_stage(uris["pairs"]).read_records(["pairs.parquet"], PreferencePair)
    assert len(pairs) == 8
    written = open_stage(pen.answers(recipe, uris["model"]))
    rows = written.read_records(written.files(prefix="responses/"), Response)
    assert all(row.output_tokens for row in rows)


PROPERTIES: Mapping[str, Callable[[Pen], None]] = {
    each.__name__: each
    for each in (
        generation_stops_where_training_ends,
        what_is_written_is_what_is_trained,
        tokens_are_the_template_s,
        thoughts_are_left_out,
        the_primer_begins_the_answer,
        log_probabilities_are_the_bare_model_s,
        the_first_losses_are_ln_2,
        a_batch_is_each_alone,
        a_likelihood_is_the_bare_model_s,
        exported_is_trained,
        an_adapter_is_trained,
        two_days_are_one,
        an_iteration_runs,
    )
}
