"""Compiled predictions against plain tensors, and against calorine for published potentials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from forgefield.deployment.load import load
from forgefield.descriptors import NEP, SO3
from forgefield.engine import blocks
from forgefield.engine.inference import Evaluated
from forgefield.engine.predictor import Predictor, fastest
from forgefield.engine.restricted import restricted
from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings

FIELDS = ("energies", "forces", "stress", "virials")


def triclinic(elements: tuple[str, ...] = ("Si",), seed: int = 1) -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 1)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.0, 0.1, 0.0], [0.0, 1.02, 0.05], [0.03, 0.0, 0.98]]), scale_atoms=True
    )
    atoms.rattle(0.1, seed=seed)
    atoms.symbols = np.random.default_rng(seed).choice(elements, len(atoms))
    return atoms


def potential(
    kind: str, species: tuple[str, ...], *, exact: bool = False, zbl: bool = False, **settings: object
) -> Potential:
    torch.manual_seed(0)
    descriptor = NEP(species, **settings) if kind == "nep" else SO3(species, **settings)
    n = len(species)
    if kind == "nep":
        model = Network(descriptor.n_features, n, NetworkSettings(hidden=(9, 5), activation="silu"))
    else:
        model = Linear(descriptor.n_features, n)
        model.reset_parameters()
    repulsion = ZBL(descriptor.species, ZBLSettings(outer=2.8)) if zbl else None
    references = {z: -0.5 * z for z in descriptor.species}
    result = Potential(descriptor, model, references, 1.7, exact_free_atom=exact, zbl=repulsion)
    result.scaler.fit(3.0 * torch.randn(200, descriptor.n_features) + 1.0, "whitened")
    return result.to_dtype(torch.float64)


def worst(got: object, expected: object) -> float:
    """Largest difference relative to the largest value, over all that is predicted."""
    return max(
        float(np.abs(getattr(got, f) - getattr(expected, f)).max() / np.abs(getattr(expected, f)).max())
        for f in FIELDS
    )


CASES = {
    "one list": ("nep", ("Si",), {}),
    "two lists": ("nep", ("C", "Si"), {"cutoff_angular": 4.0, "l_max": 3, "five_body": False}),
    "cutoffs of elements": ("nep", ("C", "Si"), {"element_cutoffs": {"C": (4.5, 3.5)}}),
    "more invariants": ("nep", ("Si",), {"q_112": True, "q_123": True, "q_233": True, "q_134": True}),
    "free atom": ("nep", ("C", "Si"), {"exact": True}),
    "repulsion": ("nep", ("C", "Si"), {"zbl": True}),
    "functions for every l": ("so3", ("C", "Si"), {}),
    "one density": ("so3", ("C", "Si"), {"species_weighting": "atomic_number"}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_plain_tensors(case: str) -> None:
    kind, species, settings = CASES[case]
    p, atoms = potential(kind, species, **settings), triclinic(species)
    expected = p.predict(atoms)
    for dtype, allowed in (("float64", 1e-12), ("float32", 2e-5)):
        predictor = Predictor(p, dtype, threads=1)
        assert predictor.backend == "compiled"
        got = predictor.predict(atoms, virials=True)
        assert worst(got, expected) < allowed, dtype
        assert got.energy == pytest.approx(expected.energy, rel=allowed)


def test_open_boundaries_and_lonely_atoms() -> None:
    p = potential("nep", ("H", "O"))
    water = molecule("H2O")
    got, expected = Predictor(p).predict(water), p.predict(water)
    assert got.stress is None
    assert np.allclose(got.forces, expected.forces, rtol=0, atol=1e-12)
    alone = Atoms("O")
    assert Predictor(p).predict(alone).energy == pytest.approx(p.predict(alone).energy, rel=1e-12)
    slab = bulk("Si", cubic=True)
    slab.symbols[::2] = "O"
    slab.symbols[1::2] = "H"
    slab.pbc = (True, False, True)
    assert np.allclose(Predictor(p).predict(slab).forces, p.predict(slab).forces, rtol=0, atol=1e-11)


def test_follows_a_moving_structure() -> None:
    p, rng = potential("nep", ("C", "Si")), np.random.default_rng(3)
    predictor = Predictor(p, skin=0.8)
    atoms = triclinic(("C", "Si"))
    for step in range(12):
        atoms.positions += 0.02 * rng.standard_normal(atoms.positions.shape)
        if step % 4 == 3:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * rng.standard_normal((3, 3))))
        if step == 9:
            atoms = triclinic(("Si",), seed=5)  # other elements: another engine
        assert worst(predictor.predict(atoms, virials=True), p.predict(atoms)) < 1e-11
    assert predictor.n_neighbour_builds < 3


def test_threads_share_the_work() -> None:
    p, atoms = potential("nep", ("C", "Si")), triclinic(("C", "Si"))
    one, two = (Predictor(p, "float64", threads=n) for n in (1, 2))
    first, second = two.predict(atoms), two.predict(atoms)
    assert np.array_equal(first.forces, second.forces)
    assert np.allclose(first.forces, one.predict(atoms).forces, rtol=0, atol=1e-12)


def test_results_of_many_atoms_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond some number of atoms every thread brings those of its own blocks in order."""
    many = potential("nep", ("C", "Si"))
    for elements in (("Si",), ("C", "Si")):
        atoms = triclinic(elements) * (1, 1, 2)
        expected = [Predictor(many, threads=n).predict(atoms, virials=True) for n in (1, 3)]
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "_FEW", 0)
            got = [Predictor(many, threads=n).predict(atoms, virials=True) for n in (1, 3)]
        for a, b in zip(got, expected, strict=True):
            assert all(np.array_equal(getattr(a, field), getattr(b, field)) for field in FIELDS)


def test_total_strain_is_the_sum() -> None:
    strain = np.random.default_rng(0).standard_normal((200, 6))
    for n in (0, 1, 64, 200):
        total = Evaluated(np.zeros(n), np.zeros((n, 4)), strain[:n], None).total_strain
        assert np.allclose(total, strain[:n].sum(axis=0), rtol=0, atol=1e-12)


def test_restricted_to_some_elements() -> None:
    p = potential("nep", ("C", "O", "Si"), zbl=True, exact=True, element_cutoffs={"C": (4.5, 3.5)})
    atoms = triclinic(("C", "Si"))
    assert worst(restricted(p, (6, 14)).predict(atoms), p.predict(atoms)) < 1e-13
    with pytest.raises(ConfigError, match="26"):
        restricted(p, (6, 26))


def test_bad_structures_are_refused() -> None:
    predictor = Predictor(potential("nep", ("Si",)))
    with pytest.raises(UnknownSpeciesError, match="Ge"):
        predictor.predict(Atoms("Ge"))
    twice = Atoms("Si2", [[0, 0, 0], [0, 0, 1e-4]])
    with pytest.raises(StructureError, match="apart"):
        predictor.predict(twice)
    nowhere = Atoms("Si2", [[0, 0, 0], [0, 0, np.nan]])
    with pytest.raises(StructureError, match="finite"):
        predictor.predict(nowhere)


def test_backends_by_name() -> None:
    p = potential("nep", ("Si",))
    assert fastest(p, "torch") is None
    assert fastest(p, "compiled") is not None
    with pytest.raises(ConfigError, match="backend"):
        fastest(p, "gpu")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Si_2022_NEP4_5body", "C_2024_NEP4", "Song-2024-UNEP-v1"])
def test_published_potentials_as_calorine_has_them(name: str, shared_data: Path) -> None:
    calculators = pytest.importorskip("calorine.calculators")
    path = next((shared_data / "nep").glob(f"{name}*.txt"))
    p = load(path)
    elements = ("Cu", "Au", "W", "Ti") if len(p.species) > 1 else tuple(p.elements)
    lattice = {"Si": ("diamond", 5.43), "C": ("diamond", 3.57)}.get(elements[0], ("fcc", 4.0))
    atoms = bulk(elements[0], lattice[0], a=lattice[1], cubic=True) * (3, 3, 3)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.0, 0.05, 0.0], [0.0, 1.01, 0.02], [0.0, 0.0, 0.99]]), scale_atoms=True
    )
    atoms.rattle(0.06, seed=2)
    atoms.symbols = np.random.default_rng(0).choice(elements, len(atoms))
    atoms.calc = calculators.CPUNEP(str(path))
    forces, stress = atoms.get_forces(), atoms.get_stress()
    energies = atoms.get_potential_energies() if "energies" in atoms.calc.results else None
    total = atoms.get_potential_energy()
    for dtype, allowed in (("float64", 1e-10), ("float32", 1e-5)):
        got = Predictor(p, dtype).predict(atoms)
        assert got.energy == pytest.approx(total, rel=allowed)
        assert np.abs(got.forces - forces).max() < allowed * np.abs(forces).max()
        assert np.abs(got.stress - stress).max() < allowed * np.abs(stress).max()
        if energies is not None:
            assert np.abs(got.energies - energies).max() < allowed * np.abs(energies).max()
