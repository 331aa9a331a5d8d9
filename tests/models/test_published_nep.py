"""Published NEP potentials give the numbers of an independent program: calorine's CPU implementation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from ase.data import atomic_numbers

from forgefield.descriptors import NEP
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.testing.numerics import deviation
from forgefield.testing.tolerances import OTHER_PROGRAM

calorine = pytest.importorskip("calorine.calculators", reason="needs the dev extra: pip install calorine")
calorine_nep = pytest.importorskip("calorine.nep")

METALS = ["Ag", "Al", "Au", "Cr", "Cu", "Mg", "Mo", "Ni", "Pb", "Pd", "Pt", "Ta", "Ti", "V", "W", "Zr"]
UNEP = "Song-2024-UNEP-v1-AgAlAuCrCuMgMoNiPbPdPtTaTiVWZr.txt"


@dataclass
class NepFile:
    """Content of a nep.txt of version 4: header words and numbers, cut where the header says."""

    elements: list[str]
    header: dict[str, list[str]]
    numbers: np.ndarray

    @classmethod
    def read(cls, path):
        lines = path.read_text().split("\n")
        first = lines[0].split()
        assert first[0].startswith("nep4")
        header = {}
        for n, line in enumerate(lines[1:], start=1):
            words = line.split()
            if words[0][0].isalpha():
                header[words[0]] = words[1:]
            else:
                return cls(first[2:], header, np.array([float(x) for x in lines[n:] if x.strip()]))
        raise AssertionError(path)

    def integers(self, key):
        return [int(w) for w in self.header[key]]


def read_potential(path) -> Potential:
    f = NepFile.read(path)
    cutoffs = [float(w) for w in f.header["cutoff"][:2]]
    n_max, basis, l_max = f.integers("n_max"), f.integers("basis_size"), f.integers("l_max")
    descriptor = NEP(
        f.elements,
        cutoff_radial=cutoffs[0],
        cutoff_angular=cutoffs[1],
        n_max_radial=n_max[0],
        n_max_angular=n_max[1],
        basis_size_radial=basis[0],
        basis_size_angular=basis[1],
        l_max=l_max[0],
        four_body=l_max[1] == 2,
        five_body=l_max[2] == 1,
    )
    n_neurons = f.integers("ANN")[0]
    model = Network(descriptor.n_features, descriptor.n_species, NetworkSettings(hidden=(n_neurons,)))
    potential = Potential(descriptor, model).to_dtype(torch.float64)
    order = np.argsort([atomic_numbers[e] for e in f.elements])  # the file's order of elements -> ours
    rest = f.numbers

    def take(*shape):
        nonlocal rest
        n = int(np.prod(shape))
        block, rest = rest[:n], rest[n:]
        return block.reshape(shape)

    types, dim = len(f.elements), descriptor.n_features
    networks = [(take(n_neurons, dim), take(n_neurons), take(n_neurons)) for _ in range(types)]
    common = take(1)[0]
    coefficients = [take(n_max[k] + 1, basis[k] + 1, types, types) for k in (0, 1)]
    scale = take(dim)
    assert len(rest) == 0
    with torch.no_grad():
        for ours, theirs in enumerate(order):
            w0, b0, w1 = networks[theirs]
            model.weights[0][ours] = torch.from_numpy(w0.T)
            model.biases[0][ours] = torch.from_numpy(-b0)
            model.weights[1][ours, :, 0] = torch.from_numpy(w1)
            model.biases[1][ours] = -float(common)
        for target, c in zip((descriptor.c_radial, descriptor.c_angular), coefficients, strict=True):
            ours = c[:, :, order][:, :, :, order].transpose(2, 3, 1, 0)  # centre, neighbour, k, n
            target.copy_(torch.from_numpy(ours.reshape(types, -1, ours.shape[-1])))
        potential.scaler.scale.copy_(torch.from_numpy(scale))
    return potential


def crystal(cell, seed, elements=None, rattle=0.08):
    rng = np.random.default_rng(seed)
    atoms = cell.copy()
    strain = np.eye(3) + 0.05 * rng.uniform(-1, 1, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rattle * rng.standard_normal(atoms.positions.shape)
    if elements:
        atoms.symbols = rng.choice(elements, len(atoms))
    return atoms


CASES = {
    "Si 3-body": ("Si_2022_NEP4_3body.txt", crystal(bulk("Si", cubic=True) * (2, 1, 1), 0)),
    "Si 4-body": ("Si_2022_NEP4_4body.txt", crystal(bulk("Si", cubic=True) * (2, 1, 1), 1)),
    "Si 5-body": ("Si_2022_NEP4_5body.txt", crystal(bulk("Si", cubic=True), 2, rattle=0.2)),
    "Si, cell thinner than the cutoff": ("Si_2022_NEP4_5body.txt", crystal(bulk("Si"), 3)),
    "C 2022": ("C_2022_NEP4.txt", crystal(bulk("C", cubic=True), 4, rattle=0.05)),
    "C 2024, two cutoffs": ("C_2024_NEP4.txt", crystal(bulk("C", cubic=True), 5, rattle=0.05)),
    "three metals": (UNEP, crystal(bulk("Cu", cubic=True) * (2, 2, 1), 6, ["Cu", "Au", "Ag"])),
    "sixteen metals": (
        UNEP,
        crystal(bulk("Al", cubic=True) * (2, 2, 2), 7, METALS),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_energies_forces_stress(case, shared_data):
    name, atoms = CASES[case]
    path = shared_data / "nep" / name
    got = read_potential(path).predict(atoms)
    atoms = atoms.copy()
    atoms.calc = calorine.CPUNEP(str(path))
    assert np.abs(got.forces).max() > 0.1
    assert deviation(got.energy, atoms.get_potential_energy()) < OTHER_PROGRAM
    assert deviation(got.energies, atoms.get_potential_energies()) < OTHER_PROGRAM
    assert deviation(got.forces, atoms.get_forces()) < OTHER_PROGRAM
    assert deviation(got.stress, atoms.get_stress(), 1e-4) < OTHER_PROGRAM


@pytest.mark.parametrize("case", ["Si 5-body", "C 2024, two cutoffs", "three metals"])
def test_atomic_virials_are_of_the_same_kind(case, shared_data):
    name, atoms = CASES[case]
    path = shared_data / "nep" / name
    got = read_potential(path).predict(atoms, virials="I").virials
    atoms = atoms.copy()
    atoms.calc = calorine.CPUNEP(str(path))
    # calorine returns the nine components of virial / volume here, without the sign of its `stress`.
    expected = np.reshape(atoms.calc.get_property("stresses", atoms), (-1, 3, 3)) * atoms.get_volume()
    assert deviation(got, expected) < OTHER_PROGRAM


@pytest.mark.parametrize("case", ["Si 3-body", "Si 5-body", "three metals"])
def test_features(case, shared_data):
    name, atoms = CASES[case]
    path = shared_data / "nep" / name
    potential = read_potential(path)
    expected = calorine_nep.get_descriptors(atoms, str(path))
    scale = potential.scaler.scale.numpy()
    got = potential.descriptor.compute(atoms)
    assert deviation(got * scale, expected) < OTHER_PROGRAM


def test_cluster_and_sheet_without_three_periods(shared_data):
    path = shared_data / "nep" / "C_2022_NEP4.txt"
    potential = read_potential(path)
    sheet = graphene(size=(2, 2, 1), vacuum=10.0)
    sheet.rattle(0.05, seed=1)
    flake = sheet.copy()
    flake.center(vacuum=10.0)
    for atoms, pbc in ((sheet, (True, True, False)), (flake, False)):
        atoms.pbc = pbc
        got = potential.predict(atoms)
        assert got.stress is None
        other = atoms.copy()
        other.pbc = True  # calorine knows no other; the vacuum is wider than the cutoff
        other.calc = calorine.CPUNEP(str(path))
        assert deviation(got.forces, other.get_forces()) < OTHER_PROGRAM
        assert deviation(got.energy, other.get_potential_energy()) < OTHER_PROGRAM
