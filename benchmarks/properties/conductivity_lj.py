"""Thermal conductivity of the Lennard-Jones liquid near its triple point: Green-Kubo against HNEMD.

Two roads that share the heat flux and nothing else: correlations of fluctuations in equilibrium, and the answer to a driving
force. Truncated and shifted at 2.5 sigma, density 0.8442, temperature 0.722, 108 atoms; reduced units in the table.

    python benchmarks/properties/conductivity_lj.py [--scale 1.0]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from free_energy_lj import EPSILON, SIGMA, crystal, lennard_jones

from forgefield.files import write_json, write_text
from forgefield.properties.conductivity_flux import TO_W_PER_M_K
from forgefield.properties.conductivity_gk import CONDUCTIVITY_GK
from forgefield.properties.conductivity_hnemd import CONDUCTIVITY_HNEMD
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.free_energy_potentials import Repulsion

RESULTS = Path(__file__).resolve().parent / "results"
DENSITY, TEMPERATURE, CUTOFF = 0.8442, 0.722, 2.5
FIELDS = (0.05, 0.1)
"""Driving forces, in 1/sigma."""


def main() -> None:
    """Melt, run both, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the length of the simulations")
    options = parser.parse_args()
    began = time.process_time()
    kelvin = TEMPERATURE * EPSILON / units.kB
    atoms = crystal(DENSITY, 3)
    field = Repulsion(atoms, lennard_jones, CUTOFF * SIGMA, skin=1.5)
    melt = DynamicsSettings(temperature=4.0 * kelvin, timestep=8.0, friction=0.02)
    hot = Dynamics(atoms, field, melt)
    hot.run(1500)
    atoms = hot.atoms()
    common: dict[str, Any] = {
        "temperature": kelvin,
        "timestep": 8.0,
        "equilibration": 10.0,
        "friction": 0.01,
        "interval": 16.0,
    }
    green = CONDUCTIVITY_GK(
        atoms, field, replicas=12, length=120.0 * options.scale, correlation_time=6.0, read_at=3.0, **common
    )
    driven = CONDUCTIVITY_HNEMD(
        atoms, field, fields=[f / SIGMA for f in FIELDS], length=480.0 * options.scale, settle=5.0, **common
    )
    mass = float(atoms.get_masses()[0])
    reduced = SIGMA**2 * np.sqrt(mass / EPSILON) / units.kB / TO_W_PER_M_K
    rows = [row("Green-Kubo", green, "conductivity", reduced)]
    rows.append(row("HNEMD", driven, "conductivity", reduced))
    rows += [
        row(f"HNEMD, driving force {f:g} / sigma", driven, f"conductivity F={f / SIGMA:g}", reduced)
        for f in FIELDS
    ]
    rows.append(row("HNEMD, across the driving force", driven, f"across F={FIELDS[1] / SIGMA:g}", reduced))
    pull = (rows[1]["value"] - rows[0]["value"]) / np.hypot(rows[0]["error"], rows[1]["error"])
    note = f"HNEMD less Green-Kubo: {pull:+.1f} of their common standard error."
    lines = ["| method | conductivity | T |", "|---|---|---|"]
    lines += [f"| {r['what']} | {r['value']:.2f} ± {r['error']:.2f} | {r['temperature']:.3f} |" for r in rows]
    head = [
        "# Thermal conductivity of the Lennard-Jones liquid, reduced units",
        "",
        f"Density {DENSITY}, temperature {TEMPERATURE}, {len(atoms)} atoms, cut off and shifted at {CUTOFF} sigma.",
        "",
    ]
    text = "\n".join([*head, *lines, "", note]) + "\n"
    print(text)
    content = {
        "density": DENSITY,
        "temperature": TEMPERATURE,
        "cutoff": CUTOFF,
        "n_atoms": len(atoms),
        "scale": options.scale,
        "cpu_seconds": round(time.process_time() - began, 1),
        "rows": rows,
        "pull": float(pull),
        "warnings": [*green.warnings, *driven.warnings],
    }
    write_json(RESULTS / "conductivity_lj.json", json.loads(json.dumps(content)))
    write_text(RESULTS / "conductivity_lj.md", text)


def row(what: str, result: Any, name: str, reduced: float) -> dict[str, Any]:
    """Return a line of the table."""
    temperatures = [q.value for key, q in result.quantities.items() if key.startswith("temperature")]
    quantity = result.quantities[name]
    return {
        "what": what,
        "value": float(quantity.value * reduced),
        "error": float(quantity.error * reduced),
        "temperature": float(np.mean(temperatures) * units.kB / EPSILON),
    }


if __name__ == "__main__":
    main()
