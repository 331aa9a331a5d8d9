"""The whole closed loop of one system: data, training, statics, motion, free energies; all its tables.

    python benchmarks/properties/closed_loop.py eam_cu -o FOLDER [--only statics,dynamics]

About ten minutes of one core, and as long again where conductivities are simulated.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from closed_loop_system import system_names

STAGES = ("data", "statics", "dynamics", "free_energy")


def main() -> None:
    """Run one script after another."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", choices=system_names())
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of data and potential")
    parser.add_argument("--only", default=",".join(STAGES), help="stages, with commas between")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    potential = str(arguments.output / "potential.ff")
    for stage in arguments.only.split(","):
        if stage not in STAGES:
            parser.error(f"--only: {stage!r} is none of {', '.join(STAGES)}")
        last = ["-o", str(arguments.output)] if stage == "data" else [potential]
        script = str(here / f"closed_loop_{stage}.py")
        subprocess.run([sys.executable, script, arguments.system, *last], check=True)


if __name__ == "__main__":
    main()
