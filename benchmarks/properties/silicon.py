"""Properties of the potential trained on the bundled silicon, against DFT with the settings of its training data.

Equation of state and elastic constants of diamond and the equation of state of beta-tin silicon; phonon frequencies of
diamond at the points a 2 x 2 x 2 cell holds exactly. The references are `silicon_reference.json` of the package.

::

    python benchmarks/properties/silicon.py demo/potential.ff
"""

from __future__ import annotations

import argparse
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

import forgefield as ff
from forgefield.files import write_json, write_text
from forgefield.properties.phonons import phonons
from forgefield.properties.registry import find_property
from forgefield.properties.relaxation import relax_cell

RESULTS = Path(__file__).resolve().parent / "results"
POINTS = {"gamma": (0.0, 0.0, 0.0), "x": (0.5, 0.5, 0.0), "l": (0.5, 0.0, 0.0)}
"""In units of the reciprocal vectors of the primitive cell."""


def row(name: str, unit: str, dft: float, ours: float, error: float | None = None) -> dict[str, Any]:
    """Return one line of the table."""
    return {
        "quantity": name,
        "unit": unit,
        "dft": dft,
        "potential": ours,
        "error_bar": error,
        "difference": ours - dft,
    }


def beta_tin(a: float, c: float) -> Atoms:
    """Return the body-centred tetragonal cell of four atoms."""
    places = [(0, 0, 0), (0, 0.5, 0.25), (0.5, 0.5, 0.5), (0.5, 0, 0.75)]
    return Atoms("Si4", cell=[a, a, c], scaled_positions=places, pbc=True)


def compare(calculator: Any, dft: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    rows = []
    diamond = bulk("Si", "diamond", a=dft["diamond"]["a0"])
    reference = dft["diamond"]["eos"]
    eos = find_property("eos")(diamond, calculator)
    for name, unit in {"volume": "Å^3/atom", "bulk_modulus": "GPa", "bulk_modulus_derivative": ""}.items():
        q = eos.quantities[name]
        rows.append(row(f"diamond {name}", unit, reference[name], q.value, q.error))
    for ions in ("relaxed", "clamped"):
        elastic = find_property("elastic")(diamond, calculator, relax=True, ions=ions)
        for name in ("c11", "c12", "c44") if ions == "relaxed" else ("c44",):
            key = name if ions == "relaxed" else f"{name}_clamped"
            q = elastic.quantities[name]
            rows.append(row(f"diamond {key}", "GPa", dft["diamond"]["elastic"][key], q.value, q.error))
    tin = dft["betasn"]
    eos_tin = find_property("eos")(beta_tin(tin["a"], tin["c"]), calculator, ions="shape")
    q = eos_tin.quantities["volume"]
    rows.append(row("beta-tin volume", "Å^3/atom", tin["volume"], q.value, q.error))
    above = eos_tin["energy"] - eos["energy"]
    rows.append(row("beta-tin energy above diamond", "eV/atom", tin["energy_above_diamond"], above))
    at_rest = relax_cell(diamond, calculator, force_tolerance=1e-4)
    found = phonons(at_rest, calculator, supercell=(2, 2, 2), displacement=0.02)
    for point, q in POINTS.items():
        ours = np.sort(found.frequencies([q])[0])
        exact = np.sort(dft["diamond"]["phonons"][point])
        kept = [k for k in range(6) if exact[k] > 0.01 and (k == 0 or exact[k] - exact[k - 1] > 1e-3)]
        rows += [
            row(f"diamond phonon {point.upper()} {k + 1}", "THz", float(exact[k]), float(ours[k]))
            for k in kept
        ]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    lines = [
        "# Silicon: the bundled potential against DFT (PBE) with the settings of its training data",
        "",
        "| quantity | DFT | potential | difference |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['quantity']} [{r['unit'] or '1'}] | {r['dft']:.5g} | {r['potential']:.5g} | "
        f"{100 * r['difference'] / r['dft']:+.1f} % |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("potential", type=Path)
    arguments = parser.parse_args()
    text = resources.files("forgefield.datasets").joinpath("silicon_reference.json").read_text("utf-8")
    calculator = ff.load(arguments.potential).calculator(dtype="float64", threads=1)
    rows = compare(calculator, json.loads(text))
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "silicon.json", {"potential": arguments.potential.name, "rows": rows})
    write_text(RESULTS / "silicon.md", table(rows))


if __name__ == "__main__":
    main()
