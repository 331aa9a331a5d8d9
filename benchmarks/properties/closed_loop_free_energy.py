"""Melting temperature and free energies of a potential against those of the classical potential it was trained on.

The truth is a classical potential that LAMMPS ships, so that what differs is the error of training and of nothing else.
Three ways to the melting point:

- *direct*: thermodynamic integration from the truth to the trained potential, solid and liquid each at one volume. The
  noise of both cancels, and F(trained) - F(truth) comes out to a fraction of a meV/atom; with the entropy of melting it
  says by how much the melting temperature differs.
- *absolute*: the property `melting-point` of both, independently: Einstein crystal and ideal gas.
- *coexistence*: the property of that name of both, crystal and melt in one cell, brought to zero pressure.

Beside them *scaling*: the free energy of the crystal by an Einstein crystal and reversible scaling of its temperature.

    python benchmarks/properties/closed_loop_data.py sw_si -o FOLDER
    python benchmarks/properties/closed_loop_free_energy.py sw_si FOLDER/potential.ff [--parts direct absolute coexistence] [--steps 500]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from closed_loop_phases import both, coexistence, expanded, hysteresis, scaling
from closed_loop_system import ERRORS, RESULTS, System, checksum, find_system, system_names

from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.free_energy_checks import (
    check_liquid,
    check_solid,
    excursion,
    flow,
    nearest_distance,
)
from forgefield.properties.free_energy_estimators import Measured, quadrature
from forgefield.properties.free_energy_paths import walk
from forgefield.properties.free_energy_potentials import EinsteinSprings, Mixture
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.journal import Journal
from forgefield.properties.melting_point import MELTING_POINT

DIFFERENCE, SHIFT = 1.0, 1.0
"""Differences of the direct comparison that count as within: of free energies [meV/atom], of the melting point [%]."""


def prepare(
    args: argparse.Namespace, phase: str, reference: ForceField, settings: FreeEnergySettings
) -> tuple[Walker, dict[str, Measured]]:
    """Return one phase at the volume that the truth has at zero pressure, and its averages."""
    t, system = settings.temperature, find_system(args.system)
    atoms = expanded(args)
    walker = Walker(phase, atoms, settings.dynamics(), Journal(None, ""))
    watch = excursion(EinsteinSprings(atoms.positions, 1.0), nearest_distance(atoms))
    if phase == "liquid":
        walker.average(
            "melt",
            reference,
            {},
            steps=3 * args.steps,
            equilibration=0,
            ensemble="npt",
            temperature=system.melted_at * system.melting,
        )
        watch = flow((walker.atoms.get_volume() / len(atoms)) ** (1 / 3))
    averages = walker.average(
        "volume",
        reference,
        {"order": watch},
        steps=4 * args.steps,
        equilibration=2 * args.steps,
        ensemble="npt",
    )
    if phase == "solid":
        check_solid(averages["order"].value, t, "with the truth")
    else:
        check_liquid(averages["order"].value, t, 4 * args.steps * 2e-3)
    walker.scale_to(averages["volume"].value)
    return walker, averages


def direct(args: argparse.Namespace) -> dict[str, Any]:
    """Integrate from the truth to the trained potential in both phases, at zero pressure of the truth."""
    system = find_system(args.system)
    t, atoms = system.transition, expanded(args)
    n = len(atoms)
    reference, trained = (field for _, field in both(args, atoms))
    settings = FreeEnergySettings(
        temperature=t,
        points=3,
        steps=args.steps,
        equilibration=args.steps // 4,
        timestep=2.0,
        compressibility=system.coexisting.compressibility,
    )
    found: dict[str, Any] = {"temperature_K": t, "n_atoms": n}
    heats = {}
    for phase in ("solid", "liquid"):
        start = time.process_time()
        walker, averages = prepare(args, phase, reference, settings)
        leg = walk(
            walker,
            "direct",
            Mixture(reference, trained),
            quadrature(3),
            settings,
            t,
            first_up=True,
        )
        heats[phase] = averages["potential"]
        found[phase] = {
            "volume_A3_per_atom": averages["volume"].value / n,
            "difference_meV_per_atom": 1e3 * leg.difference.value / n,
            "error_meV_per_atom": 1e3 * leg.difference.error / n,
            "hysteresis_meV_per_atom": 1e3 * leg.hysteresis.value / n,
            "along_path_meV_per_atom": (1e3 / n * 0.5 * (leg.up + leg.down)).tolist(),
            "cpu_seconds": time.process_time() - start,
        }
        print(json.dumps({phase: found[phase]}), flush=True)
    latent = (heats["liquid"] - heats["solid"]) * (1.0 / n)
    entropy = latent.value / t
    solid, liquid = found["solid"], found["liquid"]
    difference = liquid["difference_meV_per_atom"] - solid["difference_meV_per_atom"]
    error = float(np.hypot(liquid["error_meV_per_atom"], solid["error_meV_per_atom"]))
    found |= {
        "latent_heat_eV_per_atom": latent.value,
        "latent_heat_error_eV_per_atom": latent.error,
        "entropy_of_melting_kB": entropy / units.kB,
        # Where the Gibbs energies of the two phases have moved apart, the melting point follows.
        "melting_shift_K": 1e-3 * difference / entropy,
        "melting_shift_error_K": 1e-3 * error / entropy,
    }
    return found


def absolute(args: argparse.Namespace) -> dict[str, Any]:
    """Return the melting point of both from absolute free energies."""
    atoms, system = expanded(args), find_system(args.system)
    found: dict[str, Any] = {"n_atoms": len(atoms)}
    for name, field in both(args, atoms):
        start = time.process_time()
        result = MELTING_POINT(
            atoms,
            field,
            folder=None if args.work is None else Path(args.work) / name,
            temperature=system.transition,
            points=8,
            reference_points=8,
            steps=args.steps,
            equilibration=args.steps // 4,
            target_steps=4 * args.steps,
            enthalpy_steps=4 * args.steps,
            melt_temperature=system.melted_at * system.melting,
            compressibility=system.coexisting.compressibility,
            melt_steps=3 * args.steps,
            timestep=2.0,
            relative_range=system.around,
        )
        found[name] = {
            "quantities": {k: [q.value, q.error, q.unit] for k, q in result.quantities.items()},
            "warnings": list(result.warnings),
            "cpu_seconds": time.process_time() - start,
        }
        print(name, result.quantities["melting_temperature"], flush=True)
    return found


PARTS = {
    "direct": direct,
    "coexistence": coexistence,
    "scaling": scaling,
    "hysteresis": hysteresis,
    "absolute": absolute,
}


def direct_lines(d: dict[str, Any]) -> list[str]:
    """Return the results of the direct comparison as Markdown."""
    lines = [
        f"Direct, {d['n_atoms']} atoms at {d['temperature_K']:.0f} K:",
        "",
        "| phase | volume [Å^3/atom] | F(trained) - F(truth) [meV/atom] | hysteresis [meV/atom] | allowed | within |",
        "|---|---|---|---|---|---|",
    ]
    for phase in ("solid", "liquid"):
        p = d[phase]
        good = abs(p["difference_meV_per_atom"]) <= DIFFERENCE
        lines.append(
            f"| {phase} | {p['volume_A3_per_atom']:.3f} | {p['difference_meV_per_atom']:.2f} ± "
            f"{p['error_meV_per_atom']:.2f} | {p['hysteresis_meV_per_atom']:.2f} | {DIFFERENCE:g} | "
            f"{'yes' if good else 'no'} |"
        )
    latent, latent_error = d["latent_heat_eV_per_atom"], d["latent_heat_error_eV_per_atom"]
    shift, shift_error = d["melting_shift_K"], d["melting_shift_error_K"]
    limit = 0.01 * SHIFT * d["temperature_K"]
    return [
        *lines,
        "",
        (
            f"Latent heat of the truth {latent:.3f} ± {latent_error:.3f} eV/atom; the trained potential melts "
            f"{shift:+.1f} ± {shift_error:.1f} K from the truth (allowed: {limit:.0f} K; "
            f"{'within' if abs(shift) <= limit else 'not within'})."
        ),
    ]


def both_lines(results: dict[str, Any]) -> list[str]:
    """Return the results of two simulations, of the truth and the trained potential, as Markdown."""
    lines = ["", "| quantity | unit | truth | trained | in errors | within |", "|---|---|---|---|---|---|"]
    for name, (value, error, unit) in results["truth"]["quantities"].items():
        other, other_error, _ = results["trained"]["quantities"][name]
        cells = [
            f"{v:.5g}" + ("" if e is None else f" ± {e:.2g}")
            for v, e in ((value, error), (other, other_error))
        ]
        pull, within = "", ""
        if error and other_error and name != "crystalline_part":
            off = (other - value) / float(np.hypot(error, other_error))
            pull, within = f"{off:+.1f}", "yes" if abs(off) <= ERRORS else "no"
        lines.append(f"| {name} | {unit} | {cells[0]} | {cells[1]} | {pull} | {within} |")
    return lines


def table(content: dict[str, Any], system: System) -> str:
    """Return the results as Markdown."""
    lines = [
        f"# Free energy and melting of a potential trained on {system.title}, against {system.title} itself",
        "",
    ]
    if "direct" in content:
        lines += direct_lines(content["direct"])
    for part, title in (
        ("absolute", "Absolute free energies"),
        ("coexistence", "Crystal and melt in one cell"),
        ("hysteresis", "Heating and cooling"),
        ("scaling", "Free energy of the crystal by reversible scaling"),
    ):
        if part in content:
            note = f" ({content[part]['note']})" if "note" in content[part] else ""
            lines += ["", f"{title}, {content[part]['n_atoms']} atoms{note}:", *both_lines(content[part])]
    if system.published is not None:
        value, error, source = system.published
        lines += ["", f"Melting temperature of the truth elsewhere: {value:.0f} ± {error:.0f} K ({source})."]
    return "\n".join(lines) + "\n"


def found(path: Path) -> dict[str, Any]:
    """Return the results that are there, by part."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", choices=system_names())
    parser.add_argument("potential")
    parser.add_argument("--cells", type=int, help="repeats of the cube; default: about 100 atoms")
    parser.add_argument("--steps", type=int, help="at each point; default: those of the system")
    parser.add_argument(
        "--parts",
        nargs="*",
        choices=PARTS,
        help="default: all that the system is asked; others keep their results; none: the table again",
    )
    parser.add_argument("--work", help="folder for journals, so that an interrupted run goes on")
    parser.add_argument("--missing", action="store_true", help="not again what is there of this potential")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"closed_loop_free_energy_{args.system}"
    saved = target.with_suffix(".json")
    system, given = find_system(args.system), args.steps
    content = found(saved)
    for part in system.free_energies if args.parts is None else args.parts:
        args.steps = given or system.free_energies[part]
        mark = {"steps": args.steps, "potential": checksum(args.potential)}
        if args.missing and content.get(part, {}).items() >= mark.items():
            continue
        result = PARTS[part](args) | mark
        content = found(saved) | {part: result}  # other parts may have been run meanwhile
        saved.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(table(content, system), encoding="utf-8")
    print(table(content, system))


if __name__ == "__main__":
    main()
