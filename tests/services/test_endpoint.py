"""The openai engine against a real `vllm serve`: what the transformers engine says, from afar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.generate.run import generate
from lidr.components.shared.config.machine import EngineServer
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.engines.openai_engine import OpenAIEngine
from lidr.components.shared.records.schema import Failure, Prompt, Response
from lidr.components.shared.store.stage import open_stage
from tests.fakes import make_recipe, tell, world_stage
from tests.services.faulty import FaultyProxy
from tests.services.vllm_server import served
from tests.unit.shared.engines.cases import (
    CONTEXT,
    CONTROL,
    cases,
    complete,
    lively_model,
    requests,
    same_scores,
    score_requests,
)
from tests.zoo.reading import prompts_read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])"),
    pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed"),
]
STOP = "a"
KEY = "a key for this test"
NAME = "lidr-m0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return lively_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(folder) -> Iterator[str]:
    """The address of a vLLM server that serves the model as `lidr-m0` to who has the key."""
    with served(folder, NAME, VLLM_API_KEY=KEY) as address:
        yield address


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def engine_at(folder: Path, address: str, **settings: object) -> OpenAIEngine:
    at = EngineServer(url=f"{address}/v1", **{"wait_minutes": 0, **settings})
    return OpenAIEngine(folder, name=NAME, max_length=0, server=at)


@pytest.fixture(scope="module")
def transformers(folder):
    from lidr.components.shared.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(folder, dtype="auto", max_length=0, batch_tokens=1024)
    yield engine
    engine.close()


CASES = ["greedy", "backwards", "penalty", "stop", "primed", "hostile", "long"]


@pytest.mark.parametrize("name", CASES)
def test_greedy_answers_are_those_of_transformers(folder, server, transformers, name):
    engine = engine_at(folder, server)
    found = {answer.key: answer for answer in complete(engine, *cases(STOP)[name])}
    engine.close()
    expected = {answer.key: answer for answer in complete(transformers, *cases(STOP)[name])}
    same = [found[key] == answer for key, answer in expected.items()]
    assert found.keys() == expected.keys()
    assert sum(same) >= len(same) - 1  # two programs may round a tie differently


def test_prompts_are_read_as_by_transformers(folder, server, transformers):
    engine = engine_at(folder, server)
    assert prompts_read(engine, CONTROL) == prompts_read(transformers, CONTROL)
    engine.close()


def test_likelihoods_are_those_of_transformers(folder, server, transformers):
    engine = engine_at(folder, server, concurrency=16)
    same_scores(engine.score(score_requests()), transformers.score(score_requests()))
    engine.close()


def test_a_server_that_cannot_score_says_so(folder, server, monkeypatch):
    engine = engine_at(folder, server)
    create = engine._client.completions.create

    async def forgetful(**asked):
        return await create(**{**asked, "extra_body": {}})

    monkeypatch.setattr(engine._client.completions, "create", forgetful)
    with pytest.raises(EngineFailed, match="no prompt_logprobs, without which"):
        list(engine.score(score_requests()[:1]))
    engine.close()


def test_seeds_make_samples_repeatable_in_any_order(folder, server):
    engine = engine_at(folder, server, concurrency=7)
    first = sorted(complete(engine, *cases(STOP)["sampled"]), key=lambda answer: answer.key)
    again = sorted(complete(engine, *cases(STOP)["sampled again"]), key=lambda answer: answer.key)
    engine.close()
    assert [a.text for a in first] == [a.text for a in again]
    assert len({a.text for a in first}) > 30


def test_faults_on_the_way_change_nothing(folder, server):
    case = cases(STOP)["greedy"]
    straight = engine_at(folder, server)
    expected = sorted(complete(straight, *case), key=lambda answer: answer.key)
    straight.close()
    proxy = FaultyProxy(server, ("429", "500", "503", "reset", "lost answer", "slow"), rate=0.5)
    engine = engine_at(folder, proxy.endpoint, wait_minutes=1, concurrency=8)
    found = sorted(complete(engine, *case), key=lambda answer: answer.key)
    engine.close()
    proxy.close()
    assert found == expected
    assert sum(proxy.met.values()) > 5


def test_a_server_that_stays_away_ends_the_stage(folder, server):
    proxy = FaultyProxy(server)
    proxy.rate = 0
    engine = engine_at(folder, proxy.endpoint, retries=1)
    proxy.close()
    with pytest.raises(EngineFailed, match="does not answer"):
        list(complete(engine, *cases(STOP)["greedy"]))
    engine.close()


def test_a_wrong_key_is_told_at_once(folder, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another key")
    with pytest.raises(BadInput, match="refuses the key") as caught:
        engine_at(folder, server, wait_minutes=5)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "another key" not in str(caught.value)


def test_a_model_that_is_not_served_is_named(folder, server):
    at = EngineServer(url=f"{server}/v1", wait_minutes=0)
    with pytest.raises(BadInput, match=f"does not serve 'lidr-123'; it serves {NAME}"):
        OpenAIEngine(folder, name="lidr-123", max_length=0, server=at)


def test_what_follows_is_asked_as_answers_come(folder, server):
    engine = engine_at(folder, server, concurrency=3)
    ready, answers = requests(5), []

    def source():
        while len(answers) < 10:
            yield ready.pop(0) if ready else None

    for answer in engine.complete(source()):
        answers.append(answer)
        if len(answers) <= 5:
            ready.append(replace(requests(1)[0], key=f"again {answer.key}"))
    engine.close()
    assert len({answer.key for answer in answers}) == 10


def test_a_generate_stage_is_answered_by_the_server(folder, server, tmp_path, monkeypatch):
    prompts = [
        Prompt(f"p{number}", code, "word " * (CONTEXT if number == 3 else number + 1))
        for code in ("en", "es", "de")
        for number in range(6)
    ]
    store = str(tmp_path / "store")
    world = world_stage(store, prompts, model=folder).uri
    settings = {"engine": "openai", "max_tokens": 12, "chunk_size": 4}
    tell(monkeypatch, endpoint=EngineServer(url=f"{server}/v1", wait_minutes=0))
    recipe = make_recipe(
        generation={**settings, "endpoint": {"model": NAME}}, prompts={"per_iteration": 6}
    )
    uri = generate(
        recipe=recipe.model_dump_json(), store=store, inputs=world, model=world, iteration=1
    )
    stage = open_stage(uri)
    rows = stage.read_records(stage.files(prefix="responses/"), Response)
    assert len(rows) == 18
    assert {row.prompt_id for row in rows if row.failure == Failure.PROMPT_TOO_LONG} == {"p3"}
    assert stage.counts()["engine"] == "openai"
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
