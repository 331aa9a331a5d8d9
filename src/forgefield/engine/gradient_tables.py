"""Which features are sums of products of two coefficients, and where the derivatives of pairs of atoms lie."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor
from forgefield.engine.kernel import NotCompiledError, Plan
from forgefield.engine.points import Listing, Points
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.stages.parameters import Shape, ShapeStage

__all__ = ["Bilinear", "Group", "Pairs"]

Entries = dict[tuple[int, ...], dict[int, list[tuple[int, int, float]]]]
"""For each set of harmonics the features made of them: rows k, j and factors of ``dq_f/dA_km = factor A_jm``."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a list, and the number of the pair for every entry; entries that end runs have a place behind all atoms."""

    records: NDArray[np.int64]
    centres: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    shifts: NDArray[np.int32]

    @classmethod
    def of(cls, points: Points, listing: Listing, n_species: int) -> Pairs:
        """Return the pairs of a list."""
        ends, n_atoms = listing.first[1:] - 1, points.n_atoms
        real = np.ones(len(listing.neighbours), dtype=bool)
        real[ends] = False
        records = real.cumsum() - 1
        found = listing.neighbours[real].astype(np.int64)
        records[ends] = len(found) + n_atoms
        counts = np.diff(listing.first[::n_species]) - n_species
        owners = np.concatenate([np.arange(n_atoms), points.owner])
        shifts = np.concatenate([np.zeros((n_atoms, 3), dtype=np.int32), points.shifts])
        return cls(records, np.repeat(np.arange(n_atoms), counts), owners[found], shifts[found])


@dataclass(frozen=True)
class Group:
    """Features of some harmonics with the same number of terms for neighbours of one element.

    Attributes
    ----------
    harmonics : tuple of int
    n_features, n_terms : int
    first_index, first_number : int
        Where in `Bilinear` they lie: feature, then radial function and row of A for each term; the factors.
    """

    harmonics: tuple[int, ...]
    n_features: int
    n_terms: int
    first_index: int
    first_number: int


@dataclass(frozen=True)
class Bilinear:
    """Features that are sums of products of two coefficients with the same harmonics.

    Attributes
    ----------
    groups : for each element of a neighbour, tuple of Group
    integers, numbers : arrays
    """

    groups: tuple[tuple[Group, ...], ...]
    integers: NDArray[np.int32]
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, descriptor: Descriptor, plan: Plan) -> Bilinear:
        """Return the structure of the features, read off the Jacobian that the descriptor knows."""
        if len(plan.expansions) != 1 or not isinstance(plan.expansions[0], SphericalExpansion):
            raise _refused(descriptor)
        e, integers, numbers = plan.expansions[0], list[int](), list[float]()
        entries = _entries(descriptor, plan)
        every: list[tuple[Group, ...]] = []
        for weights in e.channel_weights:
            groups: list[Group] = []
            for harmonics, features in entries.items():
                start = next(f.start for f, h in e.radial_blocks() if h.start <= harmonics[0] < h.stop)
                lines = defaultdict(list)
                for f, terms in features.items():
                    own = [
                        (k % e.radial.n_radial, j, weights[k // e.radial.n_radial] * x) for k, j, x in terms
                    ]
                    own = [(start + n, j, float(x)) for n, j, x in own if x]
                    if own:
                        lines[len(own)].append((f, own))
                for n_terms, line in lines.items():
                    groups.append(Group(harmonics, len(line), n_terms, len(integers), len(numbers)))
                    for f, own in line:
                        integers += [f, *(x for n, j, _ in own for x in (n, j))]
                        numbers += [x for _, _, x in own]
            every.append(tuple(groups))
        return cls(tuple(every), np.array(integers, dtype=np.int32), np.array(numbers))


def _refused(descriptor: Descriptor) -> NotCompiledError:
    return NotCompiledError(
        f"features of {type(descriptor).__name__} are not products of two coefficients with the same harmonics; "
        "their stored derivatives have no kernel"
    )


def _entries(descriptor: Descriptor, plan: Plan) -> Entries:
    n_rows, n_columns = plan.expansions[0].shape[0] * plan.expansions[0].shape[1], plan.expansions[0].shape[2]
    jacobian = descriptor.jacobian(ShapeStage(plan.n_species), [Shape((n_rows, n_columns))])
    if jacobian is None or jacobian.table.indices.shape[1] != 1 or len(jacobian.inputs) != 1:
        raise _refused(descriptor)
    table = jacobian.table
    columns, others = np.divmod(table.indices[:, 0], n_rows)
    rows, own_columns = np.divmod(jacobian.coefficients[table.outputs], n_columns)
    if (columns != own_columns).any():
        raise _refused(descriptor)
    harmonics: dict[tuple[int, int, int, float], list[int]] = defaultdict(list)
    every = (jacobian.features[table.outputs], rows, others, table.coefficients, columns)
    for f, k, j, factor, m in zip(*(x.tolist() for x in every), strict=True):
        harmonics[f, k, j, factor].append(m)
    result: Entries = defaultdict(lambda: defaultdict(list))
    for (f, k, j, factor), found in harmonics.items():
        result[tuple(sorted(found))][f].append((k, j, factor))
    return result
