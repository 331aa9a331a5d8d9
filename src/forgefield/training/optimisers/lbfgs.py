"""L-BFGS on all structures at once, with a strong Wolfe line search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.optimisers.base import GradientSettings, Optimiser, Parameters
from forgefield.training.step import Step

__all__ = ["LBFGS", "LBFGSSettings"]

CHANGE = 0.1
"""Relative change of a loss weight from which the curvature learned so far is forgotten."""
LISTS = ("old_dirs", "old_stps", "ro")
TENSORS = ("d", "prev_flat_grad")
NUMBERS = ("t", "prev_loss", "H_diag", "func_evals", "n_iter")


class LBFGSSettings(GradientSettings):
    """Limited-memory BFGS (Liu and Nocedal, Math. Program. 45 (1989) 503), full batch, strong Wolfe line search.

    An epoch is one step: `iterations` moves, each with one to a few evaluations of all structures. The line search sets
    the length of the moves; of the schedule only the `early` factors of the weights take notice.
    """

    kind: Literal["lbfgs"] = Field("lbfgs", description="optimiser")
    batch_size: int = Field(64, ge=1, le=100_000, description="structures evaluated at a time")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept; 0: none",
    )
    iterations: int = Field(10, ge=1, le=10_000, description="moves in an epoch")
    history: int = Field(50, ge=1, le=1000, description="pairs of moves and gradient changes remembered")

    @property
    def structures_per_step(self) -> None:
        """All structures."""
        return


class LBFGS(Optimiser):
    """Quasi-Newton moves from remembered changes of the gradient."""

    Settings: ClassVar[type[GradientSettings]] = LBFGSSettings
    follows_rate = False

    def __init__(self, settings: LBFGSSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.method = torch.optim.LBFGS(
            [self.flat],
            lr=1.0,
            max_iter=settings.iterations,
            max_eval=4 * settings.iterations,
            history_size=settings.history,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.weights: dict[str, float] = {}

    def step(self, step: Step, rate: float) -> ArrayTerms:
        """See `Optimiser.step`."""
        del rate
        step.settle()
        if any(abs(w - self.weights.get(k, w)) > CHANGE * abs(w) for k, w in step.weights.items()):
            self.reset()
        if not self.weights:
            self.weights = dict(step.weights)
        first: list[ArrayTerms] = []

        def closure() -> float:
            terms = step.gradient()
            if not first:
                first.append(terms)
                step.check(terms.total, step.norm())
            return terms.total

        self.method.step(closure)  # type: ignore[no-untyped-call]
        step.check(float(self.flat.detach().sum()))
        return first[0]

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        self.method.state.clear()
        self.weights = {}

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        entries: Mapping[str, Any] = self.method.state.get(self.flat, {})
        result = {f"weight.{k}": torch.tensor(w, dtype=torch.float64) for k, w in self.weights.items()}
        for name in LISTS:
            if entries.get(name):
                result[name] = torch.stack([torch.as_tensor(x) for x in entries[name]])
        result |= {k: entries[k] for k in TENSORS if entries.get(k) is not None}
        result |= {
            k: torch.as_tensor(entries[k], dtype=torch.float64) for k in NUMBERS if entries.get(k) is not None
        }
        return result

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        self.reset()
        self.weights = {
            k.removeprefix("weight."): float(v) for k, v in state.items() if k.startswith("weight.")
        }
        if "n_iter" not in state:
            return
        entries = self.method.state[self.flat]
        entries |= {k: [x.clone() for x in state.get(k, ())] for k in LISTS}  # aligned as when made
        entries |= {k: state[k].clone() for k in TENSORS if k in state}
        entries |= {k: float(state[k]) for k in NUMBERS if k in state}
        entries["n_iter"], entries["func_evals"] = int(state["n_iter"]), int(state["func_evals"])
