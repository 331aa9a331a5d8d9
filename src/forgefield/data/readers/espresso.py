"""Quantum ESPRESSO pw.x output: scf, relax, vc-relax and md.

The energy after ``!`` is the free energy F = E - TS, from which the forces derive. The printed stress is
positive in compression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import RawFrame, atomic_number
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.readers.text import Cursor
from forgefield.data.sources import Candidate
from forgefield.data.stress import BOHR, CONVENTIONS
from forgefield.errors import DataError, LabelError
from forgefield.units import RYDBERG_TO_EV

__all__ = ["FORMAT"]

_SITE = re.compile(r"\s*\d+\s+(\S+)\s+tau\(\s*\d+\)\s*=\s*\(([^)]*)\)")
_SPECIES = re.compile(r"\s*(\S+)\s+[\d.]+\s+[\d.]+\s+([A-Z][a-z]?)\s*\(")
_FORCE = re.compile(r"\s*atom\s+\d+\s+type\s+\d+\s+force\s*=(.*)")
_UNITS = re.compile(r"\(\s*(\w+)\s*(?:=\s*([\d.]+))?\s*\)")


def _sniff(file: Candidate) -> bool:
    return not file.is_folder and "Program PWSCF" in file.text[:8192]


@dataclass
class _State:
    n_atoms: int = 0
    alat: float = 0.0
    elements: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    cell: NDArray[np.float64] | None = None
    positions: NDArray[np.float64] | None = None
    energy: float | None = None
    entropy: float = 0.0
    forces: NDArray[np.float64] | None = None
    stress: NDArray[np.float64] | None = None
    converged: bool = True
    line: int = 0

    def clear(self) -> None:
        """Forget the labels of the frame before."""
        self.energy = self.forces = self.stress = None
        self.entropy, self.converged = 0.0, True


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    cursor = Cursor(path)
    state = _State()
    for line in cursor:
        if state.energy is not None and _starts_new(line):
            yield _frame(cursor, state, options)
            cursor.frame += 1
            state.clear()
        _structure(line, cursor, state)
        _labels(line, cursor, state)
    if state.energy is not None:
        yield _frame(cursor, state, options)


def _starts_new(line: str) -> bool:
    return line.startswith(("CELL_PARAMETERS", "ATOMIC_POSITIONS")) or "bravais-lattice index" in line


def _structure(line: str, cursor: Cursor, state: _State) -> None:
    """Take in the lines that describe the structure."""
    if "number of atoms/cell" in line:
        state.n_atoms = int(cursor.floats(line.split("=", 1)[1], 1, "the number of atoms")[0])
    elif "celldm(1)=" in line:
        state.alat = float(cursor.floats(line.split("=", 1)[1], 1, "celldm(1)")[0]) * BOHR
    elif "crystal axes: (cart. coord. in units of alat)" in line:
        rows = cursor.take(3, "the crystal axes")
        state.cell = state.alat * np.array([cursor.floats(r.split("=", 1)[-1], 3, "the cell") for r in rows])
    elif "atomic species   valence" in line:
        _species(cursor, state)
    elif "site n.     atom" in line and "alat units" in line:
        _sites(cursor, state)
    elif line.startswith("CELL_PARAMETERS"):
        rows = cursor.take(3, "CELL_PARAMETERS")
        vectors = np.array([cursor.floats(row, 3, "CELL_PARAMETERS") for row in rows])
        state.cell = vectors * _unit(line, cursor, state)
    elif line.startswith("ATOMIC_POSITIONS"):
        _positions(line, cursor, state)


def _species(cursor: Cursor, state: _State) -> None:
    for line in cursor:
        match = _SPECIES.match(line)
        if match is None:
            return
        state.elements[match.group(1)] = match.group(2)


def _sites(cursor: Cursor, state: _State) -> None:
    state.line = cursor.number
    state.labels, rows = [], []
    for line in cursor.take(state.n_atoms, "the positions"):
        match = _SITE.match(line)
        if match is None:
            raise DataError(f"{cursor.where}: expected an atomic site, got {line.strip()[:60]!r}")
        state.labels.append(match.group(1))
        rows.append(cursor.floats(match.group(2), 3, "a position"))
    state.positions = state.alat * np.array(rows).reshape(-1, 3)


def _unit(line: str, cursor: Cursor, state: _State) -> float:
    match = _UNITS.search(line)
    name = match.group(1).lower() if match else "alat"
    if match and match.group(2):
        return float(match.group(2)) * BOHR
    factors = {"angstrom": 1.0, "bohr": BOHR, "alat": state.alat}
    if name not in factors:
        raise DataError(f"{cursor.where}: unknown unit {name!r}; known: alat, angstrom, bohr, crystal")
    return factors[name]


def _positions(line: str, cursor: Cursor, state: _State) -> None:
    state.line = cursor.number
    rows, labels = [], []
    for row in cursor.take(state.n_atoms, "ATOMIC_POSITIONS"):
        label, _, rest = row.strip().partition(" ")
        labels.append(label)
        rows.append(cursor.floats(rest, 3, "a position"))
    coordinates = np.array(rows).reshape(-1, 3)
    state.labels = labels
    if "crystal" in line.lower():
        if state.cell is None:
            raise DataError(f"{cursor.where}: crystal positions before a cell; the output is damaged")
        state.positions = coordinates @ state.cell
    else:
        state.positions = coordinates * _unit(line, cursor, state)


def _labels(line: str, cursor: Cursor, state: _State) -> None:
    """Take in the lines that hold energy, forces and stress."""
    if line.startswith("!") and "total energy" in line:
        state.energy = float(cursor.floats(line.split("=", 1)[-1], 1, "the energy")[0])
    elif "smearing contrib. (-TS)" in line:
        state.entropy = float(cursor.floats(line.split("=", 1)[-1], 1, "the smearing energy")[0])
    elif "convergence NOT achieved" in line:
        state.converged = False
    elif "Forces acting on atoms" in line:
        state.forces = _forces(cursor, state)
    elif "total   stress" in line:
        rows = cursor.take(3, "the stress")
        state.stress = np.array([cursor.floats(row, 3, "the stress") for row in rows])


def _forces(cursor: Cursor, state: _State) -> NDArray[np.float64]:
    cursor.take(1, "the forces")
    rows = []
    for line in cursor.take(state.n_atoms, "the forces"):
        match = _FORCE.match(line)
        if match is None:
            raise LabelError(f"{cursor.where}: expected the force on an atom, got {line.strip()[:60]!r}")
        rows.append(cursor.floats(match.group(1), 3, "a force"))
    return np.array(rows).reshape(-1, 3) * (RYDBERG_TO_EV / BOHR)


def _frame(cursor: Cursor, state: _State, options: ReadOptions) -> RawFrame:
    if state.cell is None or state.positions is None or state.energy is None:
        raise DataError(f"{cursor.where}: an energy before the structure; the output is damaged")
    numbers = [atomic_number(state.elements.get(label, label), cursor.where) for label in state.labels]
    # Gaussian-type smearing: E(sigma -> 0) = (E + F) / 2 = F - (-TS) / 2.
    shift = 0.0 if options.energy_choice == "free" else -0.5 * state.entropy
    return RawFrame(
        numbers=np.array(numbers, dtype=np.int64),
        positions=state.positions,
        cell=state.cell,
        energy=(state.energy + shift) * RYDBERG_TO_EV,
        forces=state.forces,
        stress=state.stress,
        convention=CONVENTIONS["espresso"],
        line=state.line,
        notes=[] if state.converged else ["the electronic loop did not converge"],
    )


FORMAT = Format("espresso", "Quantum ESPRESSO pw.x output", _sniff, _read, aliases=("qe", "pwo", "pw"))
