"""The expansion over pairs of neighbours on torch, any device.

Only pairs that count are listed: both neighbours within the cutoff and, where the basis allows, near each other.
Functions are evaluated for a slice of the list at a time, so beyond the list itself memory does not grow with
triangles x functions; derivatives live within a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from forgefield.expansions.spherical import split_duals
from forgefield.expansions.triplets import TripletExpansion
from forgefield.formulas.dual import Dual

__all__ = ["TripletGeometry", "forward", "geometry", "jvp", "second_derivative", "vjp"]

SLICE = 1 << 15
"""Triangles evaluated at a time: their functions stay in cache."""


@dataclass(frozen=True)
class TripletGeometry:
    """The triangles of a batch.

    Attributes
    ----------
    rows : (2, n_triangles) int
        Entries j and k of each triangle in the flattened (n_atoms * width) rows.
    target : (n_triangles,) int
        Centre atom; with one channel per pair of species, ``centre * n_channels + channel``.
    weights : (n_triangles, n_channels) or None
        Channel weights; None where each triangle belongs to one channel.
    lengths : (3, n_triangles) [Å]
        r_ij, r_ik and r_jk.
    units : (3, 3, n_triangles)
        Directions of r_ij, r_ik and r_ik - r_ij by component.
    """

    n_atoms: int
    width: int
    rows: Tensor
    target: Tensor
    weights: Tensor | None
    lengths: Tensor
    units: Tensor

    def slices(self) -> Iterator[slice]:
        """Yield slices of the list of triangles."""
        for start in range(0, len(self.target), SLICE):
            yield slice(start, start + SLICE)


def geometry(
    expansion: TripletExpansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    centre_species: Tensor,  # noqa: ARG001  # makes no difference to this kind
) -> TripletGeometry:
    """List the triangles; arguments as in `torch_backend.geometry`."""
    n_atoms, width = vectors.shape[:2]
    flat = _components(vectors)
    inside = (flat * flat).sum(dim=0).reshape(n_atoms, width) < expansion.cutoff**2
    first, second = torch.triu_indices(width, width, offset=1, device=vectors.device)
    centre, pair = (inside[:, first] & inside[:, second]).nonzero(as_tuple=True)
    rows = torch.stack([first, second])[:, pair] + centre * width
    sides = _sides(flat, rows)
    squares = (sides * sides).sum(dim=1)
    near = (squares[2] < expansion.basis.reach**2).nonzero()[:, 0]
    if len(near) < len(centre):
        centre, rows, sides, squares = centre[near], rows[:, near], sides[:, :, near], squares[:, near]
    lengths = squares.sqrt()
    table = torch.as_tensor(expansion.channel_weights, dtype=vectors.dtype, device=vectors.device)
    species = neighbour_species.reshape(-1)[rows]
    kinds = species[0] * expansion.n_species + species[1]
    weights: Tensor | None = None
    if expansion.resolves_species:
        target = centre * expansion.n_channels + table.argmax(dim=-1).flatten()[kinds]
    else:
        weights, target = table.flatten(0, 1)[kinds], centre
    return TripletGeometry(n_atoms, width, rows, target, weights, lengths, sides / lengths[:, None])


def _components(vectors: Tensor) -> Tensor:
    """Return vectors (n_atoms, width, 3) as (3, n_atoms * width)."""
    return vectors.movedim(-1, 0).reshape(3, -1)


def _vectors(components: Tensor, g: TripletGeometry) -> Tensor:
    """Undo `_components`."""
    return components.reshape(3, g.n_atoms, g.width).movedim(0, -1)


def _sides(components: Tensor, rows: Tensor) -> Tensor:
    """Return r_ij, r_ik and r_ik - r_ij (or their changes) as (3 sides, 3 components, n_triangles)."""
    j, k = components[:, rows[0]], components[:, rows[1]]
    return torch.stack([j, k, k - j])


def _values(expansion: TripletExpansion, lengths: Tensor) -> Tensor:
    """Return the functions, (n_functions, n_triangles)."""
    zero = torch.zeros_like(lengths[0])
    return torch.stack([zero + v for v in expansion.basis(lengths[0], lengths[1], lengths[2])])


def _add(a: Tensor, g: TripletGeometry, part: slice, values: Tensor) -> None:
    """Add the functions of some triangles to A, held as (n_functions, rows of A)."""
    if g.weights is None:
        a.index_add_(1, g.target[part], values)
        return
    n_channels = g.weights.shape[1]
    for c in range(n_channels):
        a.index_add_(1, g.target[part] * n_channels + c, values * g.weights[part, c])


def _bar(expansion: TripletExpansion, g: TripletGeometry, part: slice, a_bar: Tensor) -> Tensor:
    """Return dE/dB of some triangles, (n_functions, n_triangles)."""
    if g.weights is None:
        return a_bar.reshape(-1, expansion.basis.n_functions)[g.target[part]].T
    return torch.einsum("tcq,tc->qt", a_bar[..., 0][g.target[part]], g.weights[part])


def _empty(expansion: TripletExpansion, g: TripletGeometry) -> Tensor:
    return g.lengths.new_zeros((expansion.basis.n_functions, g.n_atoms * expansion.n_channels))


def _shaped(expansion: TripletExpansion, g: TripletGeometry, a: Tensor) -> Tensor:
    return a.T.reshape(g.n_atoms, *expansion.shape).contiguous()


def forward(expansion: TripletExpansion, g: TripletGeometry) -> Tensor:
    """Return A of shape (n_atoms, n_channels, n_functions, 1)."""
    a = _empty(expansion, g)
    for part in g.slices():
        _add(a, g, part, _values(expansion, g.lengths[:, part]))
    return _shaped(expansion, g, a)


def vjp(expansion: TripletExpansion, g: TripletGeometry, a_bar: Tensor) -> Tensor:
    """Return ``g_ij = sum A_bar dA_i/dr_ij``, (n_atoms, width, 3)."""
    result = a_bar.new_zeros((3, g.n_atoms * g.width))
    for part in g.slices():
        with torch.enable_grad():
            lengths = g.lengths[:, part].detach().requires_grad_()
            values = _values(expansion, lengths)
            (slopes,) = torch.autograd.grad(values, lengths, _bar(expansion, g, part, a_bar.detach()))
        pulls = slopes[:, None] * g.units[..., part]
        result.index_add_(1, g.rows[0, part], pulls[0] - pulls[2])
        result.index_add_(1, g.rows[1, part], pulls[1] + pulls[2])
    return _vectors(result, g)


def jvp(expansion: TripletExpansion, g: TripletGeometry, tangent: Tensor) -> Tensor:
    """Return the change of A, shaped like A, for a change `tangent` (n_atoms, width, 3) of the vectors."""
    a = _empty(expansion, g)
    flat = _components(tangent)
    for part in g.slices():
        changes = (_sides(flat, g.rows[:, part]) * g.units[..., part]).sum(dim=1)
        lengths = g.lengths[:, part]
        zero = torch.zeros_like(lengths[0])
        functions = expansion.basis(*(Dual(lengths[s], changes[s]) for s in range(3)))
        _add(a, g, part, torch.stack(split_duals(functions, zero, zero)[1]))
    return _shaped(expansion, g, a)


def second_derivative(
    expansion: TripletExpansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    centre_species: Tensor,
    a_bar: Tensor,
    direction: Tensor,
) -> Tensor:
    """Return d/dvectors of ``<A_bar, J(vectors) direction>``: the formulas under autograd, twice."""
    g = geometry(expansion, vectors, neighbour_species, centre_species)
    flat, along = _components(vectors), _components(direction)
    result = torch.zeros_like(flat)
    for part in g.slices():
        rows = g.rows[:, part]
        with torch.enable_grad():
            x = flat[:, rows].detach().requires_grad_()  # (3, 2, n_triangles)
            sides = torch.cat([x, (x[:, 1] - x[:, 0])[:, None]], dim=1)
            values = _values(expansion, (sides * sides).sum(dim=0).sqrt())
            total = (values * _bar(expansion, g, part, a_bar)).sum()
            (first,) = torch.autograd.grad(total, x, create_graph=True)
            (second,) = torch.autograd.grad((first * along[:, rows]).sum(), x)
        result.index_add_(1, rows.flatten(), second.flatten(1))
    return _vectors(result, g)
