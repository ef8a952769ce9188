"""A run's budget and the price of its GPUs, as its tasks get them to decide whether to go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Self

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.from_environment import FromEnvironment
from lidr.components.shared.config.patterns import CURRENCY
from lidr.components.shared.config.pools import KINDS, StepKind

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile

ACCOUNT = "LIDR_ACCOUNT"
"""Environment variable with an `Account` as JSON; if not set, there are no bounds or prices."""

DEFAULT_GPU = "H100"
"""The type of GPU that is assumed for a pool with accelerators that names no `gpu`."""


class GpuPrice(Strict):
    """Price of one GPU of a type for an hour, its share of the machine included."""

    on_demand: float | None = Field(None, ge=0.0)
    """On nodes that stay; 0 where they are free. Default null: not known."""
    spot: float | None = Field(None, ge=0.0)
    """On nodes that may be taken away; 0 where they are free. Default null: not known."""


class Prices(Strict):
    """What GPUs cost: for plans, budgets and reports."""

    currency: str = Field("USD", pattern=CURRENCY)
    """ISO 4217 code. Default USD."""
    gpus: dict[str, GpuPrice] = Field(default_factory=dict)
    """Prices by type of GPU, as pools name them (`gpu`). Default none: plans have no cost."""

    def per_hour(self, gpu: str, *, spot: bool) -> float | None:
        """Return the price of a GPU for an hour; None if it is not known."""
        price = self.gpus.get(gpu, GpuPrice())
        return price.spot if spot else price.on_demand


class Budget(Strict):
    """How much one run may use. A run that reaches it stops; with a higher one it goes on."""

    gpu_hours: float = Field(0.0, ge=0.0)
    """GPU hours, those of interrupted attempts included. Default 0: no bound."""
    cost: float = Field(0.0, ge=0.0)
    """Cost of the GPU hours by `prices`, in its currency. Default 0: no bound."""

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return bool(self.gpu_hours or self.cost)


class Amount(Strict):
    """GPU hours, and what they cost."""

    gpu_hours: float = Field(0.0, ge=0.0)
    """Hours that processes held GPUs, summed over the GPUs."""
    cost: float = Field(0.0, ge=0.0)
    """By the profile's prices, in their currency; 0 without prices."""

    def plus(self, other: Amount) -> Amount:
        """Return the sum of both."""
        return Amount(gpu_hours=self.gpu_hours + other.gpu_hours, cost=self.cost + other.cost)

    def maximum(self, other: Amount) -> Amount:
        """Return the larger GPU hours and the larger cost of both."""
        return Amount(
            gpu_hours=max(self.gpu_hours, other.gpu_hours), cost=max(self.cost, other.cost)
        )

    def minus(self, other: Amount) -> Amount:
        """Return the difference, at least 0."""
        return Amount(
            gpu_hours=max(self.gpu_hours - other.gpu_hours, 0.0),
            cost=max(self.cost - other.cost, 0.0),
        )

    def text(self, currency: str) -> str:
        """Return the amount in words: `12.50 GPU hours (37.50 USD)`."""
        cost = f" ({self.cost:,.2f} {currency})" if self.cost else ""
        return f"{self.gpu_hours:,.2f} GPU hours{cost}"


NOTHING = Amount()


def plain_amount(value: float) -> str:
    """Return a budget as it was given: `2,500,000` or `12.5`."""
    return f"{value:,.10f}".rstrip("0").rstrip(".")


class Account(FromEnvironment):
    """A run's budget and prices, for the tasks that check or report them."""

    variable = ACCOUNT
    sections = "budget and prices"

    budget: Budget = Budget()
    """The profile's budget."""
    currency: str = "USD"
    """ISO 4217 code of the prices' currency."""
    prices: dict[StepKind, float] = Field(default_factory=dict)
    """Price of one GPU for an hour, by kind of step; without those that are free or unknown."""
    planned: Amount = NOTHING
    """Planned amount of one iteration; 0 where nothing was planned."""

    @classmethod
    def of(cls, profile: Profile, planned: Amount = NOTHING) -> Self:
        """Return a profile's account."""
        return cls(
            budget=profile.budget,
            currency=profile.prices.currency,
            prices={kind: price for kind, price in prices_of(profile).items() if price},
            planned=planned,
        )

    def exceeded(self, used: Amount, further: Amount) -> list[str]:
        """Return the names of the budget's bounds that the sum of two amounts exceeds."""
        bounds = self.budget.model_dump()
        total = used.plus(further).model_dump()
        return [name for name, bound in bounds.items() if bound and total[name] > bound]

    def bounds_text(self, names: list[str]) -> str:
        """Return the budget's bounds of these names in words: `budget.cost is 12.5`."""
        bounds = self.budget.model_dump()
        return " and ".join(f"budget.{name} is {plain_amount(bounds[name])}" for name in names)


class Used(Amount):
    """What a run has used, and the budget and prices by which it was counted."""

    account: Account | None = None
    """Account of the process that counted the amount."""


NOTHING_USED = Used()


def prices_of(profile: Profile) -> Mapping[StepKind, float | None]:
    """Return the price of a GPU for an hour, or None, for each kind of step that has GPUs."""
    resources = {kind: profile.resources_of(kind) for kind in KINDS}
    return {
        kind: profile.prices.per_hour(each.gpu or DEFAULT_GPU, spot=each.spot)
        for kind, each in resources.items()
        if each.accelerators
    }


def gpus_without_price(profile: Profile, kinds: Collection[StepKind] = KINDS) -> str:
    """Return the GPUs that some kinds of step have and whose price is not known; "" if none.

    They are named by type, e.g. `H100 on spot nodes of generate, evaluate; L4 of train`.
    """
    users: dict[str, list[StepKind]] = {}
    for kind, price in prices_of(profile).items():
        if price is None and kind in kinds:
            each = profile.resources_of(kind)
            gpu = (each.gpu or DEFAULT_GPU) + (" on spot nodes" if each.spot else "")
            users.setdefault(gpu, []).append(kind)
    return "; ".join(f"{gpu} of {', '.join(steps)}" for gpu, steps in users.items())
