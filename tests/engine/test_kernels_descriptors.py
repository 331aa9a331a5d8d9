"""Every descriptor compiled, against plain tensors: energies, forces, stress, virials and gradients for training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import DESCRIPTORS
from forgefield.engine.features import FeatureEngine
from forgefield.engine.predictor import Predictor
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective, make_objective

WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.1}
FIELDS = ("energies", "forces", "stress", "virials")

SMALL_ACE = {"n_max": (3, 2, 1, 1), "l_max": (0, 2, 1, 1)}
SMALL_POD = {"bessel_degree": 2, "inverse_degree": 2, "n_max_two_body": 4, "n_max_three_body": 3}
CASES = {
    "nep": ("nep", ("Si",), "network", {"l_max": 2}),
    "so3": ("so3", ("C", "Si"), "linear", {"n_max": 2, "l_max": 2}),
    "snap": ("snap", ("Si",), "linear", {"two_j_max": 6, "cutoff": 4.7}),
    "snap network": (
        "snap",
        ("C", "Si"),
        "network",
        {"two_j_max": 4, "weights": {"C": 0.6}, "radii": {"C": 0.4}},
    ),
    "snap chemical": ("snap", ("C", "Si"), "linear", {"two_j_max": 3, "chemical": True, "bnorm": True}),
    "snap alone": ("snap", ("C", "Si"), "linear", {"two_j_max": 2, "chemical": True, "wself_all": True}),
    "snap quadratic": ("snap", ("Si",), "linear", {"two_j_max": 4, "quadratic": True, "rmin0": 0.2}),
    "snap inner": (
        "snap",
        ("C", "Si"),
        "linear",
        {
            "two_j_max": 1,
            "switch": False,
            "cutoff": 4.1,
            "inner_middle": {"C": 2.3, "Si": 2.4},
            "inner_width": {"C": 0.3, "Si": 0.2},
        },
    ),
    "snap flat": ("snap", ("Si",), "linear", {"two_j_max": 0}),
    "ace": ("ace", ("C", "Si"), "network", SMALL_ACE),
    "pod": ("pod", ("Si",), "linear", {**SMALL_POD, "n_max_four_body": 2, "degree_four_body": 2}),
    "pod products": (
        "pod",
        ("C", "Si"),
        "linear",
        {
            **SMALL_POD,
            "n_max_four_body": 2,
            "degree_four_body": 1,
            "n_max_five_body": 2,
            "degree_five_body": 1,
        },
    ),
    "acsf": ("acsf", ("Si", "O"), "network", {}),
    "acsf fractional": (
        "acsf",
        ("Si",),
        "linear",
        {"g4": (), "g5": ({"etas": (0.1,), "zetas": (1.5, 3.0), "lambdas": (1.0,)},), "cutoff_angular": 4.0},
    ),
    "acsf near and wide": (  # factors that no polynomial fits, some of them absent; powers that are none
        "acsf",
        ("Si",),
        "linear",
        {
            "g2": (),
            "g4": ({"etas": (0.0, 0.1), "zetas": (1.0, 2.5), "lambdas": (1.0,)},),
            "g5": ({"etas": (0.1,), "zetas": (1.5,), "lambdas": (-1.0,)},),
            "cutoff_function": "tanh",
            "cutoff": 4.0,
        },
    ),
    "wacsf": ("wacsf", ("Si", "O"), "linear", {}),
    "ead": ("ead", ("Si",), "network", {"l_max": 1}),
    "chebyshev": ("chebyshev", ("C", "Si"), "network", {}),
}
SINGLE = ("snap", "ace", "pod", "acsf")
"""Cases that are computed in single precision as well."""


def potential(case: str, dtype: torch.dtype = torch.float64) -> Potential:
    kind, elements, model, settings = CASES[case]
    torch.manual_seed(0)
    descriptor = DESCRIPTORS[kind](elements, **settings)
    n = descriptor.n_features
    if model == "network":
        network = Network(n, len(elements), NetworkSettings(hidden=(6, 5), activation="silu"))
    else:
        network = Linear(n, len(elements))
        network.reset_parameters()
    result = Potential(descriptor, network, dict.fromkeys(descriptor.species, -5.0), 1.7)
    features = np.concatenate([descriptor.compute(a) for a in frames(elements)])
    result.scaler.fit(torch.from_numpy(features), "standard")
    return result.to_dtype(dtype)


def frames(elements: tuple[str, ...]) -> list[Atoms]:
    """Structures of different sizes in skewed cells with made-up labels."""
    rng, result = np.random.default_rng(0), []
    for k in range(3):
        atoms = bulk("Si", cubic=True) * ((2, 1, 1) if k % 2 else (1, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.standard_normal((3, 3))), scale_atoms=True)
        atoms.rattle(0.15, seed=k)
        atoms.symbols = rng.choice(elements, len(atoms))
        results = {"energy": -5.0 * len(atoms) + rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
        results["stress"] = 0.05 * rng.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        result.append(atoms)
    return result


def test_no_descriptor_is_left_out() -> None:
    assert {kind for kind, *_ in CASES.values()} == set(DESCRIPTORS)


@pytest.mark.parametrize("case", ["snap chemical", "ace", "wacsf"])
def test_predictions(case: str) -> None:
    p = potential(case)
    atoms = frames(CASES[case][1])[1]
    expected = p.predict(atoms)
    for dtype, allowed in (("float64", 1e-12), ("float32", 1e-5)):
        got = Predictor(p, dtype).predict(atoms, virials=True)
        for field in FIELDS:
            a, b = getattr(got, field), getattr(expected, field)
            assert np.abs(a - b).max() < allowed * np.abs(b).max(), (field, dtype)


@pytest.mark.parametrize("case", ["snap chemical", "wacsf"])
def test_few_neighbours(case: str) -> None:
    """A single atom, and three on a line, where rows of neighbours are empty or mostly padding."""
    p, (first, second) = potential(case), CASES[case][1]
    for atoms in (Atoms(second), Atoms([first, second, first], [[0, 0, 0], [0, 0, 2.1], [0, 0, 4.2]])):
        got, expected = Predictor(p, threads=2).predict(atoms, virials=True), p.predict(atoms)
        assert np.allclose(got.energies, expected.energies, rtol=0, atol=1e-13)
        assert np.allclose(got.forces, expected.forces, rtol=0, atol=1e-12 * np.abs(expected.forces).max())
        assert np.allclose(got.virials, expected.virials, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", ["snap network", "pod", "acsf"])
def test_features(case: str) -> None:
    descriptor = potential(case).descriptor
    for atoms in frames(CASES[case][1]):
        got, expected = FeatureEngine(descriptor).compute(atoms), descriptor.compute(atoms)
        assert got.shape == (len(atoms), descriptor.n_features)
        assert np.abs(got - expected).max() < 1e-12 * np.abs(expected).max()


def test_features_of_a_moving_structure() -> None:
    """The list is kept for small steps and made anew for large ones, other cells and other structures."""
    descriptor = potential("acsf").descriptor
    engine, rng = FeatureEngine(descriptor, skin=0.5), np.random.default_rng(5)
    atoms, other = frames(CASES["acsf"][1])[:2]
    for step, builds in ((0.0, 1), (0.02, 1), (0.4, 2), (0.02, 2)):
        atoms.positions += step * rng.uniform(-1, 1, (len(atoms), 3))
        expected = descriptor.compute(atoms)
        assert np.abs(engine.compute(atoms) - expected).max() < 1e-12 * np.abs(expected).max()
        assert engine._kept.n_builds == builds
    for structure in (other, atoms):
        expected = descriptor.compute(structure)
        assert np.abs(engine.compute(structure) - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_training(case: str) -> None:
    """Energies, forces, stress, loss and gradients of the parameters, two kernels at work."""
    truth = potential(case)
    data = LabelledSet(truth, frames(CASES[case][1]))
    loss = Loss(LossSettings(), data.scales())
    expected = TorchObjective(truth, data, loss).gradient([2, 0, 1], WEIGHTS)
    reference = {name: q.grad for name, q in truth.named_parameters() if q.grad is not None}
    precisions = [(torch.float64, 1e-12)] + [(torch.float32, 1e-4)] * (case in SINGLE)
    for dtype, allowed in precisions:
        p = potential(case, dtype)
        objective = make_objective(p, LabelledSet(p, frames(CASES[case][1])), loss)
        assert objective.backend == "compiled"
        got = objective.gradient([2, 0, 1], WEIGHTS)
        assert got.values == pytest.approx(expected.values, rel=allowed)
        for field in ("energy", "forces", "stress"):
            a, b = getattr(got, field), getattr(expected, field)
            assert np.abs(a - b).max() < allowed * np.abs(b).max(), (field, dtype)
        largest = max(float(g.abs().max()) for g in reference.values())
        for name, q in p.named_parameters():
            if q.grad is not None:
                scale = float(reference[name].abs().max()) if dtype is torch.float64 else largest
                assert float((q.grad - reference[name]).abs().max()) < allowed * scale, (name, dtype)
