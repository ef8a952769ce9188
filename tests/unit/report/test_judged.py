from __future__ import annotations

import json
from pathlib import Path

from lidr.components.judge.cases import Item, ItemsToJudge
from lidr.components.judge.summary import summarise
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.report.history import read_history
from lidr.components.report.judged import judged
from lidr.components.report.page import render, sections_of
from lidr.components.shared.config.judge import JudgedTask, Price
from lidr.components.shared.inputs.questions import Question
from lidr.components.shared.records.judged import JudgeFailure, Order
from lidr.components.shared.records.schema import Answer
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import new_stage
from tests.unit.report.runs import RUN, recipe, write_run

ALPACA = JudgedTask.model_validate(
    {"name": "x_alpacaeval", "questions": "q.{language}", "references": "r.{language}"}
)
MODEL = "<script>judge</script>"
SECTION = {"endpoint": {"model": "m"}, "tasks": [ALPACA.model_dump()], "price": {"input": 3}}


def judge(store: str, iteration: int, wins: int) -> None:
    """Add a judge stage of 8 Spanish items, `wins` of them won and one without a verdict."""
    pairs = []
    for n in range(8):
        answers = [Answer("x_alpacaeval", "es", str(n), 0, "?", "hola", "stop", 5, "es")]
        item = Item(ALPACA, "es", Question(str(n), ("?",)), answers, "adiós")
        value, failure = (None, JudgeFailure.UNPARSABLE) if n == 7 else (float(n < wins), None)
        each = [
            JudgementOutcome(0, order, value, failure, 100, 3)
            for order in (Order.CANDIDATE_FIRST, Order.CANDIDATE_SECOND)
        ]
        pairs.append((item, each))
    counts = summarise(ItemsToJudge([item for item, _ in pairs]), pairs, ["es"], Price(input=2), 0)
    home = open_store(store)
    stage = new_stage(home, "judge", 1, {}, {"iteration": iteration})
    uri = stage.finish({"model": MODEL} | counts)
    path = Path(store, "runs", RUN, f"iteration-{iteration}", "state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"judgements": uri}))


def test_win_rates_stand_by_language_and_iteration(tmp_path):
    store = write_run(tmp_path, 1)
    judge(store, 0, wins=1)
    judge(store, 1, wins=6)
    rounds = read_history(open_store(store), RUN)
    section = judged(recipe(judge=SECTION), rounds)
    rates, detail, spent = section.tables
    assert rates.columns == ["Language", "M₀", "M₁"]
    assert [cell.split()[0] for cell in rates.rows[0][1:]] == ["14.3%", "85.7%"]
    assert [list(row)[2:5] for row in detail.rows] == [["1", "0", "6"], ["6", "0", "1"]]
    dollars = "0.0048"  # at the recipe's price, not at that of the time
    assert spent.rows[0][1:] == ["16", "2 unparsable", "1,600", "48", dollars]
    assert section.warnings[0] == "M₀, x_alpacaeval es: questions without a score: 1."
    page = render(recipe(), RUN, rounds, sections_of(recipe(), rounds))
    assert 'id="judged"' in page
    assert MODEL not in page


def test_a_run_without_a_judge_has_no_such_section(tmp_path):
    store = write_run(tmp_path, 1)
    assert judged(recipe(), read_history(open_store(store), RUN)) is None


def test_a_model_that_was_not_judged_leaves_its_column_out(tmp_path):
    store = write_run(tmp_path, 1)
    judge(store, 1, wins=3)
    section = judged(recipe(), read_history(open_store(store), RUN))
    assert section.tables[0].columns == ["Language", "M₁"]
