"""Embedded atom density: squares of sums of Gaussian-type orbitals over the neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, field_validator, model_validator

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.descriptors.cutoff_choice import CutoffChoice
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.cutoffs import COSINE, CutoffShape
from forgefield.formulas.namespace import inner
from forgefield.formulas.symmetry_functions import angular_weights, embedded_density_radial
from forgefield.stages import Stage

__all__ = ["EAD", "EADSettings"]

Width = Annotated[float, Field(ge=0, le=1000)]
Shift = Annotated[float, Field(ge=0, le=20)]


class EADSettings(CutoffChoice):
    """Parameters of the embedded atom density; the defaults are those of PyXtal_FF for SiO2."""

    kind: Literal["ead"] = "ead"
    cutoff: float = Field(4.9, gt=0, le=20, description="neighbours beyond do not count [Å]")
    etas: tuple[Width, ...] = Field(
        (0.003214, 0.035711, 0.071421, 0.124987, 0.214264),
        min_length=1,
        description="exponents of the orbitals [1/Å^2]",
    )
    shifts: tuple[Shift, ...] = Field((0.0, 1.5), min_length=1, description="R_s of the orbitals [Å]")
    l_max: int = Field(2, ge=0, le=3, description="orbital momenta L = 0 ... l_max: s, p, d, f")
    species_weighting: Literal["resolved", "atomic_number"] = Field(
        "atomic_number",
        description="one density weighted by Z (PyXtal_FF), or products of one density per element",
    )

    @model_validator(mode="after")
    def _one_without_width(self) -> Self:
        if 0.0 in self.etas and len(self.shifts) > 1:
            raise ValueError(
                "an orbital with eta = 0 is the same for every shift, so that features would repeat; leave 0 out of "
                f"`etas` or give one of `shifts`, got {list(self.shifts)}"
            )
        return self

    @field_validator("etas", "shifts")
    @classmethod
    def _distinct(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("the same value twice gives the same feature twice; list each once")
        return values


@dataclass(frozen=True)
class EADRadial:
    """Radial parts of the orbitals: different for every l."""

    cutoff: float
    parameters: tuple[tuple[float, float], ...]
    l_max: int
    shape: CutoffShape = COSINE
    per_l: bool = True

    @property
    def n_radial(self) -> int:
        """Functions of each l: one for each degree of the same parity up to l_max, and (eta, shift)."""
        return len(self.parameters) * (self.l_max // 2 + 1)

    def __call__(self, r: Any) -> list[Any]:
        """Return the functions at r, l-major."""
        return embedded_density_radial(r, self.cutoff, self.parameters, self.l_max, self.shape)


class EAD(Descriptor):
    """``rho_L = sum over lx + ly + lz = L of L!/(lx! ly! lz!) (sum_j Z_j Phi_(lx ly lz)(r_ij))^2``.

    ``Phi = (x^lx y^ly z^lz / cutoff^L) exp(-eta (r - R_s)^2) f_c(r)``. By the multinomial identity this is
    ``sum_jk Z_j Z_k g_j g_k (r_ij . r_ik)^L / cutoff^(2L)``: a polynomial of the angle, hence rotation invariants of
    spherical expansion coefficients.

    Notes
    -----
    Features: by pair of species channels (one, if weighted by Z), then L, then eta, then R_s. With a density for each
    element, products of the orbitals of two elements stand for the squares.
    Source: Yanxon et al. (PyXtal_FF), eqs. 9-10 as printed; the program of that name adds the orbitals of lower
    degree to each rho_L.
    """

    Settings: ClassVar[type[DescriptorSettings]] = EADSettings
    settings: EADSettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p = self.settings
        self.resolved = p.species_weighting == "resolved"
        channels = (
            identity_channels(self.n_species) if self.resolved else tuple((float(z),) for z in self.species)
        )
        radial = EADRadial(p.cutoff, tuple(itertools.product(p.etas, p.shifts)), p.l_max, p.cutoff_shape)
        self.expansions = (SphericalExpansion(radial, p.cutoff, 0, p.l_max, channels),)
        self._weights = [
            angular_weights([np.polynomial.Polynomial.basis(n)], n)[0] for n in range(p.l_max + 1)
        ]

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        n_channels = self.expansions[0].shape[0]
        return list(itertools.combinations_with_replacement(range(n_channels), 2))

    @property
    def feature_names(self) -> list[str]:
        """``L1 eta0.0357 Rs1.5``, after ``O-Si`` where elements are resolved."""
        p = self.settings
        symbols = [chemical_symbols[z] for z in self.species]
        heads = [f"{symbols[s]}-{symbols[t]} " if self.resolved else "" for s, t in self._pairs]
        return [
            f"{head}L{n} eta{eta:.10g} Rs{shift:.10g}"
            for head in heads
            for n in range(p.l_max + 1)
            for eta, shift in itertools.product(p.etas, p.shifts)
        ]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        (rows,) = a
        n, powers = len(self.settings.etas) * len(self.settings.shifts), self.settings.l_max // 2 + 1

        def channel(s: int) -> list[Any]:
            return [rows.rows((s * powers + p) * n, (s * powers + p + 1) * n) for p in range(powers)]

        parts = [
            stage.map(self._squares, *channel(s))
            if s == t
            else stage.map(self._products, *channel(s), *channel(t))
            for s, t in self._pairs
        ]
        return stage.join(*parts)

    def _squares(self, x: Any) -> list[Any]:
        return self._densities(x, x)

    def _products(self, x: Any) -> list[Any]:
        half = (self.settings.l_max // 2 + 1) * (self.settings.l_max + 1) ** 2
        return self._densities(x[:half], x[half:])

    def _densities(self, left: Any, right: Any) -> list[Any]:
        """Return rho_L; the degree L has the angular momenta L, L - 2, ..., each with the radial function r^L."""
        n_harmonics = (self.settings.l_max + 1) ** 2
        result = []
        for degree, weights in enumerate(self._weights):
            total: Any = None
            for l in range(degree % 2, degree + 1, 2):
                start = (degree - l) // 2 * n_harmonics + l * l
                columns = slice(start, start + 2 * l + 1)
                term = float(weights[l]) * inner(left[columns], right[columns])
                total = term if total is None else total + term
            result.append(total)
        return result
