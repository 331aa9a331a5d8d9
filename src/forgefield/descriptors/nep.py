"""NEP: the descriptor of neuroevolution potentials, with trainable radial coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.errors import ConfigError
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.invariants import nep_invariants
from forgefield.formulas.radial import nep_factors, nep_radial
from forgefield.stages import Stage

__all__ = ["NEP", "TRIPLES", "NEPRadial", "NEPSettings"]

TRIPLES: dict[str, tuple[int, int, int]] = {
    "q_112": (1, 1, 2),
    "q_123": (1, 2, 3),
    "q_233": (2, 3, 3),
    "q_134": (1, 3, 4),
}
"""The further four-body invariants of GPUMD by the setting that adds them, in the order of the features."""

Cutoff = Annotated[float, Field(gt=0, le=20)]


class NEPSettings(DescriptorSettings):
    """Parameters of the NEP descriptor, named as in GPUMD's nep.in."""

    kind: Literal["nep"] = "nep"
    cutoff_radial: float = Field(5.0, gt=0, le=20, description="cutoff of the radial features [Å]")
    cutoff_angular: float = Field(5.0, gt=0, le=20, description="cutoff of the angular features [Å]")
    n_max_radial: int = Field(8, ge=0, le=19, description="radial features n = 0 ... n_max_radial")
    n_max_angular: int = Field(8, ge=0, le=19, description="radial channels of the angular features")
    basis_size_radial: int = Field(8, ge=0, le=19, description="Chebyshev functions k = 0 ... size, radial")
    basis_size_angular: int = Field(8, ge=0, le=19, description="Chebyshev functions k = 0 ... size, angular")
    l_max: int = Field(4, ge=1, le=8, description="three-body features l = 1 ... l_max")
    four_body: bool = Field(default=True, description="add the (l = 2)^3 invariant")
    five_body: bool = Field(default=True, description="add the (l = 1)^4 invariant")
    q_112: bool = Field(default=False, description="add the four-body invariant of l = 1, 1, 2")
    q_123: bool = Field(default=False, description="add the four-body invariant of l = 1, 2, 3")
    q_233: bool = Field(default=False, description="add the four-body invariant of l = 2, 3, 3")
    q_134: bool = Field(default=False, description="add the four-body invariant of l = 1, 3, 4")
    element_cutoffs: dict[str, tuple[Cutoff, Cutoff]] | None = Field(
        None,
        description="radial and angular cutoff [Å] of single elements, {Si: [6, 5]}, in place of those above; that of "
        "two elements is their mean",
    )

    @property
    def triples(self) -> tuple[tuple[int, int, int], ...]:
        """Angular momenta of the further four-body invariants in use."""
        return tuple(triple for name, triple in TRIPLES.items() if getattr(self, name))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cutoff_angular > self.cutoff_radial:
            raise ValueError(
                f"`cutoff_angular` must not exceed `cutoff_radial` ({self.cutoff_radial} Å), "
                f"got {self.cutoff_angular}"
            )
        if self.four_body and self.l_max < 2:
            raise ValueError(f"`four_body` couples l = 2 and needs `l_max` >= 2, got {self.l_max}")
        for name, triple in TRIPLES.items():
            if getattr(self, name) and self.l_max < triple[-1]:
                raise ValueError(
                    f"`{name}` couples l = {triple[-1]} and needs `l_max` >= {triple[-1]}, got {self.l_max}"
                )
        for element, (radial, angular) in (self.element_cutoffs or {}).items():
            if atomic_numbers.get(element, 0) < 1:
                raise ValueError(f"`element_cutoffs` names {element!r}, which is not a chemical element")
            if angular > radial:
                raise ValueError(
                    f"`element_cutoffs`: the angular cutoff of {element}, {angular} Å, must not exceed the radial one, "
                    f"{radial} Å"
                )
        return self

    def pair_cutoffs(self, species: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the radial and the angular cutoff [Å] of every pair of elements, (n_species, n_species) each."""
        own = self.element_cutoffs or {}
        symbols = [chemical_symbols[z] for z in species]
        unknown = sorted(set(own) - set(symbols))
        if unknown:
            raise ConfigError(
                f"`element_cutoffs` names {', '.join(unknown)}, but the elements are {', '.join(symbols)}; remove it"
            )
        common = (self.cutoff_radial, self.cutoff_angular)
        radial, angular = np.array([own.get(s, common) for s in symbols], dtype=np.float64).T
        return 0.5 * (radial[:, None] + radial), 0.5 * (angular[:, None] + angular)


def _stretch(cutoffs: NDArray[np.float64]) -> tuple[tuple[float, ...], ...] | None:
    """Return the factors that bring the cutoffs of all pairs of elements to the largest; None if they are equal."""
    if (cutoffs == cutoffs.max()).all():
        return None
    return tuple(tuple(row) for row in (cutoffs.max() / cutoffs).tolist())


@dataclass(frozen=True)
class NEPRadial:
    """NEP's radial functions as the basis of an expansion."""

    cutoff: float
    n_radial: int
    per_l: bool = False

    def __call__(self, r: Any) -> list[Any]:
        """Return the `n_radial` functions at r."""
        return nep_radial(r, self.cutoff, self.n_radial)

    @property
    def series(self) -> NDArray[np.float64]:
        """Chebyshev coefficients of the functions over the cutoff function; see `expansions.radial_series`."""
        result = 0.5 * np.eye(self.n_radial)
        result[:, 0] += 0.5
        return result

    def factors(self, r: Any) -> tuple[Any, Any]:
        """Return the cutoff function and the argument of the polynomials at r."""
        return nep_factors(r, self.cutoff)


class NEP(Descriptor):
    """Radial, three-, four- and five-body features of neuroevolution potentials.

    ``q_n = sum_jk c_nk^IJ f_k(r_ij)`` and the rotation invariants of
    ``S_nlm = sum_jk c_nk^IJ f_k(r_ij) Y_lm(r_ij)``, where the c are trained with the potential and I, J are the
    elements of centre and neighbour.

    Notes
    -----
    Features: radial n = 0 ... n_max_radial; then l-major, n-minor three-body; then 222, 1111, 112, 123, 233, 134.
    Source: Huang et al. (GNEP), eqs. 5-8; conventions of the features as in GPUMD's nep.txt.
    """

    Settings: ClassVar[type[DescriptorSettings]] = NEPSettings
    settings: NEPSettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p, channels = self.settings, identity_channels(self.n_species)
        k_r, k_a = p.basis_size_radial + 1, p.basis_size_angular + 1
        pair_radial, pair_angular = p.pair_cutoffs(self.species)
        cutoff_radial, cutoff_angular = float(pair_radial.max()), float(pair_angular.max())
        self.shared = np.array_equal(pair_radial, pair_angular) and k_r == k_a
        angular = SphericalExpansion(
            radial=NEPRadial(cutoff_angular, k_a),
            cutoff=cutoff_angular,
            l_min=0 if self.shared else 1,
            l_max=p.l_max,
            channels=channels,
            unit_l0=True,
            stretch=_stretch(pair_angular),
        )
        radial = SphericalExpansion(
            NEPRadial(cutoff_radial, k_r),
            cutoff_radial,
            l_min=0,
            l_max=0,
            channels=channels,
            unit_l0=True,
            stretch=_stretch(pair_radial),
        )
        self.expansions = (angular,) if self.shared else (radial, angular)
        self.c_radial = nn.Parameter(torch.empty(self.n_species, self.n_species * k_r, p.n_max_radial + 1))
        self.c_angular = nn.Parameter(torch.empty(self.n_species, self.n_species * k_a, p.n_max_angular + 1))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the coefficients anew: normal, scaled so that features do not grow with the basis."""
        with torch.no_grad():
            for c in (self.c_radial, self.c_angular):
                c.normal_(0.0, c.shape[1] ** -0.5, generator=generator)

    @property
    def _higher_body_names(self) -> list[str]:
        p = self.settings
        triples = ["".join(map(str, triple)) for triple in p.triples]
        return ["222"] * p.four_body + ["1111"] * p.five_body + triples

    @property
    def feature_names(self) -> list[str]:
        """``n3`` radial, ``n3 l2`` three-body, ``n3 222``, ``n3 1111``, ``n3 112``, ... higher-body."""
        p = self.settings
        parts = [f"l{l}" for l in range(1, p.l_max + 1)] + self._higher_body_names
        return [f"n{n}" for n in range(p.n_max_radial + 1)] + [
            f"n{n} {part}" for part in parts for n in range(p.n_max_angular + 1)
        ]

    def coefficient_names(self) -> list[str]:
        """Name the elements of the first two axes of the coefficients: centre species and neighbour species."""
        return [chemical_symbols[z] for z in self.species]

    restrictable: ClassVar[bool] = True

    def restricted(self, index: NDArray[np.int64]) -> NEP:
        """Return the descriptor for some of the elements; see `Descriptor.restricted`."""
        own = self.settings.element_cutoffs
        symbols = [chemical_symbols[self.species[i]] for i in index]
        cutoffs = None if own is None else {s: c for s, c in own.items() if s in symbols} or None
        settings = self.settings.model_copy(update={"element_cutoffs": cutoffs})
        result = NEP([self.species[i] for i in index], settings)
        rows = torch.from_numpy(index)
        for mine, whole in ((result.c_radial, self.c_radial), (result.c_angular, self.c_angular)):
            of_pairs = whole.detach().reshape(self.n_species, self.n_species, -1, whole.shape[2])
            mine.data = of_pairs[rows][:, rows].flatten(1, 2).contiguous()
        return result

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        radial, angular = a[0].columns(0, 1), a[-1]
        if self.shared:
            angular = angular.columns(1, angular.shape[1])
        s = stage.linear(self.c_angular, angular)
        q = stage.map(self._angular_features, s)
        return stage.join(stage.linear(self.c_radial, radial), q)

    def _angular_features(self, s: Any) -> list[Any]:
        p = self.settings
        return nep_invariants(s, p.l_max, four_body=p.four_body, five_body=p.five_body, triples=p.triples)
