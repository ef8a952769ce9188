"""report: a run's states and counts become result.json and one HTML page."""

from __future__ import annotations

import json
from collections.abc import Collection

from lidr.components.report.history import Round, final_round, read_history
from lidr.components.report.page import render, sections_of
from lidr.components.report.plots import plots
from lidr.components.report.result import outcome, result_of
from lidr.components.report.runs import reused
from lidr.components.report.spent import NOT_COUNTED, Spent
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import emit
from lidr.components.shared.step import step
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import overview_key, read_admission, run_key, state_key


@step("report")
def report(recipe: str, store: str, run: str) -> str:
    """Write a run's result and report into its folder on the store; may be repeated at any time.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run; it may have stopped early.

    Returns:
        URI of the final model's folder, which is the last promoted model's.

    Raises:
        BadInput: the run has not even evaluated its start.
    """
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    rounds = read_history(home, run)
    key = run_key(run, "report.html")
    earlier = reused(home, run)
    spent = Spent.read(home, run, rounds[-1].state.get("used"))
    result = result_of(settings, run, rounds, f"{home.uri}/{key}", spent)
    page = render(settings, run, rounds, earlier, admission=read_admission(home, run), spent=spent)
    home.write(key, page.encode("utf-8", "replace"))
    _write_overview(home, settings, run, rounds, earlier, spent=spent)
    for name, image in plots(sections_of(settings, rounds, earlier)):
        home.write(run_key(run, f"plots/{name}"), image)
    home.write(run_key(run, "result.json"), json.dumps(result, indent=2).encode())
    emit("note", message=outcome(settings, rounds))
    emit("number", name="report", value=result["report"])
    return str(result["final_model"])


@step("report")
def report_failure(recipe: str, store: str, run: str, reason: str) -> str:
    """Write the report of a run that failed, with what there is; `result.json` is left to its end.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        reason: why it failed; "" where nobody said.

    Returns:
        URI of the folder of the last promoted model; "" where there is none.
    """
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    rounds = read_history(home, run) if home.exists(state_key(run, 0)) else []
    page = render(
        settings,
        run,
        rounds,
        reused(home, run),
        reason or "No step said why.",
        read_admission(home, run),
        Spent.read(home, run),
    )
    key = run_key(run, "report.html")
    home.write(key, page.encode("utf-8", "replace"))
    why = reason or "No step said why."
    _write_overview(home, settings, run, rounds, reused(home, run), why)
    emit("number", name="report", value=f"{home.uri}/{key}")
    return final_round(rounds).model if rounds else ""


def _write_overview(
    store: Store,
    settings: Recipe,
    run: str,
    rounds: list[Round],
    earlier: Collection[str],
    failure: str = "",
    spent: Spent = NOT_COUNTED,
) -> None:
    """Write the report without its samples, which a page of others can embed."""
    full = f"{store.uri}/runs/{run}/report.html"
    page = render(settings, run, rounds, earlier, failure, spent=spent, full=full)
    store.write(overview_key(run), page.encode("utf-8", "replace"))
