"""Parts of `closed_loop_free_energy.py` that simulate the truth and the trained potential each on its own.

Two phases in one cell, with as many seeds as the system asks for, heating and cooling, and the free energy of the crystal along a range
of temperatures.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from closed_loop_system import RESULTS, Coexisting, System, find_system

import forgefield as ff
from forgefield.properties.base import PropertyResult, Quantity
from forgefield.properties.coexistence import COEXISTENCE
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.melting import MELTING
from forgefield.properties.two_phases import settled_mean
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["both", "coexistence", "expanded", "hysteresis", "scaling", "supercell"]

HEATED = (0.6, 2.0, 0.1)
"""Lowest and highest temperature of heating and cooling, and between two, in melting points."""
SEEDS = 3
"""Of heating and cooling."""

Numbers = dict[str, list[Any]]
"""Value, standard error and unit, by name."""


def supercell(args: argparse.Namespace) -> Atoms:
    """Return the crystal, about 100 atoms if not told otherwise."""
    cube = find_system(args.system).crystal
    return cube * (args.cells or (2 if len(cube) == 8 else 3))


def expanded(args: argparse.Namespace) -> Atoms:
    """Return the same about as large as it is where it melts."""
    atoms = supercell(args)
    atoms.set_cell(atoms.cell.array * (1.0 + find_system(args.system).coexisting.strain), scale_atoms=True)
    return atoms


def both(args: argparse.Namespace, atoms: Atoms) -> Iterator[tuple[str, ForceField]]:
    """Yield the truth and the trained potential."""
    yield "truth", find_system(args.system).field(atoms)
    yield "trained", force_field(ff.load(args.potential).calculator(threads=1), atoms, dtype="float32")


def coexistence(args: argparse.Namespace) -> dict[str, Any]:
    """Return the melting point of both with crystal and melt in one cell, from several seeds."""
    system = find_system(args.system)
    spec: Coexisting = system.coexisting
    cube = system.crystal
    cube.set_cell(cube.cell.array * (1.0 + spec.strain), scale_atoms=True)
    large = cube.repeat(spec.repeat)
    slope = melting_slope(args.system)
    found: dict[str, Any] = {"n_atoms": len(large), "seeds": spec.seeds, "slope_K_per_GPa": slope}
    for name, field in both(args, large):
        start = time.process_time()
        runs = [
            COEXISTENCE(
                cube,
                field,
                folder=None if args.work is None else Path(args.work) / f"coexistence_{name}_{seed}",
                repeat=spec.repeat,
                temperature=spec.temperature or system.transition,
                melt_temperature=spec.melt_temperature or system.melted_at * system.melting,
                timestep=2.0,
                steps=20 * args.steps,
                equilibration=4 * args.steps,
                compressibility=spec.compressibility,
                melt_steps=spec.melt_steps * args.steps,
                seed=seed,
            )
            for seed in range(spec.seeds)
        ]
        found[name] = {
            "quantities": averaged(runs, slope),
            "runs": [{k: [q.value, q.error] for k, q in run.quantities.items()} for run in runs],
            "series": [
                {name: run.curves[name].y.tolist() for name in ("temperature", "pressure")} for run in runs
            ],
            "warnings": [line for run in runs for line in run.warnings],
            "cpu_seconds": time.process_time() - start,
        }
        print(name, json.dumps(found[name]["quantities"]), *found[name]["warnings"], flush=True)
    found["note"] = notes(system, spec, slope, args.steps)
    return found


def hysteresis(args: argparse.Namespace) -> dict[str, Any]:
    """Return where both melt on heating and stop to flow on cooling, and how hot melts are."""
    system, atoms = find_system(args.system), supercell(args)
    low, high, interval = (round(factor * system.transition, -1) for factor in HEATED)
    found: dict[str, Any] = {"n_atoms": len(atoms), "seeds": SEEDS}
    for name, field in both(args, atoms):
        start = time.process_time()
        runs = [
            MELTING(
                atoms,
                field,
                folder=None if args.work is None else Path(args.work) / f"hysteresis_{name}_{seed}",
                low=low,
                high=high,
                interval=interval,
                timestep=2.0,
                steps=args.steps,
                equilibration=args.steps // 2,
                compressibility=system.coexisting.compressibility,
                barostat="isotropic",
                seed=seed,
            )
            for seed in range(SEEDS)
        ]
        melts = {f"{what} of the melt at {high:g} K": what for what in ("enthalpy", "volume")}
        numbers = averaged([hottest(run, melts) for run in runs], None)
        for limit in ("superheating_limit", "undercooling_limit"):  # all seeds have the same temperatures
            if limit in numbers:
                numbers[limit][1] = max(numbers[limit][1], interval / math.sqrt(12.0))
        found[name] = {
            "quantities": {k: v for k, v in numbers.items() if k.endswith("_limit") or k in melts},
            "runs": [{k: [q.value, q.error] for k, q in run.quantities.items()} for run in runs],
            "warnings": [text for run in runs for text in run.warnings],
            "cpu_seconds": time.process_time() - start,
        }
        print(name, json.dumps(found[name]["quantities"]), *found[name]["warnings"], flush=True)
    pace = interval / (args.steps + args.steps // 2) / 2e-3
    found["note"] = (
        f"{SEEDS} times {low:g} to {high:g} K and back in steps of {interval:g} K, {pace:.3g} K/ps"
    )
    return found


def hottest(run: PropertyResult, melts: dict[str, str]) -> PropertyResult:
    """Return a result with what its melt was like at the highest temperature beside its own numbers."""
    more = {}
    for name, what in melts.items():
        curve = run.curves[f"{what}, heating"]
        error = None if curve.error is None else float(curve.error[-1])
        more[name] = Quantity(float(curve.y[-1]), curve.y_label.split("[")[-1].rstrip("]"), error)
    return replace(run, quantities=run.quantities | more)


def notes(system: System, spec: Coexisting, slope: float | None, steps: int) -> str:
    """Return what was simulated, in words."""
    box = " x ".join(map(str, spec.repeat))
    text = (
        f"{box} cubes; {spec.seeds} simulation{'s' if spec.seeds > 1 else ''} of {steps * 20 * 2e-3:g} ps at constant energy, means of the second "
        f"half; the first guess of both {spec.temperature or system.transition:g} K"
    )
    if slope is None:
        return text
    return f"{text}; brought to zero pressure with dT/dP = {slope:.0f} K/GPa, the truth's T dV/dH of the direct comparison"


def melting_slope(name: str) -> float | None:
    """Return dT/dP of melting of the truth [K/GPa] by Clausius and Clapeyron, if the direct comparison is there."""
    saved = RESULTS / f"closed_loop_free_energy_{name}.json"
    if not saved.exists():
        return None
    known = json.loads(saved.read_text(encoding="utf-8")).get("direct")
    if known is None:
        return None
    grows = known["liquid"]["volume_A3_per_atom"] - known["solid"]["volume_A3_per_atom"]
    return float(known["temperature_K"] * grows / known["latent_heat_eV_per_atom"] / EV_PER_A3_TO_GPA)


def averaged(runs: list[PropertyResult], slope: float | None) -> Numbers:
    """Return means over seeds: of the melting temperature at zero pressure above all.

    The error of a mean is the larger of what the errors of the runs and what their spread say.
    """
    common = [k for k in runs[0].quantities if all(k in r.quantities for r in runs)]
    wanted = {k: [(r[k], r.quantities[k].error or 0.0) for r in runs] for k in common}
    units = {k: q.unit for k, q in runs[0].quantities.items()}
    if slope is not None:
        # Temperature and pressure move together, so that the error is that of the series of what is wanted.
        found = [settled_mean(r.curves["temperature"].y - slope * r.curves["pressure"].y) for r in runs]
        wanted["melting_temperature at zero pressure"] = [(one.value, one.error) for one in found]
        units["melting_temperature at zero pressure"] = "K"
    numbers: Numbers = {}
    for name, pairs in wanted.items():
        values, errors = np.array(pairs).T
        error = float(np.sqrt((errors**2).sum())) / len(values)
        if len(values) > 1:
            error = max(error, float(values.std(ddof=1)) / len(values) ** 0.5)
        numbers[name] = [float(values.mean()), error, units[name]]
    return numbers


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """Return free energies of the crystal of both, by an Einstein crystal at 0.3 and reversible scaling to 0.8 of melting."""
    system = find_system(args.system)
    atoms = supercell(args)
    low, high = 0.3 * system.melting, 0.8 * system.melting
    found: dict[str, Any] = {
        "n_atoms": len(atoms),
        "note": f"at the volume of the crystal at rest, from {low:.0f} to {high:.0f} K",
    }
    for seed, (name, field) in enumerate(both(args, atoms)):
        start = time.process_time()
        result = FREE_ENERGY(
            atoms,
            field,
            folder=None if args.work is None else Path(args.work) / f"scaling_{name}",
            phase="solid",
            temperature=low,
            final_temperature=high,
            timestep=2.0,
            points=6,
            steps=args.steps,
            equilibration=args.steps // 4,
            target_steps=4 * args.steps,
            scaling_steps=6 * args.steps,
            seed=seed,  # with one for both, two crystals would follow each other step by step, and differ by less than noise
        )
        shown = ("helmholtz", "helmholtz_final")
        found[name] = {
            "quantities": {k: [q.value, q.error, q.unit] for k, q in result.quantities.items() if k in shown},
            "warnings": list(result.warnings),
            "cpu_seconds": time.process_time() - start,
        }
        print(name, json.dumps(found[name]["quantities"]), flush=True)
    return found
