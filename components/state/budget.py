"""The budget: whether a run may begin another iteration."""

from __future__ import annotations

from lidr.components.shared.config.budget import Account, Used
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import state_key
from lidr.components.shared.store.usage import (
    BUDGET_STOP,
    amounts,
    estimate_remaining,
    forget_budget_stop,
    note_budget_stop,
    read_usage,
    total,
)


def used_so_far(store: Store, run: str) -> Used:
    """Return what a run has used, at the prices of this process's `Account`."""
    account = Account.from_environment()
    whole = total(amounts(read_usage(store, run), account).values())
    return Used(gpu_hours=whole.gpu_hours, cost=whole.cost, account=account)


def stopped_by_budget(store: Store, run: str, iteration: int) -> str:
    """Return why an iteration must not begin, and record it on the store; "" if it may.

    An iteration that has ended may always begin: nothing of it is repeated. Any other is expected
    to use as much in all as the most expensive one before it, the first as much as was planned;
    what it has used already is taken off.

    Args:
        store: that the run is on.
        run: its name.
        iteration: the one that would begin.
    """
    account = Account.from_environment()
    over: list[str] = []
    if account.budget.bounded and not store.exists(state_key(run, iteration)):
        used = amounts(read_usage(store, run), account)
        so_far, further = total(used.values()), estimate_remaining(used, account.planned, iteration)
        over = account.exceeded(so_far, further)
    if not over:
        forget_budget_stop(store, run)
        return ""
    reason = (
        f"{BUDGET_STOP} before M_{iteration}: "
        f"{so_far.text(account.currency)} are used, this iteration needs another "
        f"{further.text(account.currency)}, and {account.bounds_text(over)}"
    )
    note_budget_stop(store, run, iteration, reason, account)
    emit("note", message=reason)
    return reason
