"""Tables of the closed loops on the pages of the properties, from the committed results.

A page has the lines ``<!-- closed loop: NAME -->`` and ``<!-- end -->``; what is between them is written here.

    python benchmarks/properties/closed_loop_docs.py            # write
    python benchmarks/properties/closed_loop_docs.py --check    # only say what differs
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from closed_loop_free_energy import DIFFERENCE, SHIFT
from closed_loop_system import ERRORS, RESULTS, find_system, system_names

from forgefield.files import write_text
from forgefield.properties.base import Quantity

PAGES = Path(__file__).resolve().parents[2] / "docs" / "properties"
TITLES = {"sw_si": "silicon", "eam_cu": "copper", "ionic_nacl": "rock salt"}
REST = {
    "eos": ("eos",),
    "elastic": ("elastic",),
    "phonons": ("phonons",),
    "surfaces": ("surfaces",),
    "defects": ("vacancy", "interstitial"),
    "short range": ("cold-curve", "dimer"),
}
"""Tables of the crystal at rest: properties."""
MOTION = {
    "structure": r"peak|neighbours",
    "diffusion": r"diffusion|viscosity|mean frequency",
    "conductivity": r"conductivity",
}
"""Tables of simulations: what names of their quantities have."""
SUMMARY = {
    "eos": "eos.md",
    "elastic": "elastic.md",
    "phonons": "phonons.md",
    "surfaces": "surfaces.md",
    "defects": "defects.md",
    "short range": "short_range.md",
    "structure": "structure.md",
    "diffusion": "diffusion.md",
    "conductivity": "conductivity.md",
    "free energy": "free_energy.md",
    "melting": "melting.md",
}
"""Tables and their pages."""
HEAD = (
    "| system | quantity | truth | trained | difference | allowed | within |",
    "|---|---|---|---|---|---|---|",
)
BLOCK = re.compile(r"(<!-- closed loop: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(kind: str, system: str) -> dict[str, Any]:
    """Return results, empty if there are none."""
    path = RESULTS / f"closed_loop_{kind}_{system}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def shown(value: float, error: float | None, factor: float = 1.0) -> str:
    """Return a number with its error."""
    return str(Quantity(value * factor, "", None if error is None else error * factor))


def line(system: str, what: str, values: tuple[str, str], difference: str, allowed: str, within: bool) -> str:
    """Return a row."""
    cells = (TITLES.get(system, system), what, *values, difference, allowed, "yes" if within else "**no**")
    return f"| {' | '.join(cells)} |"


def at_rest(system: str, properties: tuple[str, ...]) -> list[str]:
    """Return rows of the crystal at rest."""
    return [
        line(
            system,
            row["quantity"].replace("lowest", row["property"]) + f" [{row['unit'] or '1'}]",
            (f"{row['truth']:.5g}", f"{row['trained']:.5g}"),
            f"{100 * row['relative']:+.2f} %",
            f"{row['allowed_percent']:g} %",
            row["within"],
        )
        for row in load("statics", system).get("rows", [])
        if row["property"] in properties
    ]


def in_motion(system: str, pattern: str) -> list[str]:
    """Return rows of simulations."""
    found = []
    for what, row in load("dynamics", system).get("results", {}).items():
        if not re.search(pattern, what):
            continue
        small = row["unit"] == "m^2/s"
        factor, unit = (1e9, "1e-9 m²/s") if small else (1.0, row["unit"] or "1")
        (truth, truth_error), (trained, error) = row["truth"], row["trained"]
        change = f"{100 * (trained / truth - 1):+.1f} %"
        if "Boltzmann" in what:
            allowed = f"{find_system(system).tolerance(what):g} %"
        else:
            change += f", {(trained - truth) / (truth_error**2 + error**2) ** 0.5:+.1f} errors"
            allowed = f"{ERRORS:g} errors"
        texts = shown(truth, truth_error, factor), shown(trained, error, factor)
        found.append(line(system, f"{what} [{unit}]", texts, change, allowed, row["within"]))
    return found


def differences(system: str) -> list[str]:
    """Return rows of free energies compared directly."""
    direct = load("free_energy", system).get("direct")
    if direct is None:
        return []
    rows = []
    for phase in ("solid", "liquid"):
        value, error = (direct[phase][f"{k}_meV_per_atom"] for k in ("difference", "error"))
        what = f"F, {phase}, {direct['n_atoms']} atoms, {direct['temperature_K']:g} K [meV/atom]"
        rows.append(
            line(
                system,
                what,
                ("0", shown(value, error)),
                f"{value:+.2f} meV/atom",
                f"{DIFFERENCE:g}",
                abs(value) <= DIFFERENCE,
            )
        )
    return rows


def shift(system: str) -> list[str]:
    """Return the row of the melting point by free energies compared directly."""
    direct = load("free_energy", system).get("direct")
    if direct is None:
        return []
    value, error = direct["melting_shift_K"], direct["melting_shift_error_K"]
    limit = 0.01 * SHIFT * direct["temperature_K"]
    texts = "0", shown(value, error)
    return [
        line(
            system,
            "shift, direct comparison [K]",
            texts,
            f"{value:+.1f} K",
            f"{limit:.0f} K",
            abs(value) <= limit,
        )
    ]


def simulated(system: str, part: str, names: dict[str, str]) -> list[str]:
    """Return rows of what was simulated of both independently."""
    content = load("free_energy", system).get(part)
    if content is None or "first potential" in content.get("note", ""):
        return []
    rows = []
    for key, name in names.items():
        pair = [content[who]["quantities"].get(key) for who in ("truth", "trained")]
        if None in pair:
            continue
        (truth, truth_error, unit), (trained, error, _) = pair
        pull = (trained - truth) / (truth_error**2 + error**2) ** 0.5
        texts = shown(truth, truth_error), shown(trained, error)
        change = f"{trained - truth:+.3g} {unit}, {pull:+.1f} errors"
        rows.append(
            line(
                system,
                f"{name}, {content['n_atoms']} atoms [{unit}]",
                texts,
                change,
                f"{ERRORS:g} errors",
                abs(pull) <= ERRORS,
            )
        )
    return rows


def rows_of(name: str, system: str) -> list[str]:
    """Return the rows of one table and system."""
    if name in REST:
        return at_rest(system, REST[name])
    if name in MOTION:
        return in_motion(system, MOTION[name])
    if name == "free energy":
        both = {"helmholtz": "F of the crystal, cold", "helmholtz_final": "the same, hot, reversible scaling"}
        return differences(system) + simulated(system, "scaling", both)
    if name == "melting":
        absolute = {
            "melting_temperature": "absolute free energies",
            "latent_heat": "latent heat, absolute free energies",
        }
        slab = {"melting_temperature at zero pressure": "two phases in one cell"}
        swept = load("free_energy", system).get("hysteresis", {}).get("truth", {}).get("quantities", {})
        limits = {name: f"{name.replace('_', ' ')}, heating and cooling" for name in swept}
        parts = {"absolute": absolute, "coexistence": slab, "hysteresis": limits}
        return shift(system) + [
            row for part, names in parts.items() for row in simulated(system, part, names)
        ]
    raise ValueError(f"no such table: {name!r}")


def systems() -> list[str]:
    """Return the systems in the order of the tables."""
    return sorted(system_names(), key=lambda s: list(TITLES).index(s) if s in TITLES else len(TITLES))


def summary() -> list[str]:
    """Return a table of how many rows are within, and of the largest difference of each table."""
    order = systems()
    lines = [
        f"| table | {' | '.join(TITLES.get(s, s) for s in order)} |",
        "|" + "---|" * (len(order) + 1),
    ]
    for name, page in SUMMARY.items():
        cells = []
        for system in order:
            rows = [row.split(" | ") for row in rows_of(name, system)]
            good = sum("**no**" not in row[-1] for row in rows)
            worst = max((("**no**" in row[-1], *largest(row[4])) for row in rows), default=(False, 0.0, ""))
            cells.append(f"{good} of {len(rows)}, {worst[-1]}" if rows else "")
        lines.append(f"| [{name}]({page}) | {' | '.join(cells)} |")
    return lines


def largest(difference: str) -> tuple[float, str]:
    """Return the size of a difference and its text: in standard errors where there are some."""
    text = difference.rsplit(", ", maxsplit=1)[-1]
    return abs(float(text.split()[0])), text


def written(text: str) -> str:
    """Return a page with its tables."""

    def table(match: re.Match[str]) -> str:
        if match[2] == "summary":
            return "\n".join([match[1], *summary(), "", match[3]])
        rows = [row for system in systems() for row in rows_of(match[2], system)]
        return "\n".join([match[1], *HEAD, *rows, "", match[3]])

    return BLOCK.sub(table, text)


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for page in sorted(PAGES.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = written(before)
        if after != before:
            stale.append(page.name)
            if not arguments.check:
                write_text(page, after)
    print("differ:" if arguments.check else "written:", ", ".join(stale) or "none")
    if arguments.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
