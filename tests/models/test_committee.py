"""Committees: means and spreads against the members, on every path, and their files."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import forgefield as ff
from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.deployment.load import describe, load_single
from forgefield.descriptors import NEP
from forgefield.engine.predictor import CommitteePredictor, fastest
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.models import Network, NetworkSettings
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential, Provenance

SMALL = {"n_max_radial": 3, "n_max_angular": 2, "l_max": 2}


def member(seed: int, elements: tuple[str, ...] = ("C", "Si"), cutoff: float = 4.5) -> Potential:
    generator = torch.Generator().manual_seed(seed)
    descriptor = NEP(elements, cutoff_radial=cutoff, cutoff_angular=3.5, **SMALL)
    model = Network(descriptor.n_features, len(elements), NetworkSettings(hidden=(6,)))
    model.reset_parameters(generator)
    potential = Potential(descriptor, model, {6: -1.0, 14: -2.0 - 0.1 * seed}).to_dtype(torch.float64)
    potential.provenance = Provenance(notes={"seed": seed})
    return potential


@pytest.fixture(scope="module")
def committee() -> Committee:
    # The last member has another cutoff: its list of neighbours is its own.
    return Committee([member(0), member(1), member(2), member(3, cutoff=5.0)], Provenance(data_hash="x"))


def crystal(seed: int = 0) -> Atoms:
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def check(found: object, committee: Committee, atoms: Atoms, tolerance: float = 1e-11) -> None:
    """Compare with plain formulas over the members, each evaluated alone on plain tensors."""
    alone = [m.predict(atoms) for m in committee.members]
    forces = np.array([r.forces for r in alone])
    energies = np.array([r.energies for r in alone])
    expected = {
        "energy": np.mean([r.energy for r in alone]),
        "energies": sum(energies) / len(alone),
        "forces": sum(forces) / len(alone),
        "energy_spread": np.std([r.energy for r in alone]),
        "energies_spread": np.sqrt(np.mean(energies**2, axis=0) - np.mean(energies, axis=0) ** 2),
        "forces_spread": np.sqrt(
            [
                np.mean([np.sum((f[i] - sum(forces)[i] / len(alone)) ** 2) for f in forces])
                for i in range(len(atoms))
            ]
        ),
    }
    if atoms.pbc.all():
        stress = np.array([r.stress for r in alone])
        expected |= {"stress": stress.mean(axis=0), "stress_spread": stress.std(axis=0)}
    for name, value in expected.items():
        got = found[name] if isinstance(found, dict) else getattr(found, name)
        np.testing.assert_allclose(
            got, value, rtol=1e-7, atol=tolerance * max(1.0, np.abs(value).max()), err_msg=name
        )


@pytest.mark.parametrize(
    "atoms", [crystal(), crystal(3)[:5], molecule("CH4")[[0]]], ids=["bulk", "cut", "atom"]
)
def test_plain_tensors_give_mean_and_spread_of_the_members(committee, atoms):
    check(committee.predict(atoms), committee, atoms)
    check(committee.predict_many([atoms, crystal(9)])[0], committee, atoms)


def test_compiled_committee_agrees_and_shares_lists(committee):
    predictor = fastest(committee, "compiled", skin=0.5)
    assert isinstance(predictor, CommitteePredictor)
    atoms = crystal()
    for _ in range(3):
        check(predictor.predict(atoms), committee, atoms)
        atoms.rattle(0.02, seed=5)
    builds = [m._list.n_builds if m._block is not None else 0 for m in predictor.members]
    assert builds == [1, 0, 0, 1]


def test_shared_lists_are_dropped_when_the_elements_change(committee):
    predictor = fastest(committee, "compiled")
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.05, seed=1)
    for atoms in (crystal(), silicon, crystal(2)):
        check(predictor.predict(atoms), committee, atoms)


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_calculator_gives_means_and_spreads(committee, backend):
    atoms = crystal()
    atoms.calc = ForgefieldCalculator(committee, backend=backend)
    atoms.get_stress()
    check(atoms.calc.results, committee, atoms)
    assert atoms.calc.get_property("forces_spread", atoms).shape == (8,)
    for twin in (pickle.loads(pickle.dumps(atoms.calc)), copy.deepcopy(atoms.calc)):  # noqa: S301 - our own
        other = crystal(4)
        other.calc = twin
        other.get_forces()
        check(twin.results, committee, other)


def test_spread_of_one_potential_is_not_implemented(committee):
    atoms = crystal()
    atoms.calc = committee.members[0].calculator()
    with pytest.raises(NotImplementedError):
        atoms.calc.get_property("forces_spread", atoms)


def test_file_keeps_every_member(committee, tmp_path):
    path = committee.save(tmp_path / "four.ff")
    loaded = ff.load(path)
    assert isinstance(loaded, Committee)
    assert loaded.provenance == committee.provenance
    for own, read in zip(committee.members, loaded.members, strict=True):
        assert read.provenance == own.provenance
        for key, value in own.state_dict().items():
            assert torch.equal(value, read.state_dict()[key]), key
    assert path.read_bytes() == loaded.save(tmp_path / "again.ff").read_bytes()
    about = describe(path)
    assert about["species"] == ["C", "Si"]
    assert len(about["members"]) == 4
    assert about["n_parameters"] == sum(m.n_parameters for m in committee.members)


def test_file_in_another_number_type(committee, tmp_path):
    loaded = ff.load(committee.save(tmp_path / "four.ff"), dtype="float32")
    assert loaded.dtype == torch.float32
    assert abs(loaded.predict(crystal()).energy - committee.predict(crystal()).energy) < 1e-3


def test_damaged_files_say_which_member(committee, tmp_path):
    path = committee.save(tmp_path / "four.ff")
    content = bytearray(path.read_bytes())
    content[-9] ^= 0x40
    path.write_bytes(bytes(content))
    with pytest.raises(PotentialFileError, match=r"member \d of .*four.ff is damaged"):
        ff.load(path)
    path.write_bytes(bytes(content[:-5]))
    with pytest.raises(PotentialFileError, match="damaged"):
        ff.load(path)


def test_where_one_potential_is_needed(committee, tmp_path):
    with pytest.raises(PotentialFileError, match="committee of 4"):
        load_single(committee.save(tmp_path / "four.ff"))
    with pytest.raises(ConfigError, match="member_1"):
        committee.export("gpumd", tmp_path)


def test_what_is_no_committee():
    with pytest.raises(ConfigError, match="at least 2"):
        Committee([member(0)])
    with pytest.raises(ConfigError, match="number 2 knows"):
        Committee([member(0), member(1, ("Si",))])
