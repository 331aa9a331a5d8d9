"""Draw the picture of every property, as `forgefield property NAME ... -o FOLDER` writes it.

python docs/properties/draw_properties.py POTENTIAL [NAME ...]

POTENTIAL is one of silicon, ``demo/potential.ff`` in this documentation. The pictures go to ``images`` beside this script; all
simulations are short ones, to be looked at and not to be quoted. A NAME draws that one alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from shutil import copyfile
from typing import Any

from ase.build import bulk

import forgefield as ff
from forgefield.properties.registry import find_property
from forgefield.properties.relaxation import relax_cell

RUN = {"timestep": 2.0, "equilibration": 1.0, "length": 10.0, "supercell": [2, 2, 2]}
LIQUID = {**RUN, "temperature": 2500.0, "timestep": 1.0, "equilibration": 4.0}
WALK = {"timestep": 2.0, "steps": 400, "equilibration": 200, "target_steps": 1500}
DRAWN: dict[str, dict[str, Any]] = {
    "relax": {},
    "eos": {},
    "elastic": {},
    "surfaces": {"thickness": 12.0},
    "vacancy": {"length": 10.0},
    "interstitial": {"length": 10.0, "tries": 1},
    "dimer": {},
    "cold-curve": {},
    "md-certificate": {},
    "rdf": RUN | {"temperature": 1000.0},
    "msd": LIQUID,
    "vdos": RUN | {"temperature": 300.0, "interval": 6.0, "blocks": 4},
    "viscosity": LIQUID | {"interval": 5.0, "blocks": 4, "correlation_time": 1.0},
    "conductivity-bte": {"supercell": [2, 2, 2], "meshes": [5, 7, 9], "temperatures": [300.0, 600.0, 1000.0]},
    "conductivity-gk": LIQUID | {"replicas": 2, "correlation_time": 1.0},
    "conductivity-hnemd": LIQUID | {"fields": [1e-3, 2e-3]},
    "free-energy": WALK | {"temperature": 1000.0, "points": 7, "final_temperature": 1500.0},
    "melting": {"low": 300.0, "high": 3300.0, "interval": 300.0, "timestep": 2.0, "steps": 600, "equilibration": 300},
    "coexistence": {"repeat": [2, 2, 6], "temperature": 1500.0, "timestep": 2.0, "steps": 6000},
}  # fmt: skip
"""Settings of each."""
LARGE = {"free-energy", "melting"}
"""Start from 64 atoms; what else needs them makes its own supercell."""


def draw(name: str, potential: Path, folder: Path) -> Path:
    """Compute a property of diamond silicon at rest and keep its picture."""
    calculator = ff.load(potential).calculator(threads=1)
    cell = relax_cell(bulk("Si", "diamond", a=5.45, cubic=True), calculator)
    atoms = bulk("Si", "diamond", a=5.6) if name == "relax" else cell * (2, 2, 2) if name in LARGE else cell
    with tempfile.TemporaryDirectory() as place:
        find_property(name)(atoms, calculator, folder=place, **DRAWN[name])
        target = folder / f"{name}.png"
        copyfile(Path(place, f"{name}.png"), target)
    return target


def main(arguments: list[str]) -> int:
    """Draw those asked for, or all."""
    if not arguments or not Path(arguments[0]).is_file() or set(arguments[1:]) - set(DRAWN):
        print(f"{__doc__}\nNAME: {', '.join(DRAWN)}", file=sys.stderr)
        return 2
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    for name in arguments[1:] or DRAWN:
        print(f"wrote {draw(name, Path(arguments[0]), folder)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
