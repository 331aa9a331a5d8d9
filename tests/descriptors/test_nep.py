"""NEP beyond its defaults: cutoffs of single elements, further four-body invariants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.descriptors import NEP
from forgefield.errors import ConfigError
from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.invariants import coupling_table, nep_invariants, triple_invariant
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.testing import CHECKS
from forgefield.testing.computation import measure_backend, measure_derivatives
from forgefield.testing.numerics import deviation, random_rotation, transformed

CUTOFFS = {"Si": (6.0, 5.0), "O": (4.0, 3.0)}
"""Å; a Si-O pair interacts up to 5 and 4 Å."""
TRIPLES = [(1, 1, 2), (1, 2, 3), (2, 3, 3), (1, 3, 4), (2, 2, 2)]


def potential_with(**settings):
    torch.manual_seed(0)
    small = {"n_max_radial": 2, "n_max_angular": 1, "basis_size_radial": 3, "basis_size_angular": 4}
    descriptor = NEP(["Si", "O"], **{**small, **settings})
    model = Network(descriptor.n_features, 2, NetworkSettings(hidden=(4,)))
    potential = Potential(descriptor, model).to_dtype(torch.float64)
    potential.scaler.scale.fill_(0.1)
    return potential


def crystal(seed=0):
    rng = np.random.default_rng(seed)
    atoms = bulk("C", cubic=True)
    atoms.symbols = rng.permutation(["Si"] * 3 + ["O"] * 5)
    strain = 1.2 * (np.eye(3) + 0.05 * rng.uniform(-1, 1, (3, 3)))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
    return atoms


@pytest.mark.parametrize(("symbols", "cutoff"), [("Si2", 6.0), ("SiO", 5.0), ("OSi", 5.0), ("O2", 4.0)])
def test_a_pair_interacts_up_to_the_mean_of_its_cutoffs(symbols, cutoff):
    potential = potential_with(element_cutoffs=CUTOFFS)

    def force(distance):
        return np.abs(potential.predict(Atoms(symbols, [[0, 0, 0], [0, 0, distance]])).forces).max()

    assert force(cutoff + 1e-6) == 0.0
    assert 0.0 < force(cutoff - 0.02) < 0.5 * force(cutoff - 0.5)


def test_one_element_feels_its_own_cutoff_only():
    """A dimer of one element is that of a descriptor with this cutoff for all."""
    own, common = (
        potential_with(**s)
        for s in ({"element_cutoffs": CUTOFFS}, {"cutoff_radial": 4.0, "cutoff_angular": 3.0})
    )
    common.load_state_dict(own.state_dict())
    atoms = crystal()
    atoms.symbols = "O8"
    assert deviation(own.predict(atoms).forces, common.predict(atoms).forces) < 1e-12


def test_elements_that_are_not_named_have_the_common_cutoff():
    descriptor = NEP(["Si", "O"], cutoff_radial=7.0, cutoff_angular=4.0, element_cutoffs={"O": (5.0, 4.0)})
    radial, angular = descriptor.expansions
    assert descriptor.cutoffs == (7.0, 4.0)
    assert radial.stretch == ((7 / 5, 7 / 6), (7 / 6, 1.0))
    assert angular.stretch is None  # all equal
    assert NEP(["Si"], element_cutoffs={"Si": (4.5, 4.5)}).expansions[0].cutoff == 4.5


@pytest.mark.parametrize(
    "name",
    [
        "forces",
        "stress",
        "batches",
        "virials",
        "backends",
        "derivatives",
        "single_precision",
        "file_round_trip",
    ],
)
def test_checklist_with_cutoffs_of_elements(name):
    assert CHECKS[name](potential_with(element_cutoffs=CUTOFFS)).passed


@pytest.mark.parametrize("name", ["forces", "rotation", "reflection", "single_precision"])
def test_checklist_with_all_invariants(name):
    potential = potential_with(q_112=True, q_123=True, q_233=True, q_134=True)
    assert CHECKS[name](potential).passed


def test_backends_agree_on_cutoffs_of_elements():
    for expansion in potential_with(element_cutoffs=CUTOFFS).descriptor.expansions:
        assert expansion.stretch is not None
        assert all(m.passed for m in [*measure_backend(expansion, 4, 9), *measure_derivatives(expansion)])


def test_training_gradients_with_cutoffs_of_elements():
    """d(sum of squared forces)/d(parameters) against differences."""
    potential = potential_with(element_cutoffs=CUTOFFS)
    graph = potential.tensors(potential.graph(crystal()))

    def loss():
        return (potential.evaluate(graph, training=True).forces ** 2).sum()

    (gradient,) = torch.autograd.grad(loss(), [potential.descriptor.c_angular])
    flat, step = potential.descriptor.c_angular.data.view(-1), 1e-5
    for index in (0, 7, flat.numel() - 1):
        values = []
        for sign in (1.0, -2.0):
            flat[index] += sign * step
            values.append(float(loss().detach()))
        flat[index] += step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(
            float(gradient.view(-1)[index]), rel=1e-6
        )


def test_feature_names_and_rotation_of_the_invariants():
    descriptor = NEP(["Si", "O"], q_112=True, q_123=True, q_233=True, q_134=True, n_max_angular=1).double()
    names = [n for n in descriptor.feature_names if n.startswith("n1 ")][-6:]
    assert names == ["n1 222", "n1 1111", "n1 112", "n1 123", "n1 233", "n1 134"]
    atoms = crystal()
    turned = transformed(atoms, random_rotation(np.random.default_rng(0), improper=True))
    before, after = descriptor.compute(atoms), descriptor.compute(turned)
    assert before.shape[1] == descriptor.n_features == len(descriptor.feature_names)
    assert np.abs(before).max(axis=0).min() > 1e-8
    assert deviation(after, before) < 1e-12


@pytest.mark.parametrize("triple", TRIPLES)
def test_triples_are_the_triple_sum_over_neighbours(triple):
    """Evaluated from neighbours: the average over all directions of products of three Legendre polynomials.

    ``(l1 l2 l3; 0 0 0) q = sum_ijk w_i w_j w_k prod_l sqrt((2 l + 1) / 4 pi)``
    ``* <P_l1(u.v_i) P_l2(u.v_j) P_l3(u.v_k)>_u``.
    """
    rng = np.random.default_rng(1)
    v = rng.standard_normal((4, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    w = rng.uniform(0.3, 1.0, 4)
    s = (np.array([np.broadcast_to(y, 4) for y in harmonics(*v.T, 4)]) * w).sum(axis=1)[1:]
    z, weights = np.polynomial.legendre.leggauss(10)
    phi = 2 * np.pi * np.arange(20) / 20
    sine = np.sqrt(1 - z * z)[:, None]
    u = np.stack([sine * np.cos(phi), sine * np.sin(phi), np.broadcast_to(z[:, None], (10, 20))])
    average = weights[:, None] / 40
    polynomials = [np.polynomial.legendre.Legendre.basis(l) for l in triple]
    sums = [np.einsum("i,izp->zp", w, p(np.einsum("ia,azp->izp", v, u))) for p in polynomials]
    direct = float((average * np.prod(sums, axis=0)).sum()) * np.prod(
        [np.sqrt((2 * l + 1) / (4 * np.pi)) for l in triple]
    )
    square = 0.5 * float((weights * np.prod([p(z) for p in polynomials], axis=0)).sum())
    symbol = (-1) ** (sum(triple) // 2) * np.sqrt(square)
    assert triple_invariant(s, triple) == pytest.approx(direct / symbol, rel=1e-11)
    if triple == (2, 2, 2):
        assert nep_invariants(s, 4, four_body=True, five_body=False)[-1] == pytest.approx(
            direct / symbol, rel=1e-11
        )


def test_couplings_that_do_not_exist():
    assert len(coupling_table(1, 1, 2)) > 0
    for triple in ((1, 1, 1), (1, 1, 4)):
        with pytest.raises(ValueError, match="do not couple"):
            coupling_table(*triple)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q_134": True, "l_max": 3}, "`q_134` couples l = 4 and needs `l_max` >= 4, got 3"),
        ({"element_cutoffs": {"Si": (4.0, 5.0)}}, "angular cutoff of Si, 5.0 Å, must not exceed"),
        ({"element_cutoffs": {"Sj": (4.0, 4.0)}}, "'Sj', which is not a chemical element"),
        ({"element_cutoffs": {"C": (4.0, 4.0)}}, "names C, but the elements are O, Si"),
        ({"element_cutoffs": {"Si": (4.0, -4.0)}}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        NEP(["Si", "O"], **settings)


def test_order_of_elements_does_not_matter():
    for species in itertools.permutations(["Si", "O"]):
        assert NEP(species, element_cutoffs=CUTOFFS).expansions[0].stretch == ((1.5, 1.2), (1.2, 1.0))
