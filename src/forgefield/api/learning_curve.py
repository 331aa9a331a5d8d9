"""Errors against the number of training structures, with error bars over what is drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forgefield.api.run import Run
from forgefield.api.train import Listener, resolve, train
from forgefield.errors import ConfigError
from forgefield.evaluation.residuals import QUANTITIES
from forgefield.files import make_folder, write_csv, write_json
from forgefield.keys import PROPERTIES
from forgefield.training.settings import RunSettings

__all__ = ["CurvePoint", "LearningCurve", "learning_curve"]


@dataclass(frozen=True)
class CurvePoint:
    """Runs with the same share of the training structures.

    Attributes
    ----------
    fraction : float
    structures : int
        Of training.
    rmse, mae : dict of property to tuple of float
        One for each seed: meV/atom, meV/Å and GPa; only what is labelled.
    """

    fraction: float
    structures: int
    rmse: dict[str, tuple[float, ...]]
    mae: dict[str, tuple[float, ...]]

    def mean(self, name: str) -> float:
        """Return the mean RMSE of a property over the seeds."""
        return float(np.mean(self.rmse[name]))

    def spread(self, name: str) -> float | None:
        """Return the standard deviation of the RMSE over the seeds; None for a single one."""
        values = self.rmse[name]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class LearningCurve:
    """Errors on the same structures for growing training sets.

    Attributes
    ----------
    split : str
        Set that the errors are of.
    seeds : tuple of int
    points : tuple of CurvePoint
        By number of structures.
    """

    split: str
    seeds: tuple[int, ...]
    points: tuple[CurvePoint, ...]

    @property
    def properties(self) -> tuple[str, ...]:
        """Properties that all points have."""
        return tuple(k for k in PROPERTIES if all(k in p.rmse for p in self.points))

    def exponent(self, name: str) -> float | None:
        """Return b of ``RMSE ~ structures^-b``, by least squares of the logarithms; None with fewer than two points."""
        sizes = [math.log(p.structures) for p in self.points]
        errors = [math.log(max(p.mean(name), 1e-300)) for p in self.points]
        if len(set(sizes)) < 2:
            return None
        return -float(np.polyfit(sizes, errors, 1)[0])

    def rows(self) -> list[dict[str, float | int | None]]:
        """Return one row for each point: mean, standard deviation and single values of every property."""
        result: list[dict[str, float | int | None]] = []
        for p in self.points:
            row: dict[str, float | int | None] = {"fraction": p.fraction, "structures": p.structures}
            for name in self.properties:
                row |= {f"{name}_rmse": p.mean(name), f"{name}_rmse_std": p.spread(name)}
                row |= {f"{name}_mae": float(np.mean(p.mae[name]))}
                row |= {f"{name}_rmse_seed_{s}": v for s, v in zip(self.seeds, p.rmse[name], strict=True)}
            result.append(row)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "split": self.split,
            "seeds": list(self.seeds),
            "units": {k: QUANTITIES[k].error_unit for k in self.properties},
            "exponents": {k: self.exponent(k) for k in self.properties},
            "points": self.rows(),
        }

    def write(self, folder: str | Path) -> list[Path]:
        """Write ``learning_curve.json`` and ``learning_curve.csv``."""
        path, rows = make_folder(folder), self.rows()
        return [
            write_json(path / "learning_curve.json", self.to_dict()),
            write_csv(path / "learning_curve.csv", rows, list(rows[0])),
        ]


def learning_curve(
    config: RunSettings | Mapping[str, Any] | str | Path,
    fractions: Sequence[float] = (0.1, 0.2, 0.5, 1.0),
    seeds: Sequence[int] = (0, 1, 2),
    *,
    output: str | Path = "learning_curve",
    resume: bool = False,
    listener: Listener | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LearningCurve:
    """Train on growing parts of the training structures, several times each, and compare the errors.

    Split and evaluation structures are the same in all runs. A seed draws the order in which training structures are
    taken, so that larger parts hold the smaller ones, and the parameters at the start.

    Parameters
    ----------
    config : RunSettings, mapping, or path of a YAML file
    fractions : sequence of float, 0 to 1
        Of the training structures.
    seeds : sequence of int
    output : path
        Every run has a folder in it; beside them ``learning_curve.json`` and ``.csv``.
    resume : bool
        Go on with runs that were interrupted; finished ones are only evaluated.
    listener : Listener, optional
        Of every run.
    progress : callable(done, total), optional
        Called after every run.

    Raises
    ------
    ConfigError
        No fraction or seed, or fractions outside of (0, 1].
    """
    settings = resolve(config)
    sizes = sorted({float(f) for f in fractions})
    if not sizes or not all(0.0 < f <= 1.0 for f in sizes):
        raise ConfigError(f"`fractions` must be numbers above 0 and at most 1, got {list(fractions)}")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"`seeds` must be different numbers >= 0, at least one, got {list(seeds)}")
    folder, points, split, done = Path(output), [], "", 0
    for fraction in sizes:
        runs: list[Run] = []
        for seed in seeds:
            own = folder / f"fraction_{fraction:g}_seed_{seed}"
            again = resume and (own / "checkpoint.ff").exists()
            runs.append(train(_part(settings, fraction, seed), output=own, resume=again, listener=listener))
            done += 1
            if progress is not None:
                progress(done, len(sizes) * len(seeds))
        split, point = _point(fraction, runs)
        points.append(point)
    curve = LearningCurve(split, tuple(seeds), tuple(points))
    curve.write(folder)
    return curve


def _part(settings: RunSettings, fraction: float, seed: int) -> RunSettings:
    data = settings.data.model_copy(update={"fraction": fraction, "fraction_seed": seed})
    title = f"{settings.title or 'Learning curve'}: {100 * fraction:g} % of the structures, seed {seed}"
    return settings.model_copy(update={"data": data, "seed": seed, "title": title[:200]}, deep=True)


def _point(fraction: float, runs: Sequence[Run]) -> tuple[str, CurvePoint]:
    found = [run.evaluation.metrics.headline() for run in runs]
    structures = sum(a.info.get("split") == "train" for a in runs[0].evaluation.frames)
    rmse: dict[str, tuple[float, ...]] = {}
    mae: dict[str, tuple[float, ...]] = {}
    for name in PROPERTIES:
        pairs = [(entry.of(name).rmse, entry.of(name).mae) for _, entry in found]
        known = [(r, m) for r, m in pairs if r is not None and m is not None]
        if len(known) == len(runs):
            rmse[name], mae[name] = tuple(r for r, _ in known), tuple(m for _, m in known)
    return found[0][0], CurvePoint(fraction, structures, rmse, mae)
