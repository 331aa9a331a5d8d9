"""Convergence of energy difference, forces and stress with the cutoff and the k spacing.

    python convergence.py --cache convergence_runs --output convergence.md

The reference of each column is the last line of its table. `Distorted` is a sheared and rattled
cell without symmetry; the column `consistency` is the pressure from pw.x minus -dE/dV by central
differences, for diamond stretched by 4 % in every direction. Last comes the pressure of the finite basis, from energies at
two cutoffs, for the perfect crystals.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from crystals import betasn, deform, diamond
from qe import SETTINGS, Settings, cached_run, k_grid

GPA = 160.2176634
"""1 eV/Å^3 in GPa."""
CUTOFFS = (16.0, 20.0, 24.0, 26.0, 28.0, 32.0, 40.0)
SPACINGS = (0.50, 0.40, 0.35, 0.30, 0.25, 0.20)
COARSE_K = 0.45
"""k spacing of the cutoff scan [1/Å]."""
COARSE_CUTOFF = 20.0
"""Cutoff of the k-point scan [Ry]."""
TIGHT = 1.0e-11
"""SCF threshold of the scans [Ry per atom]."""


@dataclass
class Row:
    """Observables at one setting: energies [eV/atom], forces [eV/Å], stresses [GPa]."""

    gap: float
    forces: dict[str, np.ndarray]
    stress: dict[str, np.ndarray]
    consistency: float
    grids: str


def distorted(cell: Atoms, seed: int) -> Atoms:
    """Shear and rattle a cell so that nothing vanishes by symmetry."""
    frame = cell.copy()
    strain = np.array([[0.03, 0.02, 0.0], [0.02, -0.02, 0.01], [0.0, 0.01, 0.01]])
    frame.set_cell(cell.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    frame.positions += np.random.default_rng(seed).normal(scale=0.08, size=frame.positions.shape)
    return frame


def measure(settings: Settings, cache: Path, *, with_consistency: bool) -> Row:
    """Compute the observables at one setting."""
    cells = {"diamond": diamond(2), "betasn": betasn()}
    energies, forces, stress, grids = {}, {}, {}, []
    for phase, cell in cells.items():
        grid = k_grid(cell, settings.k_spacing)
        grids.append("x".join(str(count) for count in grid))
        perfect = cached_run(cell, cache, replace(settings, symmetry=True), grid=grid)
        energies[phase] = perfect["energy"] / len(cell)
        skewed = cached_run(distorted(cell, 7), cache, settings, grid=grid)
        forces[phase] = skewed["forces"]
        stress[phase] = skewed["stress"] * GPA
    difference = np.nan
    if with_consistency:
        difference = consistency(settings, cache)
    return Row(energies["betasn"] - energies["diamond"], forces, stress, difference, ", ".join(grids))


def consistency(settings: Settings, cache: Path) -> float:
    """Mean stress of stretched diamond minus dE/dV by central differences [GPa]."""
    symmetric = replace(settings, symmetry=True)
    grid = k_grid(diamond(2), settings.k_spacing)
    cells = [deform(diamond(2), "volumetric", size) for size in (0.0375, 0.04, 0.0425)]
    runs = [cached_run(cell, cache, symmetric, grid=grid) for cell in cells]
    volumes = [cell.get_volume() for cell in cells]
    slope = (runs[2]["energy"] - runs[0]["energy"]) / (volumes[2] - volumes[0])
    return float((runs[1]["stress"][:3].mean() - slope) * GPA)


def basis_pressure(cell: Atoms, settings: Settings, cache: Path) -> float:
    """Return (2/3) dE/dln(cutoff) / V [GPa].

    Energies at a fixed cutoff gain waves as the volume grows, the stress of pw.x is that of a fixed set of waves: per
    relative change of volume the energy falls by this much more than the stress says.
    """
    low, high = (replace(settings, ecutwfc=settings.ecutwfc + step, symmetry=True) for step in (-2.0, 2.0))
    grid = k_grid(cell, settings.k_spacing)
    first, last = (cached_run(cell, cache, s, grid=grid)["energy"] for s in (low, high))
    slope = (last - first) / np.log(high.ecutwfc / low.ecutwfc)
    return float(2.0 / 3.0 * slope / cell.get_volume() * GPA)


def table(name: str, values: tuple[float, ...], rows: list[Row], *, with_consistency: bool) -> str:
    """Format the rows as a table of differences from the last one."""
    head = [name, "k grids (diamond 2, beta-Sn 4 atoms)", "E(beta-Sn) - E(diamond) [meV/atom]"]
    head += ["dF diamond [meV/Å]", "dF beta-Sn [meV/Å]", "dS diamond [GPa]", "dS beta-Sn [GPa]"]
    if with_consistency:
        head.append("consistency [GPa]")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    last = rows[-1]
    for value, row in zip(values, rows, strict=True):
        cells = [f"{value:g}", row.grids, f"{1000.0 * row.gap:.1f}"]
        cells += [
            f"{1000.0 * np.abs(row.forces[phase] - last.forces[phase]).max():.1f}"
            for phase in ("diamond", "betasn")
        ]
        cells += [
            f"{np.abs(row.stress[phase] - last.stress[phase]).max():.2f}" for phase in ("diamond", "betasn")
        ]
        if with_consistency:
            cells.append(f"{row.consistency:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run both scans and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("convergence_runs"))
    parser.add_argument("--output", type=Path, default=Path("convergence.md"))
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    base = replace(SETTINGS, conv_thr=TIGHT)
    by_cutoff = [
        measure(replace(base, ecutwfc=cutoff, k_spacing=COARSE_K), arguments.cache, with_consistency=True)
        for cutoff in CUTOFFS
    ]
    by_spacing = [
        measure(
            replace(base, ecutwfc=COARSE_CUTOFF, k_spacing=spacing), arguments.cache, with_consistency=False
        )
        for spacing in SPACINGS
    ]
    text = f"Cutoff at k spacing {COARSE_K} 1/Å; largest component of each difference from the last line.\n\n"
    text += table("cutoff [Ry]", CUTOFFS, by_cutoff, with_consistency=True)
    text += (
        f"\n\nk spacing at {COARSE_CUTOFF} Ry; largest component of each difference from the last line.\n\n"
    )
    text += table("k spacing [1/Å]", SPACINGS, by_spacing, with_consistency=False) + "\n"
    chosen = replace(base, k_spacing=COARSE_K)
    pressures = {
        n: basis_pressure(c, chosen, arguments.cache)
        for n, c in (("diamond", diamond(2)), ("beta-Sn", betasn()))
    }
    text += f"\nPressure of the finite basis at {chosen.ecutwfc:g} Ry: " + ", ".join(
        f"{name} {pressure:.4f} GPa" for name, pressure in pressures.items()
    )
    arguments.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
