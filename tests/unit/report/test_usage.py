"""What a run has used, where its budget stopped it, and the overview for Kubeflow's page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lidr.components.report.run import report, report_failure
from lidr.components.shared.config.budget import ACCOUNT, Account, Budget
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.usage import note_budget_stop
from lidr.components.state.budget import used_so_far
from tests.unit.report.runs import RUN, recipe, write_run
from tests.usages import plant_usage

REASON = "the budget stopped the loop before M_2: 4.00 GPU hours are used"


def pages(store: str) -> tuple[dict, str, str]:
    """Return result, report and overview."""
    report(recipe=recipe().model_dump_json(), store=store, run=RUN)
    folder = Path(store, "runs", RUN)
    names = ("report.html", "overview.html")
    whole, overview = ((folder / name).read_text() for name in names)
    return json.loads((folder / "result.json").read_text()), whole, overview


def test_report_says_what_all_attempts_have_used_and_what_was_lost(tmp_path, monkeypatch):
    account = Account.model_validate(
        {"budget": {"gpu_hours": 20}, "prices": {"train": 3.0, "evaluate": 2.0}}
    )
    monkeypatch.setenv(ACCOUNT, account.text())
    store = open_store(write_run(tmp_path))
    plant_usage(store, RUN, 0, hours=1.0, step="evaluate")
    plant_usage(store, RUN, 1, hours=2.0)
    plant_usage(store, RUN, 1, hours=0.5, ended=False)
    result, page, overview = pages(store.uri)
    assert result["used"] == {"gpu_hours": 3.5, "cost": 9.5, "currency": "USD"}
    said = (
        "All attempts together used 3.50 GPU hours (9.50 USD) of a budget of 20 GPU hours; 0.50 "
        "GPU hours (1.50 USD) of that in processes that did not end cleanly."
    )
    assert said in page and said in overview


def test_report_takes_what_the_last_state_carries(tmp_path):
    store = open_store(write_run(tmp_path))
    key = f"runs/{RUN}/iteration-2/state.json"
    state = json.loads(store.read(key)) | {"used": {"gpu_hours": 7.25, "cost": 0.0}}
    store.write(key, json.dumps(state).encode())
    plant_usage(store, RUN, 2, hours=99.0)  # of a later look at finished stages
    assert pages(store.uri)[0]["used"]["gpu_hours"] == 7.25


def test_report_counts_what_was_lost_of_the_iterations_of_which_it_says_what_was_used(tmp_path):
    store = open_store(write_run(tmp_path))
    key = f"runs/{RUN}/iteration-2/state.json"
    state = json.loads(store.read(key)) | {"used": {"gpu_hours": 7.25, "cost": 0.0}}
    store.write(key, json.dumps(state).encode())
    plant_usage(store, RUN, 2, hours=0.5, ended=False)
    plant_usage(store, RUN, 3, hours=99.0, ended=False)  # of a longer execution before
    assert "0.50 GPU hours of that in processes that did not end cleanly" in pages(store.uri)[1]


def test_report_does_not_call_more_lost_than_was_used(tmp_path):
    store = open_store(write_run(tmp_path))
    key = f"runs/{RUN}/iteration-2/state.json"
    state = json.loads(store.read(key)) | {"used": {"gpu_hours": 1.0, "cost": 0.0}}
    store.write(key, json.dumps(state).encode())
    plant_usage(store, RUN, 2, hours=1.5, ended=False)  # of a later look at finished stages
    page = pages(store.uri)[1]
    assert "All attempts together used 1.00 GPU hours." in page and "of that" not in page


ACCOUNT_IN_EUROS = Account.model_validate(
    {"budget": {"cost": 250.0}, "currency": "EUR", "prices": {"train": 2.5}}
)


def count_and_keep(store: Store, iteration: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a state hold what the loop's task counted, which has an account; later there is none."""
    monkeypatch.setenv(ACCOUNT, ACCOUNT_IN_EUROS.text())
    key = f"runs/{RUN}/iteration-{iteration}/state.json"
    used = used_so_far(store, RUN).model_dump(mode="json")
    store.write(key, json.dumps(json.loads(store.read(key)) | {"used": used}).encode())
    monkeypatch.delenv(ACCOUNT)


def test_report_without_a_profile_counts_by_the_account_of_the_run(tmp_path, monkeypatch):
    store = open_store(write_run(tmp_path))
    plant_usage(store, RUN, 1, hours=80.0)
    count_and_keep(store, 2, monkeypatch)
    result, page, _ = pages(store.uri)
    assert result["used"] == {"gpu_hours": 80.0, "cost": 200.0, "currency": "EUR"}
    assert "80.00 GPU hours (200.00 EUR) of a budget of 250 EUR." in page


def test_state_without_an_account_is_counted_by_that_of_the_process(tmp_path, monkeypatch):
    store = open_store(write_run(tmp_path))
    plant_usage(store, RUN, 1, hours=80.0)
    count_and_keep(store, 2, monkeypatch)
    key = f"runs/{RUN}/iteration-2/state.json"
    state = json.loads(store.read(key))
    state["used"]["account"] = None
    store.write(key, json.dumps(state).encode())
    monkeypatch.setenv(ACCOUNT, ACCOUNT_IN_EUROS.text())
    assert pages(store.uri)[0]["used"] == {"gpu_hours": 80.0, "cost": 200.0, "currency": "EUR"}


def test_report_without_a_profile_counts_by_the_account_of_the_budget_stop(tmp_path, monkeypatch):
    store = open_store(write_run(tmp_path, 1))
    count_and_keep(store, 1, monkeypatch)
    plant_usage(store, RUN, 1, hours=160.0)
    account = ACCOUNT_IN_EUROS.model_copy(update={"budget": Budget(cost=450.0)})
    note_budget_stop(store, RUN, 2, REASON, account)
    result, page, _ = pages(store.uri)
    assert result["used"] == {"gpu_hours": 160.0, "cost": 400.0, "currency": "EUR"}
    assert "160.00 GPU hours (400.00 EUR) of a budget of 450 EUR." in page
    assert result["stopped"] == {"iteration": 2, "reason": REASON}


def test_report_of_a_run_that_has_not_ended_counts_its_failed_iteration(tmp_path, monkeypatch):
    store = open_store(write_run(tmp_path, 2))
    store.delete(f"runs/{RUN}/iteration-2/state.json")
    plant_usage(store, RUN, 1, hours=80.0)
    count_and_keep(store, 1, monkeypatch)
    plant_usage(store, RUN, 2, hours=80.0, ended=False)
    result, page, _ = pages(store.uri)
    assert result["used"] == {"gpu_hours": 160.0, "cost": 400.0, "currency": "EUR"}
    assert "; 80.00 GPU hours (200.00 EUR) of that in processes that did not end" in page


@pytest.mark.parametrize(
    "used",
    [
        5,
        {"gpu_hours": -1.0},
        {"hours": 1.0},
        {"gpu_hours": "much"},
        {"account": {"prices": 3}},
    ],
)
def test_damaged_usage_in_a_state_names_iteration_and_remedy(tmp_path, used: object):
    store = open_store(write_run(tmp_path))
    key = f"runs/{RUN}/iteration-2/state.json"
    store.write(key, json.dumps(json.loads(store.read(key)) | {"used": used}).encode())
    with pytest.raises(BadInput, match=r"/iteration-2/state\.json: `used` is damaged.*Delete"):
        pages(store.uri)


def test_report_of_a_run_that_its_budget_stopped_says_so_first(tmp_path):
    store = open_store(write_run(tmp_path, 1))
    note_budget_stop(store, RUN, 2, REASON)
    result, page, overview = pages(store.uri)
    assert result["stopped"] == {"iteration": 2, "reason": REASON}
    for each in (page, overview):
        assert "<h1>M₂ was not made: it would exceed the budget</h1>" in each
        assert f"<dt>Why it stopped</dt><dd>{REASON}</dd>" in each
        assert "Raise the budget in the profile" in each


def test_overview_is_self_contained_small_and_has_no_text_of_a_model(tmp_path):
    text = "words that only a model says"
    sample = {"language": "es", "kind": "translation_chosen", "prompt": text}
    sample |= {"chosen": text, "rejected": text}
    store = write_run(tmp_path, samples=[sample])
    _, whole, overview = pages(store)
    assert len(overview.encode()) < 200_000 < len(whole.encode()) * 2
    addresses = re.findall(r'(?:src|href)="([^"#][^"]*)"', overview)
    assert [each for each in addresses if not each.startswith("data:")] == []
    assert "Content-Security-Policy" in overview and "default-src" in overview
    for section in ("accuracy", "gap", "gate", "throughput"):
        assert f'id="{section}"' in overview and f'id="{section}"' in whole
    for section in ("pairs", "pairs-browser", "lineage", "configuration"):
        assert f'id="{section}"' not in overview
    assert "application/json" not in overview, "no samples"
    assert f"{store}/runs/{RUN}/report.html" in overview
    assert text in whole and text not in overview


@pytest.mark.parametrize("iterations", [0, 1])
def test_run_that_failed_has_an_overview_too(tmp_path, iterations: int):
    store = write_run(tmp_path, iterations)
    why = "train: <b>no</b> room"
    report_failure(recipe=recipe().model_dump_json(), store=store, run=RUN, reason=why)
    overview = Path(store, "runs", RUN, "overview.html").read_text()
    assert "train: &lt;b&gt;no&lt;/b&gt; room" in overview
