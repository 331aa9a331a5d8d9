"""Symmetry functions against their definition, DScribe, hand computation and published counts."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from direct_sums import cluster, cutoff_function, oxide, pair_sum, triplet_sum

from forgefield.descriptors import ACSF, WACSF, make_descriptor
from forgefield.descriptors.acsf_sets import behler_set, gastegger_set, named_set, pyxtal_set
from forgefield.errors import ConfigError

CUTOFF, ANGULAR = 4.2, 3.6
GRIDS = {
    "cutoff": CUTOFF,
    "cutoff_angular": ANGULAR,
    "g1": True,
    "g2": [{"etas": [0.02, 0.4], "shifts": [0.0, 1.7]}, {"etas": [3.0], "shifts": [2.2]}],
    "g4": [{"etas": [0.0, 0.05], "zetas": [1.0, 4.0]}, {"etas": [0.2], "zetas": [2.5], "lambdas": [0.5]}],
    "g5": [
        {"etas": [0.0, 0.07], "zetas": [1.0, 3.0, 8.0, 9.0, 1.5]},
        {"etas": [0.3], "zetas": [2.0], "lambdas": [0.4]},
    ],
}


def expected(name, atoms, centre, *, weighted=False):
    """The value of the feature of this name, from the definition."""
    kind, who, *rest = name.split()
    parameters = [float(word.lstrip("etaRszlmbd")) for word in rest]
    if kind in ("G1", "G2"):

        def weight(z):
            return z if weighted else float(z == atomic_numbers[who])

        def radial(r):
            eta, shift = parameters or (0.0, 0.0)
            return np.exp(-eta * (r - shift) ** 2) * cutoff_function(r, CUTOFF)

        return pair_sum(atoms, centre, CUTOFF, radial, weight)
    eta, zeta, lam = parameters

    def pair_weight(z, y):
        return (
            z * y if weighted else float(sorted((z, y)) == sorted(atomic_numbers[e] for e in who.split("-")))
        )

    def angular(r, s, t, cosine):
        cut = cutoff_function(r, ANGULAR) * cutoff_function(s, ANGULAR)
        size = r * r + s * s
        if kind == "G4":
            cut, size = cut * cutoff_function(t, ANGULAR), size + t * t
        return 2 ** (1 - zeta) * (1 + lam * cosine) ** zeta * np.exp(-eta * size) * cut

    return triplet_sum(atoms, centre, ANGULAR, angular, pair_weight)


@pytest.mark.parametrize("structure", [cluster, oxide])
@pytest.mark.parametrize("kind", ["acsf", "wacsf"])
def test_features_are_the_sums_of_the_definition(kind, structure):
    atoms = structure()
    d = make_descriptor({"kind": kind, **GRIDS}, ["Si", "O"])
    assert [type(e).__name__ for e in d.expansions] == [
        "SphericalExpansion",
        "TripletExpansion",
        "SphericalExpansion",
    ]
    got = d.compute(atoms)[:2]
    centres = range(1 if structure is oxide else 2)
    for centre in centres:
        values = np.array([expected(n, atoms, centre, weighted=kind == "wacsf") for n in d.feature_names])
        assert (values != 0).mean() > 0.9
        scale = 1.0 if kind == "acsf" else 14.0**2
        assert np.allclose(got[centre], values, rtol=1e-10, atol=1e-13 * scale)


def test_seventy_functions_of_pyxtal_ff_against_dscribe():
    """Yanxon et al., listing 4: 8 G2 for each element and 18 G4 for each pair; the angular ones count pairs once."""
    dscribe = pytest.importorskip("dscribe.descriptors", reason="DScribe is not installed")
    (radial,), (angular,), _ = pyxtal_set()
    d = ACSF(["Si", "O"])
    assert d.n_features == 70
    assert WACSF(["Si", "O"]).n_features == 26
    theirs = dscribe.ACSF(
        species=["O", "Si"],
        r_cut=4.9,
        g2_params=list(radial.parameters),
        g4_params=[list(p) for p in angular.parameters],
        g5_params=[[0.03, 4, 1], [0.03, 1, -1]],
        periodic=True,
    )
    atoms = oxide() * (2, 1, 1)
    values = theirs.create(atoms)
    assert values.shape[1] == 2 * 9 + 3 * 20  # with G1 and the two G5
    ours = ACSF(
        ["Si", "O"],
        g1=True,
        g5=[
            {"etas": [0.03], "zetas": [4], "lambdas": [1]},
            {"etas": [0.03], "zetas": [1], "lambdas": [-1]},
        ],
    ).compute(atoms)
    # DScribe: G1, G2 by element, then (G4, G5) by pair OO, SiO, SiSi; here G5 come last, by grid.
    pairs = values[:, 18:].reshape(len(atoms), 3, 20)
    again = [values[:, :18], pairs[:, :, :18].reshape(len(atoms), -1), pairs[:, :, 18], pairs[:, :, 19]]
    assert np.allclose(ours, np.concatenate(again, axis=1), rtol=1e-9, atol=1e-12)
    radial_and_g4 = [k for k in range(78) if k not in (0, 9, *range(72, 78))]
    assert np.array_equal(d.compute(atoms), ours[:, radial_and_g4])


def test_weighted_by_hand():
    """An H at the corner of a right angle with O and Si at distance 1: every factor can be written down."""
    atoms = Atoms("HOSi", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    grid = {"etas": [0.5], "zetas": [2.0], "lambdas": [1.0]}
    d = WACSF(["H", "O", "Si"], cutoff=2.0, g2=[{"etas": [0.5]}], g4=[grid], g5=[grid])
    radial, far = np.exp(-0.5) * 0.5, np.exp(-1.0) * 0.5 * (1 + np.cos(np.pi / np.sqrt(2)))
    # cos theta = 0: the angular factor is 2^(1 - 2).
    g2, g4, g5 = (8 + 14) * radial, 8 * 14 * 0.5 * radial**2 * far, 8 * 14 * 0.5 * radial**2
    assert np.allclose(d.compute(atoms)[0], [g2, g4, g5], rtol=1e-13)


def test_weights_of_one_are_plain_functions():
    """Hydrogen weighs 1: the weighted functions of hydrogen are the plain ones."""
    atoms = Atoms("H5", np.random.default_rng(1).uniform(-1.6, 1.6, (5, 3)))
    settings = {**GRIDS, "g1": False}
    assert np.array_equal(WACSF(["H"], **settings).compute(atoms), ACSF(["H"], **settings).compute(atoms))


def test_weighted_functions_are_sums_of_the_plain_ones():
    settings = {"cutoff": 4.0, "g5": [{"etas": [0.02, 0.1], "zetas": [1.0, 6.0]}]}
    plain, weighted = ACSF(["Si", "O"], **settings), WACSF(["Si", "O"], **settings)
    got = dict(zip(weighted.feature_names, weighted.compute(oxide()).T, strict=True))
    total = dict.fromkeys(got, 0.0)
    for name, values in zip(plain.feature_names, plain.compute(oxide()).T, strict=True):
        kind, who, *rest = name.split()
        factor = np.prod([atomic_numbers[e] for e in who.split("-")])
        total[" ".join([kind, "Z", *rest])] += factor * values
    for name, values in got.items():
        assert np.allclose(values, total[name], rtol=1e-11, atol=1e-11)


def test_a_pair_of_atoms_has_no_angles():
    """The terms j = k are taken off: nothing but rounding is left of them."""
    d = ACSF(["Si"], cutoff=4.0, g2=[], g4=[], g5=[{"etas": [0.0], "zetas": [1.0, 2.0, 5.0, 8.0]}])
    features = d.compute(Atoms("Si2", [[0, 0, 0], [0.5, 0.9, 1.1]]))
    assert np.abs(features).max() < 1e-14


@pytest.mark.parametrize("zeta", [8.0, 9.0])
def test_harmonics_and_pairs_of_neighbours_agree(zeta):
    """The same function either way, on both sides of the power where the way changes."""
    d = ACSF(["Si"], cutoff=4.5, g2=[], g4=[], g5=[{"etas": [0.02], "zetas": [zeta]}])
    assert len(d.expansions) == (2 if zeta == 8.0 else 1)
    nudged = ACSF(["Si"], cutoff=4.5, g2=[], g4=[], g5=[{"etas": [0.02], "zetas": [zeta + 1e-7]}])
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    assert np.allclose(d.compute(atoms), nudged.compute(atoms), rtol=1e-6)


def test_parameter_sets():
    radial, angular = pyxtal_set().g2[0], pyxtal_set().g4[0]
    # 0.0009 and 0.0001 bohr^-2, the usual first exponents.
    assert radial.etas[0] == pytest.approx(0.0009 / 0.529177**2, abs=1e-6)
    assert angular.etas[0] == pytest.approx(0.0001 / 0.529177**2, abs=1e-6)
    turning = 1 / np.sqrt(2 * np.array(behler_set(6.0).g2[0].etas[1:]))
    assert np.allclose(np.diff(turning), -2.0 / 7, atol=1e-5)
    assert turning[-1] == pytest.approx(1.0, abs=1e-5)
    grid = gastegger_set(6.0).g2[0]
    step = np.diff(grid.shifts)
    assert np.allclose(step, 5.2 / 12, atol=1e-5)
    assert grid.etas[0] == pytest.approx(0.5 / step[0] ** 2, rel=1e-4)
    sizes = {name: ACSF(["Si", "O"], preset=name, cutoff=6.0).n_features for name in ("behler", "gastegger")}
    assert sizes == {"behler": 8 * 2 + 16 * 3, "gastegger": 12 * 2 + 8 * 3}
    for name in ("pyxtal", "behler", "gastegger"):
        features = ACSF(["Si", "O"], preset=name, cutoff=5.0).compute(oxide())
        assert (features.max(axis=0) > 0).all()
        own = named_set(name, 5.0)
        given = ACSF(["Si", "O"], cutoff=5.0, g2=own.g2, g4=own.g4, g5=own.g5)
        assert np.array_equal(given.compute(oxide()), features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff_angular": 9.0}, "`cutoff_angular` must not exceed `cutoff`"),
        ({"g2": [], "g4": [], "g5": []}, "no symmetry function left"),
        ({"g2": [{"etas": [0.1, 0.2]}, {"etas": [0.2]}]}, "`g2` holds the same function twice"),
        (
            {"g4": [{"etas": [0.1], "zetas": [0.5]}]},
            r"`descriptor.g4.0.zetas.0`.*greater than or equal to 1.*got 0.5",
        ),
        ({"g5": [{"etas": [0.1], "zetas": [1], "lambdas": [2]}]}, "less than or equal to 1.*got 2"),
        ({"g5": [{"etas": [-0.1], "zetas": [1]}]}, "greater than or equal to 0.*got -0.1"),
        ({"preset": "default"}, "`descriptor.preset`.*'pyxtal', 'behler' or 'gastegger'"),
        ({"g2": [{"eta": [0.1]}]}, "`descriptor.g2.0.eta`"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor({"kind": "acsf", **settings}, ["Si"])
