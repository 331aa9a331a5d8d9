"""Numbers of features that papers state, and the rules of published parameter sets written down again."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.descriptors import make_descriptor
from forgefield.descriptors.acsf_sets import behler_set, gastegger_set, pyxtal_set

CUTOFF = 4.9
SILICA = {
    "ACSF": ({"kind": "acsf", "cutoff": CUTOFF}, 70),
    "wACSF": ({"kind": "wacsf", "cutoff": CUTOFF}, 26),
    "EAD": ({"kind": "ead", "cutoff": CUTOFF}, 30),
    "SO3": (
        {"kind": "so3", "cutoff": CUTOFF, "n_max": 4, "l_max": 3, "species_weighting": "atomic_number"},
        40,
    ),
    # Their l_max = 3 is J: twice that is 2J = 6.
    "SO4": ({"kind": "snap", "cutoff": CUTOFF, "two_j_max": 6}, 30),
}


@pytest.mark.parametrize("name", SILICA)
def test_descriptors_of_silica(name):
    """Yanxon et al. (PyXtal_FF), table 1 and listing 4."""
    settings, expected = SILICA[name]
    d = make_descriptor(settings, ["Si", "O"])
    assert d.n_features == expected
    assert len(set(d.feature_names)) == expected


def test_functions_of_the_listing():
    """Every exponent, power and sign, in our own names."""
    etas = (0.003214, 0.035711, 0.071421, 0.124987, 0.214264, 0.357106, 0.714213, 1.428426)
    expected = {f"G2 {s} eta{eta:.10g} Rs0" for s in ("O", "Si") for eta in etas}
    expected |= {
        f"G4 {pair} eta{eta:.10g} zeta{zeta} lambda{lam}"
        for pair in ("O-O", "O-Si", "Si-Si")
        for eta in (0.000357, 0.028569, 0.089277)
        for zeta in (1, 2, 4)
        for lam in (-1, 1)
    }
    assert set(make_descriptor({"kind": "acsf"}, ["Si", "O"]).feature_names) == expected
    assert pyxtal_set().g5 == ()
    orbitals = make_descriptor({"kind": "ead"}, ["Si", "O"]).feature_names
    assert set(orbitals) == {
        f"L{l} eta{eta:.10g} Rs{shift}" for l in range(3) for eta in etas[:5] for shift in ("0", "1.5")
    }


@pytest.mark.parametrize("cutoff", [4.0, 6.0, 8.5])
@pytest.mark.parametrize(("n_radial", "n_angular"), [(12, 4), (5, 3)])
def test_rule_of_gastegger(cutoff, n_radial, n_angular):
    """A grid of distances: shifted functions stand on it, as wide as its step; centred ones are as wide as it is far."""
    found = gastegger_set(cutoff, n_radial, n_angular)
    (radial,), (angular,) = found.g2, found.g4
    grid = np.linspace(0.8, cutoff, n_radial + 1)[:-1]  # at the cutoff nothing is left to see
    step = (grid[-1] - grid[0]) / (n_radial - 1)
    assert np.allclose(radial.shifts, grid, rtol=1e-5)
    assert np.allclose(radial.etas, 1 / (2 * step * step), rtol=1e-5)
    assert len(radial.etas) == 1
    # Neighbouring functions meet at exp(-1/8), half a step from either centre.
    middle = 0.5 * (grid[1] + grid[2])
    assert np.exp(-radial.etas[0] * (middle - grid[1]) ** 2) == pytest.approx(np.exp(-1 / 8), rel=1e-4)
    centred = np.linspace(1.6, cutoff, n_angular + 1)[1:]
    assert np.allclose(sorted(angular.etas), sorted(1 / (2 * centred**2)), rtol=1e-5)
    assert angular.zetas == (1.0,)
    assert angular.lambdas == (-1.0, 1.0)


@pytest.mark.parametrize("cutoff", [4.0, 6.0, 6.35])
def test_rule_of_behler(cutoff):
    """Centred Gaussians whose turning points are equally spaced; the first is the cutoff function alone."""
    found = behler_set(cutoff)
    (radial,), (angular,) = found.g2, found.g4
    assert radial.shifts == (0.0,)
    assert radial.etas[0] == 0.0
    for eta in radial.etas[1:]:
        r = 1 / np.sqrt(2 * eta)
        h = 1e-3

        def gaussian(x, eta=eta):
            return np.exp(-eta * x * x)

        curvature = (gaussian(r + h) - 2 * gaussian(r) + gaussian(r - h)) / h**2
        assert abs(curvature) < 1e-4 * eta
    turning = np.array([cutoff / 2, *(1 / np.sqrt(2 * np.array(radial.etas[1:])))])
    assert np.allclose(np.diff(turning), np.diff(turning)[0], rtol=1e-4)
    assert angular.zetas == (1.0, 2.0, 4.0, 16.0)
    assert angular.lambdas == (-1.0, 1.0)
