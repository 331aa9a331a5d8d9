"""Tables of the bispectrum: which products of matrix elements make an invariant of SO(4).

``Z = sum CG U U CG`` couples two matrices to a third, and ``B = Re tr(U* Z)`` is invariant. Whichever two of the three
matrices are coupled, B is the same up to a factor 2j + 1; here these are the larger two, U^j1 and U^j, so that Z^j2 is
small and one product of matrix elements serves several Z. Both steps are sparse polynomials in the independent
numbers of the matrices, hence `ProductTable`s, evaluated one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.wigner import clebsch_gordan, components, n_diagonal
from forgefield.stages import ProductTable
from forgefield.stages.couplings import ComplexProducts, CouplingGroup

__all__ = ["Triple", "coupling_table", "invariant_table", "jacobian_table", "quadratic_table", "triples"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Triple(NamedTuple):
    """Twice the angular momenta that are coupled."""

    two_j1: int
    two_j2: int
    two_j: int


@lru_cache(maxsize=16)
def triples(two_j_max: int) -> tuple[Triple, ...]:
    """Return the couplings j2 <= j1 <= j of the distinct invariants, in LAMMPS's order.

    Source: Thompson et al., J. Comput. Phys. 285 (2015) 316, section 2.1.
    """
    return tuple(
        Triple(two_j1, two_j2, two_j)
        for two_j1 in range(two_j_max + 1)
        for two_j2 in range(two_j1 + 1)
        for two_j in range(two_j1 - two_j2, min(two_j_max, two_j1 + two_j2) + 1, 2)
        if two_j >= two_j1
    )


class _Elements:
    """Where any element of the matrices is among the independent numbers: position and sign of both parts."""

    def __init__(self, two_j_max: int) -> None:
        position = {c: n for n, c in enumerate(components(two_j_max))}
        self.position: list[IntArray] = []  # for each 2j: (2, 2j + 1, 2j + 1)
        self.sign: list[FloatArray] = []
        for two_j in range(two_j_max + 1):
            where = np.zeros((2, two_j + 1, two_j + 1), dtype=np.int64)
            sign = np.zeros(where.shape)
            for part, mb, ma in np.ndindex(*where.shape):
                own = (two_j, mb, ma, part)
                mirrored = (two_j, two_j - mb, two_j - ma, part)
                if own in position:
                    where[part, mb, ma], sign[part, mb, ma] = position[own], 1.0
                elif mirrored in position:
                    where[part, mb, ma] = position[mirrored]
                    sign[part, mb, ma] = -1.0 if (ma - mb + part) % 2 else 1.0
            self.position.append(where)
            self.sign.append(sign)


@lru_cache(maxsize=16)
def _elements(two_j_max: int) -> _Elements:
    return _Elements(two_j_max)


def _z_elements(two_j: int) -> list[tuple[int, int, int]]:
    """Return (mb, ma, part) of the independent numbers of one matrix, the order of a block of Z."""
    return [(c.mb, c.ma, c.part) for c in components(two_j) if c.two_j == two_j]


def _sums(t: Triple) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return all (m, m1, m2) with m = m1 + m2, as indices from 0, and their Clebsch-Gordan coefficients."""
    table = clebsch_gordan(*t)
    first, second = np.nonzero(table)
    m = first + second - (t.two_j1 + t.two_j2 - t.two_j) // 2
    return m, first, second, table[first, second]


def _couple(t: Triple, elements: _Elements, norm: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Return outputs (numbered within the block), factors (position in the first and second matrix), coefficients.

    The first two angular momenta of `t` are coupled to the third.
    """
    m, m1, m2, cg = _sums(t)
    position1, position2 = elements.position[t.two_j1], elements.position[t.two_j2]
    sign1, sign2 = elements.sign[t.two_j1], elements.sign[t.two_j2]
    outputs, factors, coefficients = [], [], []
    for n, (mb, ma, part) in enumerate(_z_elements(t.two_j)):
        b, a = np.flatnonzero(m == mb), np.flatnonzero(m == ma)
        rows, columns = np.repeat(b, len(a)), np.tile(a, len(b))
        weight = norm * cg[rows] * cg[columns]
        # Re: Re Re - Im Im; Im: Re Im + Im Re.
        for p1 in (0, 1):
            p2 = p1 ^ part
            one, two = (p1, m1[rows], m1[columns]), (p2, m2[rows], m2[columns])
            value = weight * sign1[one] * sign2[two] * (-1.0 if p1 and p2 else 1.0)
            kept = value != 0
            outputs.append(np.full(int(kept.sum()), n))
            factors.append(np.stack([position1[one][kept], position2[two][kept]], axis=1))
            coefficients.append(value[kept])
    return np.concatenate(outputs), np.concatenate(factors), np.concatenate(coefficients)


def _array_sizes(two_j_max: int, n_elements: int) -> tuple[int, int]:
    """Return how many numbers the diagonal and the other columns of all elements hold."""
    diagonal, total = n_diagonal(two_j_max), len(components(two_j_max))
    return diagonal * n_elements, (total - diagonal) * n_elements


@lru_cache(maxsize=8)
def coupling_table(two_j_max: int, n_elements: int, *, per_dimension: bool) -> ProductTable:
    """Return the table of all Z: blocks of (2 j2 + 1)^2 numbers for element 1, element 3, triple, in this order.

    Parameters
    ----------
    two_j_max : int
    n_elements : int
        Matrices per atom: the arrays hold the diagonal and the other `components`, column by column, with a row
        for each element.
    per_dimension : bool
        Divide B by 2j + 1.
    """
    elements = _elements(two_j_max)
    outputs, factors, coefficients = [], [], []
    start = 0
    parts = [
        _couple(Triple(t.two_j1, t.two_j, t.two_j2), elements, _norm(t, per_dimension=per_dimension))
        for t in triples(two_j_max)
    ]
    for first, third in np.ndindex(n_elements, n_elements):
        for t, (out, pair, value) in zip(triples(two_j_max), parts, strict=True):
            outputs.append(start + out)
            factors.append(pair * n_elements + (first, third))
            coefficients.append(value)
            start += (t.two_j2 + 1) ** 2
    table = ProductTable.build(
        _array_sizes(two_j_max, n_elements),
        start,
        np.concatenate(outputs),
        np.concatenate(factors),
        np.concatenate(coefficients),
    )
    return replace(
        table, complex_products=_complex_products(two_j_max, n_elements, per_dimension=per_dimension)
    )


def _norm(t: Triple, *, per_dimension: bool) -> float:
    """Return what ``Re tr(U^j2* Z^j2)`` of the coupling of U^j1 and U^j has to be multiplied by."""
    return (1.0 if per_dimension else t.two_j + 1.0) / (t.two_j2 + 1.0)


def _complex_products(two_j_max: int, n_elements: int, *, per_dimension: bool) -> ComplexProducts:
    """Return the couplings of `coupling_table` as products of elements of whole matrices.

    All Z^j2 that two matrices couple to take the same products, in rows mb and columns ma that are the same when
    counted from the middle.
    """
    elements, couplings = _elements(two_j_max), triples(two_j_max)
    sizes = [(two_j + 1) ** 2 for two_j in range(two_j_max + 1)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = np.concatenate([x.reshape(2, -1).T for x in elements.position])
    signs = np.concatenate([x.reshape(2, -1).T for x in elements.sign])
    kept = np.cumsum([0] + [(t.two_j2 + 1) ** 2 for t in couplings])
    together: dict[tuple[int, int], list[int]] = {}
    for n, t in enumerate(couplings):
        together.setdefault((t.two_j1, t.two_j), []).append(n)
    groups: list[CouplingGroup] = []
    for first, third in np.ndindex(n_elements, n_elements):
        for (two_j1, two_j), members in together.items():
            blocks = [
                (couplings[n], int(kept[n] + kept[-1] * (first * n_elements + third)))
                for n in sorted(members, key=lambda n: -couplings[n].two_j2)
            ]
            offsets = starts[two_j1] + first * starts[-1], starts[two_j] + third * starts[-1]
            groups += _coupling_groups(blocks, offsets, per_dimension=per_dimension)
    return ComplexProducts(
        np.concatenate([parts * n_elements + e for e in range(n_elements)]),
        np.concatenate([signs] * n_elements),
        tuple(groups),
    )


def _coupling_groups(
    blocks: list[tuple[Triple, int]], offsets: tuple[int, int], *, per_dimension: bool
) -> Iterator[CouplingGroup]:
    """Yield a group for every row and column of the matrices that one pair of matrices couples to.

    Parameters
    ----------
    blocks : list of (triple, first output), largest j2 first
    offsets : (int, int)
        Where the elements of both matrices start among the complex numbers.
    """
    two_j1, two_j, largest = blocks[0][0].two_j1, blocks[0][0].two_j, blocks[0][0].two_j2
    tables = [clebsch_gordan(two_j1, two_j, t.two_j2) for t, _ in blocks]
    positions = [{x: n for n, x in enumerate(_z_elements(t.two_j2))} for t, _ in blocks]
    shift = [(largest - t.two_j2) // 2 for t, _ in blocks]
    for mb, ma in itertools.product(range(largest // 2 + 1), range(largest + 1)):
        if (mb, ma, 0) not in positions[0]:
            continue
        members = [n for n in range(len(blocks)) if shift[n] <= min(mb, ma, largest - ma)]
        b, a = (_pairs(two_j1, two_j, largest, m) for m in (mb, ma))
        rows, columns = np.repeat(b, len(a), axis=0), np.tile(a, (len(b), 1))
        left = rows[:, 0] * (two_j1 + 1) + columns[:, 0] + offsets[0]
        right = rows[:, 1] * (two_j + 1) + columns[:, 1] + offsets[1]
        coefficients = np.stack(
            [
                _norm(blocks[n][0], per_dimension=per_dimension)
                * tables[n][rows[:, 0], rows[:, 1]]
                * tables[n][columns[:, 0], columns[:, 1]]
                for n in members
            ],
            axis=1,
        )
        if offsets[0] == offsets[1]:  # a product and the one with its factors exchanged are the same
            coefficients = np.where((left < right)[:, None], 2.0 * coefficients, coefficients)
            coefficients[left > right] = 0.0
        used = np.abs(coefficients).max(axis=1) > 1e-14
        outputs = [
            [positions[n].get((mb - shift[n], ma - shift[n], part), -1) for part in (0, 1)] for n in members
        ]
        starts = np.array([[blocks[n][1]] for n in members])
        found = np.array(outputs)
        yield CouplingGroup(
            np.where(found < 0, -1, found + starts), left[used], right[used], coefficients[used]
        )


def _pairs(two_j1: int, two_j: int, two_j2: int, m: int) -> IntArray:
    """Return the (m1, m') that couple to m, all as indices from 0."""
    total = m + (two_j1 + two_j - two_j2) // 2
    first = np.arange(max(0, total - two_j), min(two_j1, total) + 1)
    return np.stack([first, total - first], axis=1)


@lru_cache(maxsize=8)
def invariant_table(
    two_j_max: int, n_elements: int, offsets: tuple[float, ...] | None, *, of_own_element: bool
) -> ProductTable:
    """Return the table of all B: element 1, element 2, element 3, triple, in this order.

    Its arrays are those of `coupling_table`, Z, and one number for each element that is 1 for the element of the
    centre and 0 otherwise.

    Parameters
    ----------
    two_j_max, n_elements : int
    offsets : one number per triple, optional
        Subtracted.
    of_own_element : bool
        Subtract the offsets only where all three elements are that of the centre.
    """
    elements, couplings = _elements(two_j_max), triples(two_j_max)
    sizes = _array_sizes(two_j_max, n_elements)
    z_start = sum(sizes)
    z_starts = np.cumsum([0] + [(t.two_j2 + 1) ** 2 for t in couplings]).tolist()
    n_z = n_elements**2 * z_starts[-1]
    own_start = z_start + n_z
    one = own_start + n_elements
    outputs: list[int] = []
    factors: list[tuple[int, int]] = []
    coefficients: list[float] = []
    output = 0
    for first, second, third in np.ndindex(n_elements, n_elements, n_elements):
        z_pair = z_start + z_starts[-1] * (first * n_elements + third)
        for n, t in enumerate(couplings):
            for z, (mb, ma, part) in enumerate(_z_elements(t.two_j2), start=z_pair + z_starts[n]):
                u = int(elements.position[t.two_j2][part, mb, ma]) * n_elements + second
                outputs.append(output)
                factors.append((u, z))
                coefficients.append(1.0 if 2 * mb == t.two_j2 and ma == mb else 2.0)
            if offsets is not None and (not of_own_element or first == second == third):
                outputs.append(output)
                factors.append((own_start + third, one) if of_own_element else (one, one))
                coefficients.append(-offsets[n])
            output += 1
    return ProductTable.build((*sizes, n_z, n_elements), output, outputs, factors, coefficients)


@lru_cache(maxsize=8)
def jacobian_table(two_j_max: int, n_elements: int, *, per_dimension: bool) -> ProductTable:
    """Return the table of all dB/du, B-major; its arrays are those of `coupling_table` and Z.

    All derivatives of all invariants take about twice the products of Z: what multiplies Z in one of them is a single
    number, so that no sum over Z is left.
    """
    inner = coupling_table(two_j_max, n_elements, per_dimension=per_dimension)
    outer = invariant_table(two_j_max, n_elements, None, of_own_element=False)
    n_u, one = inner.n_inputs, inner.n_inputs + inner.n_outputs
    u, z, weight = outer.indices[:, 0], outer.indices[:, 1] - n_u, outer.coefficients
    counts = np.diff(inner.starts)[z]
    row = np.repeat(np.arange(len(z)), counts)
    term = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + inner.starts[z][row]
    invariant, value = outer.outputs[row] * n_u, weight[row] * inner.coefficients[term]
    parts = [(outer.outputs * n_u + u, np.stack([z + n_u, np.full_like(z, one)], axis=1), weight)]
    for p in (0, 1):
        factors = np.stack([u[row], inner.indices[term, 1 - p]], axis=1)
        parts.append((invariant + inner.indices[term, p], factors, value))
    outputs, indices, coefficients = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return ProductTable.build(
        (*inner.sizes, inner.n_outputs), outer.n_outputs * n_u, outputs, indices, coefficients
    )


@lru_cache(maxsize=8)
def quadratic_table(n: int) -> ProductTable:
    """Return the table of ``B_a B_b``, a <= b, a-major, halved on the diagonal: the quadratic features of LAMMPS."""
    a, b = np.triu_indices(n)
    return ProductTable.build(
        (n,), len(a), np.arange(len(a)), np.stack([a, b], axis=1), np.where(a == b, 0.5, 1.0)
    )
