"""Input files of GPUMD for the common tasks: what ``model.xyz``, ``run.in`` and ``kpoints.in`` say.

Every keyword and the order of its parameters are those of GPUMD's manual (gpumd.org, input parameters; state of August
2026). Temperatures are K, pressures GPa, times of ``time_step`` fs, other times steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from forgefield.errors import ConfigError
from forgefield.files import write_text

__all__ = ["TASKS", "TaskSettings", "kpoints", "model_xyz", "task_script", "write_tasks"]

Line = tuple[str | int | float, ...]

LIGHT = 4.0
"""Mass [u] below which vibrations need half the time step."""

BOX = 25.0
"""Edge [Å] above which a box holds enough phonons for a first thermal conductivity."""

MODULUS = 50.0
"""Rough elastic modulus [GPa], which only sets the time scale of GPUMD's barostat."""


@dataclass(frozen=True)
class TaskSettings:
    """What the input files are written for.

    Attributes
    ----------
    structure : ase.Atoms
        Periodic; the content of ``model.xyz``.
    cutoff : float [Å]
        Of the potential.
    temperature : float [K]
    pressure : float [GPa]
    """

    structure: Atoms
    cutoff: float
    temperature: float = 300.0
    pressure: float = 0.0

    @property
    def time_step(self) -> float:
        """Time step [fs] that resolves the lightest atom."""
        return 0.5 if float(self.structure.get_masses().min()) < LIGHT else 1.0

    def replicas(self, edge: float) -> tuple[int, int, int]:
        """Return how often to repeat the cell so that opposite faces are at least `edge` [Å] apart."""
        cell = self.structure.cell.array
        faces = np.linalg.norm(np.cross(np.roll(cell, -1, axis=0), np.roll(cell, -2, axis=0)), axis=1)
        heights = abs(np.linalg.det(cell)) / faces
        a, b, c = np.maximum(1, np.ceil(edge / heights - 1e-9)).astype(int).tolist()
        return a, b, c


# ---- the tasks -----------------------------------------------------------------------------------------------


def _start(s: TaskSettings, edge: float | None = None) -> list[Line]:
    """Return how every script begins: size, potential."""
    first: list[Line] = [] if edge is None else [("replicate", *s.replicas(edge))]
    return [*first, ("potential", "nep.txt")]


def _moving(s: TaskSettings, edge: float | None = None) -> list[Line]:
    return [*_start(s, edge), ("velocity", s.temperature), ("time_step", s.time_step)]


def _thermostat(s: TaskSettings, steps: int, kind: str = "nvt_bdp") -> list[Line]:
    return [
        ("ensemble", kind, s.temperature, s.temperature, 100),
        ("dump_thermo", 100),
        ("run", steps),
    ]


def _short(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s),
        ("ensemble", "nvt_ber", s.temperature, s.temperature, 100),
        ("dump_thermo", 10),
        ("run", 100),
    ]


def _nve(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s),
        *_thermostat(s, 20000),
        ("ensemble", "nve"),
        ("dump_thermo", 100),
        ("dump_xyz", 1000, "nve.xyz", "velocity", "force", "potential"),
        ("run", 100000),
    ]


def _nvt(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s),
        ("ensemble", "nvt_nhc", s.temperature, s.temperature, 100),
        ("dump_thermo", 100),
        ("dump_xyz", 1000, "nvt.xyz", "velocity", "force", "potential"),
        ("dump_restart", 10000),
        ("run", 100000),
    ]


def _npt(s: TaskSettings) -> list[Line]:
    direction = "tri" if _triclinic(s.structure) else "aniso"
    ensemble = ("npt_mttk", "temp", s.temperature, s.temperature, direction, s.pressure, s.pressure)
    return [
        *_moving(s),
        ("ensemble", *ensemble, "tperiod", 100, "pperiod", 1000),
        ("dump_thermo", 100),
        ("dump_xyz", 1000, "npt.xyz"),
        ("dump_restart", 10000),
        ("run", 100000),
    ]


def _hnemd(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s, BOX),
        *_thermostat(s, 100000),
        ("ensemble", "nvt_nhc", s.temperature, s.temperature, 100),
        ("compute_hnemd", 1000, 1e-5, 0, 0),
        ("compute_shc", 2, 250, 0, 1000, 400.0),
        ("dump_thermo", 1000),
        ("run", 2000000),
    ]


def _green_kubo(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s, BOX),
        *_thermostat(s, 100000),
        ("ensemble", "nve"),
        ("compute_hac", 20, 25000, 10),
        ("dump_thermo", 1000),
        ("run", 5000000),
    ]


def _diffusion(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s),
        *_thermostat(s, 50000),
        ("ensemble", "nve"),
        ("compute_msd", 10, 1000),
        ("compute_sdc", 5, 500),
        ("compute_rdf", round(s.cutoff, 3), 200, 1000),
        ("dump_thermo", 1000),
        ("run", 200000),
    ]


def _viscosity(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s),
        *_thermostat(s, 50000),
        ("ensemble", "nve"),
        ("compute_viscosity", 2, 5000),
        ("dump_thermo", 1000),
        ("run", 1000000),
    ]


def _vibrations(s: TaskSettings) -> list[Line]:
    return [
        *_moving(s, BOX),
        *_thermostat(s, 20000),
        ("ensemble", "nve"),
        ("compute_dos", 5, 1000, 400.0),
        ("run", 100000),
    ]


def _minimize(s: TaskSettings) -> list[Line]:
    return [
        *_start(s),
        ("minimize", "fire", 1e-5, 10000, 1),
        ("ensemble", "nve"),
        ("time_step", 0),
        ("dump_xyz", 1, "relaxed.xyz", "force", "potential", "virial"),
        ("run", 1),
    ]


def _elastic(s: TaskSettings) -> list[Line]:
    return [*_start(s), ("minimize", "fire", 1e-5, 10000, 1), ("compute_elastic", 0.01)]


def _phonon(s: TaskSettings) -> list[Line]:
    # The manual: force constants reach twice the cutoff, the box must be twice as thick as that.
    return [*_start(s, 4.0 * s.cutoff), ("minimize", "fire", 1e-6, 10000), ("compute_phonon", 0.01)]


@dataclass(frozen=True)
class _Task:
    title: str
    notes: tuple[str, ...]
    lines: Callable[[TaskSettings], list[Line]]


TASKS: dict[str, _Task] = {
    "short": _Task("a short simulation, to see that it runs: thermo.out", (), _short),
    "nve": _Task("constant energy after equilibration: thermo.out, nve.xyz", (), _nve),
    "nvt": _Task("constant volume and temperature, Nose-Hoover chains: thermo.out, nvt.xyz", (), _nvt),
    "npt": _Task("constant pressure, Martyna-Tuckerman-Tobias-Klein: thermo.out, npt.xyz", (), _npt),
    "hnemd": _Task(
        "thermal conductivity, homogeneous nonequilibrium MD, and its spectrum: kappa.out, shc.out",
        (
            "The driving force (here 1e-5 per Angstrom, along x) must be small enough for linear response:",
            "halve it and see that kappa stays. Average at least ten runs with other velocities.",
        ),
        _hnemd,
    ),
    "green_kubo": _Task(
        "thermal conductivity, Green-Kubo, correlations up to 0.5 ns at 1 fs: hac.out",
        ("Average at least ten runs with other velocities, and try a larger box.",),
        _green_kubo,
    ),
    "diffusion": _Task("self-diffusion and radial distribution: msd.out, sdc.out, rdf.out", (), _diffusion),
    "viscosity": _Task("viscosity of a liquid, Green-Kubo: viscosity.out", (), _viscosity),
    "vibrations": _Task("vibrational density of states: dos.out, mvac.out", (), _vibrations),
    "minimize": _Task("relaxation of positions and cell: relaxed.xyz", (), _minimize),
    "elastic": _Task("elastic constants of the relaxed crystal: elastic.out", (), _elastic),
    "phonon": _Task(
        "phonon dispersion along the path of kpoints.in: omega2.out",
        ("Put the primitive cell into model.xyz; replicate makes the supercell.",),
        _phonon,
    ),
}
"""What ``run_NAME.in`` is about; ``short`` is ``run.in``."""


# ---- files ---------------------------------------------------------------------------------------------------


def task_script(name: str, settings: TaskSettings) -> str:
    """Return the content of ``run.in`` for a task of `TASKS`."""
    task = TASKS[name]
    lines = [f"# {text}" for text in (task.title, *task.notes)]
    for keyword, *values in task.lines(settings):
        lines.append(" ".join([f"{keyword!s:<16}", *map(_word, values)]).rstrip())
    return "\n".join(lines) + "\n"


def _word(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def model_xyz(atoms: Atoms) -> str:
    """Return the content of ``model.xyz``: elements, positions and, where there are any, velocities [Å/fs].

    Parameters
    ----------
    atoms : ase.Atoms
    """
    from ase.units import fs

    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    columns = ["symbols", "positions"]
    if np.any(atoms.get_momenta()):
        plain.set_array("vel", atoms.get_velocities() * fs)
        columns.append("vel")
    buffer = StringIO()
    ase.io.write(buffer, plain, format="extxyz", columns=columns)
    return buffer.getvalue()


def kpoints(atoms: Atoms) -> str:
    """Return the content of ``kpoints.in``: the usual path of the lattice, in coordinates of its reciprocal cell.

    Parameters
    ----------
    atoms : ase.Atoms
        A primitive cell, else bands are folded.

    Raises
    ------
    ConfigError
        The cell is left-handed, for which conventions know no path.
    """
    if atoms.cell.handedness < 0:
        raise ConfigError(
            f"the cell {atoms.cell.array.tolist()} is left-handed and has no usual path; swap two of its vectors"
        )
    path = atoms.cell.bandpath(npoints=0)
    pieces = []
    for piece in _pieces(path.path):
        rows = [" ".join(f"{x:.10g}" for x in path.special_points[name]) + f" {name}" for name in piece]
        pieces.append("\n".join(rows))
    return "\n\n".join(pieces) + "\n"


def _pieces(path: str) -> list[list[str]]:
    """Return the names of special points of each connected piece of a path such as ``GXU,K1G``."""
    pieces: list[list[str]] = [[]]
    for letter in path:
        if letter == ",":
            pieces.append([])
        elif letter.isdigit():
            pieces[-1][-1] += letter
        else:
            pieces[-1].append(letter)
    return pieces


def write_tasks(folder: Path, settings: TaskSettings, names: Sequence[str] = tuple(TASKS)) -> list[Path]:
    """Write ``model.xyz``, ``run.in``, one ``run_NAME.in`` for each task and, for phonons, ``kpoints.in``.

    GPUMD reads ``run.in`` of the folder it is started in; copy the one that is wanted over it.

    Parameters
    ----------
    folder : Path
    settings : TaskSettings
    names : sequence of str
        Of `TASKS`.

    Returns
    -------
    list of Path
    """
    written = [write_text(folder / "model.xyz", model_xyz(settings.structure))]
    for name in names:
        file = "run.in" if name == "short" else f"run_{name}.in"
        written.append(write_text(folder / file, task_script(name, settings)))
    if "phonon" in names:
        written.append(write_text(folder / "kpoints.in", kpoints(settings.structure)))
    return written


def _triclinic(atoms: Atoms) -> bool:
    cell = atoms.cell.array
    return bool(np.abs(cell - np.diag(np.diag(cell))).max() > 1e-8)
