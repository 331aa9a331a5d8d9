"""The Chebyshev descriptor against its sums over neighbours and pairs of neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from direct_sums import cluster, cutoff_function, oxide, pair_sum, triplet_sum
from scipy.special import eval_chebyt

from forgefield.descriptors import Chebyshev, make_descriptor
from forgefield.descriptors.chebyshev import aenet_weights
from forgefield.errors import ConfigError

RADIAL, ANGULAR = 4.4, 3.5


def expected(name, atoms, centre, weights):
    *weighted, kind, index = name.split()
    n = int(index[1:])
    own = weights if weighted else dict.fromkeys(weights, 1.0)
    if kind == "radial":

        def radial(r):
            return eval_chebyt(n, 2 * r / RADIAL - 1) * cutoff_function(r, RADIAL)

        return pair_sum(atoms, centre, RADIAL, radial, own.get)

    def angular(r, s, _, cosine):
        return np.cos(n * np.arccos(cosine)) * cutoff_function(r, ANGULAR) * cutoff_function(s, ANGULAR)

    return triplet_sum(atoms, centre, ANGULAR, angular, lambda z, y: own[z] * own[y])


@pytest.mark.parametrize("structure", [cluster, oxide])
@pytest.mark.parametrize("own_weights", [None, {"Si": 0.7, "O": -2.0}])
def test_features_are_the_sums_of_the_definition(structure, own_weights):
    atoms = structure()
    d = Chebyshev(
        ["Si", "O"],
        cutoff_radial=RADIAL,
        cutoff_angular=ANGULAR,
        n_max_radial=9,
        n_max_angular=8,
        species_weights=own_weights,
    )
    weights = {8: -1.0, 14: 1.0} if own_weights is None else {8: -2.0, 14: 0.7}
    assert d.n_features == 2 * (10 + 9)
    for centre in (0, 1):
        values = [expected(name, atoms, centre, weights) for name in d.feature_names]
        assert np.abs(values).min() > 0
        assert np.allclose(d.compute(atoms)[centre], values, rtol=1e-10, atol=1e-12)


def test_one_element_has_one_set():
    d = Chebyshev(["Si"], cutoff_radial=RADIAL, cutoff_angular=ANGULAR, n_max_radial=2, n_max_angular=1)
    assert d.feature_names == ["radial n0", "radial n1", "radial n2", "angular n0", "angular n1"]
    atoms = Atoms("Si6", cluster().positions)
    values = [expected(name, atoms, 2, {14: 1.0}) for name in d.feature_names]
    assert np.allclose(d.compute(atoms)[2], values, rtol=1e-12)


def test_a_pair_of_atoms_has_no_angles():
    d = Chebyshev(["Si", "O"], n_max_angular=12)
    features = d.compute(Atoms("SiO", [[0, 0, 0], [0.5, 0.9, 1.1]]))
    angular = ["angular" in name for name in d.feature_names]
    assert sum(angular) == 26
    assert np.abs(features[:, angular]).max() < 1e-14


def test_weights_of_the_elements():
    """The pattern of aenet: whole numbers around zero."""
    assert [aenet_weights(n) for n in (1, 2, 3, 4)] == [(0,), (-1, 1), (-1, 0, 1), (-2, -1, 1, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff_radial": 4.0, "cutoff_angular": 5.0}, "must not exceed"),
        ({"species_weights": {"Si": 1.0}}, "names Si, but the elements are O, Si"),
        ({"n_max_angular": 13}, "less than or equal to 12"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor({"kind": "chebyshev", **settings}, ["Si", "O"])
