"""Trajectories in memory: of a simulation just done or of a file, with atoms that do not jump at cell borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from numpy.typing import NDArray

from forgefield.errors import ConfigError, DataError

__all__ = ["Trajectory", "dump_columns", "from_frames", "read_trajectory"]

FloatArray = NDArray[np.float64]

NAMES = {"element", "mass"}
"""Columns of a LAMMPS dump that tell elements."""


@dataclass(frozen=True)
class Trajectory:
    """Frames at equal intervals.

    Attributes
    ----------
    positions : (n_frames, n_atoms, 3) [Å]
        Unwrapped.
    cells : (n_frames, 3, 3) [Å]
    numbers : (n_atoms,)
    masses : (n_atoms,) [amu]
    pbc : (3,) bool
    interval : float [fs]
        Between frames.
    velocities : (n_frames, n_atoms, 3) [Å per ASE time unit] or None
    pressure : (n_frames, 3, 3) [eV/Å^3] or None
        Kinetic part included.
    temperature : (n_frames,) [K] or None
    """

    positions: FloatArray
    cells: FloatArray
    numbers: NDArray[np.int64]
    masses: FloatArray
    pbc: NDArray[np.bool_]
    interval: float
    velocities: FloatArray | None = None
    pressure: FloatArray | None = None
    temperature: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def length(self) -> float:
        """From the first frame to the last [ps]."""
        return (len(self) - 1) * self.interval / 1000.0

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols, by atomic number."""
        return tuple(chemical_symbols[z] for z in np.unique(self.numbers))

    @property
    def volumes(self) -> FloatArray:
        """(n_frames,) [Å^3]."""
        volumes: FloatArray = np.abs(np.linalg.det(self.cells))
        return volumes

    def of(self, element: str) -> NDArray[np.int64]:
        """Return the indices of the atoms of an element."""
        return np.flatnonzero(self.numbers == chemical_symbols.index(element))

    def frame(self, n: int) -> Atoms:
        """Return a frame as a structure."""
        return Atoms(numbers=self.numbers, positions=self.positions[n], cell=self.cells[n], pbc=self.pbc)

    def in_mean_cell(self) -> FloatArray:
        """Return positions (n_frames, n_atoms, 3) [Å] as they would be if the cell did not move.

        At constant pressure a crystal breathes with its cell, and atoms far from the origin the most: positions in units of
        the cell, times the mean cell, leave that out. Constant cells change nothing.
        """
        if np.array_equal(self.cells, np.broadcast_to(self.cells[0], self.cells.shape)):
            return self.positions
        scaled = np.linalg.solve(np.swapaxes(self.cells, 1, 2), np.swapaxes(self.positions, 1, 2))
        still: FloatArray = np.einsum("tbi,ba->tia", scaled, self.cells.mean(axis=0))
        return still

    def mean_temperature(self) -> float:
        """Return the mean temperature [K].

        Raises
        ------
        DataError
            The frames have no velocities.
        """
        if self.temperature is None:
            raise DataError("the trajectory has no velocities, so no temperature; give `temperature`")
        return float(self.temperature.mean())


def read_trajectory(
    path: str | Path,
    *,
    interval: float | None = None,
    skip: float = 0.0,
    types: Sequence[str] | None = None,
    like: Atoms | None = None,
) -> Trajectory:
    """Read a trajectory of any format ASE reads (extended XYZ, .traj, LAMMPS dump, XDATCAR, ...).

    Parameters
    ----------
    path : path
    interval : float [fs], optional
        Between frames; default: from ``time_fs`` in the frames, as `forgefield md` writes it.
    skip : float [ps]
        Left out at the start.
    types : sequence of str, optional
        Elements of the atom types 1, 2, ... of a LAMMPS dump.
    like : ase.Atoms, optional
        The structure that was simulated: its element is that of a dump with one atom type, and the file must hold the
        same elements.

    Raises
    ------
    DataError
        Unreadable, fewer than two frames, atoms that change, or atoms that move too far between two frames to tell
        where they went; other elements than `like`.
    ConfigError
        The interval is neither given nor in the file; the elements of a dump are neither given nor in the file.
    """
    try:
        frames = list(ase.io.read(path, index=":"))
        columns = dump_columns(path)
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        RuntimeError,
        ase.io.formats.UnknownFileTypeError,
    ) as error:
        raise DataError(f"cannot read the trajectory {path}: {error}") from None
    if types is not None or (columns is not None and not NAMES & set(columns)):
        _name_types(frames, types, like, str(path))
    if like is not None and frames and set(frames[0].numbers) != set(like.numbers):
        raise DataError(
            f"{path} holds {_elements(frames[0])}, the structure {_elements(like)}; give the structure that was "
            "simulated, or the elements of the atom types of a LAMMPS dump with `types`"
        )
    return from_frames(frames, interval=interval, skip=skip, name=str(path))


def dump_columns(path: str | Path) -> list[str] | None:
    """Return the columns of a LAMMPS dump in text form; None for other files."""
    if ase.io.formats.filetype(str(path)) != "lammps-dump-text":
        return None
    with ase.io.formats.open_with_compression(str(path), "r") as file:
        for line in file:
            if line.startswith("ITEM: ATOMS"):
                return list(line.split()[2:])
    return []


def _name_types(frames: Sequence[Atoms], types: Sequence[str] | None, like: Atoms | None, name: str) -> None:
    """Turn the atom types of a LAMMPS dump into elements, in place; velocities stay."""
    if any("type" not in frame.arrays for frame in frames):
        raise ConfigError(f"`types` is for LAMMPS dumps with a column `type`, which {name} does not have")
    highest = max(int(frame.arrays["type"].max()) for frame in frames)
    if types is None:
        types = sorted(set(like.get_chemical_symbols())) if like is not None else []
        if len(types) != 1 or highest != 1:
            raise ConfigError(
                f"{name} says atom types (1 to {highest}) but no elements; give `types`, their symbols in order, for "
                "example [Si, O], or write the dump with the column `element`"
            )
    unknown = [symbol for symbol in types if symbol not in chemical_symbols[1:]]
    if unknown or len(types) < highest:
        raise ConfigError(
            f"`types` must name an element for each of the {highest} atom types of {name}, got {list(types)}"
        )
    numbers = np.array([0, *(chemical_symbols.index(symbol) for symbol in types)])
    for frame in frames:
        velocities = frame.get_velocities() if frame.has("momenta") else None
        frame.numbers = numbers[frame.arrays["type"]]
        if velocities is not None:
            frame.set_velocities(velocities)


def _elements(atoms: Atoms) -> str:
    return ", ".join(sorted(set(atoms.get_chemical_symbols())))


def from_frames(
    frames: Sequence[Atoms], *, interval: float | None = None, skip: float = 0.0, name: str = "trajectory"
) -> Trajectory:
    """Return structures that follow each other as a trajectory; see `read_trajectory`."""
    if len(frames) < 2:
        raise DataError(f"{name} has {len(frames)} frame; a trajectory needs at least two")
    first = frames[0]
    for n, frame in enumerate(frames):
        if not (np.array_equal(frame.numbers, first.numbers) and np.array_equal(frame.pbc, first.pbc)):
            raise DataError(
                f"{name}: frame {n} has other atoms, another order or another periodicity than the first"
            )
    step = _interval(frames, interval, name)
    frames = frames[round(1000.0 * skip / step) :]
    if len(frames) < 2:
        raise DataError(f"{name}: fewer than two frames are left after `skip` = {skip} ps")
    cells = np.array([f.cell.array for f in frames])
    positions = _unwrapped(np.array([f.positions for f in frames]), cells, first.pbc, name)
    velocities = temperature = None
    masses = first.get_masses()
    if all(f.has("momenta") for f in frames):
        velocities = np.array([f.get_velocities() for f in frames])
        kinetic = 0.5 * np.einsum("i,tia,tia->t", masses, velocities, velocities)
        freedom = max(1, 3 * len(first) - (3 if len(first) > 1 else 0))
        temperature = 2.0 * kinetic / (freedom * units.kB)
    return Trajectory(
        positions, cells, first.numbers.astype(np.int64), masses, first.pbc.copy(), step, velocities,
        _pressure(frames, velocities), temperature,
    )  # fmt: skip


def _interval(frames: Sequence[Atoms], given: float | None, name: str) -> float:
    if given is not None:
        if not given > 0:
            raise ConfigError(f"`interval` must be > 0 fs, got {given}")
        return given
    times = [f.info.get("time_fs") for f in frames]
    if None in times:
        raise ConfigError(f"{name} does not say the time between its frames; give `interval` [fs]")
    steps = np.diff(np.array(times, dtype=np.float64))
    if not (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6)):
        raise DataError(
            f"{name}: the times of its frames are not equally spaced; give `interval` [fs] to override"
        )
    return float(steps[0])


def _unwrapped(positions: FloatArray, cells: FloatArray, pbc: NDArray[np.bool_], name: str) -> FloatArray:
    """Undo jumps of whole cell vectors from one frame to the next."""
    if not pbc.any():
        return positions
    cells = np.array([complete_cell(cell) for cell in cells])  # directions that are open may have no vector
    if not (np.abs(np.linalg.det(cells)) > 1e-6).all():
        raise DataError(
            f"{name}: the cell of a frame has no volume; give cells whose vectors are independent"
        )
    inverse = np.linalg.inv(cells)
    fractional = np.einsum("tia,tab->tib", positions, inverse)
    moved = np.diff(fractional, axis=0)
    jumps = np.where(pbc, np.round(moved), 0.0)
    left = np.abs((moved - jumps)[..., pbc])
    # Steps near half a cell cannot be told from steps the other way round.
    if len(left) and left.max() > 0.45:
        frame = int(np.unravel_index(int(left.max(axis=2).argmax()), left.shape[:2])[0])
        raise DataError(
            f"{name}: an atom moves by {left.max():.2f} of a cell vector between frames {frame} and {frame + 1}; "
            "store frames more often"
        )
    fractional[1:] -= np.cumsum(jumps, axis=0)
    unwrapped: FloatArray = np.einsum("tia,tab->tib", fractional, cells)
    return unwrapped


def _pressure(frames: Sequence[Atoms], velocities: FloatArray | None) -> FloatArray | None:
    if velocities is None or any(f.calc is None or "stress" not in f.calc.results for f in frames):
        return None
    return np.array([-f.get_stress(voigt=False, include_ideal_gas=True) for f in frames])
