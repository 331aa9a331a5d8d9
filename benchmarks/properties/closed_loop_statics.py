"""Statics of a potential trained on a classical potential, against that potential itself: the second half of the loop.

Equation of state, elastic constants, phonons, surfaces, vacancy and interstitial of both, by the same code and with the
same settings; each relaxes its own crystal. What differs is the error of the training; what is allowed was set before.
Then the crystal crushed and torn apart, and pairs of atoms alone (`short_range`).

::

    python benchmarks/properties/closed_loop_statics.py sw_si FOLDER/potential.ff
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from closed_loop_system import RESULTS, System, checksum, find_system, system_names
from numpy.typing import NDArray

import forgefield as ff
from forgefield.files import write_json, write_text
from forgefield.properties.base import PropertyResult
from forgefield.properties.registry import find_property
from forgefield.properties.relaxation import relax_cell
from forgefield.properties.short_range import cold_curve, dimer

SHOWN = {
    "eos": ("volume", "energy", "bulk_modulus", "bulk_modulus_derivative"),
    "elastic": ("c11", "c12", "c44", "bulk_modulus", "shear_modulus", "poisson_ratio"),
    "phonons": ("highest_frequency", "zero_point_energy", "free_energy_300K", "heat_capacity_300K"),
}
"""Quantities of the table; of point defects the relaxed energies, or the lowest alone where many are tried."""

SCALES = np.linspace(0.85, 1.25, 41)
"""Of the crystal's lengths: from what shocks reach to where bonds have parted."""
DISTANCES = np.linspace(1.0, 8.0, 141)
"""Of two atoms [Å]."""
COLLISION = 2.0
"""Energies of two atoms that are compared [eV]: higher ones no simulation meets."""


def compute(system: System, calculator: Any) -> dict[str, PropertyResult]:
    """Return every property; in a compound a defect takes its atom from the crystal, at the mean energy of its atoms."""
    found: dict[str, PropertyResult] = {}
    for name, given in system.statics.items():
        start = time.process_time()
        settings = dict(given)
        if name in ("vacancy", "interstitial") and len(system.elements) > 1:
            settings["chemical_potentials"] = dict.fromkeys(system.elements, found["eos"]["energy"])
        crystal = system.primitive
        found[name] = find_property(name)(crystal, calculator, relax=True, **settings)
        print(f"{name}: {time.process_time() - start:.1f} s", flush=True)
    return found


def wanted(system: System, name: str, key: str) -> bool:
    """Tell whether a quantity is in the table."""
    if name in ("vacancy", "interstitial"):
        return key.endswith(" relaxed") if len(system.elements) > 1 else key == "lowest"
    return key in SHOWN.get(name, (key,))


def compare(
    system: System, ours: dict[str, PropertyResult], exact: dict[str, PropertyResult]
) -> list[dict[str, Any]]:
    """Return one row for each quantity both have."""
    rows = []
    for name, reference in exact.items():
        for key, quantity in reference.quantities.items():
            if not wanted(system, name, key) or key not in ours[name].quantities:
                continue
            value = ours[name].quantities[key]
            rows.append(row(system, name, key, quantity.unit, quantity.value, value.value))
    frequencies = [r["phonons"].tables["special_points"].values for r in (ours, exact)]
    difference, scale = rms(frequencies[0] - frequencies[1]), rms(frequencies[1])
    last = row(system, "phonons", "RMS over special points", "THz", 0.0, difference, scale)
    return [*rows, last]


def row(
    system: System, name: str, key: str, unit: str, truth: float, trained: float, scale: float | None = None
) -> dict[str, Any]:
    """Return a line of the table; `scale` is what the difference is relative to, the truth by default."""
    relative = (trained - truth) / abs(truth if scale is None else scale)
    allowed = system.tolerance(f"{name} {key}")
    return {
        "property": name,
        "quantity": key,
        "unit": unit,
        "truth": truth,
        "trained": trained,
        "difference": trained - truth,
        "relative": relative,
        "allowed_percent": allowed,
        "within": bool(abs(100.0 * relative) <= allowed),
    }


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    good = sum(r["within"] for r in rows)
    lines = [
        f"# {title}",
        "",
        f"{good} of {len(rows)} within what is allowed.",
        "",
        "| property | quantity | truth | trained | difference | allowed | within |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['property']} | {r['quantity']} [{r['unit'] or '1'}] | {r['truth']:.5g} | {r['trained']:.5g} | "
        f"{100 * r['relative']:+.2f} % | {r['allowed_percent']:g} % | {'yes' if r['within'] else 'no'} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def short_range(system: System, ours: Any, exact: Any) -> list[dict[str, Any]]:
    """Return a row for the crystal under large strains, and one for each pair of atoms alone.

    Energies are compared, from that of the crystal at rest and of the atoms apart: root mean square of the difference, relative
    to that of the energies.
    """
    rows = []
    curves = [cold_curve(relax_cell(system.primitive, c), c, SCALES)[0].energies for c in (ours, exact)]
    rise = [e - e[np.argmin(np.abs(SCALES - 1.0))] for e in curves]
    what = f"RMS of energies, {SCALES[0]:g} to {SCALES[-1]:g} of the length"
    rows.append(row(system, "cold-curve", what, "eV/atom", 0.0, rms(rise[0] - rise[1]), rms(rise[1])))
    for pair in combinations_with_replacement(system.elements, 2):
        known, true = (dimer(*pair, c, DISTANCES).energies for c in (ours, exact))
        wall = max(DISTANCES[true >= COLLISION], default=0.0)
        met = np.greater(DISTANCES, wall)  # Born and Mayer's ions attract closer in
        what = f"{'-'.join(pair)}, RMS of energies up to {COLLISION:g} eV"
        rows.append(row(system, "dimer", what, "eV", 0.0, rms(known[met] - true[met]), rms(true[met])))
    return rows


def rms(values: NDArray[np.float64]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values * values)))


def main() -> None:
    """Compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", choices=system_names())
    parser.add_argument("potential", type=Path)
    parser.add_argument("--missing", action="store_true", help="not again what is there of this potential")
    arguments = parser.parse_args()
    saved = RESULTS / f"closed_loop_statics_{arguments.system}.json"
    mark = checksum(arguments.potential)
    if arguments.missing and saved.exists() and json.loads(saved.read_text()).get("potential") == mark:
        print(f"{saved.name} is of this potential")
        return
    system = find_system(arguments.system)
    start = time.process_time()
    potential = ff.load(arguments.potential)
    calculators = potential.calculator(dtype="float64", threads=1), system.calculator()
    ours, exact = (compute(system, calculator) for calculator in calculators)
    rows = compare(system, ours, exact) + short_range(system, *calculators)
    text = table(f"Statics of a potential trained on {system.title}, against {system.title} itself", rows)
    print(text)
    content = {
        "system": arguments.system,
        "truth": system.title,
        "potential": mark,
        "cpu_seconds": round(time.process_time() - start, 1),
        "rows": rows,
        "warnings": {k: list(r.warnings) for k, r in ours.items()},
        "warnings_truth": {k: list(r.warnings) for k, r in exact.items()},
    }
    write_json(saved, content)
    write_text(saved.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
