"""Run Quantum ESPRESSO's pw.x for one structure: settings, input file, output parser.

Every calculation of the silicon data set goes through this module, so that all labels share
one set of numerical settings (`SETTINGS`). Energies are eV, lengths Å, forces eV/Å, stresses
eV/Å^3 with the sign of ASE (dE/dstrain / V, positive in tension).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

RYDBERG_EV = 13.605693122994
"""Rydberg energy [eV], CODATA 2018."""
BOHR_ANGSTROM = 0.529177210903
"""Bohr radius [Å], CODATA 2018."""
TWO_PI = 2.0 * math.pi


class RunError(RuntimeError):
    """pw.x did not finish, did not converge, or its output lacks a label."""


@dataclass(frozen=True)
class Settings:
    """Numerical settings of one pw.x calculation.

    Parameters
    ----------
    ecutwfc : float [Ry]
        Plane-wave cutoff; the density cutoff is four times this (norm conserving).
    k_spacing : float [1/Å]
        Largest distance of neighbouring k points, 2 pi included; see `k_grid`.
    degauss : float [Ry]
        Width of the smearing.
    smearing : str
        Name of the smearing function as in pw.x.
    conv_thr : float [Ry per atom]
        Estimated SCF error at which the iteration stops.
    qcutz, ecfixed, q2sigma : float [Ry]
        Modified kinetic energy functional of pw.x (constant effective cutoff); off if qcutz is 0.
    """

    ecutwfc: float = 26.0
    k_spacing: float = 0.30
    degauss: float = 0.01
    smearing: str = "fermi-dirac"
    conv_thr: float = 1.0e-9
    qcutz: float = 0.0
    ecfixed: float = 0.0
    q2sigma: float = 0.0
    mixing_beta: float = 0.7
    mixing_mode: str = "TF"
    shifted: bool = True
    magnetization: int = 0
    symmetry: bool = False
    pseudo_file: str = "Si.pbe-rrkj.UPF"


SETTINGS = Settings()
"""Settings of the whole data set."""
SOLID_K_SPACING = 0.40
"""k spacing of the thermal diamond snapshots [1/Å]: these have a gap and converge faster."""
SYMMETRIC_GROUPS = ("diamond_eos", "diamond_strain", "betasn_eos", "betasn_strain")
"""Groups of homogeneously deformed crystals, computed with symmetry: same labels, fewer k points."""


def pseudo_dir() -> Path:
    """Folder of the pseudopotentials: $ESPRESSO_PSEUDO, or the Debian package's folder."""
    return Path(os.environ.get("ESPRESSO_PSEUDO", "/usr/share/espresso/pseudo"))


def k_grid(atoms: Atoms, k_spacing: float) -> tuple[int, int, int]:
    """Return the smallest grid whose spacing is <= ``k_spacing`` [1/Å].

    A direction that is not periodic gets one point.
    """
    lengths = TWO_PI * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    counts = [
        max(1, math.ceil(length / k_spacing - 1.0e-6)) if periodic else 1
        for length, periodic in zip(lengths, atoms.pbc, strict=True)
    ]
    return counts[0], counts[1], counts[2]


def pw_input(
    atoms: Atoms,
    settings: Settings = SETTINGS,
    *,
    grid: tuple[int, int, int] | None = None,
    prefix: str = "si",
) -> str:
    """Return the text of a pw.x input file for a single point with forces and stress."""
    n_atoms = len(atoms)
    grid = k_grid(atoms, settings.k_spacing) if grid is None else grid
    conv_thr = f"{settings.conv_thr * n_atoms:.3e}".replace("e", "d")
    nosym = ".false." if settings.symmetry else ".true."
    shift = " ".join(str(int(settings.shifted and count > 1)) for count in grid)
    lines = [
        "&CONTROL",
        "  calculation = 'scf', tprnfor = .true., tstress = .true., disk_io = 'none',",
        f"  prefix = '{prefix}', outdir = './scratch', pseudo_dir = '{pseudo_dir()}',",
        "/",
        "&SYSTEM",
        f"  ibrav = 0, nat = {n_atoms}, ntyp = 1, nosym = {nosym},",
        f"  ecutwfc = {settings.ecutwfc},",
    ]
    if settings.magnetization:
        lines.append(f"  nspin = 2, occupations = 'fixed', tot_magnetization = {settings.magnetization},")
    else:
        lines.append(
            f"  occupations = 'smearing', smearing = '{settings.smearing}', degauss = {settings.degauss},"
        )
    if settings.qcutz > 0.0:
        lines.append(
            f"  qcutz = {settings.qcutz}, ecfixed = {settings.ecfixed}, q2sigma = {settings.q2sigma},"
        )
    lines += [
        "/",
        "&ELECTRONS",
        f"  conv_thr = {conv_thr}, mixing_beta = {settings.mixing_beta}, electron_maxstep = 200,",
        f"  mixing_mode = '{settings.mixing_mode}',",
        "/",
        "ATOMIC_SPECIES",
        f"Si 28.0855 {settings.pseudo_file}",
        "K_POINTS automatic",
        f"{grid[0]} {grid[1]} {grid[2]} {shift}",
        "CELL_PARAMETERS angstrom",
    ]
    lines += ["  ".join(f"{x:.10f}" for x in row) for row in atoms.cell.array]
    lines.append("ATOMIC_POSITIONS angstrom")
    lines += ["Si " + "  ".join(f"{x:.10f}" for x in row) for row in atoms.positions]
    return "\n".join(lines) + "\n"


def parse_output(text: str, atoms: Atoms) -> dict[str, object]:
    """Read the labels from the output of pw.x.

    Returns
    -------
    dict
        ``energy`` [eV] is the free energy F = E - TS, to which forces and stress belong;
        ``forces`` (n_atoms, 3) [eV/Å]; ``stress`` (6,) [eV/Å^3] Voigt xx yy zz yz xz xy, ASE sign;
        ``smearing`` [eV] the term -TS; ``n_k``, ``n_scf``, ``seconds``.

    Raises
    ------
    RunError
        The run did not converge or a label is missing.
    """
    if "JOB DONE" not in text or "convergence NOT achieved" in text:
        raise RunError("pw.x did not finish or its SCF cycle did not converge")
    number = r"(-?\d+\.\d+)"
    energy = re.findall(rf"^!\s+total energy\s+=\s+{number} Ry", text, re.MULTILINE)
    smearing = re.findall(rf"smearing contrib. \(-TS\)\s+=\s+{number} Ry", text)
    force_block = text.split("Forces acting on atoms (cartesian axes, Ry/au):")
    force_rows = re.findall(
        rf"atom\s+\d+ type\s+1\s+force =\s+{number}\s+{number}\s+{number}", force_block[-1]
    )
    stress_block = re.search(r"total\s+stress .*\n((?:.*\n){3})", text)
    if not energy or len(force_block) < 2 or len(force_rows) < len(atoms) or stress_block is None:
        raise RunError("the output of pw.x lacks the energy, the forces or the stress")
    forces = np.array(force_rows[: len(atoms)], dtype=float) * RYDBERG_EV / BOHR_ANGSTROM
    tensor = np.array([line.split()[:3] for line in stress_block.group(1).splitlines()], dtype=float)
    stress = -tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * RYDBERG_EV / BOHR_ANGSTROM**3
    wall = re.search(r"PWSCF\s+:\s+(.*?) CPU", text)
    n_k = re.search(r"number of k points=\s+(\d+)", text)
    n_scf = re.search(r"convergence has been achieved in\s+(\d+)", text)
    return {
        "energy": float(energy[-1]) * RYDBERG_EV,
        "smearing": float(smearing[-1]) * RYDBERG_EV if smearing else 0.0,
        "forces": forces.tolist(),
        "stress": stress.tolist(),
        "n_k": int(n_k.group(1)) if n_k else 0,
        "n_scf": int(n_scf.group(1)) if n_scf else 0,
        "seconds": _seconds(wall.group(1)) if wall else math.nan,
    }


def _seconds(text: str) -> float:
    """Convert a time such as '1h 2m', '3m12.40s' or '8.11s' to seconds."""
    parts = re.findall(r"([\d.]+)\s*([hms])", text)
    factor = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(value) * factor[unit] for value, unit in parts)


def run_pw(
    atoms: Atoms,
    folder: Path,
    settings: Settings = SETTINGS,
    *,
    grid: tuple[int, int, int] | None = None,
    timeout: float = 3600.0,
) -> dict[str, object]:
    """Run pw.x in ``folder`` (created; single thread) and return the parsed labels.

    The program is $ESPRESSO_PW, or ``pw.x`` from the search path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pw.in").write_text(pw_input(atoms, settings, grid=grid))
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    with (folder / "pw.out").open("w") as output:
        finished = subprocess.run(
            [os.environ.get("ESPRESSO_PW", "pw.x"), "-in", "pw.in"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    text = (folder / "pw.out").read_text()
    if finished.returncode != 0:
        raise RunError(f"pw.x returned {finished.returncode} in {folder}; last lines: {text[-400:]}")
    return parse_output(text, atoms)


def cached_run(
    atoms: Atoms,
    cache: Path,
    settings: Settings = SETTINGS,
    *,
    grid: tuple[int, int, int] | None = None,
) -> dict[str, object]:
    """Like `run_pw`, but answer from ``cache`` where the same input was computed before."""
    lines = pw_input(atoms, settings, grid=grid).splitlines(keepends=True)
    # The mixing mode changes the way to the answer, not the answer.
    text = "".join(line for line in lines if "mixing_mode" not in line)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = cache / f"{key}.json"
    if not target.exists():
        labels = run_pw(atoms, cache / key, settings, grid=grid)
        target.write_text(json.dumps(labels))
    labels = json.loads(target.read_text())
    return dict(labels, forces=np.array(labels["forces"]), stress=np.array(labels["stress"]))
