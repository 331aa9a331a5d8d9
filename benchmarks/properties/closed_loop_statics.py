"""Statics of a potential trained on a classical potential, against that potential itself: the second half of the loop.

Equation of state, elastic constants, phonons, surfaces, vacancy and interstitial of both, by the same code and with the
same settings; each relaxes its own crystal. What differs is the error of the training.

::

    python benchmarks/properties/closed_loop_statics.py sw_si FOLDER/potential.ff
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from closed_loop_data import SYSTEMS, truth

import forgefield as ff
from forgefield.files import write_json, write_text
from forgefield.properties.base import PropertyResult
from forgefield.properties.registry import find_property

RESULTS = Path(__file__).resolve().parent / "results"

ASKED: dict[str, dict[str, Any]] = {
    "eos": {},
    "elastic": {},
    "phonons": {"mesh": 40.0},
    "surfaces": {},
    "vacancy": {},
    "interstitial": {},
}
"""Settings of each property."""
SHOWN = {
    "eos": ("volume", "energy", "bulk_modulus", "bulk_modulus_derivative"),
    "elastic": ("c11", "c12", "c44", "bulk_modulus", "shear_modulus", "poisson_ratio"),
    "phonons": ("highest_frequency", "zero_point_energy", "free_energy_300K", "heat_capacity_300K"),
    "vacancy": ("lowest",),
    "interstitial": ("lowest",),
}
"""Quantities of the table; of a property not named here all."""


def compute(crystal: Atoms, calculator: Any) -> dict[str, PropertyResult]:
    """Return every property."""
    found = {}
    for name, settings in ASKED.items():
        start = time.process_time()
        found[name] = find_property(name)(crystal, calculator, relax=True, **settings)
        print(f"{name}: {time.process_time() - start:.1f} s", flush=True)
    return found


def compare(ours: dict[str, PropertyResult], exact: dict[str, PropertyResult]) -> list[dict[str, Any]]:
    """Return one row for each quantity both have."""
    rows = []
    for name, reference in exact.items():
        for key, quantity in reference.quantities.items():
            if key not in SHOWN.get(name, tuple(reference.quantities)) or key not in ours[name].quantities:
                continue
            value = ours[name].quantities[key]
            rows.append(
                {
                    "property": name,
                    "quantity": key,
                    "unit": quantity.unit,
                    "truth": quantity.value,
                    "trained": value.value,
                    "difference": value.value - quantity.value,
                    "relative": (value.value - quantity.value) / abs(quantity.value),
                }
            )
    frequencies = [r["phonons"].tables["special_points"].values for r in (ours, exact)]
    difference = np.sqrt(np.mean((frequencies[0] - frequencies[1]) ** 2))
    rows.append(
        {
            "property": "phonons",
            "quantity": "RMS over special points",
            "unit": "THz",
            "truth": 0.0,
            "trained": float(difference),
            "difference": float(difference),
            "relative": float(difference / np.sqrt(np.mean(frequencies[1] ** 2))),
        }
    )
    return rows


def table(title: str, rows: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    lines = [
        f"# {title}",
        "",
        "| property | quantity | truth | trained | difference |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['property']} | {r['quantity']} [{r['unit'] or '1'}] | {r['truth']:.5g} | {r['trained']:.5g} | "
        f"{100 * r['relative']:+.2f} % |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("potential", type=Path)
    arguments = parser.parse_args()
    system = SYSTEMS[arguments.system]
    potential = ff.load(arguments.potential)
    crystal = bulk(system.element, system.lattice, a=system.length)
    ours = compute(crystal, potential.calculator(dtype="float64", threads=1))
    exact = compute(crystal, truth(system))
    rows = compare(ours, exact)
    title = f"Statics of a potential trained on {system.file}, against {system.file} itself"
    text = table(title, rows)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    content = {
        "system": arguments.system,
        "truth": system.file,
        "rows": rows,
        "warnings": {k: list(r.warnings) for k, r in ours.items()},
    }
    write_json(RESULTS / f"closed_loop_statics_{arguments.system}.json", content)
    write_text(RESULTS / f"closed_loop_statics_{arguments.system}.md", text)


if __name__ == "__main__":
    main()
