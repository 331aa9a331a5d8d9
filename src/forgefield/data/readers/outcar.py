"""VASP OUTCAR: every ionic step that is complete.

VASP prints the free energy (TOTEN), from which the forces derive, and the energy extrapolated to zero smearing;
the free energy is the default. The stress ("in kB") is positive in compression, in the order xx yy zz xy yz zx.
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
from forgefield.data.stress import CONVENTIONS
from forgefield.errors import DataError

__all__ = ["FORMAT"]

_FIXED = re.compile(r"[+-]?\d+\.\d{9}")


def _sniff(file: Candidate) -> bool:
    if file.is_folder:
        return False
    text = file.text[:4096]
    return bool(re.match(r"\s*vasp\.\d", text)) or (file.name.startswith("outcar") and "INCAR" in file.text)


@dataclass
class _State:
    symbols: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    cell: NDArray[np.float64] | None = None
    stress: NDArray[np.float64] | None = None
    positions: NDArray[np.float64] | None = None
    forces: NDArray[np.float64] | None = None
    free: float | None = None
    start: int = 0
    converged: bool | None = None

    def numbers(self, cursor: Cursor) -> NDArray[np.int64]:
        """Return the atomic numbers from the elements of the POTCARs and the counts per type."""
        names = self.symbols if len(self.symbols) >= len(self.counts) else self.titles
        if not self.counts or len(names) < len(self.counts):
            raise DataError(
                f"{cursor.where}: found {len(names)} elements for {len(self.counts)} atom types in this OUTCAR; "
                "its header (VRHFIN, ions per type) is missing or damaged"
            )
        z = [atomic_number(name, cursor.where) for name in names[: len(self.counts)]]
        return np.repeat(np.array(z, dtype=np.int64), self.counts)


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    cursor = Cursor(path)
    state = _State()
    for line in cursor:
        if state.cell is None or not state.counts:
            _header(line, state)
        if "direct lattice vectors" in line:
            state.cell = _cell(cursor)
        elif "  in kB " in line:
            state.stress = cursor.floats(line.split("in kB", 1)[1], 6, "the stress")
        elif "aborting loop" in line:
            state.converged = "EDIFF is reached" in line
        elif "TOTAL-FORCE (eV/Angst)" in line:
            _positions(cursor, state)
        elif "free  energy   TOTEN" in line and state.positions is not None:
            state.free = float(cursor.floats(line.split("=", 1)[1], 1, "the free energy")[0])
        elif "energy  without entropy=" in line and state.free is not None:
            extrapolated = float(cursor.floats(line, 1, "the energy", last=True)[0])
            yield _frame(cursor, state, state.free if options.energy_choice == "free" else extrapolated)
            state.positions = state.forces = state.stress = state.free = state.converged = None
            cursor.frame += 1
    if state.positions is not None:
        raise cursor.incomplete("an ionic step")


def _header(line: str, state: _State) -> None:
    if "VRHFIN" in line and "=" in line:
        state.symbols.append(line.split("=", 1)[1].split(":", 1)[0].strip())
    elif "TITEL" in line and "=" in line:
        words = line.split("=", 1)[1].split()
        state.titles.append(re.split(r"[_.]", words[1])[0] if len(words) > 1 else "")
    elif "ions per type =" in line:
        words = line.split("=", 1)[1].split()
        state.counts = [int(word) for word in words if word.isdigit()]


def _cell(cursor: Cursor) -> NDArray[np.float64]:
    rows = []
    for line in cursor.take(3, "the lattice vectors"):
        fixed = _FIXED.findall(line)
        row = (
            np.array([float(w) for w in fixed[:3]]) if len(fixed) >= 3 else cursor.floats(line, 3, "the cell")
        )
        rows.append(row)
    return np.array(rows)


def _positions(cursor: Cursor, state: _State) -> None:
    n_atoms = sum(state.counts)
    if not n_atoms:
        raise DataError(f"{cursor.where}: forces before the header (ions per type) of this OUTCAR")
    state.start = cursor.number
    cursor.take(1, "the forces")
    lines = (cursor.take(1, "the forces")[0] for _ in range(n_atoms))
    rows = np.array([cursor.floats(line, 6, "position and force") for line in lines])
    state.positions, state.forces = rows[:, :3], rows[:, 3:]


def _frame(cursor: Cursor, state: _State, energy: float) -> RawFrame:
    numbers = state.numbers(cursor)
    if state.cell is None or state.positions is None:
        raise DataError(f"{cursor.where}: an ionic step without lattice vectors; the OUTCAR is damaged")
    notes = (
        [] if state.converged is not False else ["the electronic loop did not reach EDIFF (not converged)"]
    )
    return RawFrame(
        numbers=numbers,
        positions=state.positions,
        cell=state.cell.copy(),
        energy=energy,
        forces=state.forces,
        stress=state.stress,
        convention=CONVENTIONS["vasp"],
        line=state.start,
        notes=notes,
    )


FORMAT = Format("outcar", "VASP OUTCAR", _sniff, _read, aliases=("vasp", "vasp-outcar"))
