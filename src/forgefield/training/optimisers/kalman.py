"""Extended Kalman filter: recursive least squares over mini-batches, with the curvature in blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import solve_triangular
from torch import Tensor

from forgefield.errors import ConfigError
from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.optimisers.base import GradientSettings, Optimiser, Parameters
from forgefield.training.optimisers.blocks import Grouping, blocks
from forgefield.training.optimisers.covariance import Covariance, covariance_bytes, largest_block
from forgefield.training.optimisers.memory import physical_memory
from forgefield.training.schedules import ScheduleSettings
from forgefield.training.step import Step

__all__ = ["COPIES", "Kalman", "KalmanSettings", "refuse_large"]

FloatArray = NDArray[np.float64]

COPIES = 2.5
"""Covariances in memory: itself, and the upper triangle twice or three times while a checkpoint is taken."""
MOST_MEMORY = 0.8
"""Share of the machine's memory that they may take."""


class KalmanSettings(GradientSettings):
    """Block-wise extended Kalman filter (Puskorius and Feldkamp, IEEE Trans. Neural Netw. 5 (1994) 279).

    The layer-wise form is that of Hu et al. (RLEKF, arXiv:2212.06989). With the rows r of the loss ``|r|^2`` and their
    Jacobian J, each block P of the covariance follows ``P^-1 <- f P^-1 + H^T H``, where H holds ``S J / sqrt(m)`` for m
    rows S of random signs, so that its square is ``J^T J`` on average, and the row ``r^T J / |r|``, which bounds the
    move; blocks share the innovation ``f + H P H^T``; the parameters move by ``-rate P J^T r`` with the exact gradient.
    f is the forgetting factor, which goes to 1 as in RLEKF.

    Forgetting takes the variance at the start away too, so that parameters about which the data say little drift in the
    end: the windup of recursive least squares (arXiv:2004.03910). A `prior` gives every step the further rows
    ``sqrt(prior) (theta - theta_0)``, sketched with random signs like the others: a normal distribution that is not
    forgotten. About zero it takes away what the random start holds and the data do not ask for, as weight decay does in
    long runs of AdamW: what is left of it is what makes potentials fail where there are no data. About the start it
    keeps just that; members of a committee then are anchored ensembles (Pearce et al., arXiv:1810.05546).
    """

    kind: Literal["kalman"] = Field("kalman", description="optimiser")
    epochs: int = Field(16, ge=1, le=1_000_000, description="passes over the training structures")
    schedule: ScheduleSettings = Field(
        default_factory=lambda: ScheduleSettings(start=1.0, stop=0.01, warmup_epochs=0.0),
        description="its rate is a factor on the move",
    )
    batch_size: int = Field(4, ge=1, le=100_000, description="structures per step")
    average: float = Field(
        0.98,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept; 0: none",
    )
    blocks: Grouping = Field("layer", description="parameters that share a block of the covariance")
    block_size: int = Field(1024, ge=1, le=20_000, description="larger blocks are cut")
    probes: int = Field(4, ge=1, le=1000, description="rows of the sketch, per step")
    variance: float = Field(1.0, gt=0, description="variance of the parameters at the start")
    forget: float = Field(0.98, gt=0, le=1, description="share of the information kept by the first step")
    forget_memory: float = Field(
        0.9987, gt=0, le=1, description="the forgetting factor goes to 1 with this memory per step"
    )
    prior: float = Field(
        0.0,
        ge=0,
        description="information per step that every parameter is where `anchor` says; keeps those in bounds that "
        "the data say little about",
    )
    output_prior: float | None = Field(
        None, ge=0, description="`prior` of the weights of a network's output layer; null: the same"
    )
    anchor: Literal["zero", "start"] = Field("zero", description="where `prior` pulls the parameters")


class Kalman(Optimiser):
    """Moves along the gradient times the inverse of the curvature met so far."""

    Settings: ClassVar[type[GradientSettings]] = KalmanSettings
    least_squares = True

    def __init__(self, settings: KalmanSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.settings = settings
        self.blocks = [b.numpy() for b in blocks(parameters, settings.blocks, settings.block_size)]
        refuse_large([len(b) for b in self.blocks], settings)
        self.covariance: list[Covariance] = []
        self.forget = settings.forget
        self.generator = torch.Generator().manual_seed(seed)
        self.anchor = self._point()
        if settings.anchor == "zero":
            self.anchor[:] = 0.0
        self.prior = self._prior(parameters)
        self.reset()

    @property
    def n_bytes(self) -> int:
        """See `Optimiser.n_bytes`."""
        return covariance_bytes([len(b) for b in self.blocks])

    def step(self, step: Step, rate: float) -> ArrayTerms:
        """See `Optimiser.step`."""
        m, n = self.settings.probes, len(self.flat)
        sketch, gradient, parts = np.zeros((m + 1, n)), np.zeros(n), []
        for rows in step.rows():
            parts.append(rows.terms)
            signs = self._signs(len(rows))
            for k in range(m):
                rows.pull_back(signs[k])
                sketch[k + 1] += self._written()
            rows.pull_back(rows.residuals)
            gradient += self._written()
        terms = step.join(parts)
        step.check(terms.total, float(np.linalg.norm(gradient)))
        size = math.sqrt(max(terms.total + self._add_prior(sketch[1:], gradient), 1e-300))
        sketch /= math.sqrt(m)
        sketch[0] = gradient / size
        move = self._filter(sketch)
        self.flat.data.sub_(torch.from_numpy(rate * size * move).to(self.flat))
        self.forget = self.settings.forget_memory * self.forget + 1.0 - self.settings.forget_memory
        return terms

    def _signs(self, n: int) -> FloatArray:
        shape = (self.settings.probes, n)
        return 2.0 * torch.randint(0, 2, shape, generator=self.generator).numpy() - 1.0

    def _add_prior(self, sketch: FloatArray, gradient: FloatArray) -> float:
        """Add the rows ``sqrt(prior) (theta - anchor)`` to sketch and gradient; return the sum of their squares."""
        if not self.prior.any():
            return 0.0
        sketch += np.sqrt(self.prior) * self._signs(len(gradient))
        away = self._point() - self.anchor
        gradient += self.prior * away
        return float((self.prior * away) @ away)

    def _prior(self, parameters: Parameters) -> FloatArray:
        """Return the information of the prior about each parameter."""
        prior = np.full(len(parameters.flat), self.settings.prior)
        weights = [s for s in parameters.segments if "weights" in s.name]
        if weights and self.settings.output_prior is not None:
            prior[weights[-1].start : weights[-1].stop] = self.settings.output_prior
        return prior

    def _point(self) -> FloatArray:
        point: FloatArray = self.flat.detach().to(torch.float64).cpu().numpy().copy()
        return point

    def _filter(self, rows: FloatArray) -> FloatArray:
        """Update the covariance; return it, as updated, times the first row.

        The blocks share one innovation, ``f + sum over blocks of H P H^T``: each on its own would answer for the whole
        error, and together they would overshoot.
        """
        scale = 1.0 / self.forget
        parts = [rows[:, place] for place in self.blocks]
        gains = [p.product(part) for p, part in zip(self.covariance, parts, strict=True)]
        inner = np.sum([part @ gain.T for part, gain in zip(parts, gains, strict=True)], axis=0)
        first = inner[:, 0].copy()
        inner[np.diag_indices_from(inner)] += self.forget
        move = np.zeros(rows.shape[1])
        try:
            factor = np.linalg.cholesky(inner)
        except (
            np.linalg.LinAlgError
        ):  # rounding took the sign of a small eigenvalue: learn the curvature anew
            self.reset()
            return move
        known = solve_triangular(factor, first, lower=True)
        for p, place, gain in zip(self.covariance, self.blocks, gains, strict=True):
            half = solve_triangular(factor, gain, lower=True)
            p.shrink(math.sqrt(scale) * half, scale)
            move[place] = (gain[0] - known @ half) * scale
        return move

    def _written(self) -> FloatArray:
        if self.flat.grad is None:
            return np.zeros(len(self.flat))
        written: FloatArray = self.flat.grad.detach().to(torch.float64).cpu().numpy()
        return written

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        self.covariance = [Covariance(len(b), self.settings.variance) for b in self.blocks]

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        own = {"forget": torch.tensor(self.forget, dtype=torch.float64)}
        for n, p in enumerate(self.covariance):
            own[f"covariance.{n}"] = torch.from_numpy(p.packed())
            own[f"waiting.{n}"] = torch.from_numpy(p.waiting.copy())
            own[f"scale.{n}"] = torch.tensor(p.scale, dtype=torch.float64)
        own |= {"anchor": torch.from_numpy(self.anchor)} if self.prior.any() else {}
        return own | {"generator": self.generator.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        for n, p in enumerate(self.covariance):
            p.unpack(state[f"covariance.{n}"].numpy())
            p.waiting = state[f"waiting.{n}"].numpy().copy()
            p.scale = float(state[f"scale.{n}"])
        self.forget = float(state["forget"])
        self.generator.set_state(state["generator"].clone())
        if self.prior.any():
            self.anchor = state["anchor"].numpy().copy()


def refuse_large(sizes: Sequence[int], settings: KalmanSettings) -> None:
    """Refuse blocks whose covariance does not fit into the machine, before anything is allocated.

    Raises
    ------
    ConfigError
    """
    needed, there = COPIES * covariance_bytes(sizes), physical_memory()
    if there is None or needed <= MOST_MEMORY * there:
        return
    fits = largest_block(sum(sizes), MOST_MEMORY * there / COPIES)
    raise ConfigError(
        f"`training.kind: kalman` keeps the covariance of {sum(sizes)} parameters in blocks of up to {max(sizes)} "
        f"(training.blocks: {settings.blocks}, training.block_size: {settings.block_size}), which takes "
        f"{needed / 1e9:.1f} GB with its checkpoints; this machine has {there / 1e9:.1f} GB. Set training.block_size to "
        f"at most {fits}, or train with adamw"
    )
