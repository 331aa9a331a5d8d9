"""A pair style of LAMMPS kept running in this process: a `ForceField` for simulations, a calculator of ASE for the rest.

Nothing is set up again from one step to the next, so that a call costs little more than the pair style. Atomic energies
and virials are those of LAMMPS's own `compute heat/flux`, which are right (kind I) where the energy is a sum over pairs.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_masses, atomic_numbers
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from forgefield.deployment.engine_worker import EV_PER_BAR_A3, import_lammps
from forgefield.properties.dynamics_forces import Forces

__all__ = ["LammpsCalculator", "LammpsForces"]

FloatArray = NDArray[np.float64]

VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""LAMMPS's order of the elements of a tensor."""


class LammpsForces:
    """A `ForceField`.

    Parameters
    ----------
    commands : sequence of str
        Set up the pair style, in units metal.
    charges : mapping of str to float
        Of the elements, whose order is that of the atom types [e].
    atoms : ase.Atoms
        Elements; always periodic.
    skin : float [Å]
    """

    def __init__(
        self, commands: tuple[str, ...], charges: dict[str, float], atoms: Atoms, *, skin: float = 1.0
    ) -> None:
        self.commands, self.charges, self.skin = commands, charges, skin
        self.symbols = atoms.get_chemical_symbols()
        self._engine: Any = None
        self._atomic = False
        self._box: FloatArray | None = None
        self._images: FloatArray = np.zeros((len(atoms), 3))
        self.reset()

    def reset(self) -> None:
        """Forget the neighbours."""
        self._listed: tuple[FloatArray, FloatArray] | None = None

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Return energy, forces, virial; see `ForceField`."""
        fresh = self._outdated(positions, cell) or atomic > self._atomic
        box = self._place(positions, cell, fresh=fresh)
        engine = self._engine
        if atomic and not self._atomic:
            self._ask_atomic()
        n = len(positions)
        turned = positions @ self._turn
        engine.numpy.extract_atom("x")[:n] = turned - self._images @ box
        # Without integrator a step moves nothing: ghosts follow, forces are computed.
        engine.command("run 0 post no" if fresh else "run 1 pre no post no")
        if fresh:  # atoms on a face may have been put to the other one
            placed = engine.numpy.extract_atom("x")[:n]
            self._images = np.rint(np.linalg.solve(box.T, (turned - placed).T).T)
            self._listed = positions.copy(), np.array(cell)
        forces = np.array(engine.numpy.extract_atom("f")[:n]) @ self._turn.T
        energy = float(engine.extract_compute("thermo_pe", 0, 0))
        total = None
        if virial or atomic:
            pressure = np.array(engine.numpy.extract_compute("vir", 0, 1))
            total = self._tensors(pressure[None] * abs(float(np.linalg.det(cell))) * EV_PER_BAR_A3)[0]
        if not atomic:
            return Forces(energy, forces, total)
        energies = np.array(engine.numpy.extract_compute("each_e", 1, 1)[:n])
        stresses = np.array(engine.numpy.extract_compute("each_v", 1, 2)[:n])
        return Forces(energy, forces, total, energies, self._tensors(-stresses * EV_PER_BAR_A3))

    def _tensors(self, voigt: FloatArray) -> FloatArray:
        """Return (n, 3, 3) of (n, 6), turned back from LAMMPS's frame."""
        made = np.empty((len(voigt), 3, 3))
        for k, (a, b) in enumerate(VOIGT):
            made[:, a, b] = made[:, b, a] = voigt[:, k]
        turned: FloatArray = self._turn @ made @ self._turn.T
        return turned

    def _ask_atomic(self) -> None:
        engine = self._engine
        engine.command("compute each_e all pe/atom")
        engine.command("compute each_v all stress/atom NULL virial")
        engine.command("fix each all ave/atom 1 1 1 c_each_e c_each_v[*]")
        self._atomic = True

    def _outdated(self, positions: FloatArray, cell: FloatArray) -> bool:
        """Tell whether LAMMPS must be set up again: atoms have moved by half of the skin, or the cell is another."""
        if self._listed is None:
            return True
        then, before = self._listed
        if not np.array_equal(before, cell):
            return True
        return bool(((positions - then) ** 2).sum(axis=1).max() > (0.49 * self.skin) ** 2)

    def _place(self, positions: FloatArray, cell: FloatArray, *, fresh: bool) -> FloatArray:
        """Bring LAMMPS's cell up to date and return it: the first vector along x, the second in the xy plane."""
        q, r = np.linalg.qr(cell.T)
        signs = np.sign(np.diag(r))
        box: FloatArray = (r * signs[:, None]).T
        self._turn: FloatArray = q * signs
        if np.linalg.det(self._turn) < 0:
            raise ValueError("the cell is left-handed, which LAMMPS does not take")
        if fresh:
            self._images = np.floor(np.linalg.solve(cell.T, positions.T).T)
        if self._engine is None:
            self._start(positions @ self._turn - self._images @ box, box)
        elif self._box is None or not np.array_equal(box, self._box):
            values = [float(box[a, b]) for a, b in ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1))]
            sizes = [f"{axis} final 0 {value!r}" for axis, value in zip("xyz", values[:3], strict=True)]
            tilts = [f"{a} final {value!r}" for a, value in zip(("xy", "xz", "yz"), values[3:], strict=True)]
            self._engine.command(f"change_box all {' '.join(sizes + tilts)} units box")
        self._box = box
        return box

    def _start(self, positions: FloatArray, box: FloatArray) -> None:
        elements = list(self.charges)
        sizes = [float(box[a, a]) for a in range(3)]
        tilts = [float(box[a, b]) for a, b in ((1, 0), (2, 0), (2, 1))]
        engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        corners = " ".join(f"0 {size!r}" for size in sizes)
        for line in (
            "units metal",
            "atom_style charge",
            "atom_modify map array sort 0 0",
            "boundary p p p",
            "box tilt large",
            f"region cell prism {corners} {' '.join(map(repr, tilts))} units box",
            f"create_box {len(elements)} cell",
        ):
            engine.command(line)
        types = [elements.index(symbol) + 1 for symbol in self.symbols]
        n = len(types)
        engine.create_atoms(n, list(range(1, n + 1)), types, positions.ravel().tolist())
        if engine.get_natoms() != n:
            raise ValueError(f"LAMMPS took {engine.get_natoms()} of {n} atoms")
        for k, element in enumerate(elements):
            engine.command(f"mass {k + 1} {float(atomic_masses[atomic_numbers[element]])!r}")
            engine.command(f"set type {k + 1} charge {self.charges[element]!r}")
        settings = (
            f"neighbor {self.skin!r} bin",
            "neigh_modify every 1000000000 delay 1000000000 check no",
            "compute vir all pressure NULL virial",
            "thermo_style custom step pe c_vir[1]",
            "thermo 1",
        )
        for line in itertools.chain(self.commands, settings):
            engine.command(line)
        self._engine = engine

    def close(self) -> None:
        """End LAMMPS; the next evaluation starts it again."""
        if self._engine is not None:
            self._engine.close()
        self._engine, self._atomic, self._listed = None, False, None


class LammpsCalculator(Calculator):
    """The same as a calculator of ASE, for structures of any number of atoms."""

    implemented_properties: ClassVar[list[str]] = [
        "energy", "free_energy", "forces", "stress", "energies", "stresses",
    ]  # fmt: skip

    def __init__(self, commands: tuple[str, ...], charges: dict[str, float]) -> None:
        super().__init__()
        self.commands, self.charges = commands, charges
        self._field: LammpsForces | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        if self._field is None or self._field.symbols != self.atoms.get_chemical_symbols():
            if self._field is not None:
                self._field.close()
            self._field = LammpsForces(self.commands, self.charges, self.atoms)
        atomic = any(name in ("energies", "stresses") for name in properties or ())
        found = self._field.evaluate(self.atoms.positions, self.atoms.cell.array, virial=True, atomic=atomic)
        volume = self.atoms.get_volume()
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
            "stress": -full_3x3_to_voigt_6_stress(found.virial) / volume,
        }
        if found.virials is not None:
            self.results["energies"] = found.energies
            self.results["stresses"] = -full_3x3_to_voigt_6_stress(found.virials) / volume
