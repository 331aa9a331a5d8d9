"""What an optimiser sees of one step: the loss of its structures, with gradient, and with rows where it wants more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forgefield.keys import PROPERTIES
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss
from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.objective import Objective
from forgefield.training.rows import LinearRows

__all__ = ["DivergedError", "GradientRule", "LabelWeights", "Step"]

FloatArray = NDArray[np.float64]


class DivergedError(ArithmeticError):
    """The loss or its gradient is not finite."""

    def __init__(self, loss: float, norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {norm}")
        self.loss, self.norm = loss, norm


class GradientRule(Protocol):
    """A rule that weighs the terms of a step by their gradients."""

    def wants_gradients(self) -> bool:
        """Whether this step's weights come from the gradients of the single terms."""
        ...

    def from_gradients(
        self, gradients: Mapping[str, Tensor], values: Mapping[str, float], rate: float, share: float
    ) -> dict[str, float]:
        """Return the weight of each term.

        Parameters
        ----------
        gradients : mapping of property to (n_parameters,) Tensor
            Of the unweighted terms.
        values : mapping of property to float
        rate, share : float
            Relative learning rate and part of the training done; see `Weighting.current`.
        """
        ...


class LabelWeights:
    """Weights of the labels of each structure, and which part of a mean over a batch each of its parts is.

    Parameters
    ----------
    data : LabelledSet
    loss : Loss

    Attributes
    ----------
    of : dict of property to (n_structures,)
        Weights summed over the rows of each structure, zero without a label.
    plain : bool
        Whether all labels have weight one.
    """

    def __init__(self, data: LabelledSet, loss: Loss) -> None:
        own: dict[str, list[float]] = {k: [] for k in PROPERTIES}
        sizes: list[int] = []
        for x, atoms in zip(data.labels, data.frames, strict=True):
            sizes.append(len(atoms))
            for k, label in zip(PROPERTIES, (x.energy, x.forces, x.strain_gradient), strict=True):
                own[k].append(np.nan if label is None else x.weights[k])
        weights = {k: np.array(v, dtype=np.float64) for k, v in own.items()}
        n_atoms = np.array(sizes, dtype=np.float64)
        rows = {k: np.ones(len(n_atoms)) for k in PROPERTIES}
        if not loss.preset.forces_by_structure:
            rows["forces"] = n_atoms
        self.of: dict[str, FloatArray] = {k: rows[k] * np.nan_to_num(w) for k, w in weights.items()}
        self.plain = all(bool(((w == 1.0) | np.isnan(w)).all()) for w in weights.values())
        self._own = weights
        self._components = {"energy": np.ones(len(sizes), int), "forces": 3 * np.array(sizes, int)}
        self._components["stress"] = np.full(len(sizes), 6)

    def idle(self) -> list[str]:
        """Return the properties of which there are labels, but none of some weight."""
        return [k for k, w in self._own.items() if (w == 0.0).any() and not np.nansum(w) > 0]

    def rows(self, index: Sequence[int]) -> dict[str, FloatArray] | None:
        """Return the weight of each labelled number of some structures, flat; None where all are one."""
        if self.plain:
            return None
        i = np.asarray(index, dtype=np.int64)
        found = {}
        for k, weights in self._own.items():
            own = weights[i]
            known = ~np.isnan(own)
            found[k] = np.repeat(own[known], self._components[k][i][known])
        return found

    def shares(self, part: Sequence[int], whole: Sequence[int]) -> dict[str, float]:
        """Return the share of a part of the structures in the mean of each term over the whole."""
        return {
            k: float(w[list(part)].sum()) / max(float(w[list(whole)].sum()), 1e-300)
            for k, w in self.of.items()
        }


class Step:
    """The loss of the structures of one step.

    Large batches are evaluated in parts whose sums are those of the whole: means over the batch stay means over the
    batch, whatever labels the parts have.

    Parameters
    ----------
    objective : Objective
    flat : nn.Parameter
        All parameters; `gradient` writes its ``.grad``.
    labels : LabelWeights
    index : sequence of int
        Structures.
    weights : mapping of property to float
        Of the loss terms.
    part : int
        Structures evaluated at a time.
    rule : GradientRule, optional
        Replaces the weights.
    moment : (rate, share)
        Relative learning rate and part of the training done, for the rule; see `Weighting.current`.
    """

    def __init__(
        self,
        objective: Objective,
        flat: nn.Parameter,
        labels: LabelWeights,
        index: Sequence[int],
        weights: Mapping[str, float],
        part: int,
        rule: GradientRule | None = None,
        *,
        moment: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.objective, self.flat, self.labels = objective, flat, labels
        self.index, self.part = list(index), part
        self.weights = dict(weights)
        self._moment = moment
        self._rule = rule if rule is not None and rule.wants_gradients() else None

    def gradient(self) -> ArrayTerms:
        """Return the terms, and write the gradient of their weighted sum."""
        if self._rule is not None:
            return self._ruled(self._rule)
        return self._gradient(self.weights)

    def terms(self) -> ArrayTerms:
        """Return the terms alone."""
        parts = [(p, self.objective.terms(p)) for p in self._parts()]
        return self._join(parts, self.weights)

    def settle(self) -> None:
        """Fix the weights, for a method that evaluates the step more than once."""
        if self._rule is not None:
            self._ruled(self._rule)

    def rows(self) -> Iterator[LinearRows]:
        """Yield the residuals of the step, part by part, scaled so that the sum of squares is the loss."""
        self.settle()
        for part in self._parts():
            shares = self.labels.shares(part, self.index)
            yield LinearRows(self.objective, part, {k: w * shares[k] for k, w in self.weights.items()})

    def join(self, parts: Sequence[ArrayTerms]) -> ArrayTerms:
        """Return the terms of the step from those of its parts, in the order of `rows`."""
        return self._join(list(zip(self._parts(), parts, strict=True)), self.weights)

    def norm(self) -> float:
        """Return the norm of the gradient just written."""
        g = self.flat.grad
        return 0.0 if g is None else float(torch.dot(g, g)) ** 0.5

    @staticmethod
    def check(loss: float, norm: float = 0.0) -> None:
        """Raise `DivergedError` if the loss or the norm of its gradient is not finite."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(loss, norm)

    def _parts(self) -> list[list[int]]:
        return [self.index[k : k + self.part] for k in range(0, len(self.index), self.part)]

    def _gradient(self, weights: Mapping[str, float]) -> ArrayTerms:
        parts = self._parts()
        if len(parts) == 1:
            return self.objective.gradient(parts[0], weights)
        total = torch.zeros_like(self.flat)
        found: list[tuple[list[int], ArrayTerms]] = []
        for part in parts:
            shares = self.labels.shares(part, self.index)
            found.append(
                (part, self.objective.gradient(part, {k: w * shares[k] for k, w in weights.items()}))
            )
            if self.flat.grad is not None:
                total += self.flat.grad
        if self.flat.grad is not None:
            self.flat.grad.copy_(total)
        return self._join(found, weights)

    def _ruled(self, rule: GradientRule) -> ArrayTerms:
        gradients: dict[str, Tensor] = {}
        terms: ArrayTerms | None = None
        for name in [k for k, w in self.weights.items() if w]:
            found = self._gradient({name: 1.0})
            if name in found.values and self.flat.grad is not None:
                terms, gradients[name] = found, self.flat.grad.clone()
        if terms is None:
            return self._gradient(self.weights)
        self.weights = rule.from_gradients(gradients, terms.values, *self._moment)
        self._rule = None
        if self.flat.grad is not None:
            torch.sum(torch.stack([self.weights[k] * g for k, g in gradients.items()]), 0, out=self.flat.grad)
        return replace(terms, total=_total(terms.values, self.weights))

    def _join(
        self, parts: Sequence[tuple[Sequence[int], ArrayTerms]], weights: Mapping[str, float]
    ) -> ArrayTerms:
        if len(parts) == 1:
            return replace(parts[0][1], total=_total(parts[0][1].values, weights))
        values: dict[str, float] = {}
        for part, terms in parts:
            shares = self.labels.shares(part, self.index)
            for k, v in terms.values.items():
                values[k] = values.get(k, 0.0) + shares[k] * v

        def joined(name: str) -> FloatArray:
            return np.concatenate([getattr(terms, name) for _, terms in parts])

        names = ("energy", "forces", "stress", "energy_bar", "forces_bar", "strain_bar")
        arrays = {name: joined(name) for name in names}
        return ArrayTerms(values=values, total=_total(values, weights), **arrays)


def _total(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weights.get(k, 0.0) * v for k, v in values.items())
