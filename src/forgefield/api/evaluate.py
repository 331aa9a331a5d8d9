"""Errors of a potential on labelled structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ase import Atoms

from forgefield import evaluation
from forgefield.api.naming import naming
from forgefield.data import read
from forgefield.deployment.load import load
from forgefield.engine.predictor import fastest
from forgefield.evaluation import MetricsTable
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["evaluate"]


def evaluate(
    potential: Potential | Committee | str | Path,
    frames: Sequence[Atoms] | str | Path | Sequence[str | Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> MetricsTable:
    """Compare a potential with labelled structures.

    Parameters
    ----------
    potential : Potential, Committee or path
    frames : sequence of ase.Atoms, or path(s) of data files
        Labels in ``atoms.calc.results``; what is missing is counted, not compared.
    progress : callable(done, total), optional

    Returns
    -------
    MetricsTable
        MAE, RMSE, largest error, bias and R2 of energy [meV/atom], forces [meV/Å] and stress [GPa], in all, per
        split and per group; ``.entry(split=..., group=...)``, ``.rows()`` for a data frame, ``.to_dict()`` for JSON.

    Raises
    ------
    DataError, LabelError
        Nothing to read, or not one label.
    UnknownSpeciesError, StructureError
        A structure the potential cannot be applied to.
    """
    loaded = load(potential) if isinstance(potential, str | Path) else potential
    structures = _frames(frames)
    with naming(loaded, structures):
        return evaluation.evaluate(fastest(loaded) or loaded, structures, progress=progress).metrics


def _frames(frames: Sequence[Atoms] | str | Path | Sequence[str | Path]) -> list[Atoms]:
    if isinstance(frames, str | Path):
        return read(frames)
    if isinstance(frames, Atoms):
        return [frames]
    paths = [item for item in frames if isinstance(item, str | Path)]
    if paths:
        return read(paths)
    return [item for item in frames if isinstance(item, Atoms)]
