"""The recipe's section on pairs: how they are made and filtered, and when training may use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lidr.components.shared.config.base_model import Share, Strict
from lidr.components.shared.config.source import ModelSource

RewarderName = Literal["lidr", "icr", "judge"]
RewardStep = Literal["translate", "score", "grade"]

_STEPS: Mapping[RewarderName, RewardStep] = {"lidr": "translate", "icr": "score", "judge": "grade"}


class RewardCheck(Strict):
    """The check of the reward between pairing and training, on M_t's translations and pairs.

    A bar is broken where an exact test says so at `alpha`, corrected over directions and measures.
    A share that is proven worse than half-way from its bar to perfection gives a warning.
    """

    on_stop: Literal["stop", "train"] = "stop"
    """What happens if the check says stop: the loop ends with the last good model, or it trains
    anyway. Default stop."""
    alpha: float = Field(0.05, gt=0.0, lt=0.5)
    """Largest probability of stopping a reward that meets every bar. Default 0.05."""
    min_texts: int = Field(10, ge=1)
    """Independent texts that a bar needs; with fewer it is not verifiable. Default 10."""
    min_steps: float = Field(1.0, ge=0.0)
    """Optimizer steps for which there must be pairs. Default 1; 0 switches it off."""
    min_on_target: Share = 0.8
    """Smallest share of translations in the language they should be in. Default 0.8; 0 switches it
    off, as every `min_` below."""
    max_copies: Share = 0.2
    """Largest share of translations that are their source again. Default 0.2; 1 switches it off."""
    min_faithfulness: Share = 0.8
    """Smallest share of translations that keep the numbers; the same for code blocks and for links.
    Default 0.8."""
    min_round_trip: float = Field(30.0, ge=0.0, le=100.0)
    """Smallest mean chrF (0 to 100) between a response and its round trip; below 1.5 times this
    there is a warning. Default 30."""
    min_agreement: Share = 0.5
    """Smallest share of pairs whose chosen side is the right one, among those with one right side.
    Right is the prompt's reference answer, or else the dominant answer's last number. There is no
    warning before it is broken. Default 0.5."""
    min_names: Share = 0.5
    """Smallest share of translations that keep most names; only a warning, since names are
    recognised by their capitals. Default 0.5."""
    max_length_outliers: Share = 0.2
    """Largest share of translations whose length differs from their source's beyond
    `max_length_ratio`; only a warning. Default 0.2; 1 switches it off."""
    max_off_target_rejected: Share = 0.1
    """Largest share of pairs whose rejected text is in another language than the pair. Above it
    there is a warning, and the verdict stays. Default 0.1; 1 switches it off."""
    min_yield: Share = 0.2
    """Smallest share of candidates that become pairs or are identical; only a warning.
    Default 0.2."""
    max_identical: Share = 0.6
    """Largest share of pairs with identical sides; only a warning. Default 0.6; 1 switches it
    off."""

    @property
    def stopping_shares(self) -> dict[str, float]:
        """The share below which a measure stops training, by measure; 0 if it never does."""
        return {
            "on_target": self.min_on_target,
            "not_copied": 1 - self.max_copies,
            **dict.fromkeys(("right", "agrees"), self.min_agreement),
            **dict.fromkeys(("numbers", "code", "links"), self.min_faithfulness),
        }


class Filters(Strict):
    """Which pairs are dropped, besides failed translations, missing partners and empty chosen."""

    truncated: bool = True
    """A side was cut at max_tokens. Default true."""
    empty: bool = True
    """The rejected side has no text. Default true."""
    identical: bool = True
    """Chosen and rejected are the same text. Default true."""
    off_target: bool = True
    """The chosen text is not in the prompt's language. Default true."""
    repetition: bool = True
    """The chosen text repeats itself in a loop. Default true."""
    length_ratio: bool = True
    """Chosen and rejected differ in length beyond max_length_ratio. Default true."""

    @classmethod
    def paper(cls) -> Filters:
        """The paper's setting: only failed translations are dropped."""
        return cls(**dict.fromkeys(cls.model_fields, False))


class Icr(Strict):
    """The rewarder icr (Yang et al. 2025, arXiv 2503.04647): beta * log(policy / reference).

    The models that are named here score while M_t is M_0. Afterwards M_t is the policy, and the
    reference the model that it was trained against (`training.reference`): M_(t-1) by default.
    """

    policy: ModelSource = ""
    """A model that was tuned on preferences, mostly in the dominant language: a source as in
    `model.source`. Default: M_t."""
    reference: ModelSource = ""
    """The model that the policy was tuned from, likewise. Required: M_0 has no predecessor."""
    every_iteration: bool = False
    """Whether the named models score in every iteration. Default false."""
    beta: float = Field(0.1, gt=0.0)
    """Factor of the reward. It changes the size of scores, but no pair. Default 0.1."""
    length_penalty: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """Penalty for each character of a response, in nats of log(policy / reference). Default auto:
    in each language the value from 0 to 1, in steps of 0.001, at which chosen and rejected texts
    differ least in mean length. 0 means no penalty."""


class Pairing(Strict):
    """The pair stage."""

    rewarder: RewarderName = "lidr"
    """What turns responses into pairs. `lidr`: the model's own translations (arXiv 2410.08964).
    `icr`: of several samples the best and the worst by the implicit reward of a model that was
    tuned on preferences (arXiv 2503.04647). `judge`: by the recipe's judge. Default lidr."""
    icr: Icr = Icr()
    """Models and settings of the rewarder icr."""
    filters: Literal["all", "paper"] | Filters = "all"
    """`all`, `paper` (failed translations only), or each filter on or off. Except with `paper`, a
    translation is accepted that ends with a misspelt closing tag, or with no tag at the end of the
    turn. Default all."""
    max_length_ratio: float = Field(4.0, gt=1.0)
    """Largest ratio of the sides' lengths in characters, for texts over 100. Default 4."""
    off_target_rejected: Literal["keep", "drop"] = "keep"
    """What happens to a pair whose rejected text is not in the prompt's language: it teaches
    language, not quality. Default keep, as the authors do; its share is reported either way."""
    swap: bool = False
    """Control: exchange chosen and rejected. Default false."""
    reward: RewardCheck = RewardCheck()
    """When the reward cannot be trusted, and what happens then."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rewarder != "icr" and self.icr != Icr():
            raise ValueError(
                f"icr is read by the rewarder icr alone, and rewarder is {self.rewarder}"
            )
        if self.rewarder == "icr" and not self.icr.reference:
            raise ValueError(
                "icr.reference is empty, and in the first iteration there is no M_(t-1): name the "
                "model that M_0 was tuned from"
            )
        return self

    @property
    def reward_step(self) -> RewardStep:
        """The step between generate and pair that the rewarder needs."""
        return _STEPS[self.rewarder]

    @property
    def active(self) -> Filters:
        """The filters in force, with the names `all` and `paper` resolved."""
        if isinstance(self.filters, Filters):
            return self.filters
        return Filters.paper() if self.filters == "paper" else Filters()

    @property
    def recovers(self) -> bool:
        """Whether translations without our closing tag are recovered: not with `paper`."""
        return self.active != Filters.paper()
