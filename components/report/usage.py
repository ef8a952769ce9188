"""The GPU hours and cost of a run, and the iteration before which its budget stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import ValidationError

from lidr.components.shared.config.budget import NOTHING, Account, Amount, Used, plain_amount
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import state_key
from lidr.components.shared.store.usage import (
    amounts,
    read_budget_stop,
    read_stop_account,
    read_usage,
    total,
)


@dataclass(frozen=True)
class RunUsage:
    """GPU hours and cost of a run, from the usage notes of all its processes.

    Attributes:
        account: budget and prices.
        used: the total.
        lost: the part of the total used by processes that were killed or are still running.
        stop: the iteration before which the budget stopped the run, and why; None if it did not.
    """

    account: Account = field(default_factory=Account)
    used: Amount = NOTHING
    lost: Amount = NOTHING
    stop: dict[str, Any] | None = None

    @classmethod
    def read(
        cls, store: Store, run: str, state: Mapping[str, Any] | None = None, *, ended: bool = False
    ) -> Self:
        """Read a run's usage notes, priced by the account that is stored with the run.

        If none is stored, this process's `Account` is taken.

        Args:
            store: the store that the run is on.
            run: its name.
            state: the run's last state; None if there is none, or if the run failed just now and
                this process has its `Account`.
            ended: whether the run ended with that state. If so, the amount that the state records
                counts, which does not change if finished stages are repeated. If it records none,
                or the budget stopped the run, all notes are added up.

        Raises:
            BadInput: a note, the state or the record of a budget stop is damaged.
        """
        usages, stop = read_usage(store, run), read_budget_stop(store, run)
        stored = _used(store, run, state or {})
        own = stored.account if stored else None
        account = read_stop_account(store, run) or own or Account.from_environment()
        counts = stored if ended and not stop else None
        if state and counts:
            usages = [usage for usage in usages if usage.iteration <= state["iteration"]]
        lost = [usage for usage in usages if not usage.ended]
        whole, gone = (total(amounts(each, account).values()) for each in (usages, lost))
        return cls(account, counts or whole, gone, stop)

    def to_dict(self) -> dict[str, Any]:
        """Return `gpu_hours`, `cost` and its `currency`, for result.json."""
        hours, cost = round(self.used.gpu_hours, 4), round(self.used.cost, 4)
        return {"gpu_hours": hours, "cost": cost, "currency": self.account.currency}

    @property
    def sentence(self) -> str:
        """The report's sentence on usage; "" if no process held GPUs."""
        if not self.used.gpu_hours:
            return ""
        currency, bounds = self.account.currency, self.account.budget
        of = [f"{plain_amount(bounds.gpu_hours)} GPU hours"] if bounds.gpu_hours else []
        of += [f"{plain_amount(bounds.cost)} {currency}"] if bounds.cost else []
        budget = f" of a budget of {' and '.join(of)}" if of else ""
        lost = f"; {self.lost.text(currency)} of that in processes that did not end cleanly"
        # Notes may be newer than the amount in the state, and then are no part of it.
        part = 0 < self.lost.gpu_hours <= self.used.gpu_hours and self.lost.cost <= self.used.cost
        return (
            f"All attempts together used {self.used.text(currency)}{budget}{lost if part else ''}."
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Why the budget stopped the run, and how to continue; [] if it did not."""
        if not self.stop:
            return []
        return [("Why it stopped", str(self.stop["reason"])), ("What to do", _RAISE_BUDGET)]


def _used(store: Store, run: str, state: Mapping[str, Any]) -> Used | None:
    try:
        return Used.model_validate(state["used"]) if state.get("used") else None
    except ValidationError as error:
        raise BadInput(
            f"`used` is damaged: {state['used']!r}",
            file=f"{store.uri}/{state_key(run, state['iteration'])}",
            remedy="Delete the file, then run the same command again.",
        ) from error


_RAISE_BUDGET = (
    "Raise the budget in the profile and run the same command again: it continues where the run "
    "stopped, and the models are those of a run without a stop."
)

NO_USAGE = RunUsage()
"""The usage of a run without notes."""
