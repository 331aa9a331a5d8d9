"""What every rule for the weights of the loss terms is: given weights times factors that change while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from forgefield.config import Schema

__all__ = ["EARLY", "Property", "WeightSettings", "Weighting"]

Property = Literal["energy", "forces", "stress"]
Factors = dict[Property, Annotated[float, Field(ge=0)]]

EARLY: Factors = {"energy": 0.1, "stress": 0.1}
"""Forces first: they say most of the energy surface while the learning rate is high."""


class WeightSettings(Schema):
    """What all rules share."""

    kind: str = Field(description="rule for the weights of the loss terms")
    early: Factors = Field(
        default_factory=dict,
        description="factors on the weights at the highest learning rate; they go to 1 with the learning rate",
    )


class Weighting:
    """Current weight of each loss term: ``given * early factor * factor of the rule``.

    Parameters
    ----------
    settings : WeightSettings
        An instance of `Settings`.
    given : mapping of property to weight
        From the settings of the loss; terms without weight stay without.
    seed : int
        Of rules that draw.

    Attributes
    ----------
    names : tuple of str
        Properties with a weight.
    floors : dict of property to float
        Terms below this are as good as learned (`Loss.floors`): what they do from there on is noise, which no rule may
        follow. Empty until a trainer says.
    signed : bool
        Whether weights may be negative, which sums of squares cannot follow.
    """

    Settings: ClassVar[type[WeightSettings]]
    signed: ClassVar[bool] = False

    def __init__(self, settings: WeightSettings, given: Mapping[str, float], seed: int = 0) -> None:
        if not isinstance(settings, self.Settings):
            raise TypeError(f"{type(self).__name__} needs {self.Settings.__name__}, got {settings!r}")
        self.given = dict(given)
        self.names = tuple(k for k, w in self.given.items() if w > 0)
        self.seed = seed
        self.floors: dict[str, float] = {}
        self._early = {str(k): float(v) for k, v in settings.early.items()}

    def current(self, rate: float = 0.0, share: float = 1.0) -> dict[str, float]:
        """Return the weights to use now.

        Parameters
        ----------
        rate : float
            Learning rate relative to the highest one; the factors `early` are interpolated with it, as DeePMD-kit
            ties its prefactors to the learning rate (Wang et al., Comput. Phys. Commun. 228 (2018) 178).
        share : float
            Part of the training that is done, 0 to 1.
        """
        factors = self.factors(rate, share)
        return {
            name: weight * (1.0 + (self._early.get(name, 1.0) - 1.0) * rate) * factors.get(name, 1.0)
            for name, weight in self.given.items()
        }

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """Return the factor of each term; see `current`."""
        del rate, share
        return {}

    def floored(self, name: str, value: float) -> float:
        """Return a term, or what it counts as where it is below its floor."""
        return max(float(value), self.floors.get(name, 0.0), 1e-300)

    def end_of_step(self, terms: Mapping[str, float]) -> None:
        """Learn from the unweighted terms of a step."""

    def end_of_epoch(self, terms: Mapping[str, float]) -> None:
        """Learn from the unweighted means of the terms over an epoch."""

    def wants_gradients(self) -> bool:
        """Whether the weights of the next step come from the gradients of its terms; see `step.GradientRule`."""
        return False

    def from_gradients(
        self,
        gradients: Mapping[str, Tensor],
        values: Mapping[str, float],
        rate: float = 0.0,
        share: float = 1.0,
    ) -> dict[str, float]:
        """Return the weights of a step from the gradients of its terms; see `step.GradientRule`."""
        del gradients, values
        return self.current(rate, share)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold, as plain values."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore from a checkpoint."""
