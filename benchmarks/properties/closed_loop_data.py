"""Training data of a classical potential, and a potential trained on it: the first half of a closed loop.

A classical potential that LAMMPS ships is the truth: it can be asked for anything, so that every property of a potential
trained on it has an exact reference, and what differs is the error of training and of nothing else. The set covers
what such properties need: strained and perturbed cells, hot crystals at several volumes, the melt, vacancies,
interstitials, surfaces and compressed cells. What is the truth is said in a file of the folder `systems`.

::

    python benchmarks/properties/closed_loop_data.py sw_si -o FOLDER          # train.xyz, potential.ff
    python benchmarks/properties/closed_loop_data.py eam_cu -o FOLDER --no-train
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import surface
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from closed_loop_system import System, find_system, system_names

import forgefield as ff
from forgefield.api.init import suggest
from forgefield.api.recipe import QUALITIES
from forgefield.properties.dynamics import Dynamics, DynamicsSettings

SEED = 20
FLAT_SHEAR = np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])

# ---- structures ------------------------------------------------------------------------------------------------


class Collector:
    """Labels structures and keeps them, sparing those with forces no dynamics would meet."""

    def __init__(self, system: System, seed: int) -> None:
        self.system = system
        self.calculator = system.calculator()
        self.rng = np.random.default_rng(seed)
        self.frames: list[Atoms] = []

    def add(self, atoms: Atoms, group: str, largest: float = 25.0) -> None:
        """Label a copy, unless a force is above `largest` [eV/Å]; surfaces and clusters are periodic with vacuum."""
        copy = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        copy.calc = self.calculator
        forces = copy.get_forces()
        if np.abs(forces).max() > largest:
            return
        results = {"energy": copy.get_potential_energy(), "forces": forces, "stress": copy.get_stress()}
        copy.calc = SinglePointCalculator(copy, **{k: np.array(v) for k, v in results.items()})
        copy.info["config_type"] = group
        self.frames.append(copy)

    def strain(self, atoms: Atoms, size: float, normal: float = 0.0) -> Atoms:
        """Return a copy under a random strain, and an isotropic one of `normal`."""
        e = size * self.rng.uniform(-1, 1, (3, 3))
        copy = atoms.copy()
        copy.set_cell(copy.cell.array @ (np.eye(3) * (1 + normal) + 0.5 * (e + e.T)), scale_atoms=True)
        return copy

    def rattle(self, atoms: Atoms, width: float) -> Atoms:
        """Return a copy with normal displacements."""
        copy = atoms.copy()
        copy.positions += width * self.rng.standard_normal((len(copy), 3))
        return copy

    def simulate(
        self,
        atoms: Atoms,
        temperature: float,
        group: str,
        *,
        frames: int,
        start: float = 0.0,
        gap: int = 60,
        settle: int = 500,
    ) -> None:
        """Collect frames of Langevin dynamics after `settle` steps; `start` [K] melts the structure before."""
        atoms = atoms.copy()
        field = self.system.field(atoms)

        def run(kelvin: float, friction: float, steps: int) -> None:
            nonlocal atoms
            seed = int(self.rng.integers(2**31))
            bath = {"timestep": 2.0, "temperature": kelvin, "friction": friction, "seed": seed}
            dynamics = Dynamics(atoms, field, DynamicsSettings.parse(bath))
            dynamics.run(steps, every=steps)
            atoms = dynamics.atoms()

        if start:
            run(start, 0.02, 1500)
        if settle:
            run(temperature, 0.02, settle)
        for _ in range(frames):
            run(temperature, 0.01, gap)
            self.add(atoms, group)


def still(c: Collector) -> None:
    """Add crystals: volumes, strains, displacements; close neighbours."""
    cube, primitive = c.system.crystal, c.system.primitive
    for normal in np.linspace(-0.12, 0.12, 17):
        c.add(c.strain(cube, 0.0, float(normal)), "volume")
    for size in np.repeat([0.01, 0.03, 0.06], 10):
        c.add(c.strain(primitive, float(size)), "strain")
        c.add(c.rattle(c.strain(cube, float(size)), 0.02), "strain")
    for width in np.repeat([0.03, 0.08, 0.15, 0.25], 8):
        c.add(c.rattle(c.strain(cube, 0.02), float(width)), "perturbed")
    for normal in np.repeat(np.linspace(-0.14, -0.08, 4), 3):
        c.add(c.rattle(c.strain(cube, 0.0, float(normal)), 0.05), "compressed")


def near(c: Collector) -> None:
    """Add crystals near equilibrium, which elastic constants and force constants are made of."""
    cube, primitive = c.system.crystal, c.system.primitive
    cells = cube.repeat(2 if len(cube) == 8 else 3)
    for normal in np.linspace(-0.03, 0.03, 13):
        c.add(c.strain(primitive, 0.0, float(normal)), "near")
    for size in np.repeat([0.005, 0.01, 0.02], 8):
        c.add(c.strain(primitive, float(size)), "near")
        c.add(c.rattle(c.strain(cube, float(size)), 0.01), "near")
    for width in np.repeat([0.01, 0.02, 0.03, 0.05], 4):
        c.add(c.rattle(c.strain(cells, 0.005), float(width)), "near")


def fine(c: Collector) -> None:
    """Add primitive cells under the small strains that elastic constants are made of."""
    cell = c.system.primitive
    for normal in np.linspace(-0.025, 0.025, 21):
        c.add(c.strain(cell, 0.0, float(normal)), "fine")
    for strain in (np.diag([1.0, 0.0, 0.0]), np.diag([1.0, -1.0, 0.0]), FLAT_SHEAR):
        for size in (-0.015, -0.01, -0.005, -0.0025, 0.0025, 0.005, 0.01, 0.015):
            copy = cell.copy()
            copy.set_cell(cell.cell.array @ (np.eye(3) + size * strain), scale_atoms=True)
            c.add(copy, "fine")
    for size in np.repeat([0.005, 0.01, 0.015], 10):
        c.add(c.strain(cell, float(size)), "fine")


def close(c: Collector) -> None:
    """Add cubes in which one atom was brought near to another."""
    low, high = c.system.close or (0.0, 0.0)
    for distance in np.repeat(np.linspace(low, high, 24), 3):
        atoms = c.rattle(c.strain(c.system.crystal, 0.02), 0.1)
        j = int(c.rng.integers(1, len(atoms)))
        away = atoms.get_distance(0, j, mic=True, vector=True)
        atoms.positions[j] = atoms.positions[0] + distance * away / np.linalg.norm(away)
        c.add(atoms, "close", np.inf)


def shaken(c: Collector) -> None:
    """Add cubes far from a crystal, so that nothing is extrapolated to."""
    for width in np.repeat([0.1, 0.15, 0.2, 0.25, 0.3], 16):
        normal = float(c.rng.uniform(-0.08, 0.06))
        c.add(c.rattle(c.strain(c.system.crystal, 0.06, normal), float(width)), "shaken", c.system.shaken)


def defects(c: Collector) -> None:
    """Add a vacancy, an interstitial and surfaces: at rest, displaced and hot."""
    cube = c.system.crystal
    cells = cube.repeat(2 if len(cube) == 8 else 3)
    hot = 0.6 * c.system.melting
    made: list[tuple[str, Atoms]] = []
    for element in c.system.elements:
        vacancy = cells.copy()
        del vacancy[cells.get_chemical_symbols().index(element)]
        made.append(("vacancy", vacancy))
    for element, site in c.system.interstitials:
        interstitial = cells.copy()
        interstitial.append(element)
        interstitial.positions[-1] = np.array(site) @ cube.cell.array
        made.append(("interstitial", interstitial))
    for name, atoms in made:
        largest = c.system.shaken if name == "interstitial" else 25.0
        c.add(atoms, name, largest)
        for width in (0.02, 0.05, 0.1, 0.15):
            c.add(c.rattle(atoms, width), name, largest)
        if name == "interstitial":  # on its way to where it is at rest
            c.simulate(atoms, 0.1 * c.system.melting, name, frames=8, gap=8, settle=0)
        c.simulate(atoms, 0.3 * c.system.melting, name, frames=5)
        c.simulate(atoms, hot, name, frames=6)
    for miller in c.system.planes:
        slab = surface(cube, miller, 4, vacuum=5.0)
        slab = slab.repeat((2 if len(slab) < 24 else 1, 2 if len(slab) < 24 else 1, 1))
        slab.pbc = True
        c.add(slab, "surface")
        c.add(c.rattle(slab, 0.03), "surface")
        c.simulate(slab, 0.2 * c.system.melting, "surface", frames=4)
        c.simulate(slab, hot, "surface", frames=4)


def hot(c: Collector) -> None:
    """Add crystal and melt over temperature and volume."""
    cube = c.system.crystal
    cells = cube.repeat(2 if len(cube) == 8 else 3)
    for part in (0.2, 0.4, 0.6, 0.8, 1.0):
        for normal in (-0.02, 0.0, 0.015):
            c.simulate(c.strain(cells, 0.01, normal), part * c.system.melting, "solid", frames=5)
    for part in (1.05, 1.3, 1.6):
        for normal in (-0.04, -0.02, 0.0, 0.03):
            atoms = c.strain(cells, 0.0, normal)
            c.simulate(
                atoms, part * c.system.melting, "melt", frames=6, start=2.5 * c.system.melting, gap=100
            )


# ---- training --------------------------------------------------------------------------------------------------


def settings(system: System, data: Path, quality: str, threads: int) -> dict[str, Any]:
    """Return the settings of the training run: those that `forgefield init` suggests, and what is known of the truth.

    Its reach is known, and in `descriptor` what else. Stresses weigh more than usual, the radial functions are finer, for the
    sake of elastic constants, and epochs are more, for the labels have no noise. All was chosen by errors of validation, but for
    the small strains of `System.fine` and the weights of groups, which elastic constants asked for.
    """
    values: dict[str, Any] = suggest([data], quality=quality).model_dump(mode="json")
    values["data"]["split"] |= {"valid": 0.1, "test": 0.1, "by": "structure"}
    values["descriptor"] |= {
        "cutoff_radial": system.cutoff,
        "cutoff_angular": system.cutoff,
        "basis_size_radial": 12,
        "basis_size_angular": 12,
    }
    values["descriptor"] |= system.descriptor
    values["loss"]["stress"] = 0.5
    values["group_weights"] |= system.group_weights
    if values["training"]["kind"] == "kalman":
        values["training"] |= {"epochs": system.epochs}
    values |= system.recipe
    return values | {"dtype": "float64", "extrapolation": True, "seed": 1, "threads": threads}


def main() -> None:
    """Generate, then train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", choices=system_names())
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for train.xyz and potential.ff"
    )
    parser.add_argument("--quality", choices=QUALITIES, default="standard")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-train", action="store_true", help="only the data")
    arguments = parser.parse_args()
    system = find_system(arguments.system)
    arguments.output.mkdir(parents=True, exist_ok=True)
    data = arguments.output / "train.xyz"
    start = time.process_time()
    if not data.exists():
        frames: list[Atoms] = []
        parts: tuple[tuple[Callable[[Collector], None], ...], ...] = ((still, defects, hot), (near, shaken))
        if system.fine:
            parts += ((fine,),)
        if system.close:
            parts += ((close,),)
        for seed, steps in enumerate(parts, start=SEED):
            collector = Collector(system, seed)
            for step in steps:
                step(collector)
            frames += collector.frames
        write(data, frames, format="extxyz")
        groups = [a.info["config_type"] for a in frames]
        counted = ", ".join(f"{groups.count(g)} {g}" for g in dict.fromkeys(groups))
        print(f"{len(groups)} structures, {sum(map(len, frames))} atoms: {counted}")
        print(f"{time.process_time() - start:.0f} s of processor time")
    if arguments.no_train:
        return
    run = ff.train(
        settings(system, data, arguments.quality, arguments.threads), output=arguments.output / "run"
    )
    for split, table in run.metrics["splits"].items():
        rmse = {k: f"{table[k]['rmse']:.3g}" for k in ("energy", "forces", "stress")}
        print(f"{split}: RMSE {rmse} (meV/atom, meV/Å, GPa)")
    shutil.copyfile(arguments.output / "run" / "potential.ff", arguments.output / "potential.ff")


if __name__ == "__main__":
    main()
