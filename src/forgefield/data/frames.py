"""From what a reader found to one canonical frame, and the labels back out of a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers as ase_atomic_numbers
from numpy.typing import ArrayLike, NDArray

from forgefield.data.options import ReadOptions
from forgefield.data.stress import ASE, StressConvention
from forgefield.errors import DataError, LabelError

__all__ = [
    "IncompleteError",
    "RawFrame",
    "Where",
    "atomic_number",
    "canonical",
    "get_energy",
    "get_forces",
    "get_stress",
    "group_of",
    "number_array",
    "with_labels",
]

FloatArray = NDArray[np.float64]

_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
_TENSOR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Where:
    """A place in a file, for messages."""

    path: str
    frame: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        """Return ``path, frame k, line n`` with what is known."""
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"{self.path}{frame}" + ("" if self.line is None else f", line {self.line}")


@dataclass
class RawFrame:
    """One structure as a reader found it, in the units of the file.

    Parameters
    ----------
    numbers : (n_atoms,) atomic numbers
    positions : (n_atoms, 3)
    cell : (3, 3), rows are lattice vectors; zeros without a cell
    pbc : three bool
    energy, forces, stress
        Labels, None where absent; stress is (6,), (9,) or (3, 3) as `convention` says.
    alternative : (values, convention) or None
        A second stress label of the file, to be compared with the first.
    info, arrays : dict
        Everything else that is worth keeping.
    line : int or None
        Where the frame starts.
    notes : list of str
        What a person should know about the reading.
    """

    numbers: NDArray[np.int64]
    positions: FloatArray
    cell: FloatArray
    pbc: tuple[bool, bool, bool] = (True, True, True)
    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    convention: StressConvention = ASE
    alternative: tuple[FloatArray, StressConvention] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    line: int | None = None
    notes: list[str] = field(default_factory=list)


class IncompleteError(DataError):
    """A file breaks off in the middle of a frame; the frames before it are whole."""


def number_array(
    values: ArrayLike, what: str, where: Where, shape: tuple[int, ...] | None = None
) -> FloatArray:
    """Convert to float64 or say what is not a number.

    Raises
    ------
    DataError
        Not numbers, ragged, or not of `shape` (-1 matches any length).
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: {what} must be numbers, got {_shorten(values)}") from None
    if shape is not None:
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = " x ".join("n" if n < 0 else str(n) for n in shape)
            raise DataError(f"{where}: {what} must be {wanted} numbers, got shape {array.shape}")
    return array


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def atomic_number(symbol: object, where: Where) -> int:
    """Return the atomic number of a symbol (any case) or of a number.

    Raises
    ------
    DataError
        No such element.
    """
    text = str(symbol).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0
    if not number:
        number = ase_atomic_numbers.get(text.capitalize(), 0)
    if not 0 < number <= 118:
        raise DataError(f"{where}: {_shorten(symbol)} is not a chemical element; use symbols such as Si")
    return number


def _finite(values: Any, what: str, where: Where, options: ReadOptions) -> bool:
    if np.all(np.isfinite(values)):
        return True
    if options.on_nan == "unlabelled":
        return False
    raise LabelError(
        f"{where}: {what} is NaN or infinite; remove the structure, or read with on_nan=unlabelled to "
        "treat it as missing"
    )


def canonical(raw: RawFrame, options: ReadOptions, where: Where) -> Atoms:
    """Check a frame and bring it to the units, signs and names of the package.

    Parameters
    ----------
    raw : RawFrame
        As read.
    options : ReadOptions
        Units and conventions that override the file's.
    where : Where
        For messages.

    Returns
    -------
    ase.Atoms
        With a `SinglePointCalculator` that holds the labels found [eV, eV/Å, eV/Å^3].

    Raises
    ------
    DataError, LabelError
        Shapes that do not fit, numbers that are not finite, a stress without a volume.
    """
    n_atoms = len(raw.numbers)
    if n_atoms == 0:
        raise DataError(f"{where}: the structure has no atoms")
    positions = number_array(raw.positions, "positions", where, (n_atoms, 3)) * options.length_factor
    cell = number_array(raw.cell, "cell", where, (3, 3)) * options.length_factor
    if not (np.all(np.isfinite(positions)) and np.all(np.isfinite(cell))):
        raise DataError(f"{where}: positions or cell are NaN or infinite")
    volume = abs(float(np.linalg.det(cell)))
    if any(raw.pbc) and volume <= 0.0 and not _partly_periodic(cell, raw.pbc):
        raise DataError(
            f"{where}: the cell has no volume although it is periodic; give three lattice vectors"
        )
    atoms = Atoms(numbers=raw.numbers, positions=positions, cell=cell, pbc=raw.pbc)
    for name, values in raw.arrays.items():
        if name not in atoms.arrays:
            atoms.set_array(name, values)
    results: dict[str, Any] = {}
    if raw.energy is not None and _finite(raw.energy, "the energy", where, options):
        results["energy"] = float(raw.energy) * options.energy_factor
    if raw.forces is not None:
        forces = number_array(raw.forces, "forces", where, (n_atoms, 3))
        if _finite(forces, "a force", where, options):
            results["forces"] = forces * options.forces_factor
    atoms.info.update(raw.info)
    notes = list(raw.notes)
    if raw.stress is not None:
        stress = _stress(raw, options, where, volume, notes)
        if stress is not None:
            results["stress"] = stress
            atoms.info["stress_claim"] = (options.convention or raw.convention).label
            if np.size(raw.stress) == 6:
                atoms.info["stress_components"] = 6
    _standard_info(atoms, notes, where)
    if notes:
        atoms.info["read_notes"] = tuple(notes)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _partly_periodic(cell: FloatArray, pbc: tuple[bool, bool, bool]) -> bool:
    """Tell whether the periodic vectors are independent although the cell has no volume."""
    vectors = cell[np.asarray(pbc, dtype=bool)]
    return not all(pbc) and int(np.linalg.matrix_rank(vectors)) == len(vectors)


def _stress(
    raw: RawFrame, options: ReadOptions, where: Where, volume: float, notes: list[str]
) -> FloatArray | None:
    values = number_array(raw.stress, "stress", where)  # type: ignore[arg-type]
    if values.size not in (6, 9):
        raise DataError(f"{where}: a stress or virial has 6 or 9 components, got {values.size}")
    if not _finite(values, "the stress", where, options):
        return None
    if volume <= 0.0:
        raise LabelError(
            f"{where}: a stress is given but the cell has no volume; give a cell or remove the stress"
        )
    scale = float(np.abs(values).max())
    if values.size == 9 and scale > 0.0:
        full = values.reshape(3, 3)
        skew = float(np.abs(full - full.T).max()) / scale
        if skew > _TENSOR_TOLERANCE:
            notes.append(f"stress tensor not symmetric (by {skew:.1%} of its largest component); symmetrised")
    stress = (options.convention or raw.convention).to_ase(values, volume, options.energy_factor)
    if raw.alternative is not None:
        other = raw.alternative[1].to_ase(raw.alternative[0], volume, options.energy_factor)
        size = max(float(np.abs(stress).max()), float(np.abs(other).max()))
        if float(np.abs(stress - other).max()) > 1e-2 * size + 1e-6:
            notes.append(
                f"stress and virial contradict each other (eV/Å^3, ASE): virial {np.round(stress, 5).tolist()}, "
                f"stress {np.round(other, 5).tolist()}; the virial was taken"
            )
    return stress


def _standard_info(atoms: Atoms, notes: list[str], where: Where) -> None:
    info = atoms.info
    info["config_type"] = str(info.get("config_type", "default"))
    if "split" in info:
        role = _SPLITS.get(str(info["split"]).strip().lower())
        if role is None:
            info["source_split"] = info.pop("split")
            notes.append(f"split={info['source_split']!r} is not train, valid or test; ignored")
        else:
            info["split"] = role
    for name in ("weight", "energy_weight", "forces_weight", "stress_weight"):
        if name in info:
            value = info[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < np.inf:
                raise DataError(f"{where}: `{name}` must be a number >= 0, got {value!r}")
            info[name] = float(value)


def _result(atoms: Atoms, name: str) -> Any:
    calc = atoms.calc
    results = getattr(calc, "results", None)
    return results.get(name) if isinstance(results, dict) else None


def get_energy(atoms: Atoms) -> float | None:
    """Return the labelled energy [eV], or None."""
    value = _result(atoms, "energy")
    return None if value is None or not np.isfinite(value) else float(value)


def get_forces(atoms: Atoms) -> FloatArray | None:
    """Return the labelled forces (n_atoms, 3) [eV/Å], or None."""
    value = _result(atoms, "forces")
    if value is None or not np.all(np.isfinite(value)):
        return None
    return np.asarray(value, dtype=np.float64)


def get_stress(atoms: Atoms) -> FloatArray | None:
    """Return the labelled stress (6,) [eV/Å^3], ASE's sign and order, or None."""
    value = _result(atoms, "stress")
    if value is None or not np.all(np.isfinite(value)):
        return None
    array = np.asarray(value, dtype=np.float64)
    return ASE.to_ase(array, 1.0) if array.size == 9 else array


def group_of(atoms: Atoms) -> str:
    """Return the group (``config_type``) of a frame."""
    return str(atoms.info.get("config_type", "default"))


def with_labels(atoms: Atoms, **labels: Any) -> Atoms:
    """Return a copy whose labels are updated; None removes a label.

    Parameters
    ----------
    atoms : ase.Atoms
        Left unchanged.
    **labels
        ``energy`` [eV], ``forces`` (n_atoms, 3) [eV/Å], ``stress`` (6,) [eV/Å^3].
    """
    results = {name: _result(atoms, name) for name in ("energy", "forces", "stress")} | labels
    found = {name: value for name, value in results.items() if value is not None}
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **found) if found else None
    return copy
