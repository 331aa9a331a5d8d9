"""Levenberg-Marquardt: damped Gauss-Newton moves on all structures at once, by conjugate gradients without matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.optimisers.base import GradientSettings, Optimiser, Parameters
from forgefield.training.step import Step

__all__ = ["LevenbergMarquardt", "LevenbergMarquardtSettings"]

FloatArray = NDArray[np.float64]

GOOD, BAD = 0.75, 0.25
"""Gains (actual over predicted decrease) from which the damping falls, and below which it rises."""
TRIES = 8
"""Dampings tried before a step gives up."""
LEAST, MOST = 1e-100, 1e12
"""Dampings stay between these: moves against more are nothing but rounding, the loss has converged."""


class LevenbergMarquardtSettings(GradientSettings):
    """Levenberg-Marquardt with conjugate gradients (Marquardt, J. SIAM 11 (1963) 431; Nocedal and Wright, ch. 7 and 10).

    Each epoch is one move p that solves ``(J^T J + mu D) p = -J^T r`` for the rows r of the loss ``|r|^2``, with D the
    diagonal of ``J^T J`` as estimated by random signs. ``J^T u`` is one reverse pass; ``J v`` is the central difference
    of the rows along v, whose relative error is about 1e-10 in float64 and 1e-4 in float32. The damping mu follows the
    gain, the ratio of actual to predicted decrease, up to 1e12, from where on nothing moves any more. The learning rate plays no part.
    """

    kind: Literal["levenberg_marquardt"] = Field("levenberg_marquardt", description="optimiser")
    batch_size: int = Field(64, ge=1, le=100_000, description="structures evaluated at a time")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept; 0: none",
    )
    damping: float = Field(0.1, gt=0, description="mu at the start")
    iterations: int = Field(25, ge=1, le=10_000, description="most conjugate-gradient iterations of a move")
    tolerance: float = Field(
        0.1, gt=0, lt=1, description="residual at which the conjugate gradients stop, relative"
    )
    probes: int = Field(8, ge=1, le=1000, description="random signs that estimate the diagonal")

    @property
    def structures_per_step(self) -> None:
        """All structures."""
        return


class LevenbergMarquardt(Optimiser):
    """Between Gauss-Newton and gradient descent, as far as the quadratic model can be trusted."""

    Settings: ClassVar[type[GradientSettings]] = LevenbergMarquardtSettings
    follows_rate = False
    least_squares = True

    def __init__(self, settings: LevenbergMarquardtSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.settings = settings
        self.damping = settings.damping
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, step: Step, rate: float) -> ArrayTerms:
        """See `Optimiser.step`."""
        del rate
        terms, gradient, diagonal = self._linearise(step)
        loss = terms.total
        step.check(loss, float(np.linalg.norm(gradient)))
        diagonal = np.maximum(diagonal, 1e-6 * diagonal.max() + 1e-300)
        start = self.flat.detach().clone()
        for _ in range(TRIES):
            move, predicted = self._solve(step, gradient, diagonal)
            self.flat.data.copy_(start + torch.from_numpy(move).to(start))
            now = step.terms().total
            gain = (loss - now) / max(predicted, 1e-300)
            if math.isfinite(now) and gain > 0:
                self.damping *= 1.0 / 3.0 if gain > GOOD else (1.0 if gain > BAD else 2.0)
                self.damping = max(self.damping, LEAST)
                return terms
            self.flat.data.copy_(start)
            if self.damping >= MOST:
                break
            self.damping = min(4.0 * self.damping, MOST)
        return terms

    def _linearise(self, step: Step) -> tuple[ArrayTerms, FloatArray, FloatArray]:
        """Return the terms, J^T r, and an estimate of the diagonal of J^T J."""
        n, m = len(self.flat), self.settings.probes
        gradient, sketch, parts = np.zeros(n), np.zeros((m, n)), []
        for rows in step.rows():
            parts.append(rows.terms)
            rows.pull_back(rows.residuals)
            gradient += self._written()
            signs = 2 * torch.randint(0, 2, (m, len(rows)), generator=self.generator).numpy() - 1.0
            for k in range(m):
                rows.pull_back(signs[k])
                sketch[k] += self._written()
        return step.join(parts), gradient, np.square(sketch).mean(axis=0)

    def _solve(self, step: Step, gradient: FloatArray, diagonal: FloatArray) -> tuple[FloatArray, float]:
        """Return the move and the decrease of the loss that the quadratic model predicts."""
        damped = self.damping * diagonal
        precondition = 1.0 / (diagonal + damped)
        move, product = np.zeros_like(gradient), np.zeros_like(gradient)
        residual = -gradient
        z = precondition * residual
        direction, size = z.copy(), float(residual @ z)
        enough = self.settings.tolerance**2 * size
        for _ in range(self.settings.iterations):
            curved = self._curve(step, direction) + damped * direction
            along = float(direction @ curved)
            if along <= 0 or size <= enough:
                break
            length = size / along
            move += length * direction
            product += length * curved
            residual -= length * curved
            z = precondition * residual
            new = float(residual @ z)
            direction, size = z + (new / size) * direction, new
        model = 2.0 * float(gradient @ move) + float(move @ product) - float(damped @ (move * move))
        return move, -model

    def _curve(self, step: Step, v: FloatArray) -> FloatArray:
        """Return J^T J v."""
        here = self.flat.detach().clone()
        scale = float(here.abs().max()) + 1.0
        h = scale * torch.finfo(here.dtype).eps ** (1 / 3) / max(float(np.abs(v).max()), 1e-300)
        shift = torch.from_numpy(h * v).to(here)
        sides = []
        for side in (here + shift, here - shift):
            self.flat.data.copy_(side)
            sides.append([rows.residuals for rows in step.rows()])
        self.flat.data.copy_(here)
        result = np.zeros_like(v)
        for rows, up, down in zip(step.rows(), *sides, strict=True):
            rows.pull_back((up - down) / (2.0 * h))
            result += self._written()
        return result

    def _written(self) -> FloatArray:
        if self.flat.grad is None:
            return np.zeros(len(self.flat))
        written: FloatArray = self.flat.grad.detach().to(torch.float64).cpu().numpy()
        return written

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        self.damping = self.settings.damping

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        damping = torch.tensor(self.damping, dtype=torch.float64)
        return {"damping": damping, "generator": self.generator.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        self.damping = float(state["damping"])
        self.generator.set_state(state["generator"].clone())
