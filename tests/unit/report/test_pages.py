"""The pages on a registered model and on two runs, what is counted in them, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lidr.components.report.aliases import aliases_of
from lidr.components.report.durations import durations_of, throughput, total
from lidr.components.report.registered_model import render_model
from lidr.components.report.runs import Run, read_run, reused, runs_of_model
from lidr.components.report.two_runs import render_two_runs
from lidr.components.report.words import percent
from lidr.components.shared.config.recipe import Languages, Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.store.marker import sealed, unsealed
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import open_stage
from tests.unit.report.runs import RUN, recipe, state_of, write_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two runs; the second has trained worse models on the same pairs."""
    folder = tmp_path_factory.mktemp("two")
    write_run(folder)
    return write_run(folder, run="second", worse=0.06, month=9)


def both(store: str) -> tuple[Run, Run]:
    home = open_store(store)
    return read_run(home, RUN), read_run(home, "second")


def change(uri: str, **values: object) -> None:
    """Change a stage's marker, as another version or machine would have written it."""
    path = Path(uri, "_SUCCESS")
    path.write_bytes(sealed(unsealed(path.read_bytes()) | values))


def test_the_runs_of_a_model_are_found_in_the_order_they_ended(store):
    runs, unread = runs_of_model(open_store(store), "tiny-world")
    assert [run.name for run in runs] == [RUN, "second"]
    assert unread == []
    with pytest.raises(BadInput, match=r"no run of a model 'other'.*there are runs of: tiny-world"):
        runs_of_model(open_store(store), "other")


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path):
    home = open_store(write_run(tmp_path, 1))
    settings = recipe().model_dump(mode="json")
    home.write("runs/young/recipe.json", json.dumps(settings).encode())
    home.write("runs/old/recipe.json", json.dumps(settings | {"gone": 1}).encode())
    home.write("runs/old/iteration-0/state.json", json.dumps(state_of(home.uri, 0)).encode())
    for number, text in enumerate((b"{", b"[]", b'{"registry": null}')):
        home.write(f"runs/broken{number}/recipe.json", text)
    write_run(tmp_path, 1, run="damaged", worse=0.06)
    damaged = json.loads(home.read("runs/damaged/iteration-1/state.json"))["model"]
    Path(damaged, "metrics.jsonl").write_text("{}")
    runs, unread = runs_of_model(home, "tiny-world")
    assert [run.name for run in runs] == [RUN]
    names = ["broken0", "broken1", "broken2", "damaged", "old", "young"]
    assert sorted(reason.partition(":")[0] for reason in unread) == names
    with pytest.raises(BadInput, match=r"runs/old/recipe\.json: is not the recipe of a run"):
        read_run(home, "old")
    home.delete("runs/old/recipe.json")
    with pytest.raises(BadInput, match=r"run 'old' in .* has no recipe\.json"):
        read_run(home, "old")
    page = render_model("tiny-world", runs, unread, {}, "")
    assert "A run is left out: young: run &#39;young&#39; in" in page


def test_a_registered_name_of_its_own_is_the_models_name(tmp_path):
    home = open_store(write_run(tmp_path, 0))
    settings = recipe(registry={"model_name": "mine"}).model_dump_json()
    home.write(f"runs/{RUN}/recipe.json", settings.encode())
    assert [run.name for run in runs_of_model(home, "mine")[0]] == [RUN]


def test_a_stage_counts_for_the_run_that_ended_with_it_first(store):
    home = open_store(store)
    assert reused(home, RUN) == frozenset()
    earlier = reused(home, "second")
    first, second = both(store)
    times = durations_of(second.rounds, earlier)
    fresh = {(each.item.iteration, each.step) for each in times if not each.reused}
    assert fresh == {(t, step) for t in (1, 2) for step in ("train", "evaluate")}
    together = durations_of([*first.rounds, *second.rounds])
    assert total(together)[0] == pytest.approx(
        total(durations_of(first.rounds))[0] + total(times)[0]
    )
    section = throughput(second.rounds, times)
    assert f"{len(times) - 4} stages were reused and not counted" in section.lede


@pytest.mark.parametrize(
    ("fresh", "reused", "said"),
    [
        (3600.0, 0.0, ", 1 GPU hours"),
        (0.0, 0.0, "no step saw a GPU"),
        (0.0, 3600.0, "no GPU hours beyond those of reused stages"),
        (None, 3600.0, "the GPU hours of 1 stage are not known"),
    ],
)
def test_gpu_hours_that_are_unknown_or_reused_are_not_none(store, fresh, reused, said):
    run = both(store)[0]
    one, other, *_ = durations_of(run.rounds)
    times = [replace(one, gpu_seconds=fresh), replace(other, gpu_seconds=reused, reused=True)]
    lede = throughput(run.rounds, times).lede
    every = (", 1 GPU hours", "no step saw", "no GPU hours beyond", "are not known")
    assert said in lede
    assert sum(each in lede for each in every) == 1


def test_stages_are_the_same_on_a_store_that_was_copied(store, tmp_path):
    there = tmp_path / "there"
    shutil.copytree(store, there)
    home = open_store(str(there))
    (there / "runs" / "broken" / "iteration-0").mkdir(parents=True)
    (there / "runs" / "broken" / "iteration-0" / "state.json").write_text("{")
    second = read_run(home, "second")
    times = durations_of(second.rounds, reused(home, "second"))
    fresh = {(each.item.iteration, each.step) for each in times if not each.reused}
    assert fresh == {(t, step) for t in (1, 2) for step in ("train", "evaluate")}


def test_a_damaged_state_of_the_run_itself_is_an_error_and_of_another_run_is_not(tmp_path):
    home = open_store(write_run(tmp_path, 1))
    write_run(tmp_path, 1, run="second", month=9)
    earlier = reused(home, "second")
    home.write("runs/third/iteration-0/state.json", b"{")
    assert reused(home, "second") == earlier != frozenset()
    home.write("runs/second/iteration-1/state.json", b"{")
    with pytest.raises(BadInput, match=r"second/iteration-1/state\.json"):
        reused(home, "second")


def test_runs_that_do_not_say_when_they_ended_claim_no_stage_of_others(tmp_path):
    home = open_store(write_run(tmp_path, 1))
    write_run(tmp_path, 1, run="second", month=9)
    for t in (0, 1):
        key = f"runs/{RUN}/iteration-{t}/state.json"
        state = json.loads(home.read(key))
        del state["finished"]
        home.write(key, json.dumps(state).encode())
    assert reused(home, "second") == frozenset()


def test_gpu_hours_are_those_of_the_gpus_each_step_could_see(tmp_path):
    store = write_run(tmp_path, 1)
    state = state_of(store, 1)
    shared = open_stage(state["responses"]).counts()
    change(state["responses"], counts=shared | {"held_seconds": 900.0, "gpu_seconds": 7200.0})
    change(state["translations"], counts=shared | {"within": "generate"}, seconds=900.0)
    change(state["evaluation"], gpus=2, seconds=1800.0)
    change(state["model"], seconds=7200.0)
    change(state["pairs"], gpus=2)  # it sees them, and leaves them idle
    unknown = unsealed(Path(state["inputs"], "_SUCCESS").read_bytes())
    del unknown["gpus"]
    Path(state["inputs"], "_SUCCESS").write_bytes(sealed(unknown))
    rounds = read_run(open_store(store), RUN).rounds
    times = {(each.item.iteration, each.step): each for each in durations_of(rounds)}
    assert times[1, "generate"].seconds == 900.0
    assert times[1, "generate"].gpu_seconds == 7200.0
    assert times[1, "translate"].seconds == times[1, "translate"].gpu_seconds == 0.0
    assert times[1, "evaluate"].gpu_seconds == 3600.0
    own = open_stage(state["model"]).counts()["seconds"]
    assert own < times[1, "train"].seconds == 7200.0  # with the wait for nodes
    assert times[1, "train"].gpu_seconds == pytest.approx(8 * own)
    assert times[1, "pair"].gpu_seconds == 0.0
    assert times[0, "prepare"].gpu_seconds is None
    table = throughput(rounds, list(times.values())).tables[0]
    cells = {row[0]: row[1:3] for row in table.rows}
    assert cells["M₁ generate"] == ["15 min 0 s", "2"]
    assert cells["M₁ translate"] == ["within generate", ""]
    assert cells["M₀ prepare"][1] == "–"


def test_the_rate_of_a_training_counts_slow_steps_by_their_time(store):
    trained = read_run(open_store(store), RUN).rounds[1]
    rates = [{"tokens_per_second": rate} for rate in (1000.0, 3000.0)] + [{"loss": 0.5}]
    trained = replace(trained, curves=rates)
    table = throughput([trained], durations_of([trained])).tables[0]
    assert {row[0]: row[-1] for row in table.rows}["M₁ train"] == "1,500"


def test_where_no_step_saw_a_gpu_there_is_no_column_for_it(tmp_path):
    store = write_run(tmp_path, 1)
    trained = state_of(store, 1)["model"]
    change(trained, counts=open_stage(trained).counts() | {"gpus": 0})
    rounds = read_run(open_store(store), RUN).rounds
    section = throughput(rounds, durations_of(rounds))
    assert "GPU hours" not in section.tables[0].columns
    assert "no step saw a GPU" in section.lede


def test_the_page_of_a_model_has_every_version_with_its_aliases(store):
    runs, _ = runs_of_model(open_store(store), "tiny-world")
    page = render_model("tiny-world", runs, [], {"tiny-world/3": ["candidate", "champion"]}, "")
    assert "tiny-world: 2 runs; the champion reaches 99.2% on average." in page
    assert "candidate, champion" in page
    assert page.count(">R2 M₂<") >= 2
    assert "Flipped from R2 M₀ to R2 M₂" in page
    assert 'href="../stages/pair/' in page
    ids = [part.partition('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_page_of_a_model_says_which_runs_are_not_comparable(store):
    first, second = both(store)
    given = second.settings.model_dump(mode="json")
    others = list(reversed(given["languages"]["others"]))
    reordered = Recipe.model_validate(
        given | {"languages": given["languages"] | {"others": others}}
    )
    limited = Recipe.model_validate(given | {"evaluation": given["evaluation"] | {"limit": 50}})
    said = "Not all runs have the same languages and evaluation"
    values = [[item.average["value"] for item in run.rounds] for run in (first, second)]
    assert max(values[0]) > max(values[1])
    for settings, differ in ((reordered, False), (limited, True)):
        page = render_model("tiny-world", [first, replace(second, settings=settings)], [], {}, "")
        assert (said in page) == differ
        best = page[page.index("Best average") :][:200]
        assert percent(max(values[differ])) in best


def test_aliases_come_from_mlflow_and_a_server_that_is_away_is_said(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert aliases_of(str(tmp_path), "tiny-world") == (
        {},
        f"there is no tracking database {uri}",
    )
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("tiny-world")
    client.create_model_version("tiny-world", source="s3://bucket/model")
    for alias in ("champion", "candidate"):
        client.set_registered_model_alias("tiny-world", alias, "1")
    assert aliases_of(str(tmp_path), "tiny-world") == (
        {"tiny-world/1": ["candidate", "champion"]},
        "",
    )
    assert aliases_of(str(tmp_path), "absent") == (
        {},
        f"MLflow at sqlite:///{tmp_path}/mlflow.db has no registered model 'absent': "
        "Registered Model with name=absent not found",
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found, reason = aliases_of(str(tmp_path), "tiny-world")
    assert found == {}
    assert reason.startswith("MLflow at http://127.0.0.1:9 does not answer")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    assert "secret" not in aliases_of(str(tmp_path), "tiny-world")[1]


def test_two_runs_stand_side_by_side_with_gains_on_the_same_items(store):
    page = render_two_runs(*both(store))
    assert "B against A, mean over the other languages: −6.0 points (−" in page
    assert "Keys of the recipes that differ: 1." in page
    assert '<th scope="row">seed</th><td><code><bdi>0</bdi></code></td>' in page
    assert 'id="without"' not in page
    assert "1,788 of 1,800" in page


def test_languages_with_other_items_are_left_out_of_the_gain(tmp_path):
    home = open_store(write_run(tmp_path, 1))
    write_run(tmp_path, 1, run="second", worse=0.06, month=9)
    second = json.loads(home.read("runs/second/iteration-1/state.json"))
    stage = open_stage(second["evaluation"])
    stage = replace(stage, identity=stage.marker()["identity"])
    items = stage.read_table(["items.parquet"]).to_pylist()
    kept = [
        EvalItem(**item) for item in items if (item["language"], item["item_id"]) != ("es", "e7")
    ]
    again = replace(stage, identity=stage.marker()["identity"])
    again.write_records("items.parquet", kept, EvalItem)
    again.finish(stage.counts())
    page = render_two_runs(*both(home.uri))
    assert "In Spanish the two runs were evaluated on different items" in page
    gains = page[page.index("Gain in points") :]
    assert "Spanish" not in gains[: gains.index("</table>")]
    assert "German" in gains[: gains.index("</table>")]


def with_languages(run: Run, dominant: str, *others: str) -> Run:
    """Return a run as of another recipe, whose evaluation measured the same languages."""
    languages = Languages(dominant=dominant, others=others)
    return replace(run, settings=run.settings.model_copy(update={"languages": languages}))


def averages(page: str) -> list[str]:
    """Return the last models' averages in the table of scores; [] without that row."""
    cells = r'<th scope="row">Average of the other languages</th>' + r"<td>([\d.]+%) .*?</td>" * 2
    found = re.search(cells, page)
    return list(found.groups()) if found else []


@pytest.mark.parametrize(
    ("dominant", "others", "left_out", "average"),
    [
        ("en", ("es",), "German and French are left out.", ["99.0%", "93.0%"]),
        ("de", ("en", "es"), "German, French and English are left out.", ["99.0%", "93.0%"]),
        ("en", ("fr", "de"), "Spanish is left out.", ["99.3%", "93.3%"]),
    ],
)
def test_averages_of_two_runs_are_over_the_languages_of_both(
    store, dominant: str, others: tuple[str, ...], left_out: str, average: list[str]
):
    first, second = both(store)
    page = render_two_runs(first, with_languages(second, dominant, *others))
    assert averages(page) == average
    said = f"Only the other languages that both runs measured are averaged: {left_out}"
    assert page.count(said) == 3, "by iteration, of the scores and of the gains"
    gains = page[page.index("Gain in points") :]
    assert "German" in gains[: gains.index("</table>")]
    assert f"<td>{average[0]} " in page[page.index('id="paths"') : page.index('id="accuracy"')]
    assert "languages.others" in page[page.index("Settings that differ") :]


def test_mean_gain_of_two_runs_is_over_the_languages_of_both(tmp_path):
    """B is worse in French, which it does not learn, and no different in Spanish."""
    store = write_run(tmp_path, 1)
    write_run(tmp_path, 1, run="second", worse=0.06, month=9)
    first, second = both(store)
    a, b = (open_stage(str(run.rounds[-1].state["evaluation"])) for run in (first, second))
    items: dict[str, list[EvalItem]] = {code: [] for code in ("en", "es", "de", "fr")}
    for stage, codes in ((a, ("en", "es", "de")), (b, ("fr",))):
        for item in stage.read_records(["items.parquet"], EvalItem):
            if item.language in codes:
                items[item.language].append(item)
    again = replace(b, identity=b.marker()["identity"])
    again.write_records("items.parquet", [one for each in items.values() for one in each], EvalItem)
    again.finish(b.counts())
    page = render_two_runs(first, with_languages(second, "en", "es", "de"))
    assert "<h1>B against A, mean over the other languages: 0.0 points (0.0 to 0.0)." in page
    page = render_two_runs(first, second)
    assert "<h1>B against A, mean over the other languages: −2.0 points" in page


def test_two_runs_without_a_common_language_have_no_average(store):
    first, second = both(store)
    page = render_two_runs(with_languages(first, "en", "es"), with_languages(second, "en", "fr"))
    assert "<h1>The two runs measured no other language in common.</h1>" in page
    assert "The runs measured no other language in common, so no averages are compared." in page
    assert averages(page) == [] and 'id="gain"' not in page
    assert "Average of the other languages by iteration" not in page, "a chart of averages"


def test_two_runs_that_have_only_evaluated_the_start_have_no_pairs(tmp_path):
    write_run(tmp_path, 0)
    page = render_two_runs(*both(write_run(tmp_path, 0, run="second", month=9)))
    assert 'id="yields"' not in page and 'id="paths"' in page


def test_pairs_of_two_runs_stand_beside_the_model_that_they_made(store):
    page = render_two_runs(*both(store))
    table = page[page.index("Pairs kept of the candidates") :]
    assert re.search(r"<th[^>]*>Model</th>\s*<th[^>]*>Pairs, A</th>", table)
