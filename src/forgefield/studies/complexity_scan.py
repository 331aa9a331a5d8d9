"""Errors of linear and quadratic models at many ratios of weights, from rows that are made once.

The rows of energies and those of forces do not depend on their weights, and the triangle that all rows are folded into
has every sum of squares in it: solving again for another ratio costs one factorisation, and the errors of all structures
are norms of what the triangles leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.api.train import Silent, prepare, resolve
from forgefield.errors import ConfigError
from forgefield.models.potential import Potential
from forgefield.studies.base import Cell, CellResult
from forgefield.studies.training import ERRORS
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings
from forgefield.training.linear.compress import Compressed
from forgefield.training.linear.design import Columns
from forgefield.training.linear.parallel import RowWork
from forgefield.training.linear.solvers import solve
from forgefield.training.linear.weighting import from_loss
from forgefield.training.loss import LossSettings

__all__ = ["each_ratio", "scan_errors"]

KINDS = ("energy", "forces")
"""What the weights are of."""


def scan_errors(
    config: Mapping[str, Any], ratios: Sequence[float]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the RMSE of each split and property for each ratio of the weight of forces over that of energies.

    Parameters
    ----------
    config : mapping
        Of a training by least squares; its own weights do not matter.
    ratios : sequence of float

    Returns
    -------
    dict
        By ratio (as text), split and property [meV/atom, meV/Å]; None without labels, and for stresses.

    Raises
    ------
    ConfigError
        The training is no least squares, or its cost of the weights is left to cross-validation.
    """
    settings = resolve(config)
    how = settings.training
    if not isinstance(how, LeastSquaresSettings) or how.cross_validated:
        raise ConfigError("only least squares of given strength can be scanned over ratios of weights")
    prepared = prepare(settings, Silent())
    potential = prepared.potential
    test = LabelledSet(potential, prepared.dataset.view("test"), settings.group_weights)
    sets = {"train": prepared.train, "valid": prepared.valid, "test": test}
    rows = {name: _rows(potential, data, settings.loss) for name, data in sets.items() if len(data)}
    columns = Columns.of(potential)
    free = np.zeros(len(columns), dtype=bool)
    free[len(columns) - columns.n_species :] = True
    found = {}
    for ratio in ratios:
        values = solve(_weighted(rows["train"], ratio), free, how).values
        found[repr(float(ratio))] = {name: _errors(own, values) for name, own in rows.items()}
    return found


def _rows(potential: Potential, data: LabelledSet, loss: LossSettings) -> dict[str, Compressed]:
    """Return the rows of each kind, in whose norm a residual is the RMSE [eV/atom, eV/Å]."""
    found, none = {}, dict.fromkeys(ERRORS, 0.0)
    n_parameters, fold = len(Columns.of(potential)), np.zeros(len(data), dtype=np.int64)
    for kind in KINDS:
        weighting = from_loss(data, loss.model_copy(update={**none, kind: 1.0}))
        whole = RowWork(potential, data, weighting, fold, 1, n_parameters, "auto").run_all()[0]
        some = whole.rows.any(axis=1) | (whole.labels != 0)
        found[kind] = replace(whole, rows=whole.rows[some], labels=whole.labels[some])
    return found


def _weighted(rows: Mapping[str, Compressed], ratio: float) -> list[Compressed]:
    """Return the rows of each kind, in which the mean square of forces weighs `ratio` times that of energies.

    They are left apart: what has several parts is folded into one triangle before it is solved, and a triangle is solved
    without a singular value decomposition.
    """
    factors = {"energy": ratio**-0.25, "forces": ratio**0.25}
    return [
        Compressed(factors[kind] * own.rows, factors[kind] * own.labels, own.n_rows)
        for kind, own in rows.items()
    ]


def _errors(rows: Mapping[str, Compressed], values: NDArray[np.float64]) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(ERRORS)
    for kind, own in rows.items():
        rest = float(np.linalg.norm(own.rows @ values - own.labels))
        found[kind] = 1e3 * rest if own.n_rows and math.isfinite(rest) else None
    return found


def each_ratio(scans: Sequence[CellResult], full: Sequence[CellResult]) -> Iterator[CellResult]:
    """Yield a result for each ratio of every scan, with errors alone; not where a potential of its own was trained.

    Parameters
    ----------
    scans : sequence of CellResult
        With the errors of `scan_errors` under ``scan``.
    full : sequence of CellResult
        Potentials.
    """
    keys = ("descriptor", "model", "ratio", "split")
    known = {tuple(r.cell.parameters[key] for key in keys) for r in full}
    for scan in scans:
        own = scan.cell.parameters
        for ratio, errors in scan.values["scan"].items():
            parameters = {key: own[key] for key in (*keys, "config") if key != "ratio"}
            parameters["ratio"] = float(ratio)
            if tuple(parameters[key] for key in keys) not in known:
                name = f"{scan.cell.name}, wF/wE {ratio}"
                yield CellResult(Cell(name, parameters), {"errors": errors}, 0.0)
