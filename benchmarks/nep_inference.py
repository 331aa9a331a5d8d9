"""NEP energy, forces and virial with a kept neighbour list: silicon (5-body) and copper-gold, against calorine.

    python benchmarks/nep_inference.py DATA [--short]

DATA is a folder with ``nep/Si_2022_NEP4_5body.txt`` and the 16-element UNEP-v1 file, as published. calorine's CPUNEP
makes a neighbour list at every call and offers no other way; `nep_list.py` is the comparison where we do so, too.
"""

from __future__ import annotations

from common import Report, options
from nep_cases import SILICON, UNEP, alloy, compare, data_argument, silicon

GOALS = {("reused", "float32"): 80.0, ("reused", "float64"): 45.0}


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, data_argument)
    folder = chosen.values.data / "nep"
    report = Report(
        "nep_inference", "NEP inference, neighbour list kept", "calorine CPUNEP", chosen, ("calorine",)
    )
    kinds = ("reused", "skin")
    compare(report, chosen, folder / SILICON, silicon(5), kinds=kinds, goals=GOALS, label="Si, 1000 atoms")
    if not chosen.short:
        many = silicon(10)
        compare(report, chosen, folder / SILICON, many, kinds=kinds, goals={}, label="Si, 8000 atoms")
        pair = alloy(["Cu", "Au"], (6, 6, 7))
        compare(report, chosen, folder / UNEP, pair, kinds=kinds, goals={}, label="CuAu, 1008 atoms")
    report.finish()


if __name__ == "__main__":
    main()
