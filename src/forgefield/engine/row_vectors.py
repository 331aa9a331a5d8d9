"""What is zero and what occurs twice in the Jacobian of the features, found by looking at it at random coefficients."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.descriptors.base import Descriptor, Jacobian
from forgefield.expansions.hyperspherical import HypersphericalExpansion

__all__ = [
    "Vectors",
    "distinct_features",
    "lengths_of",
    "lone_channels",
    "reached_by",
    "slopes_of",
    "vectors_of",
]

SAMPLES = 3

SAME = 1e-10
"""What differs by less at all samples, relative to the largest number, is equal."""

MOST_SLOPES = 30_000_000
"""Numbers in a sampled Jacobian, beyond which repetitions are not looked for."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def slopes_of(descriptor: Descriptor) -> list[FloatArray]:
    """Return the Jacobian for each expansion at random coefficients, (n_samples, n_features, n_coefficients).

    Every element is the centre of some of the samples.
    """
    n_samples, found = SAMPLES * descriptor.n_species, list[FloatArray]()
    for e in descriptor.expansions:
        found.append(np.zeros((n_samples, descriptor.n_features, int(np.prod(e.shape)))))
    for species, (precise, a) in enumerate(_samples(descriptor)):
        own = slice(species * SAMPLES, (species + 1) * SAMPLES)
        for some, gradients in precise.gradients(a, species):
            for slopes, g in zip(found, gradients, strict=True):
                parts = g.detach().numpy()
                slopes[own, some] = parts.reshape(len(parts), SAMPLES, -1).transpose(1, 0, 2)
    return found


def _samples(descriptor: Descriptor) -> Iterator[tuple[Descriptor, list[Tensor]]]:
    """Yield the descriptor in double precision and random coefficients, for the centre of each element."""
    random, precise = torch.Generator().manual_seed(0), descriptor
    numbers = [*descriptor.parameters(), *descriptor.buffers()]
    if any(x.device.type != "cpu" or (x.is_floating_point() and x.dtype != torch.float64) for x in numbers):
        precise = copy.deepcopy(descriptor).cpu().double()
    for _ in range(descriptor.n_species):
        yield (
            precise,
            [
                torch.randn((SAMPLES, *e.shape), generator=random, dtype=torch.float64)
                for e in precise.expansions
            ],
        )


def distinct_features(descriptor: Descriptor) -> IntArray:
    """Return for each feature the first one that is equal to it for all of several random coefficients, or itself."""
    with torch.no_grad():
        values = [x.invariants(a, species).numpy() for species, (x, a) in enumerate(_samples(descriptor))]
    table = np.concatenate(values).T
    first, factors = _repetitions(table)
    same = np.abs(factors - 1.0) < SAME
    return np.where(same, first, np.arange(len(table)))


def _repetitions(vectors: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return for each vector the first that is parallel to it, and the factor on that one."""
    n = len(vectors)
    first, factors = np.arange(n), np.ones(n)
    peak = np.abs(vectors).argmax(axis=1) if vectors.size else np.zeros(n, dtype=np.int64)
    sizes = vectors[np.arange(n), peak]
    live = np.flatnonzero(sizes != 0)
    units = vectors[live] / sizes[live, None]
    keys = units @ np.random.default_rng(0).standard_normal(vectors.shape[1])
    order = np.argsort(keys, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and keys[order[end]] - keys[order[end - 1]] < SAME * vectors.shape[1]:
            continue
        run = np.sort(order[start:end])
        start = end
        while len(run) > 1:
            same = np.abs(units[run] - units[run[0]]).max(axis=1) < SAME
            members = live[run[same]]
            first[members], factors[members] = members[0], sizes[members] / sizes[members[0]]
            run = run[~same]
    return first, factors


@dataclass(frozen=True)
class Vectors:
    """Parts of the Jacobian of one expansion that are multiplied by the changes of some of its coefficients.

    Attributes
    ----------
    features : IntArray
    groups : IntArray
        Which columns each has, see `columns`.
    first : IntArray
        The vector that stands for each.
    factors : FloatArray
        Each is so many times that one.
    columns : list of (species, coefficients)
    """

    features: IntArray
    groups: IntArray
    first: IntArray
    factors: FloatArray
    columns: list[tuple[int, IntArray]]


def lengths_of(jacobian: Jacobian, shape: tuple[int, ...]) -> IntArray:
    """Return the number of terms of every derivative."""
    lengths = np.zeros(shape, dtype=np.int64)
    lengths[jacobian.features, jacobian.coefficients] = np.diff(jacobian.table.starts)
    return lengths


def reached_by(expansion: object, species: int) -> BoolArray:
    """Return the coefficients that a neighbour of an element takes part in."""
    weights = np.asarray(expansion.channel_weights)[species]  # type: ignore[attr-defined]
    n_channels, n_radial, n_harmonics = expansion.shape  # type: ignore[attr-defined]
    if weights.ndim == 2:  # of pairs with a neighbour of any element
        weights = np.abs(weights).max(axis=0)
    return np.repeat(weights != 0, n_radial * n_harmonics)[: n_channels * n_radial * n_harmonics]


def lone_channels(expansion: object) -> IntArray | None:
    """Return the channel of a neighbour of each element, where it is one and the kernel makes only its changes."""
    if not isinstance(expansion, HypersphericalExpansion) or (
        (expansion.channel_weights != 0).sum(axis=1).max() > 1
    ):
        return None
    channels: IntArray = np.abs(expansion.channel_weights).argmax(axis=1)
    return channels


def _groups(pattern: BoolArray, reached: BoolArray) -> list[tuple[IntArray, IntArray]]:
    """Return (features, coefficients) that cover the pattern."""
    used = np.flatnonzero(reached & pattern.any(axis=0))
    if not len(used):
        return []
    kinds, kind = np.unique(pattern[:, used].T, axis=0, return_inverse=True)
    groups = [(np.flatnonzero(k), used[kind.ravel() == n]) for n, k in enumerate(kinds)]
    every = np.flatnonzero(pattern[:, used].any(axis=1))
    # A vector costs two more coefficients for storing its product and adding it up.
    if sum(len(f) * (len(c) + 2) for f, c in groups) >= len(every) * (len(used) + 2):
        return [(every, used)]
    return groups


def vectors_of(
    slopes: FloatArray, wanted: IntArray, reached: list[BoolArray], costs: IntArray | None
) -> Vectors:
    """Cut a Jacobian into vectors and find those that are parallel to another one."""
    pattern = np.zeros(slopes.shape[1:], dtype=bool)
    pattern[wanted] = (slopes[:, wanted] != 0).any(axis=0)
    columns: list[tuple[int, IntArray]] = []
    features, groups = list[IntArray](), list[IntArray]()
    for s, of_species in enumerate(reached):
        for some, coefficients in _groups(pattern, of_species):
            features.append(some)
            groups.append(np.full(len(some), len(columns)))
            columns.append((s, coefficients))
    f, g = (np.concatenate([*x, np.zeros(0, dtype=np.int64)]) for x in (features, groups))
    first, factors = np.arange(len(f)), np.ones(len(f))
    # Without places of their own vectors must have the very same columns.
    kinds = [(len(c),) if costs is not None else tuple(c.tolist()) for _, c in columns]
    for kind in dict.fromkeys(kinds) if slopes.size <= MOST_SLOPES else ():
        own = np.flatnonzero([kinds[k] == kind for k in g])
        own = own[
            np.argsort(
                [0 if costs is None else costs[f[v], columns[g[v]][1]].sum() for v in own], kind="stable"
            )
        ]
        parts = np.stack([slopes[:, f[v]][:, columns[g[v]][1]].ravel() for v in own])
        same, factor = _repetitions(parts)
        first[own], factors[own] = own[same], factor
    return Vectors(f, g, first, factors, columns)
