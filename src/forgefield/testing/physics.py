"""The physics checklist; every function yields measurements for a float64 potential and some structures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase import Atoms
from ase.build import make_supercell
from numpy.typing import NDArray

from forgefield.keys import matrix_to_voigt, voigt_to_matrix
from forgefield.models.potential import Potential, Prediction, VirialKind
from forgefield.testing import tolerances as tol
from forgefield.testing.numerics import (
    OFFSETS,
    STEP,
    central_difference,
    deviation,
    forces_along,
    random_rotation,
    strain_gradient,
    transformed,
)
from forgefield.testing.results import Measurement, Measurements

__all__ = [
    "batches",
    "cutoff",
    "forces",
    "heat_flux",
    "isolated_atom",
    "periodic_images",
    "permutation",
    "reflection",
    "rotation",
    "stress",
    "translation",
    "virials",
]

Structures = list[Atoms]
KINDS: tuple[VirialKind, ...] = ("I", "II", "III")


def _compare(
    name: str, got: Prediction, expected: Prediction, tolerance: float = tol.SYMMETRY
) -> Measurements:
    yield Measurement(f"energies of {name}", deviation(got.energies, expected.energies), tolerance)
    yield Measurement(f"forces of {name}", deviation(got.forces, expected.forces), tolerance)
    if expected.stress is not None and got.stress is not None:
        yield Measurement(f"stress of {name}", deviation(got.stress, expected.stress), tolerance)


def _energies(potential: Potential) -> Callable[[Sequence[Atoms]], NDArray[np.float64]]:
    """Return a function for energies without references, whose rounding would drown small differences."""
    bare = copy.deepcopy(potential)
    bare.references.zero_()
    return lambda frames: np.array([p.energy for p in bare.predict_many(frames, batch_size=64)])


def forces(potential: Potential, structures: Structures) -> Measurements:
    """Check that forces are minus the derivative of the energy, for one atom of each element and for all atoms at once."""
    rng = np.random.default_rng(0)
    for n, atoms in enumerate(structures):
        force = potential.predict(atoms).forces
        directions = [rng.standard_normal(force.shape) for _ in range(2)]
        for atom in np.unique(atoms.numbers, return_index=True)[1][:4]:
            for axis in range(3):
                directions.append(np.zeros_like(force))
                directions[-1][atom, axis] = 1.0
        expected = forces_along(_energies(potential), atoms, directions)
        got = [float((force * direction).sum()) for direction in directions]
        yield Measurement(f"forces of structure {n + 1}", deviation(got, expected), tol.FINITE_DIFFERENCE)


def stress(potential: Potential, structures: Structures) -> Measurements:
    """Check that stress is the derivative of the energy with respect to strain, over the volume."""
    for n, atoms in enumerate(structures):
        if not atoms.pbc.all():
            continue
        expected = strain_gradient(_energies(potential), atoms) / abs(atoms.get_volume())
        got = potential.predict(atoms).stress
        if got is None:
            got = np.full(6, np.nan)
        yield Measurement(
            f"stress of structure {n + 1}", deviation(got, expected, 1e-8), tol.FINITE_DIFFERENCE
        )


def _moved(potential: Potential, structures: Structures, *, improper: bool) -> Measurements:
    rng = np.random.default_rng(1)
    for n, atoms in enumerate(structures):
        matrix = random_rotation(rng, improper=improper)
        before, after = potential.predict(atoms), potential.predict(transformed(atoms, matrix))
        expected = Prediction(
            before.energy,
            before.energies,
            before.forces @ matrix,
            None if before.stress is None else _turned(before.stress, matrix),
            before.virials,
        )
        yield from _compare(f"structure {n + 1}", after, expected)


def _turned(voigt: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix_to_voigt(matrix.T @ voigt_to_matrix(voigt) @ matrix)


def rotation(potential: Potential, structures: Structures) -> Measurements:
    """Check that turning a structure turns forces and stress and changes no energy."""
    yield from _moved(potential, structures, improper=False)


def reflection(potential: Potential, structures: Structures) -> Measurements:
    """Check that mirroring a structure mirrors forces and stress and changes no energy; its cell becomes left-handed."""
    yield from _moved(potential, structures, improper=True)


def translation(potential: Potential, structures: Structures) -> Measurements:
    """Check that moving all atoms, wrapped back or not, changes nothing; the forces add up to zero."""
    for n, atoms in enumerate(structures):
        before = potential.predict(atoms)
        size = max(float(np.abs(before.forces).max()), 1e-6)
        total = float(np.abs(before.forces.sum(axis=0)).max()) / size
        yield Measurement(f"total force of structure {n + 1}", total, tol.SYMMETRY)
        for wrapped in (False, True):
            other = atoms.copy()
            other.positions += [3.7, -11.3, 5.1]
            if wrapped:
                other.wrap()
            yield from _compare(f"structure {n + 1} moved", potential.predict(other), before)


def permutation(potential: Potential, structures: Structures) -> Measurements:
    """Check that the order of the atoms does not matter."""
    rng = np.random.default_rng(2)
    for n, atoms in enumerate(structures):
        order = rng.permutation(len(atoms))
        before, after = potential.predict(atoms), potential.predict(atoms[order])
        expected = Prediction(
            before.energy,
            before.energies[order],
            before.forces[order],
            before.stress,
            before.virials[order],
        )
        yield from _compare(f"structure {n + 1} reordered", after, expected)


def periodic_images(potential: Potential, structures: Structures) -> Measurements:
    """Check that atoms may sit in any periodic image, and a larger cell repeats the smaller one."""
    rng = np.random.default_rng(3)
    for n, atoms in enumerate(structures):
        before = potential.predict(atoms)
        shifts = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        other = atoms.copy()
        other.positions += shifts @ atoms.cell.array
        yield from _compare(f"structure {n + 1} in other images", potential.predict(other), before)
        if not atoms.pbc.all():
            continue
        multiplier = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 2]])
        large = make_supercell(atoms, multiplier, order="cell-major")
        expected = Prediction(
            2 * before.energy,
            np.tile(before.energies, 2),
            np.tile(before.forces, (2, 1)),
            before.stress,
            np.tile(before.virials, (2, 1, 1)),
        )
        yield from _compare(f"supercell of structure {n + 1}", potential.predict(large), expected)


def batches(potential: Potential, structures: Structures) -> Measurements:
    """Check that several structures of different size at once give what each gives alone."""
    frames = [*structures, structures[0][:1], structures[0] * (2, 1, 1)]
    singles = [potential.predict(a) for a in frames]
    together = potential.predict_many(frames, batch_size=len(frames))
    for n, (got, expected) in enumerate(zip(together, singles, strict=True)):
        yield from _compare(f"structure {n + 1} in a batch", got, expected)


def isolated_atom(potential: Potential, structures: Structures) -> Measurements:  # noqa: ARG001 - needs none
    """Check that a lone atom has no force, and the energy of its reference plus the model without neighbours."""
    for index, number in enumerate(potential.species):
        empty = [
            torch.zeros((1, *e.shape), dtype=potential.dtype, device=potential.device)
            for e in potential.descriptor.expansions
        ]
        with torch.no_grad():
            q = potential.scaler(potential.descriptor.invariants(empty, index))
            model = float(potential.model(q, index)[0].double() * potential.energy_scale)
        expected = float(potential.references[index]) + model
        far = 3.0 * potential.cutoff
        for atoms in (
            Atoms([number], positions=[[1.0, 2.0, 3.0]]),
            Atoms([number], cell=[far, far, far], pbc=True),
        ):
            result = potential.predict(atoms)
            what = f"lone {atoms.symbols[0]} {'in a large cell' if atoms.pbc.any() else ''}".strip()
            yield Measurement(f"energy of {what}", deviation(result.energy, expected), tol.SUMS)
            yield Measurement(f"force of {what}", float(np.abs(result.forces).max()), tol.EXACT)


def cutoff(potential: Potential, structures: Structures) -> Measurements:  # noqa: ARG001 - needs none
    """Check that pairs interact inside the cutoff, not beyond, and that energy and force vanish smoothly at it."""
    rc = potential.cutoff
    for number in potential.species:
        pair = [potential.species[0], number]

        def dimer(r: float, pair: list[int] = pair) -> Prediction:
            return potential.predict(Atoms(pair, [[0.0, 0.0, 0.0], [r * 0.48, r * 0.6, r * 0.64]]))

        name = Atoms(pair).get_chemical_formula(mode="reduce")
        alone = sum(potential.predict(Atoms([z])).energy for z in pair)
        beyond = dimer(rc * (1 + 1e-9))
        yield Measurement(f"energy of {name} beyond the cutoff", deviation(beyond.energy, alone), tol.SUMS)
        yield Measurement(f"force of {name} beyond the cutoff", float(np.abs(beyond.forces).max()), tol.EXACT)
        inside = [dimer(rc * x) for x in (0.5, 0.6, 0.7, 0.8)]
        energy = max(abs(p.energy - alone) for p in inside)
        force = max(float(np.abs(p.forces).max()) for p in inside)
        yield Measurement(f"{name} blind inside the cutoff", float(energy < 1e-9 or force < 1e-9), 0.5)
        edge = dimer(rc * (1 - 1e-4))
        yield Measurement(
            f"energy of {name} at the cutoff", abs(edge.energy - alone) / max(energy, 1e-9), tol.CUTOFF_ENERGY
        )
        yield Measurement(
            f"force of {name} at the cutoff",
            float(np.abs(edge.forces).max()) / max(force, 1e-9),
            tol.CUTOFF_FORCE,
        )


def virials(potential: Potential, structures: Structures) -> Measurements:
    """Check that the three kinds of atomic virials add up to the same total, minus stress times volume."""
    for n, atoms in enumerate(structures):
        results = {kind: potential.predict(atoms, virials=kind) for kind in KINDS}
        one = results["I"]
        total = one.virials.sum(axis=0)
        for kind in KINDS[1:]:
            got = results[kind].virials.sum(axis=0)
            yield Measurement(f"virials {kind} of structure {n + 1}", deviation(got, total), tol.SYMMETRY)
        energy = float(one.energies.sum())
        yield Measurement(f"atomic energies of structure {n + 1}", deviation(energy, one.energy), tol.SUMS)
        if one.stress is not None:
            got = matrix_to_voigt(-total) / abs(atoms.get_volume())
            yield Measurement(
                f"sum of the virials of structure {n + 1}", deviation(got, one.stress, 1e-9), tol.SYMMETRY
            )


def heat_flux(potential: Potential, structures: Structures) -> Measurements:
    """Check the heat flux of a cluster in vacuum against the time derivative of ``sum_i r_i E_i``."""
    rng = np.random.default_rng(4)
    for n, periodic in enumerate(structures):
        atoms = periodic.copy()
        extent = float(np.ptp(atoms.positions, axis=0).max()) + 2.0 * potential.cutoff
        atoms.set_cell([extent] * 3)
        atoms.pbc = True
        atoms.set_velocities(rng.standard_normal((len(atoms), 3)))
        velocities = atoms.get_velocities()
        kinetic = 0.5 * atoms.get_masses() * (velocities**2).sum(axis=1)
        power = (potential.predict(atoms).forces * velocities).sum(axis=1)

        moments = []
        for offset in OFFSETS:
            other = atoms.copy()
            other.positions += offset * STEP * velocities
            moments.append(potential.predict(other).energies @ other.positions)
        expected = central_difference(moments) + kinetic @ velocities + power @ atoms.positions
        got = potential.heat_flux(atoms) * atoms.get_volume()
        yield Measurement(
            f"heat flux of structure {n + 1}", deviation(got, expected, 1e-3), tol.FINITE_DIFFERENCE
        )
