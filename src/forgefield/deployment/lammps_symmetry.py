"""What LAMMPS takes for granted of the coefficients of a chemical SNAP.

With one density per element, exchanging the elements of two equal angular momenta gives the same feature again:
``B_(a b c)`` with ``j1 = j2`` equals ``B_(b a c)``. Energies do not care how the weight is shared between equal
features, but LAMMPS computes forces from one of them, times their number: they are the derivative of its energies only
where equal features have equal weights. So weights are averaged before they are written.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from forgefield.deployment.folding import Polynomial
from forgefield.descriptors.bispectrum import triples
from forgefield.descriptors.snap import SNAP

__all__ = ["averaged", "equal_features", "shared_equally"]

FloatArray = NDArray[np.float64]


def equal_features(descriptor: SNAP) -> NDArray[np.int64]:
    """Return a number for every feature without products; equal features have the same."""
    n = descriptor.n_density
    keys: dict[tuple[tuple[int, int], ...], int] = {}
    numbers = []
    for elements in itertools.product(range(n), repeat=3):
        for triple in triples(descriptor.settings.two_j_max):
            key = tuple(sorted(zip(triple, elements, strict=True)))
            numbers.append(keys.setdefault(key, len(keys)))
    return np.array(numbers)


def shared_equally(descriptor: SNAP, p: Polynomial) -> Polynomial:
    """Return the polynomial with the weights of equal features replaced by their mean; it gives the same energies."""
    same = equal_features(descriptor)
    n = len(same)
    if len(set(same.tolist())) == n:
        return p
    matrix = p.matrix
    if matrix is not None:
        for _ in range(2):  # both indices
            matrix = averaged(matrix.reshape(-1, n), same).reshape(matrix.shape).transpose(0, 2, 1)
    return Polynomial(p.constants, averaged(p.linear, same), matrix)


def averaged(values: FloatArray, same: NDArray[np.int64]) -> FloatArray:
    """Return rows (n, n_features) with the values of equal features replaced by their mean."""
    member = np.eye(same.max() + 1)[same]
    means: FloatArray = (values @ member / member.sum(axis=0))[:, same]
    return means
