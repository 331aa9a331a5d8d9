"""Products of complex numbers: another way to write a table of polynomials, with far less arithmetic.

A product of two complex numbers takes four products of real ones, and often serves several outputs, each with a
coefficient of its own. `ProductTable` spells every one of them out for every output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ComplexProducts", "CouplingGroup"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CouplingGroup:
    """``y[o] = sum over terms t of coefficients[t, o] v[left[t]] v[right[t]]`` for a few complex y.

    Attributes
    ----------
    outputs : (n_outputs, 2) int
        Where the real and the imaginary part go; -1 for a part that is not wanted.
    left, right : (n_terms,) int
    coefficients : (n_terms, n_outputs)
    """

    outputs: IntArray
    left: IntArray
    right: IntArray
    coefficients: FloatArray


@dataclass(frozen=True, eq=False)
class ComplexProducts:
    """A table of polynomials as products of complex numbers.

    Attributes
    ----------
    parts : (n_numbers, 2) int
        Real and imaginary part of each complex number v among the inputs of the table.
    signs : (n_numbers, 2)
        Factors 1, -1 or 0 of the parts.
    groups : tuple of CouplingGroup
        Every output is in one of them.
    """

    parts: IntArray
    signs: FloatArray
    groups: tuple[CouplingGroup, ...]

    def evaluate(self, x: FloatArray, n_outputs: int) -> FloatArray:
        """Return y (n_outputs, ...) for inputs x (n_inputs, ...) on NumPy."""
        signs = self.signs.reshape(*self.signs.shape, *[1] * (x.ndim - 1))
        re, im = np.moveaxis(x[self.parts] * signs, 1, 0)
        v = re + 1j * im
        y = np.zeros((n_outputs, *x.shape[1:]))
        for group in self.groups:
            total = np.tensordot(group.coefficients, v[group.left] * v[group.right], axes=(0, 0))
            for (a, b), value in zip(group.outputs, total, strict=True):
                if a >= 0:
                    y[a] = value.real
                if b >= 0:
                    y[b] = value.imag
        return y
