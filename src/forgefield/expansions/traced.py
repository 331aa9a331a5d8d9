"""The kinds of expansions that have kernels: a new one is one line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.base import Expansion
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.kernels import Direction, Edges, Matrix, Store, TracedExpansion
from forgefield.expansions.kernels_factored import FactoredTriplets
from forgefield.expansions.kernels_hyperspherical import HypersphericalMap, TracedHyperspherical
from forgefield.expansions.kernels_triplets import TracedTriplets
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.expansions.terms import TermArguments, TermMemory
from forgefield.expansions.triplets import FactoredBasis, TripletExpansion
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["KINDS", "Kind", "Place", "Traced", "stretch_of"]


class Traced(Protocol):
    """An expansion within a kernel; see `kernels.TracedExpansion` for the arguments."""

    def forward(self, store: Store, add: Store) -> None:
        """Emit A."""
        ...

    def tangent(self, store: Store, add: Store, direction: Direction) -> None:
        """Emit the change of A along a direction."""
        ...

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit the edge gradients."""
        ...


@dataclass(frozen=True)
class Place:
    """Where in a kernel an expansion is emitted.

    Attributes
    ----------
    edges : Edges
    scratch : Rows
    constants : Scalars
        `Kind.constants`.
    centre : Int
        Species of the block.
    terms : (prepared, TermArguments)
        What `Kind.prepare` returned, and the memory of all tables.
    keep : bool
        `forward` and `reverse` are both emitted, and nobody else writes to the scratch memory between them.
    """

    edges: Edges
    scratch: Rows
    constants: Scalars
    centre: Int
    terms: tuple[Any, TermArguments]
    keep: bool = False


@dataclass(frozen=True)
class Kind:
    """How expansions of one kind become part of a kernel.

    Attributes
    ----------
    emit : callable (kernel, expansion, place)
    rows_per_edge : callable
        Numbers of scratch memory for a row of neighbours; twice that with a tangent.
    constants : callable
        Numbers that the kernel reads.
    prepare : callable
        Lays tables out in memory.
    """

    emit: Callable[[Kernel, Any, Place], Traced]
    rows_per_edge: Callable[[Any], int]
    constants: Callable[[Any], NDArray[np.float64]]
    prepare: Callable[[Any, TermMemory], Any] = lambda expansion, memory: None  # noqa: ARG005


def stretch_of(e: SphericalExpansion, constants: Scalars, centre: Int) -> Callable[[Int | int], Vec] | None:
    """Return the factor on the distance of a neighbour, from its species."""
    if e.stretch is None:
        return None
    n, start = e.n_species, e.n_species * e.n_channels
    return lambda s: constants[centre * n + s + start]


def _spherical(k: Kernel, e: SphericalExpansion, place: Place) -> Traced:
    stretch = stretch_of(e, place.constants, place.centre)
    return TracedExpansion(k, e, place.edges, place.scratch, place.constants, stretch, keep=place.keep)


def _spherical_constants(e: SphericalExpansion) -> NDArray[np.float64]:
    factors = e.stretch_factors
    return np.concatenate([e.channel_weights.ravel()] + ([] if factors is None else [factors.ravel()]))


def _hyperspherical(k: Kernel, e: HypersphericalExpansion, place: Place) -> Traced:
    return TracedHyperspherical(k, e, place.edges, place.scratch, place.constants, place.centre, place.terms)


def _triplets(k: Kernel, e: TripletExpansion, place: Place) -> Traced:
    if isinstance(e.basis, FactoredBasis):
        return FactoredTriplets(k, e, place.edges, place.scratch, place.constants, keep=place.keep)
    return TracedTriplets(k, e, place.edges, place.scratch, place.constants)


def _triplets_rows(e: TripletExpansion) -> int:
    kind = FactoredTriplets if isinstance(e.basis, FactoredBasis) else TracedTriplets
    return kind.rows_per_edge(e)


KINDS: dict[type[Expansion], Kind] = {
    SphericalExpansion: Kind(_spherical, TracedExpansion.rows_per_edge, _spherical_constants),
    HypersphericalExpansion: Kind(
        _hyperspherical,
        TracedHyperspherical.rows_per_edge,
        TracedHyperspherical.constants_of,
        HypersphericalMap.of,
    ),
    TripletExpansion: Kind(_triplets, _triplets_rows, TracedTriplets.constants_of),
}
