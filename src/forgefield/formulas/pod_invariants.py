"""Three- and four-body features of POD as polynomials of the sums of harmonics over the neighbours of an atom."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.pod_basis import cosine_powers, four_body_tensor

__all__ = ["PODGroup", "PODTerms", "pod_four_body", "pod_product_pairs", "pod_three_body"]


class PODGroup(NamedTuple):
    """Shape of a group of features: element groups, radial functions, and the degree of each angular function."""

    n_element_groups: int
    n_radial: int
    degrees: tuple[int, ...]


class PODTerms(NamedTuple):
    """``y[o] = sum over terms of coefficients[t] prod_p x[indices[t, p]]``.

    x holds, element by element, the sums of the harmonics (Y_00 = 1): harmonic-major, radial function by radial
    function. Outputs: group of elements by group of elements, then radial function, then angular function.

    Attributes
    ----------
    n_outputs : int
    outputs : (n_terms,) int array
    indices : (n_terms, degree) int array
    coefficients : (n_terms,) array
    """

    n_outputs: int
    outputs: NDArray[np.int64]
    indices: NDArray[np.int64]
    coefficients: NDArray[np.float64]


def _terms(tensor: NDArray[np.float64], n_elements: int, n_radial: int, n_harmonics: int) -> PODTerms:
    """Apply ``y_p = sum T[p, u, v, ...] A_u B_v ...`` to every group of elements and every radial function."""
    found = np.nonzero(tensor)
    angular, factors = np.asarray(found[0]), np.stack(found[1:], axis=1)
    n_factors, n_functions = factors.shape[1], len(tensor)
    groups = np.array(list(itertools.combinations_with_replacement(range(n_elements), n_factors)))
    group, n, t = (
        g.ravel() for g in np.meshgrid(np.arange(len(groups)), np.arange(n_radial), np.arange(len(angular)))
    )
    return PODTerms(
        n_outputs=len(groups) * n_radial * n_functions,
        outputs=(group * n_radial + n) * n_functions + angular[t],
        indices=(groups[group] * n_harmonics + factors[t]) * n_radial + n[:, None],
        coefficients=tensor[found][t],
    )


def pod_three_body(n_elements: int, n_radial: int, n_harmonics: int, degree: int) -> PODTerms:
    """Return ``sum_jk U_n(j) U_n(k) cos_jk^p``, p = 0 ... degree, for pairs of elements, first <= second."""
    powers = cosine_powers(degree)
    l = np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)
    tensor = powers[:, l][:, :, None] * np.eye(len(l))
    return _terms(tensor, n_elements, n_radial, n_harmonics)


def pod_four_body(n_elements: int, n_radial: int, n_harmonics: int, degree: int) -> PODTerms:
    """Return ``sum_jkl U_n(j) U_n(k) U_n(l) cos_jk^a cos_jl^b cos_kl^c`` for triples of elements, ascending.

    The exponents are those of `four_body_exponents`.
    """
    return _terms(four_body_tensor(degree), n_elements, n_radial, n_harmonics)


def pod_product_pairs(left: PODGroup, right: PODGroup, n_radial: int, degree: int) -> list[tuple[int, int]]:
    """Return which products of two features, one of each group, make the five-, six- and seven-body features.

    Radial functions (from 0) add up to less than `n_radial` and degrees to at most `degree`; the second feature does
    not come before the first, neither in its element group nor within it.

    Notes
    -----
    The rule and the order are those of LAMMPS's ML-POD.
    """
    pairs = []
    for first, a in enumerate(itertools.product(*(range(n) for n in _sizes(left)))):
        for second, b in enumerate(itertools.product(*(range(n) for n in _sizes(right)))):
            ascending = b[0] >= a[0] and b[1] * len(right.degrees) + b[2] >= a[1] * len(left.degrees) + a[2]
            small = left.degrees[a[2]] + right.degrees[b[2]] <= degree and a[1] + b[1] < n_radial
            if ascending and small:
                pairs.append((first, second))
    return pairs


def _sizes(group: PODGroup) -> tuple[int, int, int]:
    return group.n_element_groups, group.n_radial, len(group.degrees)
