"""Properties in motion of a potential trained on Stillinger-Weber silicon, against Stillinger-Weber itself.

Liquid (radial distribution, coordination, diffusion), vibrational density of states, thermal conductivity from the
phonon Boltzmann equation, Green-Kubo and HNEMD; the same simulations with both, every number with its standard error.

    python benchmarks/properties/closed_loop_dynamics.py POTENTIAL [--only liquid,bte] [--scale 1]

`--scale` multiplies the length of the simulations; 1 takes about ten minutes of one core, 20 is for publication (then
also `--cells 4`: conductivities of small cells are those of small cells, the same for both).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from stillinger_weber import FILE, StillingerWeber

import forgefield as ff
from forgefield.files import make_folder, write_json, write_text
from forgefield.properties.base import PropertyResult, Quantity
from forgefield.properties.calculators import lammps_calculator
from forgefield.properties.conductivity_bte import CONDUCTIVITY_BTE
from forgefield.properties.conductivity_flux import flux_error
from forgefield.properties.conductivity_gk import CONDUCTIVITY_GK
from forgefield.properties.conductivity_hnemd import CONDUCTIVITY_HNEMD
from forgefield.properties.diffusion import diffusion
from forgefield.properties.distribution import radial_distribution
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import force_field
from forgefield.properties.simulation import SimulationSettings, trajectory_of
from forgefield.properties.vibrations import VDOS

RESULTS = Path(__file__).resolve().parent / "results"
LENGTH = 5.4309
"""Lattice constant of the model at rest [Å]."""
LIQUID = 2500.0
LONGER = 4.0
"""Length of the simulation of the liquid in units of 8 ps: diffusion needs it."""
HOT = 1000.0

Numbers = dict[str, tuple[float, float | None, str]]
Make = Callable[[Atoms], Any]


def of_result(result: PropertyResult, names: dict[str, str]) -> Numbers:
    """Return quantities of a result under other names."""
    return {
        new: (result[old], result.quantities[old].error, result.quantities[old].unit)
        for old, new in names.items()
    }


def crystal(cells: int) -> Atoms:
    """Return diamond silicon."""
    return bulk("Si", "diamond", a=LENGTH, cubic=True) * cells


def liquid(make: Make, scale: float, cells: int) -> tuple[Numbers, dict[str, Any]]:
    """Melt, then structure and diffusion of the liquid at 2.48 g/cm^3."""
    atoms = crystal(cells)
    density = len(atoms) * 28.0855 / 6.02214076e23 / (atoms.get_volume() * 1e-24)
    atoms.set_cell(atoms.cell.array * (density / 2.48) ** (1 / 3), scale_atoms=True)
    hot = Dynamics(
        atoms,
        force_field(make(atoms), atoms),
        DynamicsSettings(temperature=5000.0, timestep=1.5, friction=0.02),
    )
    hot.run(1500)
    settings = SimulationSettings(
        temperature=LIQUID,
        timestep=1.5,
        equilibration=2.0,
        friction=0.02,
        length=8.0 * LONGER * scale,
        interval=15.0,
        blocks=8,
    )
    moving, _ = trajectory_of(hot.atoms(), make(atoms), settings, purpose="the liquid")
    radial = radial_distribution(moving, r_max=5.4, n_bins=108, blocks=8)["Si-Si"]
    motion = diffusion(moving, blocks=8)["Si"]
    within = int(np.searchsorted(radial.r, 3.1))
    numbers: Numbers = {
        "liquid: height of the first peak": (
            float(radial.g[radial.first_peak]), float(radial.g_error[radial.first_peak]), "",
        ),
        "liquid: neighbours within 3.1 Å": (
            float(radial.coordination[within]), float(radial.coordination_error[within]), "",
        ),
        "liquid: diffusion": (motion.coefficient * 1e-8, motion.error * 1e-8, "m^2/s"),
    }  # fmt: skip
    return numbers, {"r": radial.r.tolist(), "g": radial.g.tolist(), "g_error": radial.g_error.tolist()}


def states(make: Make, scale: float, cells: int) -> tuple[Numbers, dict[str, Any]]:
    """Vibrational density of states at 300 K."""
    atoms = crystal(cells)
    result = VDOS(
        atoms, make(atoms), temperature=300.0, timestep=2.0, equilibration=2.0, friction=0.01, length=8.0 * scale,
        ensemble="nve", interval=8.0, blocks=8, correlation_time=0.9,
    )  # fmt: skip
    curve = result.curves["Si density"]
    peak = int(np.argmax(np.where(curve.x > 11.0, curve.y, 0.0)))
    numbers = of_result(result, {"mean_frequency": "300 K: mean frequency"})
    resolution = 0.5 / result.conditions["correlation_time"]
    numbers["300 K: optical peak"] = (float(curve.x[peak]), resolution, "THz")
    return numbers, {"frequency": curve.x.tolist(), "density": curve.y.tolist()}


def green_kubo(make: Make, scale: float, cells: int) -> tuple[Numbers, dict[str, Any]]:
    """Green-Kubo."""
    atoms = crystal(cells)
    result = CONDUCTIVITY_GK(
        atoms, make(atoms), temperature=HOT, timestep=2.0, equilibration=2.0, friction=0.01, interval=8.0,
        replicas=max(4, round(4 * scale)), length=30.0, correlation_time=8.0,
    )  # fmt: skip
    names = {"conductivity": f"{HOT:g} K: conductivity, Green-Kubo, {len(atoms)} atoms"}
    curve = result.curves["mean"]
    return of_result(result, names), {"time": curve.x[::5].tolist(), "integral": curve.y[::5].tolist()}


def driven(make: Make, scale: float, cells: int) -> tuple[Numbers, dict[str, Any]]:
    """HNEMD."""
    atoms = crystal(cells)
    result = CONDUCTIVITY_HNEMD(
        atoms, make(atoms), temperature=HOT, timestep=2.0, equilibration=2.0, friction=0.01, interval=8.0,
        fields=(5e-4, 1e-3), length=40.0 * scale, settle=3.0,
    )  # fmt: skip
    names = {"conductivity": f"{HOT:g} K: conductivity, HNEMD, {len(atoms)} atoms"}
    names |= {
        name: f"{HOT:g} K: HNEMD {name}" for name in result.quantities if name.startswith("conductivity F")
    }
    return of_result(result, names), {"warnings": list(result.warnings)}


def boltzmann(calculator: Any) -> tuple[Numbers, dict[str, Any]]:
    """Phonon Boltzmann equation."""
    result = CONDUCTIVITY_BTE(
        crystal(1), calculator, supercell=(2, 2, 2), pair_cutoff=4.0, meshes=(7, 9, 11), temperatures=(300.0, HOT),
        relax=True,
    )  # fmt: skip
    names = {
        "conductivity": "300 K: conductivity, Boltzmann equation (direct)",
        "conductivity_rta": "300 K: conductivity, Boltzmann equation (relaxation times)",
        f"conductivity {HOT:g} K": f"{HOT:g} K: conductivity, Boltzmann equation (direct)",
    }
    curve = result.curves["accumulated"]
    step = max(1, len(curve.x) // 300)
    extra = {"frequency": curve.x[::step].tolist(), "accumulated": curve.y[::step].tolist()}
    return of_result(result, names), extra | {"warnings": list(result.warnings)}


PARTS = {"liquid": liquid, "states": states, "gk": green_kubo, "hnemd": driven}


def certificates(potential: Any) -> dict[str, float]:
    """Return the error of the heat flux of both, and of the other two atomic virials."""
    atoms = crystal(2)
    free = atoms.copy()
    free.pbc = False
    found = {"stillinger-weber": flux_error(free, StillingerWeber(free))}
    return found | {
        f"potential, kind {k}": flux_error(atoms, potential, virials=k) for k in ("I", "II", "III")
    }


def markdown(table: dict[str, dict[str, Any]], note: str) -> str:
    """Return the results as a table; the last column is the difference in its standard errors."""
    lines = [
        "# Motion and conductivity of a potential trained on Si.sw, against Si.sw itself",
        "",
        note,
        "",
        "| quantity | unit | truth | trained | difference | in errors |",
        "|---|---|---|---|---|---|",
    ]
    for what, row in table.items():
        if "potential" not in row or "stillinger-weber" not in row:
            continue
        (truth, truth_error), (found, error) = row["stillinger-weber"], row["potential"]
        texts = [
            str(Quantity(value, "", e)) if e is None or e >= 1e-6 else f"{value:.3g} ± {e:.1g}"
            for value, e in ((truth, truth_error), (found, error))
        ]
        both = None if truth_error is None or error is None else float(np.hypot(truth_error, error))
        pull = "" if not both or "Boltzmann" in what else f"{(found - truth) / both:+.1f}"
        lines.append(
            f"| {what} | {row['unit']} | {texts[0]} | {texts[1]} | {100 * (found / truth - 1):+.1f} % | {pull} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potential", type=Path)
    parser.add_argument("--only", default="liquid,states,bte,hnemd,gk", help="none: write the table again")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--cells", type=int, default=2)
    parser.add_argument("-o", type=Path, default=RESULTS / "closed_loop_dynamics_sw_si.json")
    options = parser.parse_args()
    potential = ff.load(options.potential, dtype="float64")
    makers: dict[str, Make] = {"stillinger-weber": StillingerWeber, "potential": lambda _: potential}
    wanted = [part for part in options.only.split(",") if part != "none"]
    table: dict[str, dict[str, Any]] = {}
    curves: dict[str, Any] = {}
    if options.o.exists():  # parts done before
        before = json.loads(options.o.read_text(encoding="utf-8"))
        if (before["scale"], before["cells"]) == (options.scale, options.cells):
            table, curves = before["results"], before["curves"]
    start = time.process_time()
    proof = certificates(potential)
    for part in [*wanted, ""]:
        for name, make in makers.items() if part else ():
            if part == "bte":
                parameters = next(Path(sys.prefix).rglob(FILE))
                commands = ["pair_style sw", f"pair_coeff * * {parameters} Si"]
                reference = lammps_calculator(commands, ["Si"])
                numbers, extra = boltzmann(reference if name != "potential" else potential.calculator())
            else:
                numbers, extra = PARTS[part](make, options.scale, options.cells)
            curves[f"{part}, {name}"] = extra
            for what, (value, error, unit) in numbers.items():
                table.setdefault(what, {"unit": unit})[name] = [value, error]
        for what, row in table.items():
            print(what, row, flush=True)
        content = {
            "model": "Stillinger-Weber silicon",
            "flux_error": proof,
            "scale": options.scale,
            "cells": options.cells,
            "processor": platform.machine(),
            "cpu_seconds": round(time.process_time() - start, 1),
            "results": table,
            "curves": curves,
        }
        make_folder(options.o.parent)
        write_json(options.o, json.loads(json.dumps(content)))
        note = "Error of the heat flux against its definition: " + ", ".join(
            f"{k}: {v:.1e}" for k, v in proof.items()
        )
        note += (
            ". Errors of the Boltzmann equation are the change from the mesh before, the same way for both."
        )
        write_text(options.o.with_suffix(".md"), markdown(table, note))


if __name__ == "__main__":
    main()
