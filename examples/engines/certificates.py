"""Small potentials for the bundled silicon data, exported to every program: what docs/certificates holds.

    python examples/engines/certificates.py docs/certificates

Only the certificates are kept; their numbers come from the programs themselves.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import forgefield as ff
from forgefield.files import make_folder, write_json

LAMMPS_ZBL = {"form": "lammps", "inner": 0.8, "outer": 1.6}
LINEAR = {"model": {"kind": "linear"}, "training": {"kind": "least_squares"}}
SO3 = {"kind": "so3", "n_max": 3, "l_max": 3, "cutoff": 4.5, "species_weighting": "atomic_number"}
NETWORK = {
    "descriptor": {"kind": "nep", "n_max_radial": 4, "n_max_angular": 4},
    "model": {"kind": "network", "hidden": [20]},
    "training": {"kind": "adamw", "epochs": 6},
}
POTENTIALS: dict[str, dict[str, Any]] = {
    "gpumd": NETWORK,
    "lammps": NETWORK,
    "lammps-snap": {"descriptor": {"kind": "snap", "two_j_max": 4}, "zbl": LAMMPS_ZBL, **LINEAR},
    "lammps-mliap": {"descriptor": SO3, **LINEAR},
    "lammps-pod": {"descriptor": {"kind": "pod"}, **LINEAR},
}


def certificate(target: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train, export and return the certificate."""
    with tempfile.TemporaryDirectory() as scratch:
        config = {"title": f"Silicon for {target}", "data": {"train": [str(ff.datasets.path("silicon"))]}}
        run = ff.train({**config, "seed": 1, **settings}, output=Path(scratch, "run"))
        files = run.potential.export(target, Path(scratch, "out"))
        content: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    del content["software"]["machine"]
    return content


if __name__ == "__main__":
    folder = make_folder(sys.argv[1])
    for name in sys.argv[2:] or POTENTIALS:
        content = certificate(name, POTENTIALS[name])
        worst = max(d["relative"] for d in content["largest_differences"].values())
        print(f"{name}: {content['engine']['name']} {content['engine']['version']}, {worst:.1e}")
        write_json(make_folder(folder / name) / "certificate.json", content)
