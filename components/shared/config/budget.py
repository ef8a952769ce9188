"""How much a run may use, and what its GPUs cost: what the tasks that decide on it are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.from_environment import FromEnvironment
from lidr.components.shared.config.pools import KINDS, StepKind

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile

ACCOUNT = "LIDR_ACCOUNT"
"""Environment variable: an `Account` as JSON; without it nothing is bounded and nothing costs."""

DEFAULT_GPU = "H100"
"""The type that is assumed where a pool with accelerators names none."""


class GpuPrice(Strict):
    """What one GPU of a type costs for an hour, its share of the machine included."""

    on_demand: float = Field(0.0, ge=0.0)
    """Where it is kept. Default 0."""
    spot: float = Field(0.0, ge=0.0)
    """Where it may be taken away. Default 0."""


class Prices(Strict):
    """What GPUs cost: for plans, budgets and reports."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """ISO 4217 code. Default USD."""
    gpus: dict[str, GpuPrice] = Field(default_factory=dict)
    """Prices by type of GPU, as pools name them (`gpu`). Default none: plans have no cost."""

    def hour(self, gpu: str, *, spot: bool) -> float:
        """Return the price of a GPU for an hour, 0 where none is named."""
        price = self.gpus.get(gpu, GpuPrice())
        return price.spot if spot else price.on_demand


class Budget(Strict):
    """How much one run may use. A run that reaches it stops; with a higher one it goes on."""

    gpu_hours: float = Field(0.0, ge=0.0)
    """GPU hours, those of interrupted attempts included. Default 0: no bound."""
    cost: float = Field(0.0, ge=0.0)
    """What they cost by `prices`, in its currency. Default 0: no bound."""

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return bool(self.gpu_hours or self.cost)


class Amount(Strict):
    """GPU hours, and what they cost."""

    gpu_hours: float = Field(0.0, ge=0.0)
    """GPUs, by the hours that a process held them."""
    cost: float = Field(0.0, ge=0.0)
    """By the profile's prices, in their currency; 0 without prices."""

    def plus(self, other: Amount) -> Amount:
        """Return the sum of two."""
        return Amount(gpu_hours=self.gpu_hours + other.gpu_hours, cost=self.cost + other.cost)

    def most(self, other: Amount) -> Amount:
        """Return the larger of both, each for itself."""
        return Amount(
            gpu_hours=max(self.gpu_hours, other.gpu_hours), cost=max(self.cost, other.cost)
        )

    def less(self, other: Amount) -> Amount:
        """Return what is left of it, which is never less than nothing."""
        return Amount(
            gpu_hours=max(self.gpu_hours - other.gpu_hours, 0.0),
            cost=max(self.cost - other.cost, 0.0),
        )

    def text(self, currency: str) -> str:
        """Return it in words: `12.5 GPU hours (37.50 USD)`."""
        cost = f" ({self.cost:,.2f} {currency})" if self.cost else ""
        return f"{self.gpu_hours:,.2f} GPU hours{cost}"


NOTHING = Amount()


class Account(FromEnvironment):
    """What a run's last tasks know of GPUs and money."""

    variable = ACCOUNT
    sections = "budget and prices"

    budget: Budget = Budget()
    """The profile's."""
    currency: str = "USD"
    """Of the prices."""
    prices: dict[StepKind, float] = Field(default_factory=dict)
    """Of one GPU for an hour, by kind of step; those that cost nothing are left out."""
    planned: Amount = NOTHING
    """What one iteration takes by the plan; zero where nothing was planned."""

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
        """Return what of the budget would not hold what is used and what is to come.

        Returns:
            For each bound that would be passed, its name in a profile.
        """
        bounds = self.budget.model_dump()
        total = used.plus(further).model_dump()
        return [name for name, bound in bounds.items() if bound and total[name] > bound]


def prices_of(profile: Profile) -> Mapping[StepKind, float]:
    """Return the price of a GPU for an hour by kind of step that has GPUs."""
    found = {}
    for kind in KINDS:
        resources = profile.resources_of(kind)
        if resources.accelerators:
            gpu = resources.gpu or DEFAULT_GPU
            found[kind] = profile.prices.hour(gpu, spot=resources.spot)
    return found
