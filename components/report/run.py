"""report: turns a run's states and counts into result.json, a report, an overview and charts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lidr.components.report.blocks import Section
from lidr.components.report.history import Round, final_round, read_history
from lidr.components.report.page import render, sections_of
from lidr.components.report.plots import plots
from lidr.components.report.result import outcome, result_of
from lidr.components.report.runs import reused
from lidr.components.report.usage import NO_USAGE, RunUsage
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError, StoreError
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
        BadInput: M_0 has not been evaluated.
    """
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    rounds = read_history(home, run)
    key = run_key(run, "report.html")
    earlier = reused(home, run)
    last = rounds[-1].state
    # the last iteration that may run has the verdict `stop`, too
    usage = RunUsage.read(home, run, last, ended=last["verdict"] != "continue")
    result = result_of(settings, run, rounds, f"{home.uri}/{key}", usage)
    sections = sections_of(settings, rounds, earlier, read_admission(home, run), usage)
    _write_pages(home, settings, run, rounds, sections, usage=usage)
    for name, image in plots(sections):
        home.write(run_key(run, f"plots/{name}"), image)
    home.write(run_key(run, "result.json"), json.dumps(result, indent=2).encode())
    emit("note", message=outcome(settings, rounds))
    emit("number", name="report", value=result["report"])
    return str(result["final_model"])


@step("report")
def report_failure(
    recipe: str, store: str, run: str, reason: str, *, cancelled: bool = False
) -> str:
    """Write the report of a failed run from what it left; only `report` writes `result.json`.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        reason: why it failed; "" if that is not known.
        cancelled: whether its user ended it; the report then gives no other reason.

    Returns:
        URI of the folder of the last promoted model; "" if there is none.
    """
    settings = Recipe.model_validate_json(recipe)
    home = open_store(store)
    usage, rounds, sections = NO_USAGE, list[Round](), list[Section]()
    with _leaving_out_damaged("usage"):
        usage = RunUsage.read(home, run)
    with _leaving_out_damaged("iterations"):
        if found := read_history(home, run) if home.exists(state_key(run, 0)) else []:
            earlier, admission = reused(home, run), read_admission(home, run)
            sections = sections_of(settings, found, earlier, admission, usage)
            rounds = found
    why = "" if cancelled else reason or "No step said why."
    _write_pages(home, settings, run, rounds, sections, why, usage, cancelled=cancelled)
    emit("number", name="report", value=f"{home.uri}/{run_key(run, 'report.html')}")
    return final_round(rounds).model if rounds else ""


@contextmanager
def _leaving_out_damaged(part: str) -> Iterator[None]:
    """If a part is damaged, perhaps by what made the run fail, warn that the report lacks it."""
    try:
        yield
    except StoreError:
        raise
    except LidrError as error:
        emit("warning", message=f"the report has no {part}: {error}")


def _write_pages(
    store: Store,
    settings: Recipe,
    run: str,
    rounds: list[Round],
    sections: Sequence[Section],
    failure: str = "",
    usage: RunUsage = NO_USAGE,
    *,
    cancelled: bool = False,
) -> None:
    """Write the report, and an overview without samples, small enough for other pages to embed."""
    key = run_key(run, "report.html")
    for at, full in ((key, ""), (overview_key(run), f"{store.uri}/{key}")):
        page = render(settings, run, rounds, sections, failure, usage, full, cancelled=cancelled)
        store.write(at, page.encode("utf-8", "replace"))
