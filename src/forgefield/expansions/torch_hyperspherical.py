"""The hyperspherical expansion on torch, any device; `torch_backend` says what the functions are.

The derivatives of the matrix elements of one degree are elements of the degree below, so values are all that is ever
evaluated for a pair: the transpose needs ``<D_a^T A_bar, U>``, the directional derivative ``D_a (sum s U dq_a)``, with
constant sparse D_a applied once per atom. Atoms are taken a few at a time, so that the matrices stay in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.torch_wigner import maps, matrices, n_elements
from forgefield.formulas.dual import Dual

__all__ = ["Geometry", "forward", "geometry", "jvp", "second_derivative", "vjp", "vjp_many"]

NUMBERS_PER_CHUNK = 1 << 19
"""Matrix elements held at a time: 4 MB in double precision."""

_PAIRS_OF_AXES = tuple(itertools.combinations_with_replacement(range(4), 2))


@dataclass(frozen=True)
class Geometry:
    """Where the pairs of a batch are on the sphere, and how that changes with distance.

    Attributes
    ----------
    weights : (n_atoms, n_channels, width)
    strength, strength_slope : (n_atoms, width)
        s and ds/dr.
    unit : (n_atoms, width, 3)
    point : (4, n_atoms, width)
        Coordinates on the sphere: Re a, Im a, Re b, Im b.
    sine, cosine, angle_slope : (n_atoms, width)
        Of the polar angle; its derivative with respect to r.
    inverse : (n_atoms, width) [1/Å]
    """

    weights: Tensor
    strength: Tensor
    strength_slope: Tensor
    unit: Tensor
    point: Tensor
    sine: Tensor
    cosine: Tensor
    angle_slope: Tensor
    inverse: Tensor

    def chunks(self, two_j_max: int) -> Iterator[slice]:
        """Yield the atoms to be taken together."""
        n_atoms, width = self.strength.shape
        step = max(1, NUMBERS_PER_CHUNK // (n_elements(two_j_max) * width))
        for first in range(0, n_atoms, step):
            yield slice(first, first + step)


def geometry(
    expansion: HypersphericalExpansion, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor
) -> Geometry:
    """Return the positions on the sphere; see `torch_backend.geometry`."""
    r = (vectors * vectors).sum(dim=-1).sqrt()
    cutoff, middle, half_width = _pair_parameters(expansion, vectors, neighbour_species, centre_species)
    dual = Dual(r, torch.ones_like(r))
    strength = expansion.strength(dual, cutoff, middle, half_width)
    angle = expansion.angle(dual, cutoff)
    inverse = 1.0 / r
    unit = vectors * inverse[..., None]
    x, y, z = unit.unbind(dim=-1)
    return Geometry(
        weights=_weights(expansion, vectors, neighbour_species),
        strength=strength.value,
        strength_slope=strength.tangent,
        unit=unit,
        point=torch.stack(expansion.point(x, y, z, r, cutoff)),
        sine=angle.value.sin(),
        cosine=angle.value.cos(),
        angle_slope=angle.tangent,
        inverse=inverse,
    )


def _pair_parameters(
    expansion: HypersphericalExpansion, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    table = torch.as_tensor(expansion.pair_table, dtype=vectors.dtype, device=vectors.device)
    cutoff, middle, half_width = table[centre_species[:, None], neighbour_species].unbind(dim=-1)
    return cutoff, middle, half_width


def _weights(expansion: HypersphericalExpansion, vectors: Tensor, neighbour_species: Tensor) -> Tensor:
    table = torch.as_tensor(expansion.channel_weights, dtype=vectors.dtype, device=vectors.device)
    return table[neighbour_species].transpose(1, 2)


def _by_atom(elements: Tensor, width: int) -> Tensor:
    """Return (n_atoms, n, width) from (n, n_atoms * width)."""
    return elements.view(len(elements), -1, width).transpose(0, 1)


def _flat(expansion: HypersphericalExpansion, a: Tensor) -> Tensor:
    """Return coefficients (n_atoms, n_channels, 1, n_harmonics) as (n_harmonics, n_atoms * n_channels)."""
    return a.reshape(-1, expansion.n_harmonics).T


def forward(expansion: HypersphericalExpansion, g: Geometry) -> Tensor:
    """Return A; see `torch_backend.forward`."""
    n_atoms, width = g.strength.shape
    constant = maps(expansion.two_j_max, g.unit.dtype, g.unit.device)
    sums = []
    for rows in g.chunks(expansion.two_j_max):
        elements = _by_atom(matrices(g.point[:, rows], expansion.two_j_max), width)
        left = g.weights[rows] * g.strength[rows, None]
        sums.append(torch.bmm(left, elements.transpose(1, 2)).flatten(0, 1))
    total = torch.cat(sums) if sums else g.unit.new_zeros((0, n_elements(expansion.two_j_max)))
    return constant.select(total.T).T.reshape(n_atoms, *expansion.shape)


def vjp(expansion: HypersphericalExpansion, g: Geometry, a_bar: Tensor) -> Tensor:
    """Return the edge gradients; see `torch_backend.vjp`."""
    width, n_channels = g.strength.shape[1], expansion.n_channels
    constant = maps(expansion.two_j_max, g.unit.dtype, g.unit.device)
    result = torch.empty_like(g.unit)
    for rows in g.chunks(expansion.two_j_max):
        elements = _by_atom(matrices(g.point[:, rows], expansion.two_j_max), width)
        bar = constant.spread(_flat(expansion, a_bar[rows]))
        bars = torch.stack([bar, *(d(bar) for d in constant.down)])  # (5, n, n_atoms * n_channels)
        left = bars.view(5, len(bar), -1, n_channels).permute(2, 0, 3, 1)  # (n_atoms, 5, n_channels, n)
        products = torch.bmm(left.flatten(1, 2), elements).reshape(len(left), 5, n_channels, width)
        weighted = (products * g.weights[rows, None]).sum(dim=2)  # (n_atoms, 5, width)
        result[rows] = _to_vectors(g, rows, weighted)
    return result


def vjp_many(expansion: HypersphericalExpansion, g: Geometry, a_bars: Tensor) -> Tensor:
    """Return the edge gradients of many A_bar; see `torch_backend.vjp_many`.

    The derivatives of the matrices are formed for each pair here, as there are fewer pairs of an atom than gradients.
    """
    n, width, n_channels = len(a_bars), g.strength.shape[1], expansion.n_channels
    constant = maps(expansion.two_j_max, g.unit.dtype, g.unit.device)
    result = a_bars.new_empty((n, *g.unit.shape))
    per_atom = expansion.n_harmonics * (5 * width + n * n_channels)
    step = max(1, NUMBERS_PER_CHUNK // per_atom)
    for first in range(0, len(g.unit), step):
        rows = slice(first, first + step)
        elements = matrices(g.point[:, rows], expansion.two_j_max)
        basis = torch.stack([constant.select(x) for x in (elements, *(d(elements) for d in constant.up))])
        right = basis.view(5, expansion.n_harmonics, -1, width).permute(2, 1, 0, 3).flatten(2)
        left = a_bars[:, rows, :, 0].transpose(0, 1).flatten(1, 2)  # (n_atoms, n * n_channels, n_harmonics)
        products = torch.bmm(left, right).view(len(left), n, n_channels, 5, width)
        weighted = (products * g.weights[rows, None, :, None]).sum(dim=2)  # (n_atoms, n, 5, width)
        result[:, rows] = _to_vectors(g, rows, weighted.transpose(0, 1))
    return result


def _to_vectors(g: Geometry, rows: slice, bars: Tensor) -> Tensor:
    """Return the gradient with respect to the vectors from those with respect to s and, over s, to the point.

    `bars` (..., n_atoms, 5, width) gives (..., n_atoms, width, 3).
    """
    strength, unit = g.strength[rows], g.unit[rows]
    by_strength, a_r, a_i, b_r, b_i = bars.unbind(dim=-2)
    q0 = a_r * strength
    # Im a = -z sin, Re b = y sin, Im b = -x sin
    across = torch.stack([-b_i, b_r, -a_i], dim=-1) * strength[..., None]
    radial = (unit * across).sum(dim=-1)
    along = by_strength * g.strength_slope[rows]
    along = along + g.angle_slope[rows] * (g.cosine[rows] * radial - g.sine[rows] * q0)
    turn = (g.sine[rows] * g.inverse[rows])[..., None]
    return unit * along[..., None] + turn * (across - unit * radial[..., None])


def jvp(expansion: HypersphericalExpansion, g: Geometry, tangent: Tensor) -> Tensor:
    """Return the change of A; see `torch_backend.jvp`."""
    n_atoms, width = g.strength.shape
    constant = maps(expansion.two_j_max, g.unit.dtype, g.unit.device)
    r_dot = (g.unit * tangent).sum(dim=-1)
    angle_dot = g.angle_slope * r_dot
    turn = (g.sine * g.inverse)[..., None] * (tangent - g.unit * r_dot[..., None])
    x, y, z = (turn + (g.cosine * angle_dot)[..., None] * g.unit).unbind(dim=-1)
    changes = torch.stack([-g.sine * angle_dot, -z, y, -x]) * g.strength
    changes = torch.cat([(g.strength_slope * r_dot)[None], changes]).transpose(0, 1)  # (n_atoms, 5, width)
    sums = []
    for rows in g.chunks(expansion.two_j_max):
        elements = _by_atom(matrices(g.point[:, rows], expansion.two_j_max), width)
        left = (changes[rows, :, None] * g.weights[rows, None]).flatten(1, 2)
        sums.append(torch.bmm(left, elements.transpose(1, 2)))
    n = n_elements(expansion.two_j_max)
    total = torch.cat(sums) if sums else g.unit.new_zeros((0, 5 * expansion.n_channels, n))
    parts = (
        total.reshape(n_atoms, 5, expansion.n_channels, n).permute(1, 3, 0, 2).flatten(2)
    )  # (5, n, atoms * channels)
    change = parts[0]
    for d, part in zip(constant.up, parts[1:], strict=True):
        change = change + d(part)
    return constant.select(change).T.reshape(n_atoms, *expansion.shape)


def second_derivative(
    expansion: HypersphericalExpansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    centre_species: Tensor,
    a_bar: Tensor,
    direction: Tensor,
) -> Tensor:
    """Return d/dvectors of ``<A_bar, J(vectors) direction>``.

    Each pair adds ``s(x) F(q(x))`` with F linear in the matrices. F is replaced by its Taylor polynomial of second
    order at the point, whose coefficients are sums of matrix elements again; the rest is left to autograd, twice.
    """
    g = geometry(expansion, vectors, neighbour_species, centre_species)
    width, n_channels = g.strength.shape[1], expansion.n_channels
    constant = maps(expansion.two_j_max, g.unit.dtype, g.unit.device)
    result = torch.zeros_like(vectors)
    for rows in g.chunks(expansion.two_j_max):
        elements = _by_atom(matrices(g.point[:, rows], expansion.two_j_max), width)
        bar = constant.spread(_flat(expansion, a_bar[rows]))
        first = [d(bar) for d in constant.down]
        second = [constant.down[b](first[a]) for a, b in _PAIRS_OF_AXES]
        bars = torch.stack([bar, *first, *second])
        left = bars.view(len(bars), len(bar), -1, n_channels).permute(2, 0, 3, 1)
        products = torch.bmm(left.flatten(1, 2), elements).reshape(len(left), len(bars), n_channels, width)
        taylor = (products * g.weights[rows, None]).sum(dim=2).transpose(0, 1)  # (15, n_atoms, width)
        result[rows] = _curvature(
            expansion,
            vectors[rows],
            _pair_parameters(expansion, vectors[rows], neighbour_species[rows], centre_species[rows]),
            taylor,
            direction[rows],
        )
    return result


def _curvature(
    expansion: HypersphericalExpansion,
    vectors: Tensor,
    parameters: tuple[Tensor, Tensor, Tensor],
    taylor: Tensor,
    direction: Tensor,
) -> Tensor:
    """Return the second derivative of ``s(x) F(q(x))`` along `direction`, from the Taylor coefficients of F."""
    with torch.enable_grad():
        x = vectors.detach().requires_grad_()
        r = (x * x).sum(dim=-1).sqrt()
        unit = x / r[..., None]
        n_x, n_y, n_z = unit.unbind(dim=-1)
        point = torch.stack(expansion.point(n_x, n_y, n_z, r, parameters[0]))
        step = point - point.detach()
        value = taylor[0] + (taylor[1:5] * step).sum(dim=0)
        for n, (a, b) in enumerate(_PAIRS_OF_AXES):
            value = value + (0.5 if a == b else 1.0) * taylor[5 + n] * step[a] * step[b]
        energy = expansion.strength(r, *parameters) * value
        (first,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * direction).sum(), x)
    return second
