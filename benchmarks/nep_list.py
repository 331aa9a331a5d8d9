"""NEP energy, forces and virial with a new neighbour list at every call, against calorine.

    python benchmarks/nep_list.py DATA [--short]

DATA is a folder with ``nep/Si_2022_NEP4_5body.txt`` and the 16-element UNEP-v1 file, as published.
"""

from __future__ import annotations

from common import Report, options
from nep_cases import SILICON, UNEP, alloy, compare, data_argument, silicon

GOALS = {("anew", "float32"): 35.0}


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, data_argument)
    folder = chosen.values.data / "nep"
    report = Report(
        "nep_list", "NEP inference, neighbour list at every call", "calorine CPUNEP", chosen, ("calorine",)
    )
    kinds = ("anew",)
    compare(report, chosen, folder / SILICON, silicon(5), kinds=kinds, goals=GOALS, label="Si, 1000 atoms")
    if not chosen.short:
        many = silicon(10)
        compare(report, chosen, folder / SILICON, many, kinds=kinds, goals={}, label="Si, 8000 atoms")
        pair = alloy(["Cu", "Au"], (6, 6, 7))
        compare(report, chosen, folder / UNEP, pair, kinds=kinds, goals={}, label="CuAu, 1008 atoms")
    report.finish()


if __name__ == "__main__":
    main()
