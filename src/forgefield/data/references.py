"""Reference energies: one energy per element, subtracted before anything is fitted.

Total energies of electronic-structure codes contain the energies of isolated pseudo-atoms, hundreds of eV per
atom for some elements. They are subtracted in float64 before any cast, so that no digit of the binding energy
is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forgefield.data.fingerprint import neighbour_pairs
from forgefield.data.frames import Where, atomic_number, get_energy, group_of
from forgefield.errors import LabelError, did_you_mean

__all__ = [
    "ReferenceFit",
    "ReferenceMethod",
    "fit_references",
    "is_isolated_atom",
    "reference_fit",
    "relative_energies",
]

ReferenceMethod = Literal["auto", "least_squares", "isolated_atoms", "given", "none"]
_METHODS = ("auto", "least_squares", "isolated_atoms", "given", "none")
_RANK_TOLERANCE = 1e-8
_ISOLATION = 7.0


@dataclass(frozen=True)
class ReferenceFit:
    """Reference energies and how they came about.

    Parameters
    ----------
    energies : dict
        Atomic number -> eV per atom.
    method : str
        What was done: ``least_squares``, ``isolated_atoms``, ``given`` or ``none``.
    rank, n_elements : int
        Independent compositions found, and elements; fewer than elements: the energies are not unique.
    rms : float [eV/atom]
        Of the energies per atom that remain.
    note : str
        One sentence for a report.
    """

    energies: dict[int, float]
    method: str
    rank: int
    n_elements: int
    rms: float
    note: str


def is_isolated_atom(atoms: Atoms) -> bool:
    """Tell whether a frame is a single atom farther than 7 Å from its periodic images."""
    if len(atoms) != 1:
        return False
    if group_of(atoms).lower() in ("isolatedatom", "isolated_atom"):
        return True
    if not atoms.pbc.any():
        return True
    return len(neighbour_pairs(atoms, _ISOLATION, "i")[0]) == 0


def fit_references(
    frames: Sequence[Atoms],
    method: ReferenceMethod = "auto",
    given: Mapping[int | str, float] | None = None,
) -> dict[int, float]:
    """Return one reference energy per element.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Energies [eV] are taken from their labels; frames without one count for the elements only.
    method : str
        ``isolated_atoms``: the energies of single-atom frames; ``least_squares``: the energies per element
        that explain the energies per atom best, minimum-norm where compositions do not tell the elements
        apart; ``auto``: the former if every element has an atom, else the latter; ``given``; ``none``: zero.
    given : mapping or None
        Symbol or atomic number -> eV per atom, for ``given``.

    Returns
    -------
    dict
        Atomic number -> eV per atom, ascending atomic numbers.

    Raises
    ------
    LabelError
        Unknown method, no energies, or an element without a reference.
    """
    return reference_fit(frames, method, given).energies


def reference_fit(
    frames: Sequence[Atoms],
    method: ReferenceMethod = "auto",
    given: Mapping[int | str, float] | None = None,
) -> ReferenceFit:
    """Return reference energies with the story of how they were found; see `fit_references`."""
    if method not in _METHODS:
        raise LabelError(
            f"`references.method` {method!r} is not known; {did_you_mean(str(method), _METHODS)}"
        )
    elements = sorted({int(z) for atoms in frames for z in np.unique(atoms.numbers)})
    if not elements:
        raise LabelError("reference energies need at least one structure, got none")
    if method == "none":
        zeros = dict.fromkeys(elements, 0.0)
        return _fit(frames, zeros, "none", len(elements), "no reference energies; total energies are fitted")
    if method == "given":
        return _given(frames, elements, given)
    isolated = _isolated(frames)
    missing = [chemical_symbols[z] for z in elements if z not in isolated]
    if method == "isolated_atoms" or (method == "auto" and not missing):
        if missing:
            raise LabelError(
                f"no isolated atom with an energy for {', '.join(missing)}; add single-atom structures "
                "(config_type=IsolatedAtom), or set references.method=least_squares"
            )
        energies = {z: isolated[z] for z in elements}
        return _fit(frames, energies, "isolated_atoms", len(elements), "energies of the isolated atoms")
    return _least_squares(frames, elements)


def _given(
    frames: Sequence[Atoms], elements: list[int], given: Mapping[int | str, float] | None
) -> ReferenceFit:
    where = Where("references.energies")
    values = {atomic_number(key, where): float(value) for key, value in (given or {}).items()}
    missing = [chemical_symbols[z] for z in elements if z not in values]
    if missing:
        raise LabelError(
            f"references.energies has no energy for {', '.join(missing)}; give one in eV per atom for each "
            "element, such as {Si: -101.3}"
        )
    bad = [chemical_symbols[z] for z, value in values.items() if not np.isfinite(value)]
    if bad:
        raise LabelError(f"references.energies of {', '.join(bad)} is not a finite number; give eV per atom")
    return _fit(frames, {z: values[z] for z in sorted(values)}, "given", len(elements), "energies as given")


def _isolated(frames: Sequence[Atoms]) -> dict[int, float]:
    found: dict[int, float] = {}
    for atoms in frames:
        energy = get_energy(atoms) if is_isolated_atom(atoms) else None
        if energy is not None:
            z = int(atoms.numbers[0])
            found[z] = min(energy, found.get(z, np.inf))
    return found


def _compositions(
    frames: Sequence[Atoms], elements: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return concentrations (n, n_elements) and energies per atom (n,) [eV] of the frames with energies."""
    column = {z: k for k, z in enumerate(elements)}
    rows, energies = [], []
    for atoms in frames:
        energy = get_energy(atoms)
        if energy is None:
            continue
        row = np.zeros(len(elements))
        for z, count in zip(*np.unique(atoms.numbers, return_counts=True), strict=True):
            row[column[int(z)]] = count / len(atoms)
        rows.append(row)
        energies.append(energy / len(atoms))
    return np.array(rows).reshape(-1, len(elements)), np.array(energies)


def _least_squares(frames: Sequence[Atoms], elements: list[int]) -> ReferenceFit:
    matrix, energies = _compositions([a for a in frames if not is_isolated_atom(a)], elements)
    if not len(energies):
        matrix, energies = _compositions(frames, elements)
    if not len(energies):
        raise LabelError(
            "no structure has an energy, so reference energies cannot be fitted; set references.method=none "
            "or give them with references.energies"
        )
    unseen = [chemical_symbols[z] for z, column in zip(elements, matrix.T, strict=True) if not column.any()]
    solution, _, rank, _ = np.linalg.lstsq(matrix, energies, rcond=_RANK_TOLERANCE)
    note = f"least squares over {len(energies)} energies"
    if unseen:
        note += f"; no energies with {', '.join(unseen)}: reference zero"
    elif rank < len(elements):
        note += (
            f"; only {rank} independent compositions for {len(elements)} elements, so the energies of single "
            "elements are not determined (minimum norm taken; energies of these compositions are not affected)"
        )
    found = dict(zip(elements, map(float, solution), strict=True))
    return _fit(frames, found, "least_squares", int(rank), note)


def _fit(
    frames: Sequence[Atoms], energies: dict[int, float], method: str, rank: int, note: str
) -> ReferenceFit:
    rest = relative_energies(frames, energies)
    rms = float(np.sqrt(np.nanmean(rest**2))) if np.any(np.isfinite(rest)) else float("nan")
    return ReferenceFit(energies, method, rank, len({int(z) for a in frames for z in a.numbers}), rms, note)


def relative_energies(frames: Sequence[Atoms], references: Mapping[int, float]) -> NDArray[np.float64]:
    """Return energies per atom above the references.

    Parameters
    ----------
    frames : sequence of ase.Atoms, length n
        With or without energies.
    references : mapping
        Atomic number -> eV per atom.

    Returns
    -------
    (n,) [eV/atom]
        NaN where a frame has no energy.
    """
    result = np.full(len(frames), np.nan)
    for k, atoms in enumerate(frames):
        energy = get_energy(atoms)
        if energy is not None:
            numbers, counts = np.unique(atoms.numbers, return_counts=True)
            base = sum(references[int(z)] * int(c) for z, c in zip(numbers, counts, strict=True))
            result[k] = (energy - base) / len(atoms)
    return result
