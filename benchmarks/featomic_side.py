"""The other side of the power spectrum: featomic in an interpreter of its own, one call for each line it is sent.

    PYTHON benchmarks/featomic_side.py STRUCTURE N_MAX L_MAX CUTOFF WIDTH

Needs featomic and ASE. Every line of input is answered by wall and processor time [s] of one calculation with
gradients, after a first line with the number of features and of gradients.
"""

from __future__ import annotations

import sys
import time

from ase.io import read
from featomic import SoapPowerSpectrum


def main() -> None:
    """Answer until there is no more input."""
    path, *numbers = sys.argv[1:]
    n_max, l_max, cutoff, width = int(numbers[0]), int(numbers[1]), float(numbers[2]), float(numbers[3])
    atoms = read(path)
    calculator = SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": cutoff}},
        density={"type": "Gaussian", "width": width},
        basis={
            "type": "TensorProduct",
            "max_angular": l_max,
            "radial": {"type": "Gto", "max_radial": n_max - 1},
        },
    )
    found = calculator.compute(atoms, gradients=["positions"])
    block = found.block(0)
    print(block.values.shape[1], block.gradient("positions").values.size, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        calculator.compute(atoms, gradients=["positions"])
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main()
