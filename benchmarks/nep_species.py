"""NEP energy, forces and virial of a random alloy of 16 elements (UNEP-v1), against calorine.

    python benchmarks/nep_species.py DATA [--short]

DATA is a folder with ``nep/Song-2024-UNEP-v1-AgAlAuCrCuMgMoNiPbPdPtTaTiVWZr.txt``, as published.
"""

from __future__ import annotations

from common import Report, options
from nep_cases import UNEP, alloy, compare, data_argument

ELEMENTS = "Ag Al Au Cr Cu Mg Mo Ni Pb Pd Pt Ta Ti V W Zr".split()  # noqa: SIM905 - sixteen quotes help nobody
GOALS = {("reused", "float32"): 20.0}


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, data_argument)
    path = chosen.values.data / "nep" / UNEP
    report = Report(
        "nep_species", "NEP inference, 16 elements (UNEP-v1)", "calorine CPUNEP", chosen, ("calorine",)
    )
    for cells in [(6, 6, 7)] if chosen.short else [(6, 6, 7), (12, 13, 13)]:
        atoms = alloy(ELEMENTS, cells)
        goals = GOALS if len(atoms) < 2000 else {}
        label = f"16 elements, {len(atoms)} atoms"
        compare(report, chosen, path, atoms, kinds=("reused", "anew"), goals=goals, label=label)
    report.finish()


if __name__ == "__main__":
    main()
