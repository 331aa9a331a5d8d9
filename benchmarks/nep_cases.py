"""Structures and the two sides of the NEP comparisons: ours with the list kept or made anew, and calorine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from common import Options, Report, alternate
from numpy.typing import NDArray

from forgefield.deployment.load import load
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.neighbours import list_neighbours
from forgefield.engine.predictor import Predictor
from forgefield.engine.restricted import restricted
from forgefield.models.potential import Potential

__all__ = ["SILICON", "UNEP", "Reused", "alloy", "compare", "data_argument", "silicon"]

SILICON = "Si_2022_NEP4_5body.txt"
UNEP = "Song-2024-UNEP-v1-AgAlAuCrCuMgMoNiPbPdPtTaTiVWZr.txt"
SMALL_STEP = 1e-3
"""How far atoms move between two calls [Å], so that nobody can return what he has."""


def data_argument(parser: argparse.ArgumentParser) -> None:
    """Add the folder of published files to the arguments."""
    parser.add_argument("data", type=Path, help="folder with nep/*.txt, published potential files")


def silicon(n_cells: int) -> Atoms:
    """Return ``8 n_cells^3`` silicon atoms, 0.1 Å off their sites."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (n_cells, n_cells, n_cells)
    atoms.rattle(0.1, seed=1)
    return atoms


def alloy(elements: list[str], cells: tuple[int, int, int], a: float = 3.9) -> Atoms:
    """Return a random face-centred cubic alloy, 0.1 Å off its sites."""
    atoms = bulk("Cu", "fcc", a=a, cubic=True) * cells
    rng = np.random.default_rng(2)
    kinds = np.resize(np.array(elements), len(atoms))
    rng.shuffle(kinds)
    atoms.symbols = kinds.tolist()
    atoms.rattle(0.1, seed=1)
    return atoms


@dataclass
class Moving:
    """A structure that is elsewhere at every call: forth and back by `SMALL_STEP`."""

    atoms: Atoms
    step: float = SMALL_STEP

    def __post_init__(self) -> None:
        shift = np.random.default_rng(3).normal(scale=self.step, size=(len(self.atoms), 3))
        own = self.atoms.positions.copy()
        self._places = (own, own + shift)
        self._calls = 0

    def next(self) -> NDArray[np.float64]:
        """Return the next positions."""
        self._calls += 1
        return self._places[self._calls % 2]


class Reused:
    """Energy, forces and virial with a list that is kept."""

    def __init__(self, potential: Potential, atoms: Atoms, dtype: Precision) -> None:
        self.moving, self.cell = Moving(atoms), atoms.cell.array.copy()
        self.engine = Engine(potential, dtype)
        self.points, self.lists = list_neighbours(atoms, potential.species, potential.cutoffs)
        self.block = self.engine.blocks(self.points, self.lists)

    def __call__(self) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Move the atoms; return energy without references, forces and stress times volume."""
        self.points.move(self.moving.next(), self.cell)
        out = self.engine.evaluate(self.points, self.lists, self.block)
        return float(out.energies.sum()), self.points.fold(out.forces), out.total_strain


class Listing:
    """The same through `Predictor`, with a list made at every call or one that reaches `skin` farther."""

    def __init__(self, potential: Potential, atoms: Atoms, dtype: Precision, skin: float) -> None:
        self.atoms, self.moving = atoms.copy(), Moving(atoms)
        self.predictor = Predictor(potential, dtype, skin=skin)

    def __call__(self) -> Any:
        """Move the atoms; return the prediction."""
        self.atoms.positions[:] = self.moving.next()
        return self.predictor.predict(self.atoms)


class Calorine:
    """The calculator that users of nep.txt files have; it lists neighbours at every call."""

    def __init__(self, path: Path, atoms: Atoms) -> None:
        from calorine.calculators import CPUNEP

        self.atoms, self.moving = atoms.copy(), Moving(atoms)
        self.atoms.calc = CPUNEP(str(path))

    def __call__(self) -> NDArray[np.float64]:
        """Move the atoms; energy and stress come with the forces."""
        self.atoms.positions[:] = self.moving.next()
        forces: NDArray[np.float64] = self.atoms.get_forces()
        return forces


def compare(
    report: Report,
    options: Options,
    path: Path,
    atoms: Atoms,
    *,
    kinds: tuple[str, ...],
    goals: dict[tuple[str, str], float],
    label: str,
) -> None:
    """Add the rows of one potential file and structure: every kind of ours, in both precisions, against calorine.

    Parameters
    ----------
    kinds : tuple of {'reused', 'skin', 'anew'}
        What becomes of the neighbour list: kept, kept with 1 Å of skin and checked, made at every call.
    goals : mapping of (kind, dtype) to the least ratio
    """
    potential = load(path)
    present = tuple(np.unique(atoms.numbers).tolist())
    own = potential if present == potential.species else restricted(potential, present)
    sides: dict[str, Any] = {"calorine": Calorine(path, atoms)}
    precisions: tuple[Precision, ...] = ("float32", "float64")
    for dtype in precisions:
        for kind in kinds:
            if kind == "reused":
                sides[f"{kind} {dtype}"] = Reused(own, atoms, dtype)
            else:
                skin = 1.0 if kind == "skin" else 0.0
                sides[f"{kind} {dtype}"] = Listing(potential, atoms, dtype, skin)
    report.note(f"{label}: {_agreement(path, atoms, potential)}")
    times = alternate(sides, options.seconds)
    for kind in kinds:
        for dtype in precisions:
            report.speed(
                f"{label}, {WORDS[kind]}, {dtype}",
                times[f"{kind} {dtype}"],
                times["calorine"],
                unit="us/atom",
                factor=1e6 / len(atoms),
                goal=goals.get((kind, dtype)),
            )


WORDS = {"reused": "list kept", "skin": "list with a skin of 1 Å", "anew": "list at every call"}


def _agreement(path: Path, atoms: Atoms, potential: Potential) -> str:
    """Say how far the two sides are apart, before they are timed."""
    peer = Calorine(path, atoms).atoms
    forces, stress = peer.get_forces(), peer.get_stress()
    words = []
    precisions: tuple[Precision, ...] = ("float32", "float64")
    for dtype in precisions:
        found = Predictor(potential, dtype).predict(atoms)
        apart = abs(found.forces - forces).max() / abs(forces).max()
        strained = abs(found.stress - stress).max() / abs(stress).max()
        words.append(f"{dtype}: forces {apart:.1e}, stress {strained:.1e}")
    return f"relative difference from calorine, {'; '.join(words)}"
