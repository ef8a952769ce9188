"""The budget before a run: whether what is planned fits into what the run may use."""

from __future__ import annotations

from collections.abc import Iterable

from lidr.components.shared.config.budget import NOTHING, Account, Amount, prices_of
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.usage import amounts, read_usage, to_come, total
from lidr.components.state.run import first_unfinished
from lidr.pipelines.planning.estimate import PlanInputs, PlannedStep, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.shapes import model_config


def account_of(recipe: Recipe, profile: Profile, store: Store | None = None, run: str = "") -> str:
    """Return what a run's tasks are told of its budget and prices, as an environment variable.

    Args:
        recipe: what to learn; where there is a budget, its inputs are looked at as by `lidr plan`.
        profile: whose budget it is.
        store: where the run may have begun already; None where there is no run.
        run: its name.

    Raises:
        BadInput: what is used and what is planned pass the budget, or nothing can be planned.
    """
    if not profile.budget.bounded or not prices_of(profile):
        return Account.of(profile).text()
    steps = estimate(_inputs(recipe, profile)).steps
    start, planned = (_taken(step for step in steps if step.iteration == at) for at in (0, 1))
    account = Account.of(profile, planned)
    used = amounts(read_usage(store, run), account) if store and run else {}
    first = first_unfinished(store, run, recipe.gate.max_iterations) if store and run else 0
    further = [] if first else [start.less(used.get(0, NOTHING))]
    further += [
        to_come(used, planned, number)
        for number in range(max(first, 1), recipe.gate.max_iterations + 1)
    ]
    of_start = "" if first else f"M_0 {start.text(account.currency)}, "
    _require_fit(account, total(used.values()), of_start, further)
    return account.text()


def _require_fit(account: Account, used: Amount, start: str, further: list[Amount]) -> None:
    needed = total(further)
    over = account.exceeded(used, needed) if further else []
    if not over:
        return
    key, currency = over[0], account.currency
    bound = account.budget.model_dump()[key]
    whole = used.plus(needed)
    before = f"{used.text(currency)} are used, and " if used.gpu_hours else ""
    raise BadInput(
        f"{before}the plan takes {needed.text(currency)} ({start}an "
        f"iteration {further[-1].text(currency)}), but budget.{key} is {bound:,g}",
        remedy=f"Raise budget.{key} to {whole.model_dump()[key]:,.2f} at least, or lower "
        "gate.max_iterations; `lidr plan` shows each step.",
    )


def _inputs(recipe: Recipe, profile: Profile) -> PlanInputs:
    return PlanInputs(
        recipe=recipe,
        profile=profile,
        config=model_config(recipe.model),
        prompts=read_prompts(recipe),
        figures=figures(),
    )


def _taken(steps: Iterable[PlannedStep]) -> Amount:
    works = [step.work for step in steps]
    return Amount(
        gpu_hours=sum(work.gpu_hours for work in works),
        cost=sum(work.gpu_hours * work.price for work in works),
    )
