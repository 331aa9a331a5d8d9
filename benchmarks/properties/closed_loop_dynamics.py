"""Properties in motion of a potential trained on a classical potential, against that potential itself.

Liquid (radial distributions, coordination, diffusion), vibrational density of states, thermal conductivity from the
phonon Boltzmann equation, Green-Kubo and HNEMD; the same simulations with both, every number with its standard error.

    python benchmarks/properties/closed_loop_dynamics.py sw_si POTENTIAL [--only liquid,bte] [--scale 1]

`--scale` multiplies the length of the simulations. Conductivities of small cells are those of small cells, the same for both.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from closed_loop_system import (
    ERRORS,
    RESULTS,
    Conduction,
    Liquid,
    System,
    checksum,
    find_system,
    system_names,
)

import forgefield as ff
from forgefield.files import make_folder, write_json, write_text
from forgefield.properties.base import PropertyResult, Quantity
from forgefield.properties.conductivity_bte import CONDUCTIVITY_BTE
from forgefield.properties.conductivity_flux import flux_error
from forgefield.properties.conductivity_gk import CONDUCTIVITY_GK
from forgefield.properties.conductivity_hnemd import CONDUCTIVITY_HNEMD
from forgefield.properties.diffusion import diffusion
from forgefield.properties.distribution import radial_distribution
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.simulation import SimulationSettings, trajectory_of
from forgefield.properties.vibrations import VDOS
from forgefield.properties.viscosity import viscosity

CORRELATION = 1.5
"""Longest time over which stresses of the melt are correlated [ps]."""

Numbers = dict[str, tuple[float, float | None, str]]
Make = Callable[[Atoms], ForceField]
"""Force field of some atoms."""
Found = tuple[Numbers, dict[str, Any]]


def of_result(result: PropertyResult, names: dict[str, str]) -> Numbers:
    """Return quantities of a result under other names."""
    return {
        new: (result[old], result.quantities[old].error, result.quantities[old].unit)
        for old, new in names.items()
    }


def melted(system: System, make: Make, cells: int, timestep: float) -> Atoms:
    """Return the melt, hot, at the volume of the liquid."""
    spec = wanted_liquid(system)
    atoms = system.crystal * cells
    scale = (spec.volume * len(atoms) / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    bath = DynamicsSettings(temperature=spec.melt_temperature, timestep=timestep, friction=0.02)
    hot = Dynamics(atoms, make(atoms), bath)
    hot.run(1500)
    return hot.atoms()


def wanted_liquid(system: System) -> Liquid:
    """Return the liquid of a system."""
    if system.liquid is None:
        raise ValueError(f"{system.title}: no liquid is described")
    return system.liquid


def liquid(system: System, make: Make, scale: float) -> Found:
    """Melt, then structure, diffusion and shear viscosity of the liquid."""
    spec = wanted_liquid(system)
    atoms = melted(system, make, spec.cells, spec.timestep)
    settings = SimulationSettings(
        temperature=spec.temperature,
        timestep=spec.timestep,
        equilibration=2.0,
        friction=0.02,
        length=spec.length * scale,
        interval=10 * spec.timestep,
        blocks=8,
    )
    moving, _ = trajectory_of(atoms, make(atoms), settings, purpose="the liquid")
    edge = float(atoms.cell.array[0, 0])
    found = radial_distribution(moving, r_max=min(0.5 * edge, 8.0), n_bins=108, blocks=8)
    motion = diffusion(moving)
    numbers: Numbers = {}
    curves: dict[str, Any] = {}
    pairs = {name: one for name, one in found.items() if name != "all"}
    for name, one in pairs.items():
        label = "liquid" if len(pairs) == 1 else f"liquid {name}"
        within = int(np.searchsorted(one.r, spec.reach))
        peak = one.first_peak
        numbers[f"{label}: height of the first peak"] = (float(one.g[peak]), float(one.g_error[peak]), "")
        numbers[f"{label}: neighbours within {spec.reach:g} Å"] = (
            float(one.coordination[within]), float(one.coordination_error[within]), "",
        )  # fmt: skip
        curves[name] = {"r": one.r.tolist(), "g": one.g.tolist(), "g_error": one.g_error.tolist()}
    for element, one_motion in motion.items():
        label = "liquid: diffusion" if len(motion) == 1 else f"liquid: diffusion of {element}"
        numbers[label] = (one_motion.coefficient * 1e-8, one_motion.error * 1e-8, "m^2/s")
    shear = viscosity(moving, spec.temperature, correlation_time=CORRELATION, blocks=8)
    numbers["liquid: viscosity"] = (shear.value, shear.error, "mPa s")
    curves["viscosity"] = {"time": shear.time.tolist(), "integral": shear.integral.tolist()}
    return numbers, curves


def states(system: System, make: Make, scale: float) -> Found:
    """Vibrational density of states."""
    atoms = system.crystal * (2 if len(system.crystal) == 8 else 3)
    result = VDOS(
        atoms, make(atoms), temperature=system.vibrations, timestep=2.0, equilibration=2.0, friction=0.01,
        length=16.0 * scale, ensemble="nve", interval=8.0, blocks=8, correlation_time=0.9,
    )  # fmt: skip
    numbers = of_result(result, {"mean_frequency": f"{system.vibrations:g} K: mean frequency"})
    curves = {
        name: {"frequency": curve.x.tolist(), "density": curve.y.tolist()}
        for name, curve in result.curves.items()
        if name.endswith("density")
    }
    return numbers, curves


def conducting(system: System, make: Make, spec: Conduction) -> Atoms:
    """Return where simulations of the heat flux start."""
    if spec.liquid:
        return melted(system, make, spec.cells, spec.timestep)
    atoms = system.crystal * spec.cells
    atoms.set_cell(atoms.cell.array * (1.0 + spec.strain), scale_atoms=True)
    return atoms


def called(spec: Conduction, atoms: Atoms) -> str:
    """Return how a simulation of the heat flux is named."""
    return f"{spec.temperature:g} K, {'liquid' if spec.liquid else 'crystal'} of {len(atoms)} atoms: conductivity"


def green_kubo(system: System, make: Make, scale: float) -> Found:
    """Green-Kubo."""
    numbers: Numbers = {}
    extra: dict[str, Any] = {}
    for spec in system.conduction:
        atoms = conducting(system, make, spec)
        result = CONDUCTIVITY_GK(
            atoms, make(atoms), temperature=spec.temperature, timestep=spec.timestep, equilibration=2.0, friction=0.01,
            interval=spec.interval, replicas=max(4, round(spec.replicas * scale)), length=spec.length,
            correlation_time=spec.correlation_time, read_at=spec.read_at,
        )  # fmt: skip
        label = called(spec, atoms)
        numbers |= of_result(result, {"conductivity": f"{label}, Green-Kubo"})
        curve = result.curves["mean"]
        extra[label] = {
            "time": curve.x[::5].tolist(),
            "integral": curve.y[::5].tolist(),
            "others": {k: [q.value, q.error] for k, q in result.quantities.items()},
            "warnings": list(result.warnings),
        }
    return numbers, extra


def driven(system: System, make: Make, scale: float) -> Found:
    """HNEMD."""
    numbers: Numbers = {}
    extra: dict[str, Any] = {}
    for spec in system.conduction:
        atoms = conducting(system, make, spec)
        result = CONDUCTIVITY_HNEMD(
            atoms, make(atoms), temperature=spec.temperature, timestep=spec.timestep, equilibration=2.0, friction=0.01,
            interval=spec.interval, fields=spec.fields, length=spec.driven_length * scale, settle=3.0,
        )  # fmt: skip
        label = called(spec, atoms)
        numbers |= of_result(result, {"conductivity": f"{label}, HNEMD"})
        others = {k: [q.value, q.error] for k, q in result.quantities.items()}
        running = {
            name: {"time": curve.x[::100].tolist(), "average": curve.y[::100].tolist()}
            for name, curve in result.curves.items()
            if name.startswith("F=")
        }
        extra[label] = {"running": running, "others": others, "warnings": list(result.warnings)}
    return numbers, extra


def boltzmann(system: System, calculator: Any) -> Found:
    """Phonon Boltzmann equation."""
    given = system.boltzmann or {}
    result = CONDUCTIVITY_BTE(system.crystal, calculator, relax=True, **given)
    first, *others = given["temperatures"]
    names = {
        "conductivity": f"{first:g} K: conductivity, Boltzmann equation (direct)",
        "conductivity_rta": f"{first:g} K: conductivity, Boltzmann equation (relaxation times)",
    }
    names |= {f"conductivity {t:g} K": f"{t:g} K: conductivity, Boltzmann equation (direct)" for t in others}
    curve = result.curves["accumulated"]
    step = max(1, len(curve.x) // 300)
    extra = {"frequency": curve.x[::step].tolist(), "accumulated": curve.y[::step].tolist()}
    return of_result(result, names), extra | {"warnings": list(result.warnings)}


PARTS = {"liquid": liquid, "states": states, "gk": green_kubo, "hnemd": driven}


def parts_of(system: System) -> list[str]:
    """Return what a system is asked."""
    asked = {
        "liquid": system.liquid is not None,
        "states": system.vibrations is not None,
        "bte": system.boltzmann is not None,
        "hnemd": bool(system.conduction),
        "gk": bool(system.conduction),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def certificates(system: System, potential: Any) -> dict[str, float]:
    """Return the error of the heat flux of both, and of the other two atomic virials."""
    atoms = system.crystal * 2
    found = {}
    if system.pairwise:
        found["truth"] = flux_error(atoms, system.calculator(), pairwise=True)
    elif system.forces is not None:
        free = atoms.copy()
        free.pbc = False
        found["truth"] = flux_error(free, system.forces(free))
    return found | {f"trained, kind {k}": flux_error(atoms, potential, virials=k) for k in ("I", "II", "III")}


def judged(system: System, what: str, row: dict[str, Any]) -> tuple[str, str, bool]:
    """Return how far the trained potential is off, how far it may be, and whether it is within."""
    (truth, truth_error), (found, error) = row["truth"], row["trained"]
    if "Boltzmann" in what:
        limit = system.tolerance(what)
        return "", f"{limit:g} %", bool(abs(100.0 * (found / truth - 1.0)) <= limit)
    pull = (found - truth) / float(np.hypot(truth_error, error))
    return f"{pull:+.1f}", f"{ERRORS:g} errors", bool(abs(pull) <= ERRORS)


def markdown(system: System, table: dict[str, dict[str, Any]], note: str) -> str:
    """Return the results as a table."""
    lines = []
    good = 0
    for what, row in table.items():
        pull, allowed, within = judged(system, what, row)
        good += within
        row |= {"within": within}
        texts = [
            str(Quantity(value, "", e)) if e is None or e >= 1e-6 else f"{value:.3g} ± {e:.1g}"
            for value, e in (row["truth"], row["trained"])
        ]
        change = 100 * (row["trained"][0] / row["truth"][0] - 1)
        lines.append(
            f"| {what} | {row['unit']} | {texts[0]} | {texts[1]} | {change:+.1f} % | {pull} | {allowed} | "
            f"{'yes' if within else 'no'} |"
        )
    head = [
        f"# Motion and conductivity of a potential trained on {system.title}, against {system.title} itself",
        "",
        f"{good} of {len(lines)} within what is allowed. {note}",
        "",
        "| quantity | unit | truth | trained | difference | in errors | allowed | within |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *lines]) + "\n"


def run(
    system: System, potential: Any, part: str, scale: float, names: tuple[str, ...] = ("truth", "trained")
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return rows and curves of one part, of both or of the one named."""
    table: dict[str, dict[str, Any]] = {}
    curves: dict[str, Any] = {}
    flux = part in ("gk", "hnemd")
    makers: dict[str, Make] = {
        "truth": lambda atoms: system.field(atoms, flux=flux),
        "trained": lambda atoms: force_field(potential.calculator(threads=1), atoms, dtype="float32"),
    }
    for name in names:
        make, start = makers[name], time.process_time()
        if part == "bte":
            calculator = system.calculator() if name == "truth" else potential.calculator(threads=1)
            numbers, extra = boltzmann(system, calculator)
        else:
            numbers, extra = PARTS[part](system, make, scale)
        extra["cpu_seconds"] = round(time.process_time() - start, 1)
        curves[f"{part}, {name}"] = extra
        for what, (value, error, unit) in numbers.items():
            table.setdefault(what, {"unit": unit})[name] = [value, error]
            print(what, name, value, error, flush=True)
    return {what: row | {"scale": scale} for what, row in table.items()}, curves


def main() -> None:
    """Run, print a table, write the results; parts done before are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=system_names())
    parser.add_argument("potential", type=Path)
    parser.add_argument("--only", help="parts, with commas between; none: write the table again")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument(
        "--trained-only", action="store_true", help="numbers of the truth as saved, from the same settings"
    )
    parser.add_argument("--missing", action="store_true", help="not again what is there of this potential")
    parser.add_argument("-o", type=Path, help="JSON; the table stands beside it")
    options = parser.parse_args()
    target = options.o or RESULTS / f"closed_loop_dynamics_{options.system}.json"
    system = find_system(options.system)
    potential = ff.load(options.potential, dtype="float64")
    wanted = parts_of(system) if options.only is None else options.only.split(",")
    table: dict[str, dict[str, Any]] = {}
    curves: dict[str, Any] = {}
    if target.exists():
        before = json.loads(target.read_text(encoding="utf-8"))
        table, curves = before["results"], before["curves"]
    proof = certificates(system, potential)
    note = "Error of the heat flux against its definition: " + ", ".join(
        f"{k}: {v:.1e}" for k, v in proof.items()
    )
    note += ". Errors of the Boltzmann equation are the change from the mesh before, the same way for both."
    mark = checksum(options.potential)
    for part in wanted:
        done = options.missing and curves.get(f"{part}, trained", {}).get("potential") == mark
        if part != "none" and not done:
            names = ("trained",) if options.trained_only else ("truth", "trained")
            rows, more = run(system, potential, part, options.scale, names)
            for what, row in rows.items():
                table[what] = table.get(what, {}) | row
            curves |= more
            curves[f"{part}, trained"]["potential"] = mark
        text = markdown(system, table, note)
        content = {"model": system.title, "flux_error": proof, "results": table, "curves": curves}
        make_folder(target.parent)
        write_json(target, json.loads(json.dumps(content)))
        write_text(target.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
