"""The basis functions of the atomic cluster expansion as two steps of sparse products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.ace_basis import ClusterFunction, Factor
from forgefield.formulas.clebsch_gordan_real import real_clebsch_gordan

__all__ = ["CouplingSteps", "Terms", "coupling_steps"]


class Terms(NamedTuple):
    """``y[o] = sum over terms of coefficients[t] x[indices[t, 0]] x[indices[t, 1]]``.

    Attributes
    ----------
    n_outputs : int
    outputs : (n_terms,) int array
    indices : (n_terms, 2) int array
    coefficients : (n_terms,) array
    """

    n_outputs: int
    outputs: NDArray[np.int64]
    indices: NDArray[np.int64]
    coefficients: NDArray[np.float64]


class CouplingSteps(NamedTuple):
    """How to evaluate functions of two to four factors.

    Attributes
    ----------
    first : Terms of A
        Outputs: the functions of two factors, then the pairs ``(A_1 A_2)_LM`` that the others need.
    second : Terms of A followed by those pairs
        Outputs: the functions of three and four factors.
    n_two : int
        Functions of two factors.
    """

    first: Terms
    second: Terms
    n_two: int


@dataclass
class _Collected:
    """Terms under construction."""

    outputs: list[int] = field(default_factory=list)
    indices: list[tuple[int, int]] = field(default_factory=list)
    coefficients: list[float] = field(default_factory=list)

    def add(self, output: int, left: int, right: int, coefficient: float) -> None:
        self.outputs.append(output)
        self.indices.append((left, right))
        self.coefficients.append(coefficient)

    def terms(self, n_outputs: int) -> Terms:
        return Terms(
            n_outputs,
            np.array(self.outputs, dtype=np.int64),
            np.array(self.indices, dtype=np.int64).reshape(-1, 2),
            np.array(self.coefficients, dtype=np.float64),
        )


@dataclass
class _Pairs:
    """Coupled pairs of factors; each gets 2 L + 1 consecutive numbers the first time it is asked for."""

    position: Callable[[Factor, int], int]
    terms: _Collected
    first_output: int
    known: dict[tuple[Factor, Factor, int], int] = field(default_factory=dict)
    size: int = 0

    def of(self, left: Factor, right: Factor, l: int) -> int:
        """Return the place of the component m = 0 among the numbers of all pairs."""
        key = (left, right, l)
        if key not in self.known:
            self.known[key] = self.size
            table = real_clebsch_gordan(left.l, right.l, l)
            for i, j, m in np.argwhere(table):
                self.terms.add(
                    self.first_output + self.size + int(m),
                    self.position(left, int(i)),
                    self.position(right, int(j)),
                    float(table[i, j, m]),
                )
            self.size += 2 * l + 1
        return self.known[key]


def coupling_steps(
    functions: Sequence[ClusterFunction], position: Callable[[Factor, int], int], n_coefficients: int
) -> CouplingSteps:
    """Return the products that evaluate `functions`.

    Parameters
    ----------
    functions : functions of two to four factors, those of two first
    position : callable
        Place of component m (in the order of `harmonics`) of a factor among the coefficients A.
    n_coefficients : int
        Number of coefficients A.

    Notes
    -----
    A function of three factors takes 2 l + 1 products and one of four 2 L + 1, as the pairs are shared.
    """
    n_two = sum(len(f.factors) == 2 for f in functions)
    first, second = _Collected(), _Collected()
    pairs = _Pairs(position, first, n_two)
    for number, (factors, coupling) in enumerate(functions):
        if len(factors) == 2:
            l = factors[0].l
            for m in range(2 * l + 1):
                first.add(
                    number, position(factors[0], m), position(factors[1], m), 1.0 / math.sqrt(2 * l + 1)
                )
            continue
        left = n_coefficients + pairs.of(factors[0], factors[1], coupling)
        right = n_coefficients + pairs.of(factors[2], factors[3], coupling) if len(factors) == 4 else -1
        for m in range(2 * coupling + 1):
            other = position(factors[2], m) if right < 0 else right + m
            second.add(number - n_two, left + m, other, 1.0)
    return CouplingSteps(first.terms(n_two + pairs.size), second.terms(len(functions) - n_two), n_two)
