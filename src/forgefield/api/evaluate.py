"""Errors of a potential on labelled structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ase import Atoms

from forgefield import evaluation
from forgefield.api.naming import naming
from forgefield.data import ReadOptions, apply_convention, detect_conventions, read
from forgefield.deployment.load import load
from forgefield.engine.predictor import fastest
from forgefield.evaluation import MetricsTable
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["evaluate", "read_labelled"]


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


def read_labelled(paths: Sequence[str | Path], stress_convention: str = "auto") -> tuple[list[Atoms], str]:
    """Read structures to compare with, with stresses in the convention asked for.

    Parameters
    ----------
    paths : sequence of path
    stress_convention : str
        As ``data.stress_convention``: ``detect`` corrects each group as detected, ``auto`` reads labels as they are and says
        where they contradict their own structures, ``trust`` does not look; or the name of a convention.

    Returns
    -------
    tuple of (list of ase.Atoms, str)
        The structures, and a warning or nothing.
    """
    named = stress_convention not in ("auto", "detect", "trust")
    asked = {"stress_convention": stress_convention} if named else {}
    frames = read(paths, options=ReadOptions.parse(asked, where="evaluate"))
    if stress_convention == "detect":
        return apply_convention(frames, detect_conventions(frames)), ""
    if stress_convention != "auto":
        return frames, ""
    doubtful = any(a.info.get("stress_components") == 6 for a in frames)
    wrong = [verdict.group for verdict in detect_conventions(frames, surrogate=doubtful).contradictions]
    if not wrong:
        return frames, ""
    return frames, (
        f"the stress labels of {', '.join(map(repr, wrong))} contradict the energies, forces or symmetry of their own structures; "
        "the stress errors compare with the labels as they are. Correct them with --stress-convention detect"
    )


def _frames(frames: Sequence[Atoms] | str | Path | Sequence[str | Path]) -> list[Atoms]:
    if isinstance(frames, str | Path):
        return read(frames)
    if isinstance(frames, Atoms):
        return [frames]
    paths = [item for item in frames if isinstance(item, str | Path)]
    if paths:
        return read(paths)
    return [item for item in frames if isinstance(item, Atoms)]
