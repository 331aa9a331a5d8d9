"""The whole closed loop of one system: data, training, statics, motion, free energies; all its tables.

    python benchmarks/properties/closed_loop.py eam_cu -o FOLDER [--only statics,dynamics] [--again]

About ten minutes of one core, and as long again where conductivities are simulated. A potential that is in the folder and
results that are of it are kept, so that an interrupted loop goes on; `--again` makes everything anew.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from closed_loop_system import system_names

STAGES = ("data", "statics", "dynamics", "free_energy")


def main() -> None:
    """Run one script after another."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", choices=system_names())
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of data and potential")
    parser.add_argument("--only", default=",".join(STAGES), help="stages, with commas between")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    potential = arguments.output / "potential.ff"
    for stage in arguments.only.split(","):
        if stage not in STAGES:
            parser.error(f"--only: {stage!r} is none of {', '.join(STAGES)}")
        last = [str(potential), *([] if arguments.again else ["--missing"])]
        if stage == "data":
            if potential.exists() and not arguments.again:
                print(f"data: {potential} is there", flush=True)
                continue
            last = ["-o", str(arguments.output)]
        start, used = time.perf_counter(), processor()
        script = str(here / f"closed_loop_{stage}.py")
        subprocess.run([sys.executable, script, arguments.system, *last], check=True)
        print(
            f"{stage}: {processor() - used:.0f} s of processor time, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    subprocess.run([sys.executable, str(here / "closed_loop_docs.py")], check=True)


def processor() -> float:
    """Return the processor time of all scripts that have ended [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
