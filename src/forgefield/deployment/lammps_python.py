"""Any potential in LAMMPS without a compiler: `fix external` asks a calculator of this package at every step.

Exact, and slower than the plug-in of `lammps_any`: one process, Python at every step, neighbours listed twice. For
machines without a C++ compiler, a LAMMPS without the package PLUGIN, and what has no kernels, such as committees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers
from numpy.typing import NDArray

from forgefield.errors import ConfigError, ForgefieldError, did_you_mean

__all__ = ["FIX", "PythonPotential"]

FIX = "forgefield"
"""Name of the fix."""

NEIGHBOURS = 2.0
"""Reach of LAMMPS's own list [Å], of which nothing is used."""


class PythonPotential:
    """A potential at work in a running LAMMPS.

    Parameters
    ----------
    engine : lammps.lammps
        With a box (``create_box``, ``read_data``) and ``units metal``, on one process.
    calculator : ASE calculator
        ``potential.calculator()``, of a potential or a committee.
    elements : sequence of str
        Chemical symbol of each atom type.

    Raises
    ------
    ConfigError
        An element is unknown, their number is not that of the atom types, or LAMMPS is not set up as needed.

    Notes
    -----
    Adds ``pair_style zero`` and a ``fix external`` called `FIX`; energy, forces and pressure count as those of a pair style
    (``pe``, ``pressure``, barostats, ``pe/atom``). There are no atomic stresses, and
    no pressure where a boundary is not periodic. An error of the potential (overlapping
    atoms, an unknown element) ends the run of LAMMPS and is raised by `run`.

    Examples
    --------
    >>> potential = PythonPotential(engine, ff.load("potential.ff").calculator(), ["Si"])  # doctest: +SKIP
    >>> engine.command("fix move all nve")  # doctest: +SKIP
    >>> potential.run(1000)  # doctest: +SKIP
    """

    def __init__(self, engine: Any, calculator: Calculator, elements: Sequence[str]) -> None:
        n_types = int(engine.extract_setting("ntypes"))
        if int(engine.extract_setting("box_exist")) != 1:
            raise ConfigError("LAMMPS has no box yet; create_box or read_data comes before the potential")
        if int(engine.extract_setting("world_size")) != 1:
            raise ConfigError(
                "fix external runs on one process here; for several use the plug-in: forgefield export --to lammps"
            )
        if str(engine.extract_global("units")) != "metal":
            raise ConfigError(f"LAMMPS has units {engine.extract_global('units')}; needed: units metal")
        if len(elements) != n_types:
            raise ConfigError(f"`elements` names {len(elements)} elements, LAMMPS has {n_types} atom types")
        for name in elements:
            if name not in atomic_numbers:
                raise ConfigError(f"unknown element {name!r}: {did_you_mean(name, atomic_numbers)}")
        self.engine = engine
        self.numbers: NDArray[np.int64] = np.array([0, *(atomic_numbers[name] for name in elements)])
        self.atoms = Atoms()
        self.calculator = calculator
        self.error: ForgefieldError | None = None
        for line in (
            f"pair_style zero {NEIGHBOURS} nocoeff",
            "pair_coeff * *",
            f"fix {FIX} all external pf/callback 1 1",
            f"fix_modify {FIX} energy yes virial yes",
        ):
            engine.command(line)
        engine.set_fix_external_callback(FIX, self._step, None)

    def run(self, steps: int, *options: str) -> None:
        """Run LAMMPS and raise what went wrong inside.

        Raises
        ------
        ForgefieldError
            As the calculator raised it.
        """
        self.engine.command(" ".join(("run", str(steps), *options)))
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _step(self, _: Any, step: int, n_local: int, tags: Any, positions: Any, forces: Any) -> None:
        """Answer LAMMPS: forces in place, energies and virial by the fix."""
        order = np.argsort(tags.reshape(-1))  # LAMMPS sorts atoms anew now and then
        types = self.engine.numpy.extract_atom("type", nelem=n_local)[order]
        self._follow(self.numbers[types], positions[order])
        energies = np.zeros(n_local)
        try:
            forces[order] = self.atoms.get_forces()
            energies[order] = self.atoms.get_potential_energies()
            energy = self.atoms.get_potential_energy()
            virial = np.zeros(6)
            if self.atoms.pbc.all():
                virial = -self.calculator.get_property("stress", self.atoms) * self.atoms.get_volume()
        except ForgefieldError as error:  # nothing may be raised through LAMMPS
            self.error = type(error)(f"LAMMPS, step {step}: {error}")
            forces[:] = 0.0
            self.engine.force_timeout()
            return
        xx, yy, zz, yz, xz, xy = virial
        self.engine.fix_external_set_energy_global(FIX, float(energy))
        self.engine.fix_external_set_energy_peratom(FIX, energies.tolist())
        self.engine.fix_external_set_virial_global(FIX, [xx, yy, zz, xy, xz, yz])

    def _follow(self, numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> None:
        """Move the atoms to where LAMMPS has them, keeping the object and with it the list of neighbours."""
        low, high, xy, yz, xz, periodic, _ = self.engine.extract_box()
        x, y, z = (b - a for a, b in zip(low, high, strict=True))
        if not np.array_equal(numbers, self.atoms.numbers):
            self.atoms = Atoms(numbers=numbers, positions=positions)
            self.atoms.calc = self.calculator
        self.atoms.set_positions(positions, apply_constraint=False)
        self.atoms.set_cell([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])
        self.atoms.pbc = [bool(p) for p in periodic]
