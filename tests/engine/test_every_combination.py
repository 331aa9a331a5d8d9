"""Every descriptor with every model, one and two elements, on torch and compiled, in single and double precision."""

from __future__ import annotations

import copy
import functools
import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.engine.predictor import fastest
from forgefield.models import MODELS, make_model
from forgefield.models.potential import Potential

GRID = {"etas": [0.02], "zetas": [1.0, 2.0]}
SETTINGS = {
    "nep": {"n_max_radial": 2, "n_max_angular": 1, "l_max": 2},
    "so3": {"cutoff": 4.0, "n_max": 2, "l_max": 1},
    "snap": {"two_j_max": 2, "cutoff": 4.2},
    "ace": {"cutoff": 4.0, "n_max": [2, 1, 1], "l_min": [0, 0, 0], "l_max": [0, 1, 1]},
    "pod": {
        "cutoff": 4.0,
        "n_max_two_body": 2,
        "n_max_three_body": 1,
        "degree_three_body": 1,
        "n_max_four_body": 0,
    },
    "acsf": {"cutoff": 4.0, "g2": [{"etas": [0.1]}], "g4": [GRID], "g5": [GRID]},
    "wacsf": {"cutoff": 4.0, "g2": [{"etas": [0.1]}], "g4": [GRID], "g5": []},
    "ead": {"cutoff": 4.0, "etas": [0.1], "l_max": 1},
    "chebyshev": {"cutoff_radial": 4.0, "cutoff_angular": 3.5, "n_max_radial": 2, "n_max_angular": 2},
}
ELEMENTS = (("Si",), ("Si", "O"))
DTYPES = {"float64": (torch.float64, 1e-11), "float32": (torch.float32, 2e-5)}
EVERY = list(itertools.product(DESCRIPTORS, MODELS, ELEMENTS, DTYPES))


def sampled(descriptor, model, elements, dtype):
    """A quarter of all, in which every two choices meet: kernels take time to build."""
    d, m = list(DESCRIPTORS).index(descriptor), list(MODELS).index(model)
    return (d + m) % 2 == len(elements) - 1 and (d // 2 + m) % 2 == list(DTYPES).index(dtype)


COMPILED = [
    pytest.param(*c, marks=[] if sampled(*c) else pytest.mark.slow, id=" ".join(map(str, c))) for c in EVERY
]


def label(value):
    return "-".join(value) if isinstance(value, tuple) else str(value)


def identities(cases):
    return [" ".join(map(label, c)) for c in cases]


@functools.cache
def potential(descriptor, model, elements):
    torch.manual_seed(0)
    d = make_descriptor({"kind": descriptor, **SETTINGS[descriptor]}, elements)
    m = make_model({"kind": model}, d.n_features, d.n_species)
    m.reset_parameters()
    result = Potential(d, m, dict.fromkeys(d.species, -4.0)).to_dtype(torch.float64)
    result.scaler.fit(torch.from_numpy(d.double().compute(crystal(elements))), "standard")
    return result


def crystal(elements) -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.04 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    atoms.symbols = np.resize(elements, len(atoms))
    atoms.rattle(0.1, seed=2)
    return atoms


@functools.cache
def truth(descriptor, model, elements):
    return potential(descriptor, model, elements).predict(crystal(elements))


def compare(got, expected, allowed):
    assert np.abs(expected.forces).max() > 1e-4
    for field in ("forces", "stress"):
        a, b = getattr(got, field), getattr(expected, field)
        assert np.abs(a - b).max() < allowed * np.abs(b).max(), field
    scale = max(1.0, np.abs(expected.energies).max())
    assert np.abs(got.energies - expected.energies).max() < allowed * scale


@pytest.mark.parametrize(("descriptor", "model", "elements", "dtype"), EVERY, ids=identities(EVERY))
def test_on_torch(descriptor, model, elements, dtype, monkeypatch):
    monkeypatch.setenv("FORGEFIELD_BACKEND", "torch")
    number, allowed = DTYPES[dtype]
    p = copy.deepcopy(potential(descriptor, model, elements)).to_dtype(number)
    assert fastest(p, "torch") is None  # plain tensors compute
    assert p.dtype == number
    compare(p.predict(crystal(elements)), truth(descriptor, model, elements), allowed)


@pytest.mark.parametrize(("descriptor", "model", "elements", "dtype"), COMPILED)
def test_compiled(descriptor, model, elements, dtype):
    p = potential(descriptor, model, elements)
    predictor = fastest(p, "compiled", dtype=dtype)
    assert predictor is not None
    assert predictor.backend == "compiled"
    compare(predictor.predict(crystal(elements)), truth(descriptor, model, elements), DTYPES[dtype][1])


def test_the_sample_has_every_pair_of_choices():
    some = [c for c in EVERY if sampled(*c)]
    assert len(some) == len(EVERY) // 4
    for left, right in itertools.combinations(range(4), 2):
        assert {(c[left], c[right]) for c in some} == {(c[left], c[right]) for c in EVERY}
    assert set(SETTINGS) == set(DESCRIPTORS)
