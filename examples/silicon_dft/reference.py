"""DFT reference answers of silicon with the settings of the data set.

    python reference.py --cache reference_runs --output silicon_reference.json

Equation of state of diamond and beta-Sn, elastic constants and phonon frequencies of diamond.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from crystals import A_BETASN, A_DIAMOND, C_BETASN, betasn, deform, diamond
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from qe import SETTINGS, cached_run, k_grid
from scipy.optimize import curve_fit

GPA = 160.2176634
"""1 eV/Å^3 in GPa."""
TIGHT = replace(SETTINGS, conv_thr=1.0e-11, symmetry=True)
"""Settings of the data set with a tighter SCF threshold; symmetry is used."""
EOS_STRAINS = (-0.03, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.03)
ELASTIC_STRAIN = 0.005
DISPLACEMENT = 0.02
"""Finite displacement of the phonon calculation [Å]."""


def birch_murnaghan(volume: np.ndarray, e0: float, v0: float, b0: float, b1: float) -> np.ndarray:
    """Third-order Birch-Murnaghan energy [eV per cell]; volumes [Å^3], b0 [eV/Å^3]."""
    eta = (v0 / volume) ** (2.0 / 3.0) - 1.0
    return e0 + 9.0 * v0 * b0 / 16.0 * (eta**3 * b1 + eta**2 * (2.0 - 4.0 * eta))


def fit_eos(volumes: np.ndarray, energies: np.ndarray) -> dict[str, float]:
    """Fit the equation of state; everything per atom."""
    guess = (energies.min(), volumes[energies.argmin()], 0.55, 4.0)
    popt, _ = curve_fit(birch_murnaghan, volumes, energies, p0=guess)
    residual = energies - birch_murnaghan(volumes, *popt)
    return {
        "energy": float(popt[0]),
        "volume": float(popt[1]),
        "bulk_modulus": float(popt[2] * GPA),
        "bulk_modulus_derivative": float(popt[3]),
        "fit_rms": float(np.sqrt(np.mean(residual**2))),
    }


def eos_of(cell: Atoms, cache: Path) -> dict[str, Any]:
    """Energy over volume at fixed cell shape and fractional coordinates, and its fit."""
    grid = k_grid(cell, TIGHT.k_spacing)
    cells = [deform(cell, "volumetric", size) for size in EOS_STRAINS]
    energies = np.array([cached_run(item, cache, TIGHT, grid=grid)["energy"] for item in cells])
    energies /= len(cell)
    volumes = np.array([item.get_volume() for item in cells]) / len(cell)
    found = fit_eos(volumes, energies)
    return dict(found, volumes=volumes.round(8).tolist(), energies=energies.round(8).tolist())


def betasn_minimum(cache: Path) -> dict[str, float]:
    """Minimum of beta-Sn over a and c: least-squares quadratic form through a 4 x 4 scan.

    The internal coordinates of this structure are fixed by symmetry.
    """
    rows, energies = [], []
    for a in A_BETASN * np.array([0.985, 0.995, 1.005, 1.015]):
        for c in C_BETASN * np.array([0.98, 0.995, 1.01, 1.025]):
            run = cached_run(betasn(a, c), cache, TIGHT, grid=k_grid(betasn(), TIGHT.k_spacing))
            x, y = a / A_BETASN - 1.0, c / C_BETASN - 1.0
            rows.append([1.0, x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3])
            energies.append(run["energy"] / 4.0)
    coefficients, *_ = np.linalg.lstsq(np.array(rows), np.array(energies), rcond=None)
    point = np.zeros(2)
    for _ in range(20):  # Newton iteration on the cubic polynomial
        x, y = point
        k = coefficients
        gradient = [
            k[1] + 2 * k[3] * x + k[4] * y + 3 * k[6] * x * x + 2 * k[7] * x * y + k[8] * y * y,
            k[2] + k[4] * x + 2 * k[5] * y + k[7] * x * x + 2 * k[8] * x * y + 3 * k[9] * y * y,
        ]
        cross = k[4] + 2 * k[7] * x + 2 * k[8] * y
        hessian = [
            [2 * k[3] + 6 * k[6] * x + 2 * k[7] * y, cross],
            [cross, 2 * k[5] + 2 * k[8] * x + 6 * k[9] * y],
        ]
        point = point - np.linalg.solve(hessian, gradient)
    x, y = point
    terms = np.array([1.0, x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3])
    a, c = A_BETASN * (1.0 + x), C_BETASN * (1.0 + y)
    return {
        "a": float(a),
        "c": float(c),
        "c_over_a": float(c / a),
        "volume": float(a * a * c / 4.0),
        "energy": float(terms @ coefficients),
    }


def elastic_constants(a0: float, cache: Path) -> dict[str, float]:
    """C11, C12, C44 [GPa] of diamond from central differences of the stress at ``a0`` [Å].

    C44 is given with clamped ions and with the internal coordinate relaxed: one Newton step on the
    sublattice displacement along z, which is exact to second order in the strain.
    """
    cell = diamond(2, a0)
    grid = k_grid(diamond(2), TIGHT.k_spacing)
    h = ELASTIC_STRAIN

    def stress(mode: str, size: float, shift: float = 0.0) -> tuple[np.ndarray, float]:
        frame = deform(cell, mode, size)
        frame.positions[1, 2] += shift
        run = cached_run(frame, cache, TIGHT, grid=grid)
        return run["stress"] * GPA, float(run["forces"][1, 2])

    normal = (stress("uniaxial_x", h)[0] - stress("uniaxial_x", -h)[0]) / (2.0 * h)
    plus, force_plus = stress("shear_xy", h)
    minus, force_minus = stress("shear_xy", -h)
    clamped = (plus[5] - minus[5]) / (2.0 * h)
    step = 0.01
    _, force_shifted = stress("shear_xy", h, step)
    stiffness = -(force_shifted - force_plus) / step
    relaxed_plus, rest_plus = stress("shear_xy", h, force_plus / stiffness)
    relaxed_minus, rest_minus = stress("shear_xy", -h, force_minus / stiffness)
    relaxed = (relaxed_plus[5] - relaxed_minus[5]) / (2.0 * h)
    internal = 4.0 * force_plus / stiffness / (a0 * h)  # Kleinman's parameter: u = zeta a gamma / 4
    return {
        "c11": float(normal[0]),
        "c12": float(0.5 * (normal[1] + normal[2])),
        "c44": float(relaxed),
        "c44_clamped": float(clamped),
        "bulk_modulus": float((normal[0] + normal[1] + normal[2]) / 3.0),
        "kleinman": float(abs(internal)),
        "residual_force": float(max(abs(rest_plus), abs(rest_minus))),
    }


def phonons(a0: float, cache: Path) -> dict[str, Any]:
    """Frequencies [THz] at Gamma, X and L from finite displacements in a 2 x 2 x 2 supercell.

    These three points are commensurate with the 16-atom cell, so nothing is interpolated.
    """
    cell = diamond(2, a0)
    unit = PhonopyAtoms(symbols=["Si", "Si"], cell=cell.cell.array, positions=cell.positions)
    phonon = Phonopy(unit, supercell_matrix=[2, 2, 2], primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=DISPLACEMENT)
    forces = []
    for supercell in phonon.supercells_with_displacements:
        frame = Atoms(supercell.symbols, positions=supercell.positions, cell=supercell.cell, pbc=True)
        forces.append(cached_run(frame, cache, TIGHT, grid=k_grid(frame, TIGHT.k_spacing))["forces"])
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    points = {"gamma": (0.0, 0.0, 0.0), "x": (0.5, 0.0, 0.5), "l": (0.5, 0.5, 0.5)}
    phonon.run_qpoints(list(points.values()))
    frequencies = phonon.qpoints.frequencies
    found: dict[str, Any] = {
        name: np.sort(values).round(4).tolist() for name, values in zip(points, frequencies, strict=True)
    }
    return dict(found, n_displacements=len(forces))


def main() -> None:
    """Compute everything and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("reference_runs"))
    parser.add_argument("--output", type=Path, default=Path("silicon_reference.json"))
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    report = build(arguments.cache)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def build(cache: Path) -> dict[str, Any]:
    """Return the reference answers with units, settings and methods."""
    eos = eos_of(diamond(2), cache)
    a0 = (8.0 * eos["volume"]) ** (1.0 / 3.0)
    tin = betasn_minimum(cache)
    fixed_shape = eos_of(betasn(), cache)
    settings = asdict(TIGHT)
    settings.update(
        code="Quantum ESPRESSO pw.x 6.7",
        functional="PBE",
        pseudopotential="Si.pbe-rrkj.UPF (norm conserving, 4 valence electrons, non-relativistic)",
        ecutrho=4.0 * TIGHT.ecutwfc,
        energy="free energy E - TS",
    )
    return {
        "units": {
            "length": "Å",
            "volume": "Å^3/atom",
            "energy": "eV/atom",
            "bulk_modulus": "GPa",
            "elastic_constants": "GPa",
            "frequency": "THz",
            "force": "eV/Å",
        },
        "settings": settings,
        "methods": {
            "eos": "Birch-Murnaghan, third order, through 9 energies at linear strains -3 % to 3 %",
            "betasn": "minimum over a and c of a cubic polynomial through a 4 x 4 scan",
            "betasn_eos": f"as eos, at c/a fixed to {C_BETASN / A_BETASN:.5f}",
            "elastic": f"central differences of the stress at strains +-{ELASTIC_STRAIN}; c44 relaxed ions",
            "phonons": f"finite displacements of {DISPLACEMENT} Å, 2 x 2 x 2 primitive cells, no interpolation",
        },
        "diamond": {
            "a0": float(a0),
            "strain_reference_a": A_DIAMOND,
            "eos": eos,
            "elastic": elastic_constants(a0, cache),
            "phonons": phonons(a0, cache),
        },
        "betasn": dict(tin, energy_above_diamond=tin["energy"] - eos["energy"], eos=fixed_shape),
    }


if __name__ == "__main__":
    main()
