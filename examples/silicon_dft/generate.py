"""Generate the structures of the silicon data set; the same seed gives the same file.

    python generate.py --output structures.extxyz

Each structure carries ``name`` (unique), ``config_type`` (group), ``grid`` (its k grid) and
``family``: structures of one family are near relatives and stay on one side of the split.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from crystals import betasn, deform, diamond, slab
from qe import SETTINGS, SOLID_K_SPACING, SYMMETRIC_GROUPS, k_grid
from trajectories import snapshots

SEED = 20240917
RATTLE = 0.10
"""Standard deviation of the normal displacements of the perturbed copies [Å]."""
COARSE = (-0.10, -0.08, -0.06, -0.04, -0.02, 0.02, 0.04, 0.06, 0.08, 0.10)
POSITIVE = tuple(size for size in COARSE if size > 0.0)
"""Strains of modes whose two signs are equivalent by symmetry."""
VOLUMETRIC = (-0.10, -0.08, -0.06, -0.05, -0.04, -0.03, -0.02, -0.01, -0.005, 0.0)
VOLUMETRIC += tuple(-size for size in VOLUMETRIC[-2::-1])
FINE_STEP = 0.005
"""Spacing of the closely spaced strains from which the stress test takes finite differences."""

DIAMOND_MODES = {
    "uniaxial_x": COARSE,
    "uniaxial_110": COARSE,
    "uniaxial_111": COARSE,
    "biaxial_xy": COARSE,
    "tetragonal": COARSE,
    "trigonal": COARSE,
    "shear_xy": POSITIVE,
}
BETASN_MODES = {
    "uniaxial_x": COARSE,
    "uniaxial_z": COARSE,
    "biaxial_xy": COARSE,
    "biaxial_xz": COARSE,
    "shear_xy": POSITIVE,
    "shear_xz": POSITIVE,
}
DIAMOND_FINE = {"uniaxial_x": 0.04, "biaxial_xy": -0.04, "shear_xy": 0.06, "uniaxial_111": 0.08}
BETASN_FINE = {"uniaxial_z": 0.04, "biaxial_xy": -0.04, "shear_xz": 0.06}
LATE = re.compile(r"-(16atoms.*-3|15atoms-[89]|15atoms-1[01]|(001|110|111)(_2x1)?-5)$|_rattled-8atoms")
"""Names of structures that are computed last: they add numbers, not kinds."""


def percent(size: float) -> str:
    """Write a strain as a part of a name: 0.045 -> 'p04.5'."""
    return f"{'m' if size < 0 else 'p'}{abs(100.0 * size):04.1f}"


class Collection:
    """Structures with unique names."""

    def __init__(self) -> None:
        self.frames: list[Atoms] = []
        self.names: set[str] = set()

    def add(self, atoms: Atoms, group: str, tag: str, grid: tuple[int, int, int], family: str = "") -> None:
        """Append a structure named ``group-tag``; ``family`` defaults to its name."""
        name = f"{group}-{tag}"
        if name in self.names:
            raise ValueError(f"two structures are called {name!r}")
        self.names.add(name)
        frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        frame.info.update(name=name, config_type=group, grid=np.array(grid), family=family or name)
        self.frames.append(frame)


def add_strains(
    out: Collection,
    phase: str,
    cell: Atoms,
    modes: dict[str, tuple[float, ...]],
    fine: dict[str, float],
) -> None:
    """Deformed cells and the volumetric series; one k grid for the series, that of ``cell``."""
    grid = k_grid(cell, SETTINGS.k_spacing)
    for size in VOLUMETRIC:
        family = f"{phase}_eos-origin" if abs(size) <= FINE_STEP else ""
        out.add(deform(cell, "volumetric", size), f"{phase}_eos", percent(size), grid, family)
    for mode, sizes in modes.items():
        for size in sizes:
            family = f"{phase}_strain-{mode}-fine" if fine.get(mode) == size else ""
            out.add(deform(cell, mode, size), f"{phase}_strain", f"{mode}-{percent(size)}", grid, family)
    for mode, centre in fine.items():
        for size in (centre - FINE_STEP, centre + FINE_STEP):
            family = f"{phase}_strain-{mode}-fine"
            out.add(deform(cell, mode, size), f"{phase}_strain", f"{mode}-{percent(size)}", grid, family)


def add_rattled(
    out: Collection, phase: str, cell: Atoms, modes: dict[str, tuple[float, ...]], seed: int
) -> None:
    """Perturbed copies of the deformed cells, and of the undeformed one."""
    generator = np.random.default_rng(seed)
    grid = k_grid(cell, SETTINGS.k_spacing)
    plan = [("volumetric", 0.0)] + [(mode, size) for mode, sizes in modes.items() for size in sizes]
    for mode, size in plan:
        frame = deform(cell, mode, size)
        frame.positions += generator.normal(scale=RATTLE, size=frame.positions.shape)
        out.add(frame, f"{phase}_strain_rattled", f"{len(cell)}atoms-{mode}-{percent(size)}", grid)


def add_thermal(out: Collection, n_atoms: int, per_run: int, seed: int) -> None:
    """Solid at four temperatures, liquid at three, each at three volumes."""
    for temperature in (300, 600, 1200, 1800):
        for index, stretch in enumerate((-0.012, 0.0, 0.012)):
            cell = deform(diamond(n_atoms), "volumetric", 4.0e-6 * temperature + stretch)
            run = snapshots(cell, temperature, per_run, seed=seed + temperature + index)
            add_run(out, run, f"solid_{temperature}K", f"{n_atoms}atoms-{percent(stretch)}")
    for temperature in (2000, 2500, 3000):
        for index, volume in enumerate((18.0, 19.0, 20.2)):
            cell = diamond(n_atoms)
            stretch = (n_atoms * volume / cell.get_volume()) ** (1.0 / 3.0) - 1.0
            cell = deform(cell, "volumetric", stretch)
            run = snapshots(cell, temperature, per_run, seed=seed + temperature + index, melt=5000.0)
            add_run(out, run, "liquid", f"{n_atoms}atoms-{temperature}K-{volume}A3")


def add_run(out: Collection, run: list[Atoms], group: str, tag: str) -> None:
    """Add the snapshots of one trajectory."""
    spacing = SETTINGS.k_spacing if group == "liquid" else SOLID_K_SPACING
    for index, frame in enumerate(run):
        out.add(frame, group, f"{tag}-{index}", k_grid(frame, spacing))


def add_defects(out: Collection, seed: int) -> None:
    """Vacancies in 16- and 32-atom cells and four surfaces, all rattled."""
    generator = np.random.default_rng(seed)
    for n_atoms, count in ((16, 12), (32, 2)):
        for index in range(count):
            frame = deform(diamond(n_atoms), "volumetric", generator.uniform(-0.02, 0.02))
            del frame[int(generator.integers(n_atoms))]
            frame.positions += generator.normal(scale=0.05 + 0.05 * (index % 2), size=frame.positions.shape)
            out.add(frame, "vacancy", f"{n_atoms - 1}atoms-{index}", k_grid(frame, SETTINGS.k_spacing))
    for kind in ("001", "001_2x1", "110", "111"):
        for index in range(6):
            frame = slab(kind)
            nx, ny, _ = k_grid(frame, SETTINGS.k_spacing)
            if index:
                frame.positions += generator.normal(scale=0.025 * index, size=frame.positions.shape)
            out.add(frame, "surface", f"{kind}-{index}", (nx, ny, 1))


def build(seed: int = SEED) -> list[Atoms]:
    """Return all structures, ordered so that every group grows at the same relative pace."""
    out = Collection()
    add_strains(out, "diamond", diamond(2), DIAMOND_MODES, DIAMOND_FINE)
    add_strains(out, "betasn", betasn(), BETASN_MODES, BETASN_FINE)
    rattled = {mode: sizes for mode, sizes in DIAMOND_MODES.items() if mode != "tetragonal"}
    add_rattled(out, "diamond", diamond(4), rattled, seed + 1)
    add_rattled(out, "diamond", diamond(8), {"uniaxial_x": COARSE[1::3], "trigonal": COARSE[::3]}, seed + 2)
    add_rattled(out, "betasn", betasn(), BETASN_MODES, seed + 3)
    add_thermal(out, 16, 4, seed=1000)
    add_defects(out, seed + 4)
    atom = Atoms("Si", positions=[[6.0, 6.0, 6.0]], cell=[12.0, 12.1, 12.2], pbc=True)
    out.add(atom, "IsolatedAtom", "0", (1, 1, 1))
    add_large(out, seed=5000)
    return order(out.frames)


def add_large(out: Collection, seed: int) -> None:
    """Few 32- and 64-atom snapshots."""
    for n_atoms in (32, 64):
        for temperature, melt in ((1200, 0.0), (2500, 5000.0)):
            run = snapshots(diamond(n_atoms), temperature, 1, seed=seed + temperature + n_atoms, melt=melt)
            add_run(out, run, "liquid" if melt else f"solid_{temperature}K", f"{n_atoms}atoms-{temperature}K")


def order(frames: list[Atoms]) -> list[Atoms]:
    """Sort so that an interrupted run leaves a usable set.

    First the closely spaced strains that the stress test needs, then the other perfect crystals,
    then every group at the same relative pace (shuffled within, seeded), last the largest cells.
    """
    generator = np.random.default_rng(SEED)
    keys = np.empty(len(frames))
    groups = np.array([frame.info["config_type"] for frame in frames])
    for group in sorted(set(groups)):
        members = np.flatnonzero(groups == group)
        keys[members] = generator.permutation(len(members)) / len(members)
    for index, frame in enumerate(frames):
        if frame.info["family"].endswith(("-fine", "-origin")):
            keys[index] = -2.0
        elif frame.info["config_type"] in SYMMETRIC_GROUPS or len(frame) == 1:
            keys[index] -= 1.0
        elif len(frame) > 16 or LATE.search(frame.info["name"]):
            keys[index] += 1.0
    return [frames[index] for index in np.argsort(keys, kind="stable")]


def main() -> None:
    """Write the structures and print the size of each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("structures.extxyz"))
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    frames = build(arguments.seed)
    ase.io.write(arguments.output, frames, format="extxyz")
    groups = [frame.info["config_type"] for frame in frames]
    for group in dict.fromkeys(groups):
        print(f"{group:28s}{groups.count(group):5d}")
    print(f"{'all':28s}{len(frames):5d}")


if __name__ == "__main__":
    main()
