"""Chebyshev descriptor (aenet): coefficients of the radial and angular distribution around an atom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, FiniteFloat, model_validator

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.descriptors.cutoff_choice import CutoffChoice
from forgefield.errors import ConfigError
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.formulas.cutoffs import COSINE, CutoffShape
from forgefield.formulas.symmetry_functions import aenet_radial, angular_weights, distinct_pair_sums
from forgefield.stages import Stage

__all__ = ["Chebyshev", "ChebyshevSettings", "aenet_weights"]


class ChebyshevSettings(CutoffChoice):
    """Parameters of the Chebyshev descriptor; aenet names the first four radial_Rc, angular_Rc, radial_N, angular_N."""

    kind: Literal["chebyshev"] = "chebyshev"
    cutoff_radial: float = Field(6.0, gt=0, le=20, description="cutoff of the radial features [Å]")
    cutoff_angular: float = Field(5.0, gt=0, le=20, description="cutoff of the angular features [Å]")
    n_max_radial: int = Field(12, ge=0, le=40, description="radial polynomials n = 0 ... n_max_radial")
    n_max_angular: int = Field(6, ge=0, le=12, description="angular polynomials n = 0 ... n_max_angular")
    species_weights: dict[str, FiniteFloat] | None = Field(
        None,
        description="weight of each element in the second set, {Si: -1, O: 1}; none: aenet's ..., -1, (0,) 1, ...",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cutoff_angular > self.cutoff_radial:
            raise ValueError(
                f"`cutoff_angular` must not exceed `cutoff_radial` ({self.cutoff_radial} Å), "
                f"got {self.cutoff_angular}"
            )
        return self


@dataclass(frozen=True)
class ChebyshevRadial:
    """The radial polynomials and, last, the square of the angular cutoff function."""

    cutoff: float
    cutoff_angular: float
    n_polynomials: int
    shape: CutoffShape = COSINE
    per_l: bool = False

    @property
    def n_radial(self) -> int:
        """Polynomials and one more."""
        return self.n_polynomials + 1

    def __call__(self, r: Any) -> list[Any]:
        """Return the functions at r."""
        cut = self.shape(r, self.cutoff_angular)
        return [*aenet_radial(r, self.cutoff, self.n_polynomials, self.shape), cut * cut]


@dataclass(frozen=True)
class CutoffOnly:
    """The cutoff function as the only radial function."""

    cutoff: float
    shape: CutoffShape = COSINE
    n_radial: int = 1
    per_l: bool = False

    def __call__(self, r: Any) -> list[Any]:
        """Return the function at r."""
        return [self.shape(r, self.cutoff)]


def aenet_weights(n_species: int) -> tuple[float, ...]:
    """Return integers symmetric about zero, without zero for an even number: (-1, 1), (-1, 0, 1), (-2, -1, 1, 2)."""
    half = n_species // 2
    values = [float(s) for s in range(-half, half + 1)]
    return tuple(v for v in values if v or n_species % 2)


class Chebyshev(Descriptor):
    """Chebyshev coefficients of the distributions of neighbours over distance and angle.

    ``c_n = sum_j w_j T_n(2 r_ij/cutoff - 1) f_c(r_ij)`` and
    ``c_n = sum_(j<k) w_j w_k T_n(cos theta_jk) f_c(r_ij) f_c(r_ik)``, once with all weights 1 and, with more than one
    element, once more with a weight for each element.

    Notes
    -----
    Features: radial, angular, weighted radial, weighted angular, as in aenet. The second set tells elements apart,
    and its size does not grow with their number.
    Source: Artrith, Urban and Ceder, PRB 96 (2017) 014112; angles enter as T_n(cos theta), as in aenet.
    """

    Settings: ClassVar[type[DescriptorSettings]] = ChebyshevSettings
    settings: ChebyshevSettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p, weights = self.settings, self._weights()
        shape = p.cutoff_shape
        self.weighted = self.n_species > 1
        radial_channels = tuple((1.0, w, w * w) if self.weighted else (1.0,) for w in weights)
        angular_channels = tuple((1.0, w) if self.weighted else (1.0,) for w in weights)
        radial = ChebyshevRadial(p.cutoff_radial, p.cutoff_angular, p.n_max_radial + 1, shape)
        self.expansions = (
            SphericalExpansion(radial, p.cutoff_radial, 0, 0, radial_channels, unit_l0=True),
            SphericalExpansion(
                CutoffOnly(p.cutoff_angular, shape), p.cutoff_angular, 0, p.n_max_angular, angular_channels
            ),
        )
        degrees = range(p.n_max_angular + 1)
        polynomials = [np.polynomial.chebyshev.Chebyshev.basis(n) for n in degrees]
        self._angular = angular_weights(polynomials, p.n_max_angular)

    def _weights(self) -> tuple[float, ...]:
        given = self.settings.species_weights
        if given is None:
            return aenet_weights(self.n_species)
        symbols = [chemical_symbols[z] for z in self.species]
        if set(given) != set(symbols):
            raise ConfigError(
                f"`species_weights` names {', '.join(given) or 'nothing'}, but the elements are {', '.join(symbols)}; "
                "give each of them a weight, or none at all"
            )
        if len(symbols) > 1 and len(set(given.values())) == 1:
            raise ConfigError(
                f"`species_weights` gives every element {given[symbols[0]]:g}, so that the weighted features would "
                "repeat the others; give at least two elements different weights"
            )
        return tuple(given[s] for s in symbols)

    @property
    def feature_names(self) -> list[str]:
        """``radial n3``, ``angular n2``, and the same after ``weighted``."""
        p = self.settings
        names = [f"radial n{n}" for n in range(p.n_max_radial + 1)]
        names += [f"angular n{n}" for n in range(p.n_max_angular + 1)]
        return names + [f"weighted {name}" for name in names] if self.weighted else names

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        radial, angular = a
        n = self.settings.n_max_radial + 2
        parts = []
        for channel in range(2 if self.weighted else 1):
            own = n * (2 * channel + 1) - 1  # sums of w^2 f_c^2 are in the first and the last channel
            parts.append(radial.rows(n * channel, n * (channel + 1) - 1))
            pairs = stage.map(self._pairs, angular.rows(channel, channel + 1), radial.rows(own, own + 1))
            parts.append(pairs)
        return stage.join(*parts)

    def _pairs(self, x: Any) -> list[Any]:
        n_harmonics = (self.settings.n_max_angular + 1) ** 2
        ends = [1.0] * (self.settings.n_max_angular + 1)
        return distinct_pair_sums(x[:n_harmonics], x[n_harmonics], self._angular, ends)
