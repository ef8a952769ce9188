"""The judge step with real answers, and with a real `vllm serve` as the judge.

The answers are not part of the project: LIDR_SHARED_DATA names their folder, else `../shared/data`
beside the checkout is looked for; without it the tests that need them are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.judge.summary import UNPARSABLE
from lidr.components.judging.prompts import masked
from lidr.components.shared.inputs.questions import read_questions
from lidr.components.shared.records.schema import Answer
from tests.judges import Says, ScriptedJudge, prefers
from tests.services.vllm_server import served
from tests.unit.judge.evaluations import (
    answers_to,
    counts_of,
    evaluation,
    items_of,
    judgements_of,
    prompt_of,
    recipe,
    run,
    write_rows,
)
from tests.unit.shared.engines.cases import lively_model

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LIDR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "x_alpacaeval"
TURBO, MINI = "gpt-4-turbo-2024-04-09", "gpt-4o-mini"

pytestmark = pytest.mark.slow
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no answers at {DATA} (set LIDR_SHARED_DATA)"
)


@pytest.fixture
def server():
    judge = ScriptedJudge(prefers(len))
    yield judge
    judge.close()


def texts_of(model: str, limit: int = 0) -> dict[str, str]:
    lines = (DATA / f"{model}.fr.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][: limit or None]
    return {str(row["id"]): row["response"] for row in rows}


def judged(folder: Path, url: str, candidate: str, reference: str, limit: int = 0) -> str:
    task = {
        "name": "x_alpacaeval",
        "questions": str(DATA / "{language}.json"),
        "references": str(DATA / f"{reference}.{{language}}.jsonl"),
        "languages": ["fr"],
        "limit": limit,
    }
    settings = recipe(url, [task], server={"concurrency": 32})
    questions = read_questions(settings.require_judge().tasks[0], "fr")
    texts = texts_of(candidate)
    answers = [
        Answer("x_alpacaeval", "fr", each.item_id, 0, each.turns[0], texts[each.item_id], "stop", 9)
        for each in questions
    ]
    return run(settings, evaluation(folder / "store", answers, candidate))


@needs_data
def test_real_answers_give_the_known_win_rate_and_swapped_its_complement(tmp_path, server):
    ours, theirs = texts_of(TURBO), texts_of(MINI)
    pairs = [(len(ours[i]), len(theirs[i])) for i in ours]
    longer, equal = sum(a > b for a, b in pairs), sum(a == b for a, b in pairs)
    found = counts_of(judged(tmp_path, server.url, TURBO, MINI), "x_alpacaeval", "fr")
    assert (found["won"], found["tied"], found["score"]["n"]) == (longer, equal, 805)
    assert found["score"]["value"] == pytest.approx((longer + equal / 2) / 805, abs=1e-12)
    swapped = counts_of(judged(tmp_path, server.url, MINI, TURBO), "x_alpacaeval", "fr")
    assert swapped["score"]["value"] == pytest.approx(1 - found["score"]["value"], abs=1e-12)
    assert (swapped["won"], swapped["lost"]) == (found["lost"], found["won"])
    assert found["length_controlled"]["value"] + swapped["length_controlled"][
        "value"
    ] == pytest.approx(1, abs=1e-6)


@needs_data
def test_weighted_verdicts_give_the_known_mean_and_a_taste_for_length_is_taken_out(
    tmp_path, server
):
    server.script = prefers(len, weighted=True)
    ours, theirs = texts_of(TURBO, 200), texts_of(MINI, 200)
    shares = [len(ours[i]) / (len(ours[i]) + len(theirs[i])) for i in ours]
    found = counts_of(judged(tmp_path, server.url, TURBO, MINI, 200), "x_alpacaeval", "fr")
    mean = sum(shares) / len(shares)
    assert found["score"]["value"] == pytest.approx(mean, abs=1e-9)
    assert abs(found["length_controlled"]["value"] - 0.5) < abs(mean - 0.5) < 0.2


@needs_data
def test_a_judge_that_likes_the_first_place_gives_one_half(tmp_path, server):
    server.script = lambda _: Says("A", {"A": 0.9, "B": 0.1})
    found = counts_of(judged(tmp_path, server.url, TURBO, MINI, 50), "x_alpacaeval", "fr")
    assert found["score"]["value"] == pytest.approx(0.5)
    assert found["flipped"] == 1
    assert found["first_preference"] == pytest.approx(0.9)


@needs_data
def test_real_answers_hold_nothing_that_is_masked_in_vain():
    changed = sum(masked(text) != text for text in texts_of(TURBO).values())
    assert changed <= 2


@pytest.fixture(scope="module")
def vllm(tmp_path_factory) -> Iterator[str]:
    """The address of a vLLM server with a random model, which it serves as `scripted`."""
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed (lidr[vllm])")
    folder = lively_model(tmp_path_factory.mktemp("model"), context=4096)
    with served(folder, "scripted") as address:
        yield f"{address}/v1"


def test_a_random_model_as_judge_is_counted_and_never_guessed(tmp_path, vllm):
    texts = {f"q{n}": [f"Une réponse {n}."] for n in range(6)}
    rows = [{"id": item, "instruction": prompt_of(item)} for item in texts]
    write_rows(tmp_path / "fr.jsonl", rows)
    write_rows(tmp_path / "ref.fr.jsonl", [{"id": i, "response": "Rien."} for i in texts])
    rows = [{"id": item, "turns": [prompt_of(item), prompt_of(item, 1)]} for item in texts]
    write_rows(tmp_path / "bench.fr.jsonl", rows)
    tasks = [
        {
            "name": "x_alpacaeval",
            "questions": str(tmp_path / "{language}.jsonl"),
            "references": str(tmp_path / "ref.{language}.jsonl"),
            "languages": ["fr"],
        },
        {
            "name": "mt_bench",
            "questions": str(tmp_path / "bench.{language}.jsonl"),
            "languages": ["fr"],
        },
    ]
    turns = {item: [text[0], "Encore."] for item, text in texts.items()}
    answers = answers_to("x_alpacaeval", "fr", texts) + answers_to("mt_bench", "fr", turns)
    settings = recipe(vllm, tasks, max_tokens=8, max_failed_share=1.0)
    uri = run(settings, evaluation(tmp_path / "store", answers))
    judgements = judgements_of(uri)
    assert len(judgements) == 24
    failed = [each for each in judgements if each.failure]
    assert len(failed) > 12
    assert {each.failure for each in failed} <= {str(reason) for reason in UNPARSABLE}
    assert all(each.value is None for each in failed)
    bare = [each for each in judgements if not each.logprobs or each.input_tokens < 100]
    assert not bare
    for task in ("x_alpacaeval", "mt_bench"):
        found = counts_of(uri, task, "fr")
        assert found["left_out"] == 6 - found["score"]["n"]
        valued = sum(each.value is not None for each in judgements if each.task == task)
        assert found["unparsable"] + valued == found["judgements"] == 12
    assert len(items_of(uri)) == sum(
        counts_of(uri, task, "fr")["score"]["n"] for task in ("x_alpacaeval", "mt_bench")
    )
