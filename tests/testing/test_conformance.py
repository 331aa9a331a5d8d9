"""The checklist holds for every descriptor with every model, and notices what is broken."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.errors import ConformanceError
from forgefield.models import MODELS, make_model
from forgefield.models.potential import Potential
from forgefield.models.self_test import self_test_structures
from forgefield.testing import CHECKS, check_potential

SETTINGS = {
    "nep": {"cutoff_radial": 5.0, "cutoff_angular": 4.0, "n_max_radial": 4, "n_max_angular": 3},
    "so3": {"cutoff": 4.5, "n_max": 2, "l_max": 3},
    "snap": {"two_j_max": 5, "cutoff": 4.6, "radii": {"Si": 0.5, "O": 0.42}, "weights": {"O": 0.7}},
    "ace": {"cutoff": 4.5, "n_max": [4, 2, 2, 1], "l_min": [0, 0, 0, 0], "l_max": [0, 3, 2, 2]},
    "pod": {
        "cutoff": 4.5,
        "n_max_two_body": 5,
        "n_max_three_body": 3,
        "degree_three_body": 3,
        "n_max_four_body": 2,
        "degree_four_body": 3,
        "n_max_five_body": 1,
        "degree_five_body": 1,
    },
    "acsf": {
        "cutoff": 4.5,
        "cutoff_angular": 4.0,
        "g1": True,
        "g2": [{"etas": [0.05, 0.5], "shifts": [0.0, 2.0]}],
        "g4": [{"etas": [0.01], "zetas": [1.0, 2.5]}],
        "g5": [{"etas": [0.01, 0.1], "zetas": [1.0, 4.0, 2.5]}],
    },
    "wacsf": {
        "cutoff": 4.0,
        "g2": [{"etas": [0.05, 0.5]}],
        "g4": [{"etas": [0.01], "zetas": [1.0, 4.0]}],
        "g5": [{"etas": [0.02], "zetas": [2.0]}],
    },
    "ead": {"etas": [0.05, 0.3], "l_max": 3, "cutoff": 4.5},
    "chebyshev": {"cutoff_radial": 5.0, "cutoff_angular": 4.0, "n_max_radial": 5, "n_max_angular": 4},
}
"""Smaller than the defaults where these are slow; a descriptor without an entry is tested with its defaults."""

SCALES = {"so3": 1e-2, "snap": 1e-2}


@functools.cache
def make(descriptor, model, species=("Si", "O")):
    torch.manual_seed(0)
    d = make_descriptor({"kind": descriptor, **SETTINGS.get(descriptor, {})}, species)
    m = make_model({"kind": model}, d.n_features, d.n_species)
    m.reset_parameters()
    potential = Potential(d, m, {14: -3.0, 8: -5.0}).to_dtype(torch.float64)
    potential.scaler.scale.fill_(SCALES.get(descriptor, 0.1))
    return potential


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_checklist(name, descriptor, model):
    result = CHECKS[name](make(descriptor, model))
    assert result.passed
    assert len(result.measurements) > 0


@pytest.mark.parametrize("name", ["forces", "stress", "batches", "cutoff", "virials"])
def test_single_element(name):
    assert CHECKS[name](make("nep", "network", ("Si",))).passed


def test_all_checks_at_once_and_a_float32_potential():
    d = make_descriptor({"kind": "nep", "n_max_radial": 1, "n_max_angular": 1, "l_max": 2}, ["Si"])
    potential = Potential(d, make_model({"kind": "network"}, d.n_features, 1))
    assert potential.dtype == torch.float32
    results = check_potential(potential, self_test_structures(potential)[:1])
    assert [r.name for r in results] == list(CHECKS)
    assert potential.dtype == torch.float32


class Broken(Potential):
    """A potential with one thing wrong."""

    def __init__(self, whole, wrong):
        super().__init__(whole.descriptor, whole.model, {14: -3.0, 8: -5.0})
        self.scaler, self.wrong = whole.scaler, wrong

    def predict(self, atoms, properties=None, *, virials="I"):
        return self.wrong(atoms, super().predict(atoms, properties, virials=virials), virials)

    def predict_many(self, frames, *, batch_size=16):  # noqa: ARG002
        return [self.predict(a) for a in frames]


def scaled(field, factor):
    return lambda _, r, __: dataclasses.replace(
        r, **{field: None if getattr(r, field) is None else getattr(r, field) * factor}
    )


def field_along_z(atoms, result, _):
    """An external field: right derivatives, no isotropy."""
    z = atoms.positions[:, 2] if not atoms.pbc[2] else np.zeros(len(atoms))
    energies = result.energies + 0.1 * z
    forces = result.forces - 0.1 * (0 if atoms.pbc[2] else 1) * np.array([0, 0, 1])
    return dataclasses.replace(result, energy=float(energies.sum()), energies=energies, forces=forces)


def first_atom_special(atoms, result, _):
    energies = result.energies.copy()
    energies[0] += 0.5
    return dataclasses.replace(result, energy=float(energies.sum()), energies=energies)


def size_dependent(atoms, result, _):
    return dataclasses.replace(result, energies=result.energies * (1 + 1e-6 * len(atoms)))


def constant_offset(atoms, result, _):
    return dataclasses.replace(result, energy=result.energy + 1e-3, energies=result.energies)


def one_kind_off(atoms, result, kind):
    return dataclasses.replace(result, virials=result.virials * (1.01 if kind == "II" else 1.0))


def swapped_shear(atoms, result, _):
    return dataclasses.replace(
        result, stress=None if result.stress is None else result.stress[[0, 1, 2, 5, 4, 3]]
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("forces", scaled("forces", 1 + 1e-5)),
        ("forces", scaled("forces", -1.0)),
        ("stress", scaled("stress", 1 + 1e-5)),
        ("stress", swapped_shear),
        ("rotation", swapped_shear),
        ("rotation", field_along_z),
        ("reflection", field_along_z),
        ("translation", field_along_z),
        ("permutation", first_atom_special),
        ("periodic_images", size_dependent),
        ("isolated_atom", constant_offset),
        ("virials", one_kind_off),
        ("virials", scaled("stress", -1.0)),
        ("heat_flux", scaled("virials", 1.01)),
        ("file_round_trip", constant_offset),
    ],
)
def test_what_is_broken_is_noticed(name, wrong):
    potential = Broken(make("nep", "network"), wrong).to_dtype(torch.float64)
    structure = 2 if wrong is field_along_z else 0
    with pytest.raises(ConformanceError, match=rf"{name}: .* is off by"):
        CHECKS[name](potential, self_test_structures(potential)[structure : structure + 1])


def test_a_blind_potential_is_noticed():
    whole = make("nep", "linear")
    blind = Potential(whole.descriptor, make_model({"kind": "linear"}, whole.descriptor.n_features, 2))
    with pytest.raises(ConformanceError, match="blind inside the cutoff"):
        CHECKS["cutoff"](blind.to_dtype(torch.float64))


def test_own_structures_and_nothing_to_measure():
    potential = make("nep", "network")
    slab = self_test_structures(potential)[2]
    assert CHECKS["forces"](potential, [slab]).passed
    with pytest.raises(ConformanceError, match="nothing could be measured"):
        CHECKS["stress"](potential, [slab])


def test_check_potential_reports_everything_at_once():
    broken = Broken(make("nep", "network", ("Si",)), scaled("stress", -1.0)).to_dtype(torch.float64)
    with pytest.raises(ConformanceError, match=r"(?s)stress: .*\n.*virials: ") as error:
        check_potential(broken, self_test_structures(broken)[:1])
    assert "rotation" not in str(error.value)
