"""report: a run's states and counts become result.json and one HTML page."""

from __future__ import annotations

import json

from components.report.history import read_history
from components.report.page import render, sections_of
from components.report.plots import plots
from components.report.result import outcome, result_of
from components.report.runs import reused
from components.shared.progress import emit, step
from components.shared.recipe import Recipe
from components.shared.store import open_store


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
    key = f"runs/{run}/report.html"
    result = result_of(settings, run, rounds, f"{home.uri}/{key}")
    earlier = reused(home, run)
    home.write(key, render(settings, run, rounds, earlier).encode("utf-8", "replace"))
    for name, image in plots(sections_of(settings, rounds, earlier)):
        home.write(f"runs/{run}/plots/{name}", image)
    home.write(f"runs/{run}/result.json", json.dumps(result, indent=2).encode())
    emit("note", message=outcome(settings, rounds))
    emit("number", name="report", value=result["report"])
    return str(result["final_model"])
