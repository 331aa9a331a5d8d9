"""Collect the finished calculations into one compressed extended-XYZ file with a fixed split.

    python collect.py structures.extxyz --results results --output silicon.extxyz.xz

The split (70 % train, 20 % valid, 10 % test) is seeded and stratified by group; structures of one
family (see `generate.py`) stay together, and the isolated atom is always in the training set.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

SPLIT_SEED = 7
SHARES = {"train": 0.7, "valid": 0.2, "test": 0.1}


def labelled(frame: Atoms, results: Path) -> Atoms | None:
    """Return the structure with its labels, or None if it was not computed."""
    path = results / f"{frame.info['name']}.json"
    if not path.exists():
        return None
    labels = json.loads(path.read_text())
    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    atoms.info.update(name=frame.info["name"], config_type=frame.info["config_type"])
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=labels["energy"],
        forces=np.array(labels["forces"]),
        stress=np.array(labels["stress"]),
    )
    return atoms


def assign_splits(groups: list[str], families: list[str], seed: int = SPLIT_SEED) -> list[str]:
    """Return the split of each structure.

    In each group, families are shuffled and dealt one by one, the largest first, to the split that
    is furthest below its share, in the group and (with half the weight) in the whole set.
    """
    generator = np.random.default_rng(seed)
    splits = np.empty(len(groups), dtype=object)
    total = dict.fromkeys(SHARES, 0.0)
    for group in sorted(set(groups)):
        members = [index for index, name in enumerate(groups) if name == group]
        inside = dict.fromkeys(SHARES, 0.0)
        by_family: dict[str, list[int]] = {}
        for index in members:
            by_family.setdefault(families[index], []).append(index)
        dealt = list(by_family.values())
        generator.shuffle(dealt)
        dealt.sort(key=len, reverse=True)
        for indices in dealt:
            size = len(indices)
            choice = "train" if group == "IsolatedAtom" else _neediest(size, inside, total)
            inside[choice] += size
            total[choice] += size
            splits[indices] = choice
    return [str(name) for name in splits]


def _neediest(size: int, inside: dict[str, float], total: dict[str, float]) -> str:
    """Split furthest below its share once ``size`` more structures are dealt."""
    in_group, in_all = sum(inside.values()) + size, sum(total.values()) + size

    def missing(name: str) -> float:
        return SHARES[name] * in_group - inside[name] + 0.5 * (SHARES[name] * in_all - total[name])

    return max(SHARES, key=missing)


def main() -> None:
    """Write the data file and print a table of groups and splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=Path("silicon.extxyz.xz"))
    arguments = parser.parse_args()
    planned = ase.io.read(arguments.structures, index=":")
    found, families = [], []
    for frame in planned:
        atoms = labelled(frame, arguments.results)
        if atoms is not None:
            found.append(atoms)
            families.append(str(frame.info["family"]))
    groups = [str(atoms.info["config_type"]) for atoms in found]
    for atoms, split in zip(found, assign_splits(groups, families), strict=True):
        atoms.info["split"] = split
    found.sort(key=lambda atoms: (atoms.info["config_type"], atoms.info["name"]))
    write(found, arguments.output)
    print_table(found, len(planned), arguments.output)


def write(frames: list[Atoms], path: Path) -> None:
    """Write extended XYZ, compressed with xz."""
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))


def print_table(frames: list[Atoms], n_planned: int, path: Path) -> None:
    """Print a Markdown table of the groups."""
    print("| group | structures | atoms per cell | train | valid | test |")
    print("|---|---|---|---|---|---|")
    groups = sorted({str(atoms.info["config_type"]) for atoms in frames})
    for group in [*groups, "all"]:
        chosen = [atoms for atoms in frames if group in (atoms.info["config_type"], "all")]
        sizes = ", ".join(str(size) for size in sorted({len(atoms) for atoms in chosen}))
        counts = [sum(atoms.info["split"] == name for atoms in chosen) for name in SHARES]
        print(f"| {group} | {len(chosen)} | {sizes} | {counts[0]} | {counts[1]} | {counts[2]} |")
    n_atoms = sum(len(atoms) for atoms in frames)
    print(f"\n{len(frames)} of {n_planned} planned structures, {n_atoms} atoms, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
