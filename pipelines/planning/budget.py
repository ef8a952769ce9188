"""Checks before a run that its plan fits into its budget."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from lidr.components.shared.config.budget import NOTHING, Account, Amount, prices_of
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.usage import amounts, estimate_remaining, read_usage, total
from lidr.components.state.run import first_unfinished
from lidr.pipelines.planning.estimate import PlanInputs, PlannedStep, estimate


def account_of(recipe: Recipe, profile: Profile, store: Store | None = None, run: str = "") -> str:
    """Return a run's budget and prices as the text of an environment variable of its tasks.

    Args:
        recipe: what to learn; if there is a budget, the recipe's prompts and config.json are read,
            as by `lidr plan`.
        profile: whose budget it is.
        store: the run's, on which it may have begun already; None if there is no run.
        run: name of the run.

    Raises:
        BadInput: what was used and what is planned exceed the budget together, or no plan can be
            made.
    """
    if not profile.budget.bounded or not prices_of(profile):
        return Account.of(profile).text()
    steps = estimate(PlanInputs.read(recipe, profile)).steps
    start, planned = (_amount(step for step in steps if step.iteration == at) for at in (0, 1))
    account = Account.of(profile, planned)
    used = amounts(read_usage(store, run), account) if store and run else {}
    first = first_unfinished(store, run, recipe.gate.max_iterations) if store and run else 0
    further = [] if first else [start.minus(used.get(0, NOTHING))]
    further += [
        estimate_remaining(used, planned, number)
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
    currency, whole = account.currency, used.plus(needed).model_dump()
    enough = " and ".join(f"budget.{key} to {_rounded_up(whole[key])}" for key in over)
    before = f"{used.text(currency)} are used, and " if used.gpu_hours else ""
    another = " under another --run, which reuses what is finished" if used.gpu_hours else ""
    raise BadInput(
        f"{before}the plan takes {needed.text(currency)} ({start}an "
        f"iteration {further[-1].text(currency)}), but {account.bounds_text(over)}",
        remedy=f"Raise {enough} at least, or lower gate.max_iterations{another}; `lidr plan` shows "
        "each step.",
    )


def _rounded_up(value: float) -> Decimal:
    """Return the value rounded up to hundredths, so that a bound of this size is enough."""
    return Decimal(value).quantize(Decimal("0.01"), ROUND_CEILING)


def _amount(steps: Iterable[PlannedStep]) -> Amount:
    works = [step.work for step in steps]
    return Amount(
        gpu_hours=sum(work.gpu_hours for work in works),
        cost=sum(work.gpu_hours * work.price for work in works),
    )
