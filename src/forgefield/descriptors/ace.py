"""ACE: the atomic cluster expansion, a complete basis of invariants up to five bodies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.errors import ConfigError
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.ace_basis import (
    ClusterFunction,
    Factor,
    chebyshev_exponential,
    cluster_functions,
    spherical_bessel,
)
from forgefield.formulas.ace_couplings import coupling_steps
from forgefield.stages import ProductTable, Stage

__all__ = ["ACE", "ACERadial", "ACESettings"]

MOST_FUNCTIONS = 50_000
"""Features per atom at which a basis is taken for a mistake."""

Radial = Literal["chebyshev_exponential", "spherical_bessel"]
RadialNumber = Annotated[int, Field(ge=1, le=40)]
AngularNumber = Annotated[int, Field(ge=0, le=10)]


class ACESettings(DescriptorSettings):
    """Parameters of the atomic cluster expansion; lists have one entry per number of factors 1, 2, 3, 4."""

    kind: Literal["ace"] = "ace"
    cutoff: float = Field(5.0, gt=0, le=20, description="neighbours beyond do not count [Å]")
    radial: Radial = Field(
        "chebyshev_exponential", description="radial functions: of PACE (ChebExpCos), or SBessel"
    )
    decay: float = Field(
        1.3, gt=0, le=20, description="resolution near the atom of the Chebyshev functions (`lambda`)"
    )
    n_max: tuple[RadialNumber, ...] = Field(
        (8, 4, 2, 1), min_length=1, max_length=4, description="radial functions by number of factors"
    )
    l_min: tuple[AngularNumber, ...] = Field(
        (0, 0, 0, 0), min_length=1, max_length=4, description="lowest angular momentum by number of factors"
    )
    l_max: tuple[AngularNumber, ...] = Field(
        (0, 4, 3, 2), min_length=1, max_length=4, description="highest angular momentum by number of factors"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.n_max) == len(self.l_min) == len(self.l_max):
            raise ValueError(
                "`n_max`, `l_min` and `l_max` need the same number of entries, one per number of factors, "
                f"got {len(self.n_max)}, {len(self.l_min)} and {len(self.l_max)}"
            )
        if self.l_min[0] or self.l_max[0]:
            raise ValueError(
                f"the first entry of `l_min` and `l_max` must be 0 (one factor is invariant for l = 0 only), "
                f"got {self.l_min[0]} and {self.l_max[0]}"
            )
        for n_factors, (low, high) in enumerate(zip(self.l_min, self.l_max, strict=True), start=1):
            if low > high:
                raise ValueError(f"`l_min` must be <= `l_max`, got {low} > {high} for {n_factors} factors")
        return self


@dataclass(frozen=True)
class ACERadial:
    """Radial functions of the cluster expansion."""

    cutoff: float
    n_radial: int
    kind: Radial
    decay: float
    per_l: bool = False

    def __call__(self, r: Any) -> list[Any]:
        """Return the `n_radial` functions at r."""
        if self.kind == "spherical_bessel":
            return spherical_bessel(r, self.cutoff, self.n_radial)
        return chebyshev_exponential(r, self.cutoff, self.n_radial, self.decay)


class ACE(Descriptor):
    """Invariant polynomials of ``A_(s n l m) = sum over neighbours j of species s of R_n(r_ij) Y_lm(r_ij)``.

    Products of one to four A (two to five bodies), coupled to total angular momentum zero by Clebsch-Gordan
    coefficients, with even sum of l; of the functions with the same factors only linearly independent ones are kept.

    Notes
    -----
    Order: by number of factors, then lexicographic in the factors (l, s, n), then by the intermediate angular momentum
    L of four factors. Products of four are ``sum_m (A_1 A_2)_Lm (A_3 A_4)_Lm``; see `formulas.ace_basis`.
    Source: Drautz, PRB 99 (2019) 014104; Dusson et al., J. Comput. Phys. 454 (2022) 110946 (linear independence).
    """

    Settings: ClassVar[type[DescriptorSettings]] = ACESettings
    settings: ACESettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p, channels = self.settings, identity_channels(self.n_species)
        self.functions = self._functions()
        n_many = max(p.n_max[1:], default=0)
        self.shared = 0 < p.n_max[0] <= n_many
        self._n_rows = max(n_many, p.n_max[0]) if self.shared else n_many
        expansions = []
        if not self.shared:
            expansions.append(self._expansion(p.n_max[0], 0, channels))
        if n_many:
            expansions.append(self._expansion(self._n_rows, max(p.l_max), channels))
        self.expansions = tuple(expansions)
        self._first, self._second, self._n_two = self._tables()

    def _expansion(
        self, n_radial: int, l_max: int, channels: tuple[tuple[float, ...], ...]
    ) -> SphericalExpansion:
        p = self.settings
        return SphericalExpansion(
            ACERadial(p.cutoff, n_radial, p.radial, p.decay), p.cutoff, 0, l_max, channels
        )

    def _functions(self) -> tuple[ClusterFunction, ...]:
        p = self.settings
        every = cluster_functions(self.n_species, p.n_max, p.l_min, p.l_max)
        functions = tuple(itertools.islice(every, MOST_FUNCTIONS + 1))
        if len(functions) > MOST_FUNCTIONS:
            raise ConfigError(
                f"the basis has more than {MOST_FUNCTIONS} functions for {self.n_species} elements; "
                f"lower `n_max` {list(p.n_max)} or `l_max` {list(p.l_max)} of the higher products"
            )
        return functions

    def _tables(self) -> tuple[ProductTable | None, ProductTable | None, int]:
        """Return the two steps of products and the number of functions of two factors."""
        many = [f for f in self.functions if len(f.factors) > 1]
        if not many:
            return None, None, 0
        n_rows = self.n_species * self._n_rows
        size = n_rows * self.expansions[-1].shape[2]

        def position(factor: Factor, m: int) -> int:
            return (factor.l**2 + m) * n_rows + factor.channel * self._n_rows + factor.n

        first, second, n_two = coupling_steps(many, position, size)
        n_pairs = first.n_outputs - n_two
        return (
            ProductTable.build([size], *first),
            ProductTable.build([size, n_pairs], *second) if second.n_outputs else None,
            n_two,
        )

    @property
    def feature_names(self) -> list[str]:
        """``Ta1l2 Ta3l2``: element, radial function and l of each factor; ``L1`` for four factors."""
        symbols = [chemical_symbols[z] for z in self.species]
        return [
            " ".join(
                [f"{symbols[f.channel]}{f.n + 1}l{f.l}" for f in factors]
                + ([f"L{coupling}"] if len(factors) == 4 else [])
            )
            for factors, coupling in self.functions
        ]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        n, x = self.settings.n_max[0], a[0].columns(0, 1)
        rows = x.shape[0] // self.n_species
        parts = [x.rows(c * rows, c * rows + n) for c in range(self.n_species)]
        if self._first is not None:
            first = stage.products(self._first, a[-1])
            parts.append(first.rows(0, self._n_two))
            if self._second is not None:
                pairs = first.rows(self._n_two, self._first.n_outputs)
                parts.append(stage.products(self._second, a[-1], pairs))
        return stage.join(*parts)
