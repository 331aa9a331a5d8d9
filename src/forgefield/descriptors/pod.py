"""POD: proper orthogonal descriptors, as in LAMMPS's ML-POD package."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, model_validator

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.errors import ConfigError
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.pod_basis import four_body_exponents, pod_radial
from forgefield.formulas.pod_invariants import (
    PODGroup,
    PODTerms,
    pod_four_body,
    pod_product_pairs,
    pod_three_body,
)
from forgefield.stages import ProductTable, Stage

__all__ = ["POD", "PODRadial", "PODSettings"]


class PODSettings(DescriptorSettings):
    """Parameters of the proper orthogonal descriptors; the defaults are those of LAMMPS's `fitpod`."""

    kind: Literal["pod"] = "pod"
    cutoff: float = Field(5.0, gt=0, le=20, description="neighbours beyond do not count (`rcut`) [Å]")
    inner_cutoff: float = Field(
        0.5, ge=0, le=10, description="distance below which atoms do not come (`rin`) [Å]"
    )
    bessel_degree: int = Field(
        4, ge=1, le=12, description="sine snapshots k = 1 ... degree, for each of 3 scales"
    )
    inverse_degree: int = Field(8, ge=0, le=16, description="snapshots r^-k, k = 1 ... degree")
    n_max_two_body: int = Field(8, ge=1, le=52, description="radial functions of the two-body features")
    n_max_three_body: int = Field(6, ge=0, le=52, description="radial functions of the three-body features")
    degree_three_body: int = Field(4, ge=0, le=12, description="three-body features cos^p, p = 0 ... degree")
    n_max_four_body: int = Field(4, ge=0, le=52, description="radial functions of the four-body features")
    degree_four_body: int = Field(
        3, ge=0, le=6, description="four-body features cos^a cos^b cos^c, a + b + c = 0 ... degree"
    )
    n_max_five_body: int = Field(
        0, ge=0, le=52, description="products of two three-body features: sum of their radial indices < this"
    )
    degree_five_body: int = Field(0, ge=0, le=6, description="largest degree of these products")
    n_max_six_body: int = Field(
        0, ge=0, le=52, description="products of a three- and a four-body feature: as for the five-body ones"
    )
    degree_six_body: int = Field(0, ge=0, le=6, description="largest degree of these products")
    n_max_seven_body: int = Field(
        0, ge=0, le=52, description="products of two four-body features: as for the five-body ones"
    )
    degree_seven_body: int = Field(0, ge=0, le=6, description="largest degree of these products")
    element_order: tuple[str, ...] | None = Field(
        None, description="elements in the order of the features (`species`); default: by atomic number"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.inner_cutoff >= self.cutoff:
            raise ValueError(f"`inner_cutoff` must be < `cutoff` ({self.cutoff} Å), got {self.inner_cutoff}")
        for body, parent in (("four", "three"), ("five", "four"), ("six", "four"), ("seven", "four")):
            n, n_parent = getattr(self, f"n_max_{body}_body"), getattr(self, f"n_max_{parent}_body")
            if n > n_parent:
                raise ValueError(
                    f"`n_max_{body}_body` must be <= `n_max_{parent}_body` ({n_parent}), got {n}"
                )
            degree, highest = getattr(self, f"degree_{body}_body"), getattr(self, f"degree_{parent}_body")
            if n and degree > highest:
                raise ValueError(
                    f"`degree_{body}_body` must be <= `degree_{parent}_body` ({highest}), got {degree}"
                )
        snapshots = 3 * self.bessel_degree + self.inverse_degree
        if self.n_radial > snapshots:
            raise ValueError(
                f"{snapshots} snapshots (3 `bessel_degree` + `inverse_degree`) give no {self.n_radial} radial functions; "
                "raise a degree or lower `n_max_two_body`"
            )
        return self

    @property
    def n_radial(self) -> int:
        """Radial functions altogether."""
        return max(self.n_max_two_body, self.n_max_three_body)


@dataclass(frozen=True)
class PODRadial:
    """POD's radial functions as the basis of an expansion."""

    cutoff: float
    inner_cutoff: float
    bessel_degree: int
    inverse_degree: int
    n_radial: int
    per_l: bool = False

    def __call__(self, r: Any) -> list[Any]:
        """Return the `n_radial` functions at r."""
        return pod_radial(
            r, self.inner_cutoff, self.cutoff, self.bessel_degree, self.inverse_degree, self.n_radial
        )


class POD(Descriptor):
    """Two-, three- and four-body proper orthogonal descriptors.

    With the radial functions U_n, angles at atom i and sums over neighbours j, k, l (any of them may coincide) of the
    elements named:

    - ``D2_n^s = sum_j U_n(r_ij)``
    - ``D3_np^st = sum_jk U_n(r_ij) U_n(r_ik) cos^p(jk)``, s <= t
    - ``D4_nabc^stu = sum_jkl U_n(r_ij) U_n(r_ik) U_n(r_il) cos^a(jk) cos^b(jl) cos^c(kl)``, s <= t <= u, a >= b >= c
    - five-, six- and seven-body features are products D3 D3, D3 D4 and D4 D4 (none by default)

    Notes
    -----
    Features, each group element-major, then radial function, then angular function: the order of the coefficients in
    LAMMPS's files. Accuracy: that of the radial modes, see `formulas.pod_basis.pod_modes`. LAMMPS sets D3 to zero for
    an atom with one neighbour and D4 with fewer than three, a jump that is left out here.
    Source: Nguyen and Rohskopf, J. Comput. Phys. 480 (2023) 112030; Nguyen, PRB 107 (2023) 144103.
    """

    Settings: ClassVar[type[DescriptorSettings]] = PODSettings
    settings: PODSettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p = self.settings
        self.order = self._order()
        l_max = max(
            p.degree_three_body if p.n_max_three_body else 0, p.degree_four_body if p.n_max_four_body else 0
        )
        radial = PODRadial(p.cutoff, p.inner_cutoff, p.bessel_degree, p.inverse_degree, p.n_radial)
        channels = identity_channels(self.n_species)
        self.expansions = (SphericalExpansion(radial, p.cutoff, 0, l_max, channels, unit_l0=True),)
        self._three_body = self._table(pod_three_body, p.n_max_three_body, p.degree_three_body)
        self._four_body = self._table(pod_four_body, p.n_max_four_body, p.degree_four_body)
        self._pairs = self._product_pairs()
        self._products = (
            ProductTable.build(
                [t.n_outputs for t in (self._three_body, self._four_body) if t is not None],
                len(self._pairs),
                np.arange(len(self._pairs)),
                np.array(self._pairs),
                np.ones(len(self._pairs)),
            )
            if self._pairs
            else None
        )

    def _product_pairs(self) -> list[tuple[int, int]]:
        """Return the five-, six- and seven-body features as pairs among the three- and then four-body ones."""
        p, n = self.settings, self.n_species
        three = PODGroup(math.comb(n + 1, 2), p.n_max_three_body, tuple(range(p.degree_three_body + 1)))
        exponents = four_body_exponents(p.degree_four_body)
        four = PODGroup(math.comb(n + 2, 3), p.n_max_four_body, tuple(sum(e) for e in exponents))
        offset = three.n_element_groups * three.n_radial * len(three.degrees)
        pairs: list[tuple[int, int]] = []
        for left, right, shifts, n_max, degree in (
            (three, three, (0, 0), p.n_max_five_body, p.degree_five_body),
            (three, four, (0, offset), p.n_max_six_body, p.degree_six_body),
            (four, four, (offset, offset), p.n_max_seven_body, p.degree_seven_body),
        ):
            found = pod_product_pairs(left, right, n_max, degree)
            pairs += [(i + shifts[0], j + shifts[1]) for i, j in found]
        return pairs

    def _order(self) -> tuple[int, ...]:
        """Return the channels in the order of the features."""
        names = self.settings.element_order
        if names is None:
            return tuple(range(self.n_species))
        numbers = [atomic_numbers.get(name, 0) for name in names]
        if sorted(numbers) != list(self.species):
            raise ConfigError(
                f"`element_order` is {list(names)}, but the elements are {[chemical_symbols[z] for z in self.species]}; "
                "name each of them once"
            )
        return tuple(self.species.index(z) for z in numbers)

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements in the order of the features."""
        return [chemical_symbols[self.species[c]] for c in self.order]

    @property
    def feature_names(self) -> list[str]:
        """``Ta n1`` two-, ``Ta Ta n1 p2`` three-, ``Ta Ta Ta n1 210`` four-body; products of the latter in brackets."""
        p, elements = self.settings, self.elements
        names = [f"{e} n{n}" for e in elements for n in range(1, p.n_max_two_body + 1)]
        for body, n_max, parts in (
            (2, p.n_max_three_body, [f"p{k}" for k in range(p.degree_three_body + 1)]),
            (3, p.n_max_four_body, ["{}{}{}".format(*e) for e in four_body_exponents(p.degree_four_body)]),
        ):
            names += [
                f"{' '.join(group)} n{n} {part}"
                for group in itertools.combinations_with_replacement(elements, body)
                for n in range(1, n_max + 1)
                for part in parts
            ]
        many = names[self.n_species * p.n_max_two_body :]
        return names + [f"({many[i]}) ({many[j]})" for i, j in self._pairs]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        p, (x,) = self.settings, a
        k = p.n_radial
        parts = [x.columns(0, 1).rows(c * k, c * k + p.n_max_two_body) for c in self.order]
        many = []
        for n_max, table in ((p.n_max_three_body, self._three_body), (p.n_max_four_body, self._four_body)):
            if table is not None:
                many.append(stage.products(table, *(x.rows(c * k, c * k + n_max) for c in self.order)))
        if self._products is not None:
            many.append(stage.products(self._products, *many))
        return stage.join(*parts, *many)

    def _table(
        self, terms_of: Callable[[int, int, int, int], PODTerms], n_max: int, degree: int
    ) -> ProductTable | None:
        """Return the polynomials of a group of features, None where there are no radial functions for them."""
        if not n_max:
            return None
        n_harmonics = self.expansions[0].shape[2]
        terms = terms_of(self.n_species, n_max, n_harmonics, degree)
        return ProductTable.build([n_max * n_harmonics] * self.n_species, *terms)
