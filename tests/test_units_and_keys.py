"""Conversion factors against ASE, Voigt order against ASE, hints of errors."""

from __future__ import annotations

import ase.stress
import ase.units
import numpy as np
import pytest

from forgefield import units
from forgefield.errors import counted, did_you_mean
from forgefield.keys import VOIGT, matrix_to_voigt, voigt_to_matrix


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.EV_PER_A3_TO_GPA, 1 / ase.units.GPa),
        (units.EV_PER_A3_TO_KBAR, 1 / (1000 * ase.units.bar)),
        (units.HARTREE_TO_EV, ase.units.Hartree),
        (units.RYDBERG_TO_EV, ase.units.Rydberg),
        (units.KJ_PER_MOL_TO_EV, ase.units.kJ / ase.units.mol),
    ],
)
def test_factors(ours, theirs):
    assert ours == pytest.approx(theirs, rel=1e-7)


def test_gpa_is_exact_by_the_definition_of_the_electronvolt():
    expected = 1.602176634e-19 / 1e-30 / 1e9
    assert pytest.approx(expected, rel=1e-14) == units.EV_PER_A3_TO_GPA


def test_voigt_order_is_ases():
    m = np.arange(9.0).reshape(3, 3)
    m = m + m.T
    assert np.array_equal(matrix_to_voigt(m), ase.stress.full_3x3_to_voigt_6_stress(m))
    v = np.arange(6.0)
    assert np.array_equal(voigt_to_matrix(v), ase.stress.voigt_6_to_full_3x3_stress(v))
    assert [(a, b) for a, b in VOIGT] == [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def test_voigt_of_many_and_of_asymmetric_matrices():
    m = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    v = matrix_to_voigt(m)
    assert v.shape == (4, 2, 6)
    assert np.allclose(voigt_to_matrix(v), 0.5 * (m + np.swapaxes(m, -1, -2)))


def test_hints():
    assert did_you_mean("cutof", ["cutoff", "alpha"]) == "choose from alpha, cutoff; did you mean 'cutoff'?"
    assert did_you_mean("zzz", ["cutoff", "alpha"]) == "choose from alpha, cutoff"


def test_numbers_agree_with_nouns_and_verbs():
    assert counted(1, "structure") == "1 structure"
    assert counted(0, "structure") == "0 structures"
    assert [counted(n, "label", "have") for n in (1, 2)] == ["1 label has", "2 labels have"]
    assert [counted(n, "atom", "are") for n in (1, 2)] == ["1 atom is", "2 atoms are"]
    assert [counted(n, "cell", "repeat") for n in (1, 2)] == ["1 cell repeats", "2 cells repeat"]
