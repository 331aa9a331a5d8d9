"""The expansions on torch, any device: one `autograd.Function` whose backward is the VJP and double backward the JVP.

Nothing of size pairs x features is kept: a call holds the basis values of its pairs while it runs and the graph of
autograd holds only the vectors, so memory grows with the pairs of a batch, not with the features.

Each kind of expansion has a module with the functions of `TorchKind`; a new kind is one such module and one line in
`KINDS`. `expand` and `pull_back` here make them differentiable. Where there is a compiled module with the same
functions (`compiled_spherical.py`), it takes over: ``FORGEFIELD_BACKEND=auto`` lets it from `FEW_PAIRS` pairs on,
``compiled`` always, ``torch`` never.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from forgefield.errors import ConfigError
from forgefield.expansions import torch_hyperspherical, torch_spherical, torch_triplets
from forgefield.expansions.base import Expansion
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.expansions.triplets import TripletExpansion

__all__ = ["backend_of", "expand", "forward", "geometry", "jvp", "pull_back", "vjp", "vjp_many"]

FEW_PAIRS = 2048
"""Below, what a kernel gains is not worth building it."""

_log = logging.getLogger(__name__)


class TorchKind(Protocol):
    """What the module of a kind offers.

    ``geometry(expansion, vectors, neighbour_species, centre_species)`` prepares what the others need (`g`, in the
    kind's own form); ``second_derivative`` is the gradient of ``<A_bar, J(vectors) direction>`` with respect to the
    vectors. Shapes as for the functions below. A module may have ``vjp_many(expansion, g, a_bars)`` where many at
    once are cheaper than one after the other.
    """

    def geometry(
        self, expansion: Any, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor
    ) -> Any: ...

    def forward(self, expansion: Any, g: Any) -> Tensor: ...

    def vjp(self, expansion: Any, g: Any, a_bar: Tensor) -> Tensor: ...

    def jvp(self, expansion: Any, g: Any, tangent: Tensor) -> Tensor: ...

    def second_derivative(
        self,
        expansion: Any,
        vectors: Tensor,
        neighbour_species: Tensor,
        centre_species: Tensor,
        a_bar: Tensor,
        direction: Tensor,
    ) -> Tensor: ...


KINDS: dict[type, TorchKind] = {
    SphericalExpansion: torch_spherical,
    HypersphericalExpansion: torch_hyperspherical,
    TripletExpansion: torch_triplets,
}


def _kind(expansion: Expansion) -> TorchKind:
    return KINDS[type(expansion)]


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    """Return the compiled module, or None, and say so once, where kernels cannot be built."""
    try:
        from forgefield.expansions import compiled_spherical
        from forgefield.tracer.cache import host

        host()
    except (ImportError, OSError, RuntimeError) as error:
        _log.warning(
            "no compiler for this processor (%s); expansions run on torch, several times slower", error
        )
        return None
    return compiled_spherical


def backend_of(expansion: Expansion, vectors: Tensor) -> Literal["compiled", "torch"]:
    """Return what evaluates an expansion of these vectors.

    Raises
    ------
    ConfigError
        ``FORGEFIELD_BACKEND`` is none of auto, compiled, torch.
    """
    asked = os.environ.get("FORGEFIELD_BACKEND", "").lower() or "auto"
    if asked not in ("auto", "compiled", "torch"):
        raise ConfigError(f"FORGEFIELD_BACKEND is {asked!r}; allowed: auto, compiled, torch")
    few = vectors.shape[0] * vectors.shape[1] < FEW_PAIRS
    if asked == "torch" or (asked == "auto" and few):
        return "torch"
    module = _compiled()
    return "compiled" if module is not None and module.supports(expansion, vectors) else "torch"


def _module(expansion: Expansion, g: Any) -> Any:
    """Return the module that made a geometry."""
    compiled = _compiled() if type(g).__name__ == "Packed" else None
    return compiled or _kind(expansion)


def _centres(vectors: Tensor, centre_species: Tensor | None) -> Tensor:
    if centre_species is None:
        return torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    return centre_species


def geometry(
    expansion: Expansion, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor | None = None
) -> Any:
    """Return what `forward`, `vjp` and `jvp` need of the pairs, in the form of this kind of expansion.

    Parameters
    ----------
    expansion : Expansion
    vectors : (n_atoms, width, 3) tensor [Å]
        Padded rows of ``r_ij``.
    neighbour_species : (n_atoms, width) int tensor
    centre_species : (n_atoms,) int tensor, optional
        Zero where absent.
    """
    centres = _centres(vectors, centre_species)
    module = _compiled() if backend_of(expansion, vectors) == "compiled" else _kind(expansion)
    return module.geometry(expansion, vectors, neighbour_species, centres)  # type: ignore[union-attr]


def forward(expansion: Expansion, g: Any) -> Tensor:
    """Return A of shape (n_atoms, n_channels, n_radial, n_harmonics)."""
    return _module(expansion, g).forward(expansion, g)  # type: ignore[no-any-return]


def vjp(expansion: Expansion, g: Any, a_bar: Tensor) -> Tensor:
    """Return ``g_ij = sum A_bar dA_i/dr_ij``, (n_atoms, width, 3)."""
    return _module(expansion, g).vjp(expansion, g, a_bar)  # type: ignore[no-any-return]


def jvp(expansion: Expansion, g: Any, tangent: Tensor) -> Tensor:
    """Return the change of A, shaped like A, for a change `tangent` (n_atoms, width, 3) of the vectors."""
    return _module(expansion, g).jvp(expansion, g, tangent)  # type: ignore[no-any-return]


def vjp_many(expansion: Expansion, g: Any, a_bars: Tensor) -> Tensor:
    """Return the `vjp` of each of (n, n_atoms, ...) gradients, (n, n_atoms, width, 3)."""
    together = getattr(_module(expansion, g), "vjp_many", None)
    if together is not None:
        return together(expansion, g, a_bars)  # type: ignore[no-any-return]
    return torch.stack([vjp(expansion, g, a_bar) for a_bar in a_bars])


class _Expand(Function):
    """A from the vectors; first derivative by `_PullBack`, which is differentiable once more."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor, expansion: Expansion
    ) -> Tensor:
        ctx.save_for_backward(vectors, neighbour_species, centre_species)
        ctx.expansion = expansion
        return forward(expansion, geometry(expansion, vectors, neighbour_species, centre_species))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None, None, None]:
        vectors, neighbours, centres = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        gradient = pull_back(ctx.expansion, vectors, neighbours, grad_outputs[0], centre_species=centres)
        return gradient, None, None, None


class _PullBack(Function):
    """The VJP as a function of (vectors, A_bar); linear in A_bar, so its own backward there is the JVP."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        a_bar: Tensor,
        neighbour_species: Tensor,
        centre_species: Tensor,
        expansion: Expansion,
        basis: Any,
    ) -> Tensor:
        ctx.save_for_backward(vectors, a_bar, neighbour_species, centre_species)
        ctx.expansion = expansion
        # Kept for the JVP of the same step; evaluating the basis costs more than the two products.
        ctx.geometry = basis or geometry(expansion, vectors, neighbour_species, centre_species)
        return vjp(expansion, ctx.geometry, a_bar)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        vectors, a_bar, neighbours, centres = ctx.saved_tensors
        grad = grad_outputs[0]
        by_vectors = by_a_bar = None
        with torch.no_grad():
            if ctx.needs_input_grad[0]:
                by_vectors = _kind(ctx.expansion).second_derivative(
                    ctx.expansion, vectors, neighbours, centres, a_bar, grad
                )
            if ctx.needs_input_grad[1]:
                by_a_bar = jvp(ctx.expansion, ctx.geometry, grad)
        if torch.is_grad_enabled():  # somebody asked for a graph of this derivative
            by_vectors = _NotFurther.apply(by_vectors, vectors, a_bar, grad)  # type: ignore[no-untyped-call]
            by_a_bar = _NotFurther.apply(by_a_bar, vectors, a_bar, grad)  # type: ignore[no-untyped-call]
        return by_vectors, by_a_bar, None, None, None, None


class _NotFurther(Function):
    """A value whose derivative is an error, on every path; `once_differentiable` leaves paths that are silent."""

    @staticmethod
    def forward(ctx: Any, value: Tensor | None, *inputs: Tensor) -> Tensor | None:  # noqa: ARG004
        return None if value is None else value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> None:  # noqa: ARG004
        raise RuntimeError("an expansion has first and second derivatives only; a third was asked for")


def expand(
    expansion: Expansion, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor | None = None
) -> Tensor:
    """Return A, differentiable twice with respect to `vectors`; a third derivative raises."""
    centres = _centres(vectors, centre_species)
    return _Expand.apply(vectors, neighbour_species, centres, expansion)  # type: ignore[no-any-return, no-untyped-call]


def pull_back(
    expansion: Expansion,
    vectors: Tensor,
    neighbour_species: Tensor,
    a_bar: Tensor,
    basis: Any = None,
    centre_species: Tensor | None = None,
) -> Tensor:
    """Return the edge gradients ``g_ij`` for ``A_bar = dE/dA``, differentiable once (that is force training).

    `basis` may hand over the `geometry` of the same vectors if it is at hand already.
    """
    centres = _centres(vectors, centre_species)
    return _PullBack.apply(vectors, a_bar, neighbour_species, centres, expansion, basis)  # type: ignore[no-any-return, no-untyped-call]
