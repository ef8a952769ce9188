"""What the shipped recipes of the paper take on 1, 4 and 8 H100s, as `lidr plan` says it.

Nothing runs: these are plans. Writes the table of docs/paper.md between its two marks, or with
`--check` says whether the page has what it would write, and ends in one line of JSON.

Usage: python -m benchmarks.paper [--check]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from lidr.components.shared.config.profile import Profile, Zero, load_profile
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.planning.estimate import PlanInputs, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.plan_data import as_data
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.shapes import model_config

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "paper.md"
BEGIN, END = "<!-- plans: python -m benchmarks.paper -->", "<!-- end of plans -->"
RECIPES = (
    "llama3_8b_en_es_ru_de_fr",
    "llama3_8b_gsm8k",
    "qwen2_7b_en_es_ru_de_fr",
    "llama3_8b_lora",
)
GPUS = (1, 4, 8)

_SAVING = (
    Zero(),
    Zero(stage=2),
    Zero(stage=3),
    Zero(stage=2, offload="optimizer"),
    Zero(stage=3, offload="all"),
)
"""From the fastest to the one that needs least memory."""


def main() -> None:
    """Write the table, or check it."""
    rows = [_row(name, gpus) for name in RECIPES for gpus in GPUS]
    table = _table(rows)
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{table}{END}{after}"
    fresh = page == wanted
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, "utf-8")
    print(json.dumps({"rows": len(rows), "fresh": fresh, "plans": rows}))
    sys.exit(0 if fresh or "--check" not in sys.argv else 1)


def _row(name: str, gpus: int) -> dict[str, Any]:
    """Return the first plan that fits, from the fastest on."""
    plans = [_plan(name, gpus, zero) | {"memory": _words(zero, gpus)} for zero in _SAVING]
    return next((plan for plan in plans if plan["fits"]), plans[-1])


def _plan(name: str, gpus: int, zero: Zero) -> dict[str, Any]:
    recipe = read_recipe(name, None, None)
    profile = _profile(gpus, zero)
    inputs = PlanInputs(
        recipe, profile, model_config(recipe.model), read_prompts(recipe), figures(), None
    )
    plan = as_data(inputs, estimate(inputs))
    total = plan["total"]
    return {
        "recipe": name,
        "gpus": gpus,
        "fits": plan["memory"]["fits"],
        "hours": round(total["seconds"] / 3600, 1),
        "gpu_hours": round(total["gpu_hours"], 1),
        "cost": round(total["cost"]),
    }


def _profile(gpus: int, zero: Zero) -> Profile:
    """Return the shipped cluster's profile with so many GPUs for training and as many shards."""
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "gpus.yaml"
        layer.write_text(
            json.dumps(
                {
                    "name": f"{gpus}-gpus",
                    "shards": gpus,
                    "steps": {"train": {"accelerators": gpus}},
                    "training": {"zero": zero.model_dump()},
                }
            )
        )
        return load_profile(ROOT / "pipelines" / "profiles" / "cluster.yaml", layer)


def _words(zero: Zero, gpus: int) -> str:
    stage = zero.effective_stage(gpus)
    kept = {"none": "", "optimizer": ", optimizer on the host", "all": ", all on the host"}
    return (f"ZeRO-{stage}" if stage else "one process") + kept[zero.offload]


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | H100s | training | hours | GPU hours | USD |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        how = row["memory"] if row["fits"] else "does not fit"
        lines.append(
            f"| `{row['recipe']}` | {row['gpus']} | {how} | {row['hours']} | {row['gpu_hours']} "
            f"| {row['cost']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
