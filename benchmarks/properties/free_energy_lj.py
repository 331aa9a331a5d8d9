"""Free energies of the Lennard-Jones solid and liquid, and of the Uhlenbeck-Ford model, against published ones.

Solid: M. A. van der Hoef, J. Chem. Phys. 113, 8142 (2000). Liquid: J. K. Johnson, J. A. Zollweg and K. E. Gubbins, Mol.
Phys. 78, 591 (1993). Uhlenbeck-Ford model: the tables of R. Paula Leite, R. Freitas, R. Azevedo and M. de Koning,
J. Chem. Phys. 145, 194101 (2016). All in reduced units, with the thermal wavelength equal to sigma.

    python benchmarks/properties/free_energy_lj.py [--steps 1000] [--cells 4] [--only solid]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk

from forgefield.properties.free_energy import phase_free_energy
from forgefield.properties.free_energy_estimators import quadrature
from forgefield.properties.free_energy_paths import walk
from forgefield.properties.free_energy_potentials import Mixture, Repulsion, uhlenbeck_ford
from forgefield.properties.free_energy_reference import log_thermal_wavelengths
from forgefield.properties.free_energy_sampling import Journal, Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings

RESULTS = Path(__file__).resolve().parent / "results"
EPSILON, SIGMA = 0.0104, 3.4  # argon, eV and Å
CUTOFF = 3.0  # sigma

X = [
    *(0.8623085097507421, 2.976218765822098, -8.402230115796038, 0.1054136629203555, -0.8564583828174598),
    *(1.582759470107601, 0.7639421948305453, 1.753173414312048, 2.798291772190376e3, -4.8394220260857657e-2),
    *(
        0.9963265197721935,
        -3.698000291272493e1,
        2.084012299434647e1,
        8.305402124717285e1,
        -9.574799715203068e2,
    ),
    *(
        -1.477746229234994e2,
        6.398607852471505e1,
        1.603993673294834e1,
        6.805916615864377e1,
        -2.791293578795945e3,
    ),
    *(
        -6.245128304568454,
        -8.116836104958410e3,
        1.488735559561229e1,
        -1.059346754655084e4,
        -1.131607632802822e2,
    ),
    *(
        -8.867771540418822e3,
        -3.986982844450543e1,
        -4.689270299917261e3,
        2.593535277438717e2,
        -2.694523589434903e3,
    ),
    *(-7.218487631550215e2, 1.721802063863269e2),
]
"""Parameters of Johnson, Zollweg and Gubbins, table 10."""


def lennard_jones(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pair energies and their derivatives with respect to the squared distance."""
    s = SIGMA**2 / squared
    energy = 4.0 * EPSILON * (s**6 - s**3)
    return energy, 4.0 * EPSILON * (-6.0 * s**6 + 3.0 * s**3) / squared


def johnson_liquid(density: float, t: float) -> float:
    """Return the Helmholtz energy per atom [epsilon] of the fluid, Lambda = sigma."""
    x = [0.0, *X]
    a = [
        x[1] * t + x[2] * math.sqrt(t) + x[3] + x[4] / t + x[5] / t**2,
        x[6] * t + x[7] + x[8] / t + x[9] / t**2,
        x[10] * t + x[11] + x[12] / t,
        x[13],
        x[14] / t + x[15] / t**2,
        x[16] / t,
        x[17] / t + x[18] / t**2,
        x[19] / t**2,
    ]
    b = [
        x[20] / t**2 + x[21] / t**3,
        x[22] / t**2 + x[23] / t**4,
        x[24] / t**2 + x[25] / t**3,
        x[26] / t**2 + x[27] / t**4,
        x[28] / t**2 + x[29] / t**3,
        x[30] / t**2 + x[31] / t**3 + x[32] / t**4,
    ]
    gamma = 3.0
    f = math.exp(-gamma * density**2)
    g = [(1.0 - f) / (2.0 * gamma)]
    for i in range(1, 6):
        g.append(-(f * density ** (2 * i) - 2 * i * g[-1]) / (2.0 * gamma))
    excess = sum(c * density ** (i + 1) / (i + 1) for i, c in enumerate(a))
    excess += sum(c * d for c, d in zip(b, g, strict=True))
    return excess + t * (math.log(density) - 1.0)


def van_der_hoef_solid(density: float, t: float) -> float:
    """Return the Helmholtz energy per atom [epsilon] of the fcc crystal, Lambda = sigma."""
    a = [
        [-8.2151768, 12.070686, -6.6594615, 1.3211582],
        [13.404069, -20.632066, 11.564825, -2.3064801],
        [-5.5481261, 8.8465978, -5.0258631, 1.0070066],
    ]
    b = [69.833875, -132.86963, 97.438593, -25.848057]
    beta = 1.0 / t
    static = -14.45392093 * density**2 + 6.065940096 * density**4
    anharmonic = -sum(
        a[n][m - 2] / (m - 1) * density**n * beta ** (1 - m) for n in range(3) for m in range(2, 6)
    )
    rest = sum(b[n] / (n + 1) * density ** (n + 1) for n in range(4))
    excess = -23.3450759 + beta * static + 1.5 * math.log(beta) + anharmonic + rest
    return t * (excess + math.log(density) - 1.0)


def crystal(density: float, cells: int) -> Atoms:
    """Return an fcc crystal of argon at a reduced density."""
    return bulk("Ar", "fcc", a=SIGMA * (4.0 / density) ** (1.0 / 3.0), cubic=True).repeat(cells)


def reduced(value: float, atoms: Atoms, temperature: float) -> float:
    """Return a free energy as one per atom in epsilon, with a thermal wavelength of one sigma."""
    n = len(atoms)
    wavelengths = log_thermal_wavelengths(atoms.get_masses(), temperature) - 3 * n * math.log(SIGMA)
    return (value - units.kB * temperature * wavelengths) / n / EPSILON


def settings(args: argparse.Namespace, phase: str, t: float) -> FreeEnergySettings:
    """Return settings at a reduced temperature."""
    return FreeEnergySettings(
        phase=phase,
        method=args.method,
        reference=args.reference,
        temperature=t * EPSILON / units.kB,
        points=args.points,
        reference_points=args.points,
        steps=args.steps,
        equilibration=args.steps // 4,
        repeats=args.repeats,
        target_steps=max(2 * args.steps, 2000),
        timestep=8.0,
        friction=0.005,
        melt_temperature=6.0 * EPSILON / units.kB,
        melt_steps=1500,
    )


def solid(args: argparse.Namespace, density: float, t: float) -> dict[str, Any]:
    """Compare the crystal; what the cutoff leaves out is the static lattice's."""
    atoms = crystal(density, args.cells)
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA)
    found, _ = phase_free_energy(atoms, field, settings(args, "solid", t))
    static = -14.45392093 * density**2 + 6.065940096 * density**4
    missing = static - field.evaluate(atoms.positions, atoms.cell.array).energy / len(atoms) / EPSILON
    value = reduced(found.free_energy.value, atoms, found.temperature) + missing
    return row(
        "fcc solid", density, t, value, found.free_energy.error / len(atoms) / EPSILON, van_der_hoef_solid
    )


def liquid(args: argparse.Namespace, density: float, t: float) -> dict[str, Any]:
    """Compare the liquid; beyond the cutoff g(r) = 1, and the shift is taken back."""
    atoms = crystal(density, args.cells)
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA)
    found, _ = phase_free_energy(atoms, field, settings(args, "liquid", t))
    tail = 8.0 * math.pi * density * (CUTOFF**-9 / 9.0 - CUTOFF**-3 / 3.0)
    shift = 4.0 * (CUTOFF**-12 - CUTOFF**-6) * 0.5 * density * 4.0 / 3.0 * math.pi * CUTOFF**3
    value = reduced(found.free_energy.value, atoms, found.temperature) + tail + shift
    return row("liquid", density, t, value, found.free_energy.error / len(atoms) / EPSILON, johnson_liquid)


def row(what: str, density: float, t: float, value: float, error: float, published: Any) -> dict[str, Any]:
    """Return a line of the table."""
    reference = published(density, t)
    return {
        "what": what,
        "density": density,
        "temperature": t,
        "value": value,
        "error": error,
        "published": reference,
        "difference": value - reference,
    }


def uhlenbeck(args: argparse.Namespace, p: float, x: float, published: float) -> dict[str, Any]:
    """Compare the excess free energy of the Uhlenbeck-Ford model [kT per atom] at a scaled density."""
    t, length = 300.0, 1.5
    density = x / (0.5 * (math.pi * length**2) ** 1.5)
    atoms = bulk("Ar", "fcc", a=(4.0 / density) ** (1.0 / 3.0), cubic=True).repeat(args.cells)
    chosen = settings(args, "liquid", t * units.kB / EPSILON).model_copy(
        update={"timestep": 4.0, "method": "equilibrium"}
    )
    walker = Walker("uf", atoms, chosen.dynamics(), Journal(None, ""))
    field = uhlenbeck_ford(atoms, p, length, units.kB * t)
    walker.average("melt", field, {}, steps=500, equilibration=1000, temperature=3.0 * t)
    leg = walk(walker, "uf", Mixture(None, field), quadrature(args.points, 0.5), chosen, t, first_up=False)
    scale = 1.0 / (units.kB * t * len(atoms))
    found = leg.difference * scale
    return row(f"Uhlenbeck-Ford p={p:g} x={x:g}", density, t, found.value, found.error, lambda *_: published)


def main() -> None:
    """Run the comparisons and save the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--method", choices=("equilibrium", "switching"), default="equilibrium")
    parser.add_argument("--reference", choices=("uhlenbeck-ford", "soft-core"), default="uhlenbeck-ford")
    parser.add_argument("--only", choices=("solid", "liquid", "uf"))
    parser.add_argument("--name", default="free_energy_lj")
    args = parser.parse_args()
    jobs = {
        "solid": lambda: solid(args, 1.0, 0.75),
        "uf": lambda: uhlenbeck(args, 50.0, 0.5, 10.1575735694211),
        "liquid": lambda: liquid(args, 0.85, 1.0),
    }
    rows = []
    for name, job in jobs.items():
        if args.only in (None, name):
            start = time.process_time()
            rows.append({**job(), "cpu_seconds": time.process_time() - start})
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    content = {"settings": vars(args), "rows": rows}
    (RESULTS / f"{args.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = ["| system | density | T | this work | published | difference |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r['what']} | {r['density']:.4g} | {r['temperature']:g} | {r['value']:.4f} ± {r['error']:.4f} | "
        f"{r['published']:.4f} | {r['difference']:+.4f} |"
        for r in rows
    ]
    (RESULTS / f"{args.name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
