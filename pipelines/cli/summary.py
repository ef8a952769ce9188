"""What `lidr run` says at the end."""

from __future__ import annotations

from typing import Any


def print_summary(result: dict[str, Any]) -> None:
    """Print a run's result: accuracy of each model, verdicts, models, and the report's place.

    Args:
        result: the content of result.json.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(result))
    for entry in result["iterations"]:
        verdict = "promoted" if entry["promoted"] else "not promoted"
        console.print(
            Text(f"M_{entry['iteration']} {verdict}, {entry['verdict']}: {entry['reason']}")
        )
    console.print()
    for entry in result["iterations"]:
        console.print(Text(f"M_{entry['iteration']}  {entry['version']}  {entry['model']}"))
    console.print(Text(f"final model  {result['final_model']}"))
    console.print(Text(f"report  {result['report']}"))


def _table(result: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    codes = [result["dominant"], *result["others"]]
    table = Table("accuracy", *codes, "others", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for entry in result["iterations"]:
        cells = [entry["accuracy"].get(code) for code in codes] + [entry["average"]]
        table.add_row(f"M_{entry['iteration']}", *(_cell(cell) for cell in cells))
    return table


def _cell(score: dict[str, float] | None) -> str:
    if score is None:
        return ""
    return f"{score['value']:.1%}\n{score['low']:.1%}-{score['high']:.1%}".replace("%", "")
