"""SNES, the evolution strategy that GPUMD trains NEP with: no gradients at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.optimisers.base import GradientSettings, Optimiser, Parameters
from forgefield.training.step import DivergedError, Step

__all__ = ["SNES", "SNESSettings"]


class SNESSettings(GradientSettings):
    """Separable natural evolution strategy (Schaul, Glasmachers, Schmidhuber, GECCO 2011) as NEP uses it.

    Source: Fan et al., Phys. Rev. B 104 (2021) 104309, and the documentation of ``nep.in``. Every generation draws
    `population` parameter sets ``z_k = m + s * n_k``, ranks them by ``sum_t w_t sqrt(l_t) + lambda_1 mean|z| + lambda_2
    sqrt(mean z^2)`` and moves mean and widths along the natural gradient, ``m += s sum_k u_k n_k`` and ``s *= exp(eta
    sum_k u_k (n_k^2 - 1))``, with utilities ``u_k = max(0, ln(p/2 + 1) - ln k) / sum - 1/p`` and ``eta = (3 + ln N) /
    (10 sqrt N)`` for N parameters. The learning rate plays no part. An epoch has a generation for each batch.
    """

    kind: Literal["snes"] = Field("snes", description="optimiser")
    epochs: int = Field(10_000, ge=1, le=10_000_000, description="passes over the training structures")
    batch_size: int = Field(1000, ge=1, le=100_000, description="structures that a generation is judged by")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept; 0: none",
    )
    population: int = Field(50, ge=4, le=10_000, description="parameter sets in a generation")
    sigma: float = Field(0.1, gt=0, le=1, description="width of the search at the start, and 1 at most later")
    lambda_1: float | None = Field(None, ge=0, description="weight of mean|z|; null: sqrt(N) / 1000")
    lambda_2: float | None = Field(None, ge=0, description="weight of sqrt(mean z^2); null: sqrt(N) / 1000")

    @property
    def structures_at_a_time(self) -> int:
        """Structures evaluated together."""
        return min(self.batch_size, 64)


class SNES(Optimiser):
    """Mean and widths of a normal distribution, moved along the natural gradient of the expected rank."""

    Settings: ClassVar[type[GradientSettings]] = SNESSettings
    follows_rate = False

    def __init__(self, settings: SNESSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        n, p = len(self.flat), settings.population
        self.start = settings.sigma
        self.sigma = torch.full((n,), settings.sigma, dtype=torch.float64)
        automatic = math.sqrt(n) / 1000.0
        self.lambda_1 = automatic if settings.lambda_1 is None else settings.lambda_1
        self.lambda_2 = automatic if settings.lambda_2 is None else settings.lambda_2
        self.eta = (3.0 + math.log(n)) / (10.0 * math.sqrt(n))
        raw = torch.clamp(math.log(p / 2 + 1) - torch.arange(1, p + 1, dtype=torch.float64).log(), min=0.0)
        self.utilities = raw / raw.sum() - 1.0 / p
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, step: Step, rate: float) -> ArrayTerms:
        """See `Optimiser.step`."""
        del rate
        step.settle()
        mean = self.flat.detach().to(torch.float64, copy=True)
        draws = torch.randn((len(self.utilities), len(mean)), generator=self.generator, dtype=torch.float64)
        costs, best, result = [], math.inf, None
        for draw in draws:
            z = mean + self.sigma * draw
            self.flat.data.copy_(z)
            terms = step.terms()
            cost = sum(step.weights.get(k, 0.0) * math.sqrt(v) for k, v in terms.values.items())
            cost += self.lambda_1 * float(z.abs().mean()) + self.lambda_2 * float(z.square().mean().sqrt())
            costs.append(cost if math.isfinite(cost) else math.inf)
            if cost < best:
                best, result = cost, terms
        if result is None:
            self.flat.data.copy_(mean)
            raise DivergedError(math.nan, 0.0)
        ranked = draws[torch.tensor(costs, dtype=torch.float64).argsort(stable=True)]
        self.flat.data.copy_(mean + self.sigma * (self.utilities @ ranked))
        change = self.eta * (self.utilities @ (ranked.square() - 1.0))
        self.sigma = torch.clamp(self.sigma * change.exp(), max=1.0)
        return result

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        self.sigma.fill_(self.start)

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        return {"sigma": self.sigma, "generator": self.generator.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        self.sigma = state["sigma"].clone()
        self.generator.set_state(state["generator"].clone())
