"""SNAP: the bispectrum of the neighbour density on the 3-sphere, with the conventions of LAMMPS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, FiniteFloat, model_validator
from torch import Tensor

from forgefield.descriptors.base import Descriptor, DescriptorSettings, Jacobian
from forgefield.descriptors.bispectrum import (
    coupling_table,
    invariant_table,
    jacobian_table,
    quadratic_table,
    triples,
)
from forgefield.errors import ConfigError, did_you_mean
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.formulas.wigner import n_diagonal
from forgefield.stages import Stage, TorchArray, TorchStage

__all__ = ["SNAP", "SNAPSettings"]

DEFAULT_RADIUS = 0.5
"""Radius of an element that is not given one: `cutoff` is then the cutoff of its pairs."""


class SNAPSettings(DescriptorSettings):
    """Parameters of the bispectrum; LAMMPS's name of each in brackets."""

    kind: Literal["snap"] = "snap"
    two_j_max: int = Field(6, ge=0, le=20, description="twice the largest angular momentum [twojmax]")
    cutoff: float = Field(
        5.0, gt=0, le=20, description="cutoff of a pair is cutoff (radius_i + radius_j) [Å] [rcutfac]"
    )
    radii: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="radius of each element in units of `cutoff`; 0.5 where absent [R_i]",
    )
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="weight of each element as a neighbour; 1 where absent [w_i]"
    )
    rfac0: float = Field(0.99363, gt=0, le=1, description="polar angle at the cutoff, in units of pi [rfac0]")
    rmin0: float = Field(0.0, ge=0, description="distance where the polar angle starts [Å] [rmin0]")
    switch: bool = Field(default=True, description="let neighbours fade out at the cutoff [switchflag]")
    inner_middle: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="middle of a switch that fades out close neighbours; a pair has the mean of its elements [Å] [sinner]",
    )
    inner_width: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="half width of that switch; a pair has the mean of its elements [Å] [dinner]",
    )
    bzero: bool = Field(
        default=True, description="subtract the value of an atom without neighbours [bzeroflag]"
    )
    bnorm: bool = Field(default=False, description="divide by 2j + 1 [bnormflag]")
    wself: float = Field(1.0, ge=0, description="weight of the central atom itself [wself]")
    chemical: bool = Field(
        default=False, description="one density per element, features for triples of elements [chem]"
    )
    wself_all: bool = Field(
        default=False, description="count the central atom in the density of every element [wselfallflag]"
    )
    quadratic: bool = Field(default=False, description="add all products of two features [quadraticflag]")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("radii", "inner_width"):
            for element, value in getattr(self, name).items():
                if not value > 0:
                    raise ValueError(f"`{name}` must be > 0, got {value} for {element}")
        if set(self.inner_middle) != set(self.inner_width):
            raise ValueError("`inner_middle` and `inner_width` must name the same elements")
        for name in ("radii", "weights", "inner_middle"):
            for element in getattr(self, name):
                if element not in atomic_numbers:
                    raise ValueError(f"`{name}` names {element!r}, which is not a chemical element")
        return self


class SNAP(Descriptor):
    """Bispectrum components ``B_(j1 j2 j)`` of the neighbour density.

    ``U^j = wself + sum over neighbours of w s(r) U^j(r)`` and ``B = Re tr(U^j* CG (U^j1 x U^j2) CG)``, for
    j2 <= j1 <= j; with `chemical` for every triple of elements.

    Notes
    -----
    Values and order of the features as in LAMMPS's `compute sna/atom`, with elements in ascending atomic number.
    Accuracy: relative error against LAMMPS <= 1e-10 float64.
    Source: Thompson et al., J. Comput. Phys. 285 (2015) 316; quadratic: Wood and Thompson, J. Chem. Phys. 148
    (2018) 241721; chemical: Cusentino et al., J. Phys. Chem. A 124 (2020) 5456; conventions of LAMMPS.
    """

    Settings: ClassVar[type[DescriptorSettings]] = SNAPSettings
    settings: SNAPSettings
    self_weights: Tensor
    mixing: Tensor
    nothing: Tensor
    own_element: Tensor

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p = self.settings
        self.expansions = (self._expansion(),)
        n = self.n_density
        identity = torch.eye(self.n_species, dtype=torch.float64)
        alone = p.chemical and not p.wself_all
        self._constant("self_weights", p.wself * (identity if alone else torch.ones_like(identity)[:, :n]))
        self._constant("mixing", torch.eye(n, dtype=torch.float64).expand(self.n_species, n, n).clone())
        self._constant("nothing", torch.zeros((self.n_species, n, n), dtype=torch.float64))
        self._constant("own_element", identity[:, :n] if n > 1 else torch.ones_like(identity)[:, :1])

    def _constant(self, name: str, value: Tensor) -> None:
        # Follows from the settings, so files do not hold it.
        self.register_buffer(name, value.contiguous(), persistent=False)

    def _expansion(self) -> HypersphericalExpansion:
        p = self.settings
        radii = self._per_element("radii", DEFAULT_RADIUS)
        weights = self._per_element("weights", 1.0)
        if not any(weights):
            raise ConfigError(
                "`descriptor.weights` is 0 for every element: no neighbour counts; give one a weight"
            )
        cutoffs = tuple(tuple(p.cutoff * (a + b) for b in radii) for a in radii)
        if p.rmin0 >= min(map(min, cutoffs)):
            raise ConfigError(
                f"`descriptor.rmin0` must be below every cutoff, got {p.rmin0} Å with a cutoff of "
                f"{min(map(min, cutoffs)):g} Å"
            )
        inner = None
        if p.inner_middle:
            middle, width = self._per_element("inner_middle"), self._per_element("inner_width")
            inner = tuple(
                tuple((0.5 * (a + b), 0.5 * (c + d)) for b, d in zip(middle, width, strict=True))
                for a, c in zip(middle, width, strict=True)
            )
        n = len(weights)
        channels = (
            tuple(tuple(w * (i == k) for k in range(n)) for i, w in enumerate(weights))
            if p.chemical
            else tuple((w,) for w in weights)
        )
        return HypersphericalExpansion(
            two_j_max=p.two_j_max,
            cutoffs=cutoffs,
            channels=channels,
            rfac0=p.rfac0,
            rmin0=p.rmin0,
            switch=p.switch,
            inner=inner,
        )

    def _per_element(self, name: str, default: float | None = None) -> list[float]:
        """Return a setting that maps elements to numbers, in the order of the species."""
        values: Mapping[str, float] = getattr(self.settings, name)
        symbols = [chemical_symbols[z] for z in self.species]
        for element in values:
            if element not in symbols:
                raise ConfigError(
                    f"`descriptor.{name}` names {element!r}, which the potential does not know: "
                    f"{did_you_mean(element, symbols)}"
                )
        missing = [s for s in symbols if s not in values]
        if default is None and missing:
            raise ConfigError(f"`descriptor.{name}` has no value for {', '.join(missing)}; give all or none")
        return [float(values.get(s, default)) for s in symbols]  # type: ignore[arg-type]

    @property
    def n_density(self) -> int:
        """Densities per atom: one for each element, or one for all."""
        return self.n_species if self.settings.chemical else 1

    @property
    def _offsets(self) -> tuple[float, ...] | None:
        """Value of each invariant for an atom without neighbours."""
        p = self.settings
        if not p.bzero:
            return None
        return tuple(p.wself**3 * (1.0 if p.bnorm else t.two_j + 1.0) for t in triples(p.two_j_max))

    @property
    def feature_names(self) -> list[str]:
        """``B 2 1 3``: twice j1, j2 and j, after the three elements with `chemical`; ``B ... * B ...`` products."""
        p = self.settings
        elements = [chemical_symbols[z] for z in self.species] if p.chemical else [""]
        names = [
            " ".join(["B", *filter(None, (a, b, c)), *map(str, t)])
            for a in elements
            for b in elements
            for c in elements
            for t in triples(p.two_j_max)
        ]
        if not p.quadratic:
            return names
        return names + [f"{a} * {b}" for n, a in enumerate(names) for b in names[n:]]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        p, n = self.settings, self.n_density
        on, off, z = self._matrices(stage, a)
        centre = stage.linear(self.nothing, a[0].columns(0, 1), self.own_element)
        own = p.chemical and not p.wself_all
        table = invariant_table(p.two_j_max, n, self._offsets, of_own_element=own)
        b = stage.products(table, on, off, z, centre)
        return stage.join(b, stage.products(quadratic_table(b.shape[0]), b)) if p.quadratic else b

    def _matrices(self, stage: Stage, a: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the diagonal numbers of u, with the central atom, the others, and Z; once for each stage that keeps them."""
        kept: dict[object, Any] = getattr(stage, "kept", {})
        key = ("bispectrum", a[0])
        if key not in kept:
            kept[key] = self._made_matrices(stage, a)
        found: tuple[Any, Any, Any] = kept[key]
        return found

    def _made_matrices(self, stage: Stage, a: Sequence[Any]) -> tuple[Any, Any, Any]:
        p, u = self.settings, a[0]
        diagonal = n_diagonal(p.two_j_max)
        on = stage.linear(self.mixing, u.columns(0, diagonal), self.self_weights)
        off = u.columns(diagonal, u.shape[1])
        table = coupling_table(p.two_j_max, self.n_density, per_dimension=p.bnorm)
        return on, off, stage.products(table, on, off)

    def gradients(self, a: Sequence[Tensor], species: int) -> Iterator[tuple[slice, list[Tensor]]]:
        """Yield the derivatives of the features, all at once; see `Descriptor.gradients`."""
        slopes = self._slopes(a, species)
        linear = len(slopes)
        yield slice(0, linear), [slopes]
        if not self.settings.quadratic:
            return
        with torch.no_grad():
            values = self.invariants(a, species)[:, :linear].T.reshape(linear, -1, 1, 1, 1)
        start = linear
        for k in range(linear):
            products = values[k] * slopes[k:] + values[k:] * slopes[k]
            products[0] *= 0.5
            yield slice(start, start + len(products)), [products]
            start += len(products)

    def jacobian(self, stage: Stage, a: Sequence[Any]) -> Jacobian | None:
        """Return dB/du as products of U and Z; see `Descriptor.jacobian`."""
        p, n = self.settings, self.n_density
        if p.quadratic:
            return None
        table = jacobian_table(p.two_j_max, n, per_dimension=p.bnorm)
        width = n * a[0].shape[1]
        feature, rest = np.divmod(np.arange(table.n_outputs), width)
        position, channel = np.divmod(rest, n)
        return Jacobian(table, self._matrices(stage, a), feature, channel * a[0].shape[1] + position)

    @torch.no_grad()
    def _slopes(self, a: Sequence[Tensor], species: int) -> Tensor:
        """Return dB/dA, (n_features without products, n_atoms, n_channels, 1, n_harmonics)."""
        p, n = self.settings, self.n_density
        stage = TorchStage(species)
        table = jacobian_table(p.two_j_max, n, per_dimension=p.bnorm)
        parts = self._matrices(stage, [TorchArray.of_coefficients(a[0])])
        derivatives = stage.products(table, *parts).features()
        return derivatives.T.reshape(-1, a[0].shape[-1], n, len(a[0])).permute(0, 3, 2, 1)[:, :, :, None]
