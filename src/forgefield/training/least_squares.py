"""Linear and quadratic models by least squares on energies, forces and stresses together.

Rows are made some structures at a time and folded into a triangle (TSQR), so memory does not grow with the data; solvers
see the triangle alone. See docs/training_linear.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.data import group_of
from forgefield.errors import ConfigError, TrainingError, counted
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.linear.assembly import RowBackend
from forgefield.training.linear.design import Columns, DesignRows, design_rows, energy_row
from forgefield.training.linear.parallel import RowWork, Share
from forgefield.training.linear.settings import LeastSquaresSettings, RowWeights
from forgefield.training.linear.solvers import Solution, solve
from forgefield.training.linear.weighting import Weighting, from_groups, from_loss
from forgefield.training.loss import LossSettings

__all__ = [
    "Columns",
    "DesignRows",
    "LeastSquaresSettings",
    "LinearFit",
    "RowWeights",
    "design_rows",
    "fit_linear",
]

FloatArray = NDArray[np.float64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinearFit:
    """What a fit found.

    Attributes
    ----------
    solution : Solution
        Parameters in the order of `Columns`, their covariance, rank, condition, strength.
    n_rows : int
        Energies, force and stress components.
    """

    solution: Solution
    n_rows: int

    def energy_deviation(self, potential: Potential, atoms: Atoms) -> float:
        """Return the standard deviation [eV] of the energy of a structure that the uncertain parameters cause.

        Parameters
        ----------
        potential : Potential
            The one that was fitted.
        atoms : ase.Atoms

        Raises
        ------
        ConfigError
            The solver gives no covariance.
        """
        row = energy_row(potential, potential.tensors(potential.graph(atoms)))
        return float(np.sqrt(max(float(row @ self._covariance() @ row), 0.0)))

    def forces_deviation(self, potential: Potential, atoms: Atoms) -> FloatArray:
        """Return the standard deviations (n_atoms, 3) [eV/Å] of the forces; see `energy_deviation`."""
        rows = design_rows(potential, potential.tensors(potential.graph(atoms))).forces
        variances = np.einsum("iap,pq,iaq->ia", rows, self._covariance(), rows, optimize=True)
        deviations: FloatArray = np.sqrt(np.maximum(variances, 0.0))
        return deviations

    def _covariance(self) -> FloatArray:
        if self.solution.covariance is None:
            raise ConfigError(
                "lasso and elastic_net give no covariance of the parameters; for error bars fit with "
                "training.solver: bayesian_ridge, ard, ridge or svd"
            )
        return self.solution.covariance


def fit_linear(
    potential: Potential,
    data: LabelledSet,
    loss: LossSettings,
    settings: LeastSquaresSettings,
    on_structure: Callable[[int, int], None] | None = None,
    *,
    backend: RowBackend = "auto",
    share: Share | None = None,
) -> LinearFit:
    """Solve for the parameters of a linear or quadratic model.

    Without a cost of the weights they minimise the loss on `data`, or, with `row_weights`, the sum of squares of the
    weighted rows.

    Parameters
    ----------
    potential : Potential
        With a linear or quadratic model; changed in place.
    data : LabelledSet
    loss : LossSettings
        Mean-square form; weights and normalisation as in gradient training.
    settings : LeastSquaresSettings
    on_structure : callable (done, total), optional
        Progress.
    backend : {'auto', 'compiled', 'torch'}
        What makes the rows; auto: kernels where the descriptor has them.
    share : Share, optional
        Part of the work of this process among several; see `training.linear.parallel`.

    Raises
    ------
    ConfigError, TrainingError
        Another model or form of the loss; groups without weights; no finite solution.
    """
    columns = Columns.of(potential)
    weighting = _weighting(data, loss, settings)
    n_folds = settings.folds if settings.cross_validated else 1
    if n_folds > len(data):
        raise ConfigError(
            f"`training.folds` is {n_folds}, but the data have only {counted(len(data), 'structure')}; lower it or give the strength"
        )
    # Equal parts, drawn in a fixed order: neighbours in a file are often neighbours on a trajectory.
    fold = np.random.default_rng(0).permutation(len(data)) % n_folds
    work = RowWork(potential, data, weighting, fold, n_folds, len(columns), backend)
    everything = range(len(data))
    parts = work.run(everything, on_structure) if share is None else share.compress(work, on_structure)
    free = np.zeros(len(columns), dtype=bool)
    free[len(columns) - columns.n_species :] = True
    n_rows = sum(p.n_rows for p in parts)
    if not n_rows:
        raise TrainingError("there is nothing to fit: no label has a weight above zero")
    solution = solve(parts, free, settings)
    if not np.isfinite(solution.values).all():
        raise TrainingError(
            "the least-squares problem has no finite solution; raise training.ridge, e.g. to 1e-8"
        )
    columns.write(potential.model, solution.values)
    _log.info(
        "%s: rank %d of %d parameters, condition number %.1e, strength %.1e, %d weights zero",
        settings.solver,
        solution.rank,
        len(columns),
        solution.condition,
        solution.strength,
        solution.n_zero,
    )
    return LinearFit(solution, n_rows)


def _weighting(data: LabelledSet, loss: LossSettings, settings: LeastSquaresSettings) -> Weighting:
    if not settings.row_weights:
        if loss.error != "mse":
            raise ConfigError(
                f"least squares minimises `loss.error: mse`, got {loss.error!r}; use training.kind: adam"
            )
        return from_loss(data, loss)
    groups = [group_of(atoms) for atoms in data.frames]
    missing = sorted(set(groups) - set(settings.row_weights))
    if missing:
        raise ConfigError(
            f"`training.row_weights` lacks {', '.join(map(repr, missing))}: every group of the training data needs an entry, "
            f"such as `{missing[0]}: {{eweight: 1.0, fweight: 1.0, vweight: 0.0}}`; it has {', '.join(settings.row_weights)}"
        )
    return from_groups([settings.row_weights[g] for g in groups])
