"""Descriptors with every cutoff function: values, smoothness, forces, compiled kernels, refusals."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from ase import Atoms
from direct_sums import cluster, pair_sum, triplet_sum

from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.descriptors.cutoff_choice import CutoffChoice
from forgefield.engine.features import FeatureEngine
from forgefield.engine.predictor import Predictor
from forgefield.errors import ConfigError
from forgefield.formulas.cutoffs import CutoffName, CutoffShape
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.testing import CHECKS

GRID = {"etas": [0.05], "zetas": [1.0, 2.5]}
SETTINGS = {
    "acsf": {"cutoff": 4.5, "g1": True, "g2": [{"etas": [0.1]}], "g4": [GRID], "g5": [GRID]},
    "wacsf": {"cutoff": 4.5, "g2": [{"etas": [0.1]}], "g4": [GRID], "g5": [GRID]},
    "ead": {"cutoff": 4.5, "etas": [0.1], "l_max": 2},
    "so3": {"cutoff": 4.5, "n_max": 2, "l_max": 2},
    "chebyshev": {"cutoff_radial": 4.5, "cutoff_angular": 4.0, "n_max_radial": 3, "n_max_angular": 2},
}
CHOICES = [
    *({"cutoff_function": name} for name in get_args(CutoffName)),
    {"cutoff_function": "poly2", "cutoff_start": 0.4},
    {"cutoff_function": "poly3", "cutoff_start": 0.1, "inner_switch": [1.0, 1.7]},
]


def label(choice):
    return " ".join(str(v) for v in choice.values())


def descriptor(kind, choice):
    return make_descriptor({"kind": kind, **SETTINGS[kind], **choice}, ["Si", "O"])


def potential(kind, choice, model="linear"):
    torch.manual_seed(0)
    d = descriptor(kind, choice)
    m = make_model({"kind": model}, d.n_features, d.n_species)
    m.reset_parameters()
    result = Potential(d, m, {14: -3.0, 8: -5.0}).to_dtype(torch.float64)
    result.scaler.scale.fill_({"so3": 1e-2, "wacsf": 1e-2}.get(kind, 0.1))
    return result


def test_every_descriptor_with_the_choice_is_here():
    having = {kind for kind, d in DESCRIPTORS.items() if issubclass(d.Settings, CutoffChoice)}
    assert having == set(SETTINGS)


@pytest.mark.parametrize("choice", CHOICES, ids=label)
def test_symmetry_functions_are_sums_with_this_function(choice):
    d, atoms = descriptor("acsf", choice), cluster()
    shape = CutoffShape(choice["cutoff_function"], choice.get("cutoff_start", 0.0), d.settings.inner_switch)

    def cut(r):
        return float(shape(float(r), 4.5))

    def close(z, y):
        return float(z == y == 14)

    got = dict(zip(d.feature_names, d.compute(atoms)[1], strict=True))
    assert got["G1 Si"] == pytest.approx(pair_sum(atoms, 1, 4.5, cut, lambda z: float(z == 14)), rel=1e-11)
    g2 = pair_sum(atoms, 1, 4.5, lambda r: np.exp(-0.1 * r * r) * cut(r), lambda z: float(z == 14))
    assert got["G2 Si eta0.1 Rs0"] == pytest.approx(g2, rel=1e-11)
    for name, third in (("G4", True), ("G5", False)):
        for zeta in (1.0, 2.5):

            def angular(r, s, t, cosine, zeta=zeta, third=third):
                size, fc = r * r + s * s, cut(r) * cut(s)
                if third:
                    size, fc = size + t * t, fc * cut(t)
                return 2 ** (1 - zeta) * (1 + cosine) ** zeta * np.exp(-0.05 * size) * fc

            expected = triplet_sum(atoms, 1, 4.5, angular, close)
            assert got[f"{name} Si-Si eta0.05 zeta{zeta:g} lambda1"] == pytest.approx(
                expected, rel=1e-9, abs=1e-12
            )


@pytest.mark.parametrize("choice", CHOICES, ids=label)
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_dimer_fades_out_smoothly(kind, choice):
    """Features and their slopes by differences: zero at the cutoff, quadratic or better in the distance from it."""
    d = descriptor(kind, choice)

    def features(r):
        return d.compute(Atoms("SiO", [[0, 0, 0], [0.6 * r, 0, 0.8 * r]]))

    inside = np.abs(features(2.4)).max()
    assert inside > 1e-4
    step = 1e-3
    scale = max(inside, np.abs(features(1.0)).max())
    assert np.abs(features(4.5 - step)).max() < 50 * step**2 * scale
    slope = (features(4.5 - 0.5 * step) - features(4.5 - 1.5 * step)) / step
    assert np.abs(slope).max() < 50 * step * scale
    assert np.abs(features(4.5 + 1e-9)).max() < 1e-12 * scale
    if "inner_switch" in choice:
        assert np.abs(features(0.99)).max() < 1e-12 * scale


@pytest.mark.parametrize("kind", SETTINGS)
def test_compiled_kernels_have_it_too(kind, monkeypatch):
    monkeypatch.setenv("FORGEFIELD_BACKEND", "compiled")
    atoms = cluster()
    plain = descriptor(kind, {}).compute(atoms)
    for choice in (CHOICES[1], CHOICES[2], CHOICES[-1]):
        d = descriptor(kind, choice)
        expected = d.compute(atoms)
        assert np.abs(expected - plain).max() > 1e-3 * np.abs(plain).max()
        for dtype, allowed in (("float64", 1e-12), ("float32", 1e-5)):
            got = FeatureEngine(d, dtype).compute(atoms)  # compiled, or an error
            assert np.abs(got - expected).max() < allowed * np.abs(expected).max(), (choice, dtype)


@pytest.mark.parametrize("name", ["forces", "stress", "cutoff", "backends", "derivatives", "file_round_trip"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_checklist(kind, name):
    choice = CHOICES[1 + list(SETTINGS).index(kind) % 2]  # tanh, exponential
    assert CHECKS[name](potential(kind, choice)).passed


@pytest.mark.parametrize("choice", [CHOICES[3], CHOICES[-1]], ids=label)
def test_compiled_forces(choice):
    p, atoms = potential("acsf", choice, "network"), cluster()
    atoms.set_cell([[6.0, 0.3, 0], [0, 5.5, 0.4], [0.2, 0, 7.0]])
    atoms.pbc = True
    predictor, expected = Predictor(p), p.predict(atoms)
    got = predictor.predict(atoms)
    assert predictor.backend == "compiled"
    assert np.abs(got.forces - expected.forces).max() < 1e-12 * np.abs(expected.forces).max()


@pytest.mark.parametrize("kind", SETTINGS)
def test_defaults_change_nothing(kind):
    d, named = descriptor(kind, {}), descriptor(kind, {"cutoff_function": "cosine", "cutoff_start": 0.0})
    assert d.expansions == named.expansions
    old = {
        k: v for k, v in d.settings.model_dump().items() if k not in CutoffChoice.model_fields or k == "kind"
    }
    assert make_descriptor(old, ["Si", "O"]).settings == d.settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff_function": "sine"}, "`descriptor.cutoff_function`.*'cosine', 'tanh'.*got 'sine'"),
        ({"cutoff_start": 1.0}, "`descriptor.cutoff_start`.*less than 1.*got 1"),
        ({"cutoff_start": -0.1}, "`descriptor.cutoff_start`.*greater than or equal to 0"),
        ({"cutoff_function": "tanh", "cutoff_start": 0.2}, "must be 0 for `cutoff_function: tanh`.*got 0.2"),
        ({"inner_switch": [2.0, 1.0]}, r"ascending distances.*got \[2, 1\]"),
        ({"inner_switch": [1.0, 5.0]}, r"below every cutoff \(4.* Å\), got \[1, 5\]"),
        ({"inner_switch": [1.0]}, "`descriptor.inner_switch"),
    ],
)
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        descriptor(kind, settings)


@pytest.mark.parametrize("kind", sorted(set(DESCRIPTORS) - set(SETTINGS)))
def test_where_the_definition_fixes_it_there_is_no_choice(kind):
    with pytest.raises(ConfigError, match=r"unknown setting `descriptor\.cutoff_function`"):
        make_descriptor({"kind": kind, "cutoff_function": "poly2"}, ["Si"])


@pytest.mark.parametrize(
    "choice", [{"cutoff_function": "poly2"}, {"cutoff_start": 0.3}, {"inner_switch": [0.5, 1.0]}]
)
def test_lammps_has_the_cosine_only(choice, tmp_path):
    d = make_descriptor({"kind": "so3", **choice}, ["Si"])
    p = Potential(d, make_model({"kind": "linear"}, d.n_features, 1))
    with pytest.raises(ConfigError, match="LAMMPS's so3 has the cosine as its cutoff function"):
        p.export("lammps-mliap", tmp_path)
