"""What a simulation writes down, and how it notices that it broke."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixCom
from ase.data import covalent_radii
from ase.io.trajectory import Trajectory
from numpy.typing import NDArray

from forgefield.errors import ConfigError, ForgefieldError
from forgefield.graph import neighbour_pairs
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["COLUMNS", "Recorder", "broken", "degrees_of_freedom", "suspicious"]

FloatArray = NDArray[np.float64]

COLUMNS = (
    "step",
    "time_fs",
    "temperature_K",
    "potential_eV",
    "kinetic_eV",
    "total_eV",
    "conserved_eV",
    "pressure_GPa",
    "volume_A3",
    "spread_eV_A",
)
"""Columns of the log; empty where a quantity does not exist. The last is the largest of an atom, of a committee only."""

SEARCH = 2.0
"""Distance [Å] up to which atoms that are too close are looked for."""


def degrees_of_freedom(atoms: Atoms) -> int:
    """Return how many degrees of freedom hold heat: those not constrained, less the resting centre of mass."""
    count = int(atoms.get_number_of_degrees_of_freedom())
    return count if atoms.constraints or len(atoms) == 1 else count - 3


def temperature(atoms: Atoms) -> float:
    """Return the instantaneous temperature [K]."""
    return float(2.0 * atoms.get_kinetic_energy() / (max(degrees_of_freedom(atoms), 1) * units.kB))


def broken(atoms: Atoms, limit: float) -> str:
    """Return what is wrong with the state, naming atoms; empty when nothing is.

    Parameters
    ----------
    atoms : ase.Atoms
    limit : float [K]
        Highest temperature allowed.
    """
    # First the forces: a constraint of the whole structure spreads one bad number to every atom.
    finite = np.isfinite(atoms.get_forces(apply_constraint=False)).all(axis=1)
    if not finite.all():
        return f"the forces on {_names(atoms, np.flatnonzero(~finite))} are not finite"
    finite = np.isfinite(atoms.positions).all(axis=1) & np.isfinite(atoms.get_momenta()).all(axis=1)
    if not finite.all():
        return f"positions or velocities of {_names(atoms, np.flatnonzero(~finite))} are not finite"
    now = temperature(atoms)
    if not now <= limit:
        kinetic = (atoms.get_momenta() ** 2).sum(axis=1) / atoms.get_masses()
        fastest = np.argsort(-kinetic)[:3]
        return f"the temperature is {now:.0f} K (limit: {limit:.0f} K), fastest {_names(atoms, fastest)}"
    return ""


def suspicious(atoms: Atoms, closest_fraction: float, spread_limit: float | None) -> str:
    """Return what makes a state that is not `broken` worthless, naming atoms; empty when nothing does.

    Parameters
    ----------
    atoms : ase.Atoms
        Its calculator has results.
    closest_fraction : float
        Two atoms may not be nearer than this part of the sum of their covalent radii.
    spread_limit : float, optional [eV/Å]
        The members of a committee may not disagree more on the force on an atom.
    """
    spread = spread_of(atoms)
    if spread_limit is not None:
        if spread is None:
            raise ConfigError("`spread_limit` needs a committee, and this is one potential; leave it out")
        beyond = np.flatnonzero(spread > spread_limit)
        if len(beyond):
            worst = beyond[np.argsort(-spread[beyond])]
            return (
                f"the members of the committee disagree by {spread.max():.2f} eV/Å (limit: {spread_limit:g} eV/Å) on the "
                f"forces on {_names(atoms, worst)}"
            )
    return _overlap(atoms, closest_fraction) if closest_fraction else ""


def spread_of(atoms: Atoms) -> FloatArray | None:
    """Return the spread (n_atoms,) of the forces [eV/Å] that a committee found, None for single potentials."""
    found = getattr(atoms.calc, "results", {}).get("forces_spread")
    return None if found is None else np.asarray(found, dtype=np.float64)


def _overlap(atoms: Atoms, fraction: float) -> str:
    radii = covalent_radii[atoms.numbers]
    # Searching farther than needed is faster: fewer cells, hardly more pairs.
    i, j, _, vectors = neighbour_pairs(atoms, max(2.0 * fraction * float(radii.max()), SEARCH))
    if len(i) == 0:
        return ""
    distances = np.sqrt((vectors * vectors).sum(axis=1))
    ratio = distances / (radii[i] + radii[j])
    worst = int(ratio.argmin())
    if ratio[worst] >= fraction:
        return ""
    pair = np.array([i[worst], j[worst]])
    allowed = fraction * float(radii[pair].sum())
    return f"{_names(atoms, pair)} are {distances[worst]:.2f} Å apart (allowed: >= {allowed:.2f} Å)"


def _names(atoms: Atoms, indices: np.ndarray) -> str:
    shown = ", ".join(f"{atoms.symbols[int(k)]} {int(k)}" for k in indices[:3])
    return f"atoms {shown}" + (f" and {len(indices) - 3} more" if len(indices) > 3 else "")


class Recorder:
    """Writes log and trajectory row by row, so that everything so far survives any end.

    Parameters
    ----------
    atoms : ase.Atoms
    trajectory, log : path, optional
    on_row : callable, optional
        Is told every row.

    Attributes
    ----------
    rows : list of dict
        The log, in memory.
    n_frames : int
        Frames written to the trajectory.
    """

    def __init__(
        self,
        atoms: Atoms,
        trajectory: str | Path | None,
        log: str | Path | None,
        on_row: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.on_row = on_row
        self.atoms = atoms
        self.trajectory = None if trajectory is None else Path(trajectory)
        self.log = None if log is None else Path(log)
        self.rows: list[dict[str, Any]] = []
        self.n_frames = 0
        self._log_file: IO[str] | None = None
        self._frames: Any = None

    def __enter__(self) -> Self:
        try:
            if self.log is not None:
                self._log_file = self.log.open("w", encoding="utf-8", newline="")
                csv.writer(self._log_file, lineterminator="\n").writerow(COLUMNS)
            if self.trajectory is not None:
                if self.trajectory.suffix == ".traj":
                    self._frames = Trajectory(str(self.trajectory), "w")
                else:
                    self.trajectory.write_text("", encoding="utf-8")
        except OSError as error:
            self.__exit__(None, None, None)
            raise ForgefieldError(
                f"cannot write {error.filename}: {error.strerror or error}; choose another folder"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._log_file, self._frames):
            if file is not None:
                with suppress(OSError):  # what a full disk has not taken; it was said when it was written
                    file.close()

    def row(self, step: int, time: float, conserved: Callable[[], float] | None) -> None:
        """Write the state: one row of the log and one frame."""
        atoms = self.atoms
        potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
        stress = self._stress()
        row: dict[str, Any] = {
            "step": step,
            "time_fs": time,
            "temperature_K": temperature(atoms),
            "potential_eV": potential,
            "kinetic_eV": kinetic,
            "total_eV": potential + kinetic,
            "conserved_eV": "" if conserved is None else float(conserved()),
            "pressure_GPa": "",
            "volume_A3": "",
            "spread_eV_A": "",
        }
        spread = spread_of(atoms)
        if spread is not None:
            row["spread_eV_A"] = float(spread.max())
        if stress is not None:
            volume = float(atoms.get_volume())
            virial_part = -float(stress[:3].mean())
            row["pressure_GPa"] = (virial_part + 2.0 * kinetic / (3.0 * volume)) * EV_PER_A3_TO_GPA
            row["volume_A3"] = volume
        self.rows.append(row)
        if self._log_file is not None:
            try:
                csv.DictWriter(self._log_file, COLUMNS, lineterminator="\n").writerow(row)
                self._log_file.flush()
            except OSError as error:
                raise self._full(self.log, error) from None
        if self.trajectory is not None:
            frame = self._copy({"step": step, "time_fs": time})
            results = {"energy": potential, "forces": atoms.get_forces(apply_constraint=False)}
            if stress is not None:
                results["stress"] = stress
            frame.calc = SinglePointCalculator(frame, **results)
            if spread is not None:
                frame.set_array("forces_spread", spread)
            self._write(frame)
        if self.on_row is not None:
            self.on_row(row)

    def last_frame(self) -> None:
        """Append the state as it is, without results, where it is finite."""
        if self.trajectory is not None and np.isfinite(self.atoms.positions).all():
            self._write(self._copy({"broken": True}))

    def _stress(self) -> np.ndarray | None:
        if not self.atoms.pbc.all():
            return None
        try:
            return np.asarray(self.atoms.get_stress(apply_constraint=False), dtype=np.float64)
        except PropertyNotImplementedError:
            return None

    def _copy(self, info: dict[str, Any]) -> Atoms:
        frame = self.atoms.copy()
        frame.set_constraint([c for c in frame.constraints if not isinstance(c, FixCom)])
        frame.info.update(info)
        return frame

    def _write(self, frame: Atoms) -> None:
        try:
            if self._frames is not None:
                self._frames.write(frame)
            elif self.trajectory is not None:
                _append(self.trajectory, frame)
        except OSError as error:
            raise self._full(self.trajectory, error) from None
        self.n_frames += 1

    def _full(self, path: Path | None, error: OSError) -> ForgefieldError:
        return ForgefieldError(
            f"cannot write {path}: {error.strerror or error}, after {len(self.rows)} rows and {self.n_frames} frames; make "
            "room, or write less often with `log_interval`"
        )


def _append(path: Path, frame: Atoms) -> None:
    """Append a frame to an extended XYZ file; where that fails, no part of it is left behind."""
    text = io.StringIO()
    ase.io.write(text, frame, format="extxyz")
    size = path.stat().st_size
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())
    except OSError:
        with suppress(OSError):
            os.truncate(path, size)
        raise
