"""Parameter sets of symmetry functions: the schema of a set and published ways to choose one."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError

__all__ = [
    "AngularGrid",
    "FunctionSet",
    "RadialGrid",
    "SetName",
    "behler_set",
    "gastegger_set",
    "named_set",
    "pyxtal_set",
]

Eta = Annotated[float, Field(ge=0, le=1000)]
Shift = Annotated[float, Field(ge=0, le=20)]
Zeta = Annotated[float, Field(ge=1, le=256)]
Lambda = Annotated[float, Field(ge=-1, le=1)]

SetName = Literal["pyxtal", "behler", "gastegger"]


class RadialGrid(Schema):
    """G2 functions: every combination of an exponent and a shift."""

    etas: tuple[Eta, ...] = Field(min_length=1, description="exponents [1/Å^2]")
    shifts: tuple[Shift, ...] = Field((0.0,), min_length=1, description="R_s [Å]")

    @property
    def parameters(self) -> tuple[tuple[float, float], ...]:
        """(eta, shift) of every function, in order."""
        return tuple(itertools.product(self.etas, self.shifts))


class AngularGrid(Schema):
    """G4 or G5 functions: every combination of an exponent eta, a power zeta and a sign lambda."""

    etas: tuple[Eta, ...] = Field(min_length=1, description="exponents [1/Å^2]")
    zetas: tuple[Zeta, ...] = Field(min_length=1, description="powers of 1 + lambda cos(theta)")
    lambdas: tuple[Lambda, ...] = Field((-1.0, 1.0), min_length=1, description="signs of the cosine")

    @property
    def angles(self) -> tuple[tuple[float, float], ...]:
        """(zeta, lambda) of every power of the angle, in order."""
        return tuple(itertools.product(self.zetas, self.lambdas))

    @property
    def parameters(self) -> tuple[tuple[float, float, float], ...]:
        """(eta, zeta, lambda) of every function, in order; eta runs fastest."""
        return tuple((eta, zeta, lam) for zeta, lam in self.angles for eta in self.etas)


class FunctionSet(NamedTuple):
    """Grids of G2, G4 and G5 functions."""

    g2: tuple[RadialGrid, ...]
    g4: tuple[AngularGrid, ...] = ()
    g5: tuple[AngularGrid, ...] = ()


def pyxtal_set() -> FunctionSet:
    """Return 8 G2 and 18 G4 functions: 70 in all for SiO2 (26 weighted).

    Notes
    -----
    Source: Yanxon et al. (PyXtal_FF), listing 4; made for a cutoff near 5 Å.
    """
    radial = (0.003214, 0.035711, 0.071421, 0.124987, 0.214264, 0.357106, 0.714213, 1.428426)
    angular = AngularGrid(etas=(0.000357, 0.028569, 0.089277), zetas=(1.0, 2.0, 4.0), lambdas=(-1.0, 1.0))
    return FunctionSet((RadialGrid(etas=radial),), (angular,))


def behler_set(cutoff: float, n_radial: int = 8, closest: float = 1.0) -> FunctionSet:
    """Return G2 functions centred on the atom and G4 functions of four powers of the angle.

    The first G2 has eta = 0; the Gaussians of the others have their turning points, ``1 / sqrt(2 eta)``, at equal
    steps from half the cutoff, where the cutoff function has its own, down to `closest`.

    Parameters
    ----------
    cutoff : float [Å]
    n_radial : int, >= 2
    closest : float [Å]
        Distance of the nearest neighbours to be told apart, less than half the cutoff.

    Notes
    -----
    Source: the rules of Behler, Int. J. Quantum Chem. 115 (2015) 1032: equally spaced turning points,
    lambda = -1, 1 and zeta = 1, 2, 4, 16.
    """
    turning = np.linspace(0.5 * cutoff, min(closest, 0.25 * cutoff), n_radial)[1:]
    etas = (0.0, *(_rounded(0.5 / r**2) for r in turning))
    angular = AngularGrid(etas=(0.0, etas[1]), zetas=(1.0, 2.0, 4.0, 16.0))
    return FunctionSet((RadialGrid(etas=etas),), (angular,))


def gastegger_set(cutoff: float, n_radial: int = 12, n_angular: int = 4, closest: float = 0.8) -> FunctionSet:
    """Return narrow G2 functions on a grid of distances and G4 functions of zeta = 1.

    The shifts of the G2 functions are at equal steps from `closest` to one step before the cutoff, with
    ``eta = 1 / (2 step^2)``; the G4 functions are centred with ``eta = 1 / (2 r^2)`` at equal steps of r.

    Parameters
    ----------
    cutoff : float [Å]
    n_radial, n_angular : int, >= 1
    closest : float [Å]

    Notes
    -----
    Source: the rules of Gastegger et al., J. Chem. Phys. 148 (2018) 241709, for shifted radial functions (grid from
    `closest` to the cutoff less a step, ``eta = 1 / (2 step^2)``) and centred angular ones (``eta = 1 / (2 r^2)``).

    Raises
    ------
    ConfigError
        The cutoff leaves no room for the angular functions.
    """
    if not cutoff > 2.0 * closest:
        raise ConfigError(
            f"`preset: gastegger` needs an angular cutoff above {2.0 * closest:g} Å, got {cutoff:g}; give `g2` and `g4` "
            "instead"
        )
    step = (cutoff - closest) / n_radial
    shifts = tuple(_rounded(closest + step * k) for k in range(n_radial))
    radii = np.linspace(cutoff, 2.0 * closest, n_angular + 1)[:-1]
    angular = AngularGrid(etas=tuple(_rounded(0.5 / r**2) for r in radii), zetas=(1.0,))
    return FunctionSet((RadialGrid(etas=(_rounded(0.5 / step**2),), shifts=shifts),), (angular,))


def named_set(name: SetName, cutoff: float) -> FunctionSet:
    """Return a set by the name it has in the settings."""
    if name == "pyxtal":
        return pyxtal_set()
    return behler_set(cutoff) if name == "behler" else gastegger_set(cutoff)


def _rounded(value: float) -> float:
    """Round to six digits, so that a set reads the same everywhere."""
    return float(f"{value:.6g}")
