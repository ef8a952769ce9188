"""What a run's steps note on the store: the stages they ended with, and why one failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.retry import RETRY_VARIABLE, retry_seconds
from lidr.components.shared.step import step
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import (
    forget_failure,
    note_failure,
    note_stages,
    overview_key,
    read_failure,
    read_run_recipe,
    read_stages,
    recipe_key,
    run_key,
    step_of,
)


def uri(store: LocalStore, name: str) -> str:
    return f"{store.uri}/stages/{name}/{'0' * 64}"


@pytest.mark.parametrize("run", ["mine", "recipe.json"])
def test_files_of_a_run_are_in_its_folder_whatever_its_name(run):
    assert recipe_key(run) == f"runs/{run}/recipe.json"
    assert overview_key(run) == f"runs/{run}/overview.html"


def test_stages_of_an_iteration_are_found_by_step(tmp_path):
    store = LocalStore(tmp_path)
    note_stages(store, "mine", 1, [uri(store, "generate"), uri(store, "translate")])
    note_stages(store, "mine", 2, [uri(store, "pair")])
    assert read_stages(store, "mine", 1) == {
        name: uri(store, name) for name in ("generate", "translate")
    }
    assert read_stages(store, "mine", 3) == {}
    assert step_of(uri(store, "judge")) == "judge"


def test_step_notes_its_stage_for_the_end_of_its_iteration(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.step._tracked", _untracked)
    store = LocalStore(tmp_path)

    @step("pair")
    def pair(store: str, run: str, iteration: int) -> str:
        return f"{store}/stages/pair/{'1' * 64}"

    pair(store=store.uri, run="mine", iteration=2)
    assert list(read_stages(store, "mine", 2)) == ["pair"]
    pair(store=store.uri, run="", iteration=3)  # called for itself
    assert read_stages(store, "mine", 3) == {}


def test_failure_is_told_to_the_execution_that_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.step._tracked", _untracked)
    monkeypatch.setenv("KFP_RUN_ID", "first")
    monkeypatch.setattr("lidr.components.shared.step._leased", _free)
    store = LocalStore(tmp_path)

    @step("pair")
    def pair(store: str, run: str, iteration: int) -> str:
        raise BadInput("is broken", file="en.jsonl", line=7, remedy="Fix it.")

    with pytest.raises(BadInput):
        pair(store=store.uri, run="mine", iteration=2)
    told = read_failure(store, "mine", "first")
    assert told and (told["step"], told["iteration"]) == ("pair", 2)
    assert told["message"] == "en.jsonl:7: is broken. Fix it."
    assert read_failure(store, "mine", "second") is None
    assert read_failure(store, "mine") == told
    forget_failure(store, "mine")
    assert read_failure(store, "mine") is None


@step("generate")
def generate(store: str, run: str, iteration: int, shard: int, shards: int, error: str = "") -> str:
    if error:
        raise EngineFailed(error)
    return f"{store}/stages/generate/{'1' * 64}"


WORK = {"run": "mine", "iteration": 2, "shard": 0, "shards": 3}


@pytest.mark.parametrize(
    ("other", "execution", "left"),
    [
        ({}, "first", False),
        ({"shard": 1}, "first", True),
        ({"iteration": 3}, "first", True),
        ({}, "second", True),
    ],
)
def test_failure_that_a_step_has_recovered_from_is_forgotten_and_no_other(
    tmp_path, monkeypatch, other, execution, left
):
    monkeypatch.setattr("lidr.components.shared.step._tracked", _untracked)
    monkeypatch.setattr("lidr.components.shared.step._leased", _free)
    monkeypatch.setenv("KFP_RUN_ID", "first")
    store = LocalStore(tmp_path)
    with pytest.raises(EngineFailed):
        generate(store=store.uri, **WORK, error="it died")
    monkeypatch.setenv("KFP_RUN_ID", execution)
    generate(store=store.uri, **WORK | other)
    assert (read_failure(store, "mine") is not None) == left


def test_failure_of_another_step_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.step._tracked", _untracked)
    store = LocalStore(tmp_path)
    note_failure(store, "mine", "pair", 2, EngineFailed("it died"), "1/3")
    generate(store=store.uri, **WORK)
    assert read_failure(store, "mine")


def test_damaged_note_of_a_failure_fails_no_step(tmp_path, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.step._tracked", _untracked)
    store = LocalStore(tmp_path)
    store.write(run_key("mine", "failure.json"), b"{")
    told: list[dict[str, object]] = []
    with listening(told.append):
        assert generate(store=store.uri, **WORK)
    assert ["is not JSON" in str(each.get("message")) for each in told] == [False, True, False]

    assert str(told[1]["message"]).startswith(
        "could not check the store for an earlier failure of this step: "
    )


@pytest.mark.parametrize("error", [EngineFailed("it died"), KeyError("it died"), SystemExit(143)])
def test_step_that_fails_waits_for_no_service_for_long(tmp_path, monkeypatch, error):
    """Its GPUs are held until everything is recorded, or given up."""
    seconds: list[float] = []

    @contextmanager
    def asks(*_: object) -> Iterator[Callable[[object], None]]:
        try:
            yield lambda result: None
        finally:
            seconds.append(retry_seconds())

    for part in ("_leased", "_counted", "_tracked"):
        monkeypatch.setattr(f"lidr.components.shared.step.{part}", asks)
    record = "lidr.components.shared.step.note_failure"
    monkeypatch.setattr(record, lambda *_: seconds.append(retry_seconds()))
    monkeypatch.setenv(RETRY_VARIABLE, "900")

    @step("train")
    def train(store: str, run: str, iteration: int) -> str:
        seconds.append(retry_seconds())
        raise error

    with pytest.raises(type(error)):
        train(store=str(tmp_path), run="mine", iteration=1)
    recorded = [15] if isinstance(error, Exception) else []
    assert seconds == [900, 15, 15, 15, *recorded]
    assert retry_seconds() == 900


def test_unexpected_failure_is_recorded_with_its_class(tmp_path):
    store = LocalStore(tmp_path)
    note_failure(store, "mine", "pair", 1, KeyError("en"))
    failure = read_failure(store, "mine")
    assert failure and (failure["message"], failure["expected"]) == ("KeyError: 'en'", False)


def test_note_that_names_no_stage_is_refused(tmp_path):
    store = LocalStore(tmp_path)
    key = run_key("mine", "iteration-1/stages/pair.json")
    store.write(key, b'{"stage": "x"}')
    with pytest.raises(BadInput, match=rf"{key}: has a field 'stage' that names no stage\."):
        read_stages(store, "mine", 1)


@pytest.mark.parametrize(
    ("recipe", "words"), [(b'{"seed": 1}', "name: Field required"), (b"{", "Invalid JSON")]
)
def test_recipe_of_a_run_that_is_none_names_its_key(tmp_path, recipe, words):
    store = LocalStore(tmp_path)
    store.write(recipe_key("mine"), recipe)
    with pytest.raises(BadInput, match=f"is not the recipe of a run: {words}"):
        read_run_recipe(store, "mine")


def _free(*_: object):
    return nullcontext()


def _untracked(*_: object):
    return nullcontext(lambda result: None)
