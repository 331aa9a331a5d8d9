"""The spherical expansion on torch, any device; `torch_backend` says what the functions are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forgefield.expansions.spherical import SphericalExpansion, split_duals
from forgefield.formulas.dual import Dual

__all__ = ["Geometry", "forward", "geometry", "jvp", "second_derivative", "vjp"]


@dataclass(frozen=True)
class Geometry:
    """Basis values and derivatives of every pair of a batch.

    Attributes
    ----------
    weights : (n_channels, n_atoms, width) or None
        Channel weights; None where there is one channel of weight 1.
    unit : (3, n_atoms, width)
    inverse : (n_atoms, width) [1/Å]
    radial, radial_slope : (n_functions, n_atoms, width)
    angular : (n_harmonics, n_atoms, width)
    angular_slope : (3, n_harmonics, n_atoms, width)
        Derivatives with respect to the components of the unit vector.
    """

    weights: Tensor | None
    unit: Tensor
    inverse: Tensor
    radial: Tensor
    radial_slope: Tensor
    angular: Tensor
    angular_slope: Tensor


def geometry(
    expansion: SphericalExpansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    centre_species: Tensor,
) -> Geometry:
    """Evaluate the basis.

    Parameters
    ----------
    expansion : SphericalExpansion
    vectors : (n_atoms, width, 3) tensor [Å]
        Padded rows of ``r_ij``.
    neighbour_species : (n_atoms, width) int tensor
    centre_species : (n_atoms,) int tensor
        Used where the cutoff depends on the pair of elements.
    """
    components = vectors.movedim(-1, 0).contiguous()
    r = (components * components).sum(dim=0).sqrt()
    inverse = 1.0 / r
    unit = components * inverse
    zero = torch.zeros_like(r)
    factor = _stretch(expansion, neighbour_species, centre_species, r.dtype)
    scaled = Dual(r, torch.ones_like(r)) if factor is None else Dual(r * factor, factor)
    values, slopes = split_duals(expansion.radial(scaled), zero, zero)
    axes = torch.eye(3, dtype=r.dtype, device=r.device).reshape(3, 3, 1, 1)
    harmonics = expansion.angular(*(Dual(unit[a], axes[a]) for a in range(3)))
    none = torch.zeros((3, 1, 1), dtype=r.dtype, device=r.device)
    angular, angular_slope = split_duals(harmonics, zero, none)
    return Geometry(
        weights=_channel_weights(expansion, neighbour_species, r.dtype),
        unit=unit,
        inverse=inverse,
        radial=torch.stack(values),
        radial_slope=torch.stack(slopes),
        angular=torch.stack(angular),
        angular_slope=torch.stack([t.expand(3, *r.shape) for t in angular_slope], dim=1),
    )


def _channel_weights(
    expansion: SphericalExpansion, neighbour_species: Tensor, dtype: torch.dtype
) -> Tensor | None:
    if expansion.channels == ((1.0,),):
        return None
    table = torch.as_tensor(expansion.channel_weights, dtype=dtype, device=neighbour_species.device)
    return table[neighbour_species].movedim(-1, 0).contiguous()


def _stretch(
    expansion: SphericalExpansion, neighbour_species: Tensor, centre_species: Tensor, dtype: torch.dtype
) -> Tensor | None:
    """Return the factors on the distances, (n_atoms, width)."""
    factors = expansion.stretch_factors
    if factors is None:
        return None
    table = torch.as_tensor(factors, dtype=dtype, device=neighbour_species.device)
    return table[centre_species[:, None], neighbour_species]


def _weighted(weights: Tensor | None, radial: Tensor) -> Tensor:
    """Return w_c R_k as (n_channels * n_functions, n_atoms, width)."""
    if weights is None:
        return radial
    return (weights[:, None] * radial[None]).flatten(0, 1)


def _contract(expansion: SphericalExpansion, g: Geometry, radial: Tensor, angular: Tensor) -> Tensor:
    """Sum over neighbours: (n_atoms, n_channels, n_radial, n_harmonics)."""
    blocks = []
    n_atoms = radial.shape[1]
    for k, m in expansion.radial_blocks():
        left = _weighted(g.weights, radial[k]).transpose(0, 1)  # (n_atoms, c k, width)
        right = angular[m].permute(1, 2, 0)  # (n_atoms, width, m)
        product = torch.bmm(left, right)
        blocks.append(
            product.reshape(n_atoms, expansion.n_channels, expansion.radial.n_radial, right.shape[-1])
        )
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)


def forward(expansion: SphericalExpansion, g: Geometry) -> Tensor:
    """Return A of shape (n_atoms, n_channels, n_radial, n_harmonics)."""
    return _contract(expansion, g, g.radial, g.angular)


def vjp(expansion: SphericalExpansion, g: Geometry, a_bar: Tensor) -> Tensor:
    """Return ``g_ij = sum A_bar dA_i/dr_ij``, (n_atoms, width, 3)."""
    along: Tensor | float = 0.0
    angular_bar = []
    for k, m in expansion.radial_blocks():
        bar = a_bar[..., m].flatten(1, 2)  # (n_atoms, c k, m)
        weighted = _weighted(g.weights, g.radial[k]).transpose(0, 1)
        angular_bar.append(torch.bmm(bar.transpose(1, 2), weighted))  # (n_atoms, m, width)
        radial_bar = torch.bmm(bar, g.angular[m].transpose(0, 1))  # (n_atoms, c k, width)
        slope = _weighted(g.weights, g.radial_slope[k]).transpose(0, 1)
        along = along + (radial_bar * slope).sum(dim=1)
    bar_m = (angular_bar[0] if len(angular_bar) == 1 else torch.cat(angular_bar, dim=1)).transpose(0, 1)
    # A loop that adds in place stays in cache; one product over all harmonics would not.
    unit_bar = g.angular_slope[:, 0] * bar_m[0]
    for i in range(1, len(bar_m)):
        unit_bar.addcmul_(g.angular_slope[:, i], bar_m[i])
    across = (unit_bar - g.unit * (g.unit * unit_bar).sum(dim=0)) * g.inverse
    return torch.addcmul(across, g.unit, along).movedim(0, -1)  # type: ignore[arg-type]


def jvp(expansion: SphericalExpansion, g: Geometry, tangent: Tensor) -> Tensor:
    """Return the change of A, shaped like A, for a change `tangent` (n_atoms, width, 3) of the vectors."""
    change = tangent.movedim(-1, 0)
    r_dot = (g.unit * change).sum(dim=0)
    unit_dot = (change - g.unit * r_dot) * g.inverse
    angular_dot = g.angular_slope[0] * unit_dot[0]
    angular_dot.addcmul_(g.angular_slope[1], unit_dot[1]).addcmul_(g.angular_slope[2], unit_dot[2])
    return _contract(expansion, g, g.radial_slope * r_dot, g.angular) + _contract(
        expansion, g, g.radial, angular_dot
    )


def second_derivative(
    expansion: SphericalExpansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    centre_species: Tensor,
    a_bar: Tensor,
    direction: Tensor,
) -> Tensor:
    """Return d/dvectors of ``<A_bar, J(vectors) direction>``: the formulas under autograd, twice."""
    with torch.enable_grad():
        x = vectors.detach().requires_grad_()
        components = x.movedim(-1, 0)
        r = (components * components).sum(dim=0).sqrt()
        unit = components / r
        zero = torch.zeros_like(r)
        factor = _stretch(expansion, neighbour_species, centre_species, r.dtype)
        radial = torch.stack([zero + v for v in expansion.radial(r if factor is None else r * factor)])
        angular = torch.stack([zero + v for v in expansion.angular(unit[0], unit[1], unit[2])])
        weights = _channel_weights(expansion, neighbour_species, r.dtype)
        nothing = Geometry(weights, unit, r, radial, radial, angular, angular)
        a = _contract(expansion, nothing, radial, angular)
        (first,) = torch.autograd.grad((a * a_bar).sum(), x, create_graph=True)
        if not first.requires_grad:  # A is linear in the vectors
            return torch.zeros_like(x)
        (second,) = torch.autograd.grad((first * direction).sum(), x)
    return second
