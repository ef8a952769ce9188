"""The summary that `lidr run` prints at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.shared.config.budget import Amount
from lidr.components.shared.store.usage import BUDGET_STOP
from lidr.pipelines.cli.console import PlainConsole

Measured = tuple[int, dict[str, Any], dict[str, Any]]
"""Iteration, interval by language, and the record with the other languages' average."""


def print_summary(result: dict[str, Any]) -> None:
    """Print a run's result: scores of each model, verdicts, and where models and report are.

    Args:
        result: the content of result.json.
    """
    console = PlainConsole(soft_wrap=True)
    if stopped := result.get("stopped"):
        console.print(Text(f"M_{stopped['iteration']} was not trained: {stopped['reason']}"))
        over_budget = stopped["reason"].startswith(BUDGET_STOP)
        remedy = _RAISE_BUDGET if over_budget else _TRAIN_ANYWAY
        console.print(Text(remedy, style="dim"))
    used = result.get("used", {})
    if used.get("gpu_hours"):
        amount = Amount(gpu_hours=used["gpu_hours"], cost=used["cost"])
        console.print(Text(f"used: {amount.text(used['currency'])}"))
    measured = [(entry["iteration"], entry["accuracy"], entry) for entry in result["iterations"]]
    console.print(_table(result, "accuracy", measured, cut=True))
    for task in dict.fromkeys(task for each in result["iterations"] for task in each["judged"]):
        judged = [
            (entry["iteration"], entry["judged"][task]["languages"], entry["judged"][task])
            for entry in result["iterations"]
            if task in entry["judged"]
        ]
        console.print(_table(result, f"judged: {task}", judged))
    for warning in result["warnings"]:
        console.print(Text(f"warning: {warning}"))
    for entry in result["iterations"]:
        console.print(
            Text(
                f"M_{entry['iteration']} {_DECISIONS[entry['decision']]}, {entry['verdict']}: "
                f"{entry['reason']}"
            )
        )
    console.print()
    for entry in result["iterations"]:
        console.print(Text(f"M_{entry['iteration']}  {entry['version']}  {entry['model']}"))
    console.print(Text(f"final model  {result['final_model']}"))
    console.print(Text(f"report  {result['report']}"))


_TRAIN_ANYWAY = (
    "to train anyway: --set pairing.reward.on_stop=train, and another --run; finished stages are "
    "reused"
)

_RAISE_BUDGET = "to continue: raise the budget in the profile, and run the same command again"

_DECISIONS = {
    "start": "promoted",
    "promote": "promoted",
    "keep": "not promoted for lack of evidence",
    "stop": "not promoted",
}


def _table(
    result: dict[str, Any], name: str, measured: Sequence[Measured], *, cut: bool = False
) -> Any:
    """Return a table of scores with their intervals, one row for each model.

    Args:
        result: the content of result.json.
        name: what is measured, as the first column's heading.
        measured: one entry for each row.
        cut: whether to print the share of answers cut at the token limit below each score.
    """
    codes = [result["dominant"], *result["others"]]
    table = Table(name, *codes, "others", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for iteration, scores, entry in measured:
        shares = entry["truncated"] if cut else {}
        cells = [_cell(scores.get(code), shares.get(code)) for code in codes]
        average = _cell(entry["average"], entry["average_truncated"] if cut else None)
        table.add_row(f"M_{iteration}", *cells, average)
    return table


def _cell(score: dict[str, float] | None, cut: float | None) -> str:
    if score is None or not score["n"]:
        return ""
    below = "" if cut is None else f"\n{cut:.1%} cut"
    return f"{score['value']:.1%}\n{score['low']:.1%}-{score['high']:.1%}{below}".replace("%", "")
