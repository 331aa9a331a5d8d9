"""Free energies of the Lennard-Jones solid and liquid, and of the Uhlenbeck-Ford model, against published ones.

Equations of state: `lennard_jones_equations.py`. Uhlenbeck-Ford model: the tables of R. Paula Leite, R. Freitas, R. Azevedo
and M. de Koning, J. Chem. Phys. 145, 194101 (2016). All in reduced units, with the thermal wavelength equal to sigma.

The solid by two roads: from the Einstein crystal over lambda, and from the harmonic crystal, which is exact at zero
temperature, by integrating the anharmonic energy over the temperature. The second uses nothing of the first.

::

    python benchmarks/properties/free_energy_lj.py [--steps 600] [--points 8] [--only solid]

Ten minutes of one core; with `--only` the other rows of the table are kept. The committed solid took `--steps 2000 --points 6`,
the committed liquid `--steps 1500 --points 12 --reference-steps 9000`, with `adaptive` the one whose points of lambda are
chosen on the way to an error of `--error` `--steps 1200 --error 0.01`.
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
from lennard_jones_equations import (
    adidharma_tan,
    gas_structure,
    harmonic_crystal,
    johnson,
    lattice_energy,
    mastny_de_pablo,
    thol,
    van_der_hoef,
)

from forgefield.properties.base import PropertyResult
from forgefield.properties.distribution import RDF
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.free_energy import phase_free_energy
from forgefield.properties.free_energy_estimators import quadrature
from forgefield.properties.free_energy_paths import walk
from forgefield.properties.free_energy_potentials import Mixture, Repulsion, uhlenbeck_ford
from forgefield.properties.free_energy_reference import log_thermal_wavelengths
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.journal import Journal
from forgefield.properties.statistics import of_replicas, series_mean

RESULTS = Path(__file__).resolve().parent / "results"
EPSILON, SIGMA = 0.0104, 3.4  # argon, eV and Å
CUTOFF = 3.0  # sigma


def lennard_jones(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pair energies and their derivatives with respect to the squared distance."""
    s = SIGMA**2 / squared
    energy = 4.0 * EPSILON * (s**6 - s**3)
    return energy, 4.0 * EPSILON * (-6.0 * s**6 + 3.0 * s**3) / squared


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
        reference_steps=args.reference_steps or None,
        steps=args.steps,
        equilibration=args.steps // 4,
        repeats=args.repeats,
        target_steps=max(2 * args.steps, 2000),
        timestep=8.0,
        friction=0.005,
        melt_temperature=6.0 * EPSILON / units.kB,
        melt_steps=1500,
        seed=args.seed,
    )


def solid(args: argparse.Namespace, density: float, t: float) -> list[dict[str, Any]]:
    """Compare the crystal; what the cutoff leaves out is the static and the harmonic lattice's."""
    atoms = crystal(density, args.cells)
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA)
    found, _ = phase_free_energy(atoms, field, settings(args, "solid", t))
    missing = (
        lattice_energy(density)
        - field.evaluate(atoms.positions, atoms.cell.array).energy / len(atoms) / EPSILON
    )
    missing += harmonic_crystal(density, t) - harmonic_crystal(density, t, cutoff=CUTOFF)
    value = reduced(found.free_energy.value, atoms, found.temperature) + missing
    error = found.free_energy.error / len(atoms) / EPSILON
    return [
        row("fcc solid, over lambda", density, t, (value, error), name, equation)
        for name, equation in SOLIDS.items()
    ]


SOLIDS = {
    "van der Hoef": van_der_hoef,
    "van der Hoef, constant of Mastny and de Pablo": mastny_de_pablo,
    "Adidharma and Tan": adidharma_tan,
}


def solid_over_temperature(args: argparse.Namespace, density: float, t: float) -> list[dict[str, Any]]:
    """Compare the crystal by ``A(T)/T = A_harm(T)/T - int_0^T U_anh / T'^2 dT'``.

    ``U_anh = < U - U_lattice + sum F u / 2 >``, whose harmonic part vanishes term by term: S. G. Moustafa, A. J. Schultz and
    D. A. Kofke, Phys. Rev. E 92, 043303 (2015).
    """
    atoms = crystal(density, args.cells)
    n, sites = len(atoms), atoms.positions.copy()
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA)
    lattice = field.evaluate(sites, atoms.cell.array).energy

    def anharmonic(state: Any, forces: Any) -> float:
        u = state.positions - sites
        return (
            float(forces.energy - lattice + 0.5 * (forces.forces * (u - u.mean(axis=0))).sum()) / n / EPSILON
        )

    rows = []
    for part in np.linspace(0.2, 1.0, 5):
        kelvin = part * t * EPSILON / units.kB
        walk_there = DynamicsSettings(temperature=kelvin, timestep=8.0, friction=0.005, seed=args.seed)
        dynamics = Dynamics(atoms, field, walk_there)
        dynamics.run(args.steps)
        found = series_mean(dynamics.run(5 * args.steps, every=5, observe={"u": anharmonic})["u"])
        rows.append((part * t, found.value, found.error))
    table = np.array(rows)
    ratio, weight = table[:, 1] / table[:, 0] ** 2, table[:, 0] ** 2 / table[:, 2]
    fitted, covariance = np.polyfit(table[:, 0], ratio, 2, w=weight, cov="unscaled")
    powers = np.array([t**3 / 3.0, t**2 / 2.0, t])
    value = harmonic_crystal(density, t) - t * float(powers @ fitted)
    error = t * math.sqrt(float(powers @ covariance @ powers))
    return [
        row("fcc solid, over temperature", density, t, (value, error), name, equation)
        for name, equation in SOLIDS.items()
    ]


def low_temperature(density: float) -> list[dict[str, Any]]:
    """Compare the equations of the solid with the harmonic crystal as the temperature goes to zero [kT]."""
    t = 1e-4
    exact = harmonic_crystal(density, t)
    return [
        row(
            "harmonic fcc crystal / kT",
            density,
            0.0,
            (0.0, 0.0),
            name,
            lambda d, _, f=equation: (f(d, t) - exact) / t,
        )
        for name, equation in SOLIDS.items()
    ]


def liquid(
    args: argparse.Namespace, density: float, t: float, *, adaptive: bool = False
) -> list[dict[str, Any]]:
    """Compare the liquid; beyond the cutoff g(r) = 1, and the shift is taken back.

    Atoms move by twelve femtoseconds, 0.0056 of the time of Lennard and Jones, and with less friction than in the crystal.
    """
    atoms = crystal(density, args.cells)
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA, skin=0.4 * SIGMA)
    changes: dict[str, Any] = {"timestep": 12.0, "friction": 0.002}
    if adaptive:
        changes |= {
            "lambdas": "adaptive",
            "target_error": 1e3 * args.error * EPSILON,
            "points": 9,
            "reference_points": 9,
            "max_runs": 2000,
            "reference_steps": None,
        }
    chosen = FreeEnergySettings.parse(settings(args, "liquid", t).model_dump() | changes)
    found, _ = phase_free_energy(atoms, field, chosen)
    tail = 8.0 * math.pi * density * (CUTOFF**-9 / 9.0 - CUTOFF**-3 / 3.0)
    shift = 4.0 * (CUTOFF**-12 - CUTOFF**-6) * 0.5 * density * 4.0 / 3.0 * math.pi * CUTOFF**3
    value = reduced(found.free_energy.value, atoms, found.temperature) + tail + shift
    error = found.free_energy.error / len(atoms) / EPSILON
    kept = ("_runs", "_points", "independent_samples", "density_fluctuation", "discretisation_eV_per_atom")
    facts = {k: v for k, v in found.conditions.items() if k.endswith(kept)}
    if found.finite_size is not None:
        facts["finite_size"] = found.finite_size.value / len(atoms) / EPSILON
    return [
        row("liquid, adaptive" if adaptive else "liquid", density, t, (value, error), name, equation)
        | {"facts": facts, "warnings": found.warnings}
        for name, equation in {"Johnson et al.": johnson, "Thol et al.": thol}.items()
    ]


def dilute(args: argparse.Namespace, density: float, t: float) -> list[dict[str, Any]]:
    """Compare g(r) of the gas with its virial series, which is exact to first order in the density."""
    found = []
    for seed in range(8):
        atoms = crystal(density, 3)
        result = RDF(
            atoms,
            Repulsion(atoms, lennard_jones, CUTOFF * SIGMA, skin=1.0 * SIGMA),
            temperature=t * EPSILON / units.kB,
            timestep=16.0,
            friction=0.001,
            equilibration=16.0,
            length=0.4 * args.steps,
            interval=160.0,
            blocks=2,
            seed=seed,
            r_max=CUTOFF * SIGMA,
            n_bins=60,
            angle_cutoff=1.5 * SIGMA,
        )
        found.append((*result.curves["Ar-Ar"].y, result["temperature"] * units.kB / EPSILON))
    mean, error = of_replicas(np.array(found))
    width = CUTOFF / 60
    exact = gas_structure(density, t, CUTOFF, 60)
    shown = [int(x / width) for x in (0.97, 1.12, 1.27, 1.52, 2.02)]
    pulls = (mean[:-1] - exact)[18:] / error[:-1][18:]
    facts = {"rms_pull": float(np.sqrt((pulls**2).mean())), "temperature": float(mean[-1])}
    rows = []
    for k in shown:
        name, value = f"gas: g({(k + 0.5) * width:.3f})", (float(mean[k]), float(error[k]))
        rows.append(row(name, density, t, value, "virial series", lambda *_, k=k: float(exact[k])))
    return [one | {"facts": facts} for one in rows]


def _integrals(result: PropertyResult, density: float, n: int) -> tuple[float, ...]:
    """Return energy and pressure from g(r), height and place of its first peak, and the temperature."""
    g = result.curves["Ar-Ar"]
    r, width = g.x / SIGMA, CUTOFF / len(g.x)
    # An atom is no neighbour of itself; beyond the cutoff g = 1.
    measure = 2.0 * math.pi * density * (1.0 - 1.0 / n) * g.y * r**2 * width
    energy, slope = 4.0 * (r**-12 - r**-6), 4.0 * (-12.0 * r**-12 + 6.0 * r**-6)
    tail = 8.0 * math.pi * density * (CUTOFF**-9 / 9.0 - CUTOFF**-3 / 3.0)
    pull = 16.0 * math.pi * density**2 * (2.0 / 9.0 * CUTOFF**-9 - CUTOFF**-3 / 3.0)
    warmth = result["temperature"] * units.kB / EPSILON
    pressure = density * warmth - density / 3.0 * float(measure @ slope) + pull
    return float(measure @ energy) + tail, pressure, float(g.y.max()), float(r[g.y.argmax()]), warmth


def structure(args: argparse.Namespace, density: float, t: float) -> list[dict[str, Any]]:
    """Compare energy and pressure of the liquid near its triple point, by integrals over g(r), with an equation of state."""
    found = []
    for seed in range(4):
        atoms = crystal(density, args.cells)
        field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA)
        hot = DynamicsSettings(temperature=5.0 * EPSILON / units.kB, timestep=6.0, friction=0.02, seed=seed)
        melt = Dynamics(atoms, field, hot)
        melt.run(800)
        result = RDF(
            melt.atoms(),
            field,
            temperature=t * EPSILON / units.kB,
            timestep=8.0,
            friction=0.02,
            equilibration=0.008 * args.steps,
            length=0.016 * args.steps,
            interval=160.0,
            blocks=2,
            seed=seed,
            r_max=CUTOFF * SIGMA,
            n_bins=600,
            angle_cutoff=1.5 * SIGMA,
        )
        found.append(_integrals(result, density, len(atoms)))
    mean, error = of_replicas(np.array(found))
    warm, step = float(mean[4]), 1e-4  # near `t`, from which it differs by chance

    def over_t(x: float) -> float:
        return thol(density, x) / x

    energy = -(warm**2) * (over_t(warm + step) - over_t(warm - step)) / (2.0 * step)
    pressure = density**2 * (thol(density + step, warm) - thol(density - step, warm)) / (2.0 * step)
    facts = {"peak": float(mean[2]), "peak_error": float(error[2]), "at": float(mean[3]), "temperature": warm}
    return [
        row(
            f"liquid: {name} of g(r)",
            density,
            t,
            (float(mean[n]), float(error[n])),
            "Thol et al.",
            lambda *_, v=v: v,
        )
        | {"facts": facts}
        for n, (name, v) in enumerate({"energy": energy, "pressure": pressure}.items())
    ]


def row(
    what: str, density: float, t: float, found: tuple[float, float], source: str, published: Any
) -> dict[str, Any]:
    """Return a line of the table."""
    reference = published(density, t)
    return {
        "what": what,
        "density": density,
        "temperature": t,
        "value": found[0],
        "error": found[1],
        "source": source,
        "published": reference,
        "difference": found[0] - reference,
    }


def uhlenbeck(args: argparse.Namespace, p: float, x: float, published: float) -> list[dict[str, Any]]:
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
    name = f"Uhlenbeck-Ford p={p:g} x={x:g}"
    return [row(name, density, t, (found.value, found.error), "Paula Leite et al.", lambda *_: published)]


JOBS = ("low", "solid", "temperature", "structure", "uf", "liquid", "adaptive", "dilute")


def main() -> None:
    """Run the comparisons and save the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--method", choices=("equilibrium", "switching"), default="equilibrium")
    parser.add_argument("--reference", choices=("uhlenbeck-ford", "soft-core"), default="uhlenbeck-ford")
    parser.add_argument("--reference-steps", type=int, default=0, help="from the ideal gas; 0: --steps")
    parser.add_argument("--error", type=float, default=0.01, help="of the adaptive liquid [epsilon]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=JOBS)
    parser.add_argument("--name", default="free_energy_lj")
    args = parser.parse_args()
    jobs = {
        "low": lambda: low_temperature(1.0),
        "solid": lambda: solid(args, 1.0, 0.75),
        "temperature": lambda: solid_over_temperature(args, 1.0, 0.75),
        "structure": lambda: structure(args, 0.8442, 0.722),
        "uf": lambda: uhlenbeck(args, 50.0, 0.5, 10.1575735694211),
        "liquid": lambda: liquid(args, 0.85, 1.0),
        "adaptive": lambda: liquid(args, 0.85, 1.0, adaptive=True),
        "dilute": lambda: dilute(args, 0.02, 2.0),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{args.name}.json"
    done = json.loads(path.read_text(encoding="utf-8"))["jobs"] if args.only and path.exists() else {}
    for name, job in jobs.items():
        if args.only in (None, name):
            start = time.process_time()
            found = job()
            seconds = time.process_time() - start
            done[name] = {"settings": vars(args), "cpu_seconds": seconds, "rows": found}
            print(json.dumps(done[name]), flush=True)
    done = {name: done[name] for name in jobs if name in done}
    path.write_text(json.dumps({"jobs": done}, indent=1) + "\n", encoding="utf-8")
    rows = [line for job in done.values() for line in job["rows"]]
    lines = ["| system | density | T | this work | published | value | difference |", "|---" * 7 + "|"]
    lines += [
        f"| {r['what']} | {r['density']:.4g} | {r['temperature']:g} | {r['value']:.4f} ± {r['error']:.4f} | "
        f"{r['source']} | {r['published']:.4f} | {r['difference']:+.4f} |"
        for r in rows
    ]
    (RESULTS / f"{args.name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
