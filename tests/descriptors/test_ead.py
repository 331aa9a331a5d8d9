"""Embedded atom density against eqs. 9-10 of Yanxon et al., evaluated orbital by orbital."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from direct_sums import cluster, cutoff_function, neighbours_of, oxide

from forgefield.descriptors import EAD, make_descriptor
from forgefield.errors import ConfigError

CUTOFF = 4.3


def orbital_sums(atoms, centre, powers, eta, shift):
    """Sum over neighbours of each element of x^lx y^ly z^lz / cutoff^L exp(-eta (r - R_s)^2) f_c: {Z: sum}."""
    sums = dict.fromkeys(np.unique(atoms.numbers), 0.0)
    for z, v in zip(*neighbours_of(atoms, centre, CUTOFF), strict=True):
        r = np.linalg.norm(v)
        angular = np.prod([v[a] ** powers[a] for a in range(3)]) / CUTOFF ** sum(powers)
        sums[z] += angular * np.exp(-eta * (r - shift) ** 2) * cutoff_function(r, CUTOFF)
    return sums


def density(atoms, centre, degree, eta, shift, combine):
    total = 0.0
    for powers in itertools.product(range(degree + 1), repeat=3):
        if sum(powers) == degree:
            multinomial = math.factorial(degree) / math.prod(math.factorial(p) for p in powers)
            total += multinomial * combine(orbital_sums(atoms, centre, powers, eta, shift))
    return total


@pytest.mark.parametrize("structure", [cluster, oxide])
@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_weighted_by_atomic_number(structure, l_max):
    atoms = structure()
    d = EAD(["Si", "O"], cutoff=CUTOFF, etas=(0.05, 0.8), shifts=(0.0, 1.3), l_max=l_max)
    assert d.n_features == 4 * (l_max + 1)
    got = d.compute(atoms)[0]
    expected = [
        density(atoms, 0, degree, eta, shift, lambda sums: sum(z * s for z, s in sums.items()) ** 2)
        for degree in range(l_max + 1)
        for eta in (0.05, 0.8)
        for shift in (0.0, 1.3)
    ]
    assert np.abs(expected).min() > 0
    assert np.allclose(got, expected, rtol=1e-11)


def test_products_of_the_densities_of_elements():
    atoms = oxide()
    d = EAD(["Si", "O"], cutoff=CUTOFF, etas=(0.4,), shifts=(1.0,), l_max=3, species_weighting="resolved")
    assert d.feature_names[4:6] == ["O-Si L0 eta0.4 Rs1", "O-Si L1 eta0.4 Rs1"]
    expected = [
        density(atoms, 1, degree, 0.4, 1.0, lambda sums, a=a, b=b: sums[a] * sums[b])
        for a, b in ((8, 8), (8, 14), (14, 14))
        for degree in range(4)
    ]
    assert np.allclose(d.compute(atoms)[1], expected, rtol=1e-11, atol=1e-13)


def test_the_thirty_features_of_the_paper():
    d = EAD(["Si", "O"])
    assert d.n_features == 30
    assert d.feature_names[:2] == ["L0 eta0.003214 Rs0", "L0 eta0.003214 Rs1.5"]
    assert (d.compute(oxide()) > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l_max": 4}, "less than or equal to 3.*got 4"),
        ({"etas": [0.1, 0.1]}, "same value twice"),
        ({"etas": []}, "at least 1 item"),
        ({"shifts": [-1.0]}, "greater than or equal to 0.*got -1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor({"kind": "ead", **settings}, ["Si"])
