"""NEP: the descriptor of neuroevolution potentials, with trainable radial coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from ase.data import chemical_symbols
from pydantic import Field, model_validator
from torch import nn

from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.invariants import nep_invariants
from forgefield.formulas.radial import nep_radial
from forgefield.stages import Stage

__all__ = ["NEP", "NEPRadial", "NEPSettings"]


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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cutoff_angular > self.cutoff_radial:
            raise ValueError(
                f"`cutoff_angular` must not exceed `cutoff_radial` ({self.cutoff_radial} Å), "
                f"got {self.cutoff_angular}"
            )
        if self.four_body and self.l_max < 2:
            raise ValueError(f"`four_body` couples l = 2 and needs `l_max` >= 2, got {self.l_max}")
        return self


@dataclass(frozen=True)
class NEPRadial:
    """NEP's radial functions as the basis of an expansion."""

    cutoff: float
    n_radial: int
    per_l: bool = False

    def __call__(self, r: Any) -> list[Any]:
        """Return the `n_radial` functions at r."""
        return nep_radial(r, self.cutoff, self.n_radial)


class NEP(Descriptor):
    """Radial, three-, four- and five-body features of neuroevolution potentials.

    ``q_n = sum_jk c_nk^IJ f_k(r_ij)`` and the rotation invariants of
    ``S_nlm = sum_jk c_nk^IJ f_k(r_ij) Y_lm(r_ij)``, where the c are trained with the potential and I, J are the
    elements of centre and neighbour.

    Notes
    -----
    Features: radial n = 0 ... n_max_radial; then l-major, n-minor three-body; then the 4- and 5-body ones.
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
        self.shared = p.cutoff_radial == p.cutoff_angular and k_r == k_a
        angular = SphericalExpansion(
            radial=NEPRadial(p.cutoff_angular, k_a),
            cutoff=p.cutoff_angular,
            l_min=0 if self.shared else 1,
            l_max=p.l_max,
            channels=channels,
            unit_l0=True,
        )
        radial = SphericalExpansion(
            NEPRadial(p.cutoff_radial, k_r),
            p.cutoff_radial,
            l_min=0,
            l_max=0,
            channels=channels,
            unit_l0=True,
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
        return ["222"] * self.settings.four_body + ["1111"] * self.settings.five_body

    @property
    def feature_names(self) -> list[str]:
        """``n3`` radial, ``n3 l2`` three-body, ``n3 222`` and ``n3 1111`` higher-body."""
        p = self.settings
        parts = [f"l{l}" for l in range(1, p.l_max + 1)] + self._higher_body_names
        return [f"n{n}" for n in range(p.n_max_radial + 1)] + [
            f"n{n} {part}" for part in parts for n in range(p.n_max_angular + 1)
        ]

    def coefficient_names(self) -> list[str]:
        """Name the elements of the first two axes of the coefficients: centre species and neighbour species."""
        return [chemical_symbols[z] for z in self.species]

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
        return nep_invariants(s, p.l_max, four_body=p.four_body, five_body=p.five_body)
