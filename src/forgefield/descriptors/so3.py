"""Smooth SO(3) power spectrum: a Gaussian density expanded in an orthonormal radial basis and harmonics."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field

from forgefield.descriptors.base import Descriptor, DescriptorSettings, Jacobian
from forgefield.descriptors.cutoff_choice import CutoffChoice
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.formulas.cutoffs import COSINE, CutoffShape
from forgefield.formulas.invariants import power_spectrum
from forgefield.formulas.radial import chebyshev_series, so3_radial_coefficients
from forgefield.stages import ProductTable, Stage

__all__ = ["SO3", "SO3Radial", "SO3Settings"]


class SO3Settings(CutoffChoice):
    """Parameters of the SO(3) power spectrum."""

    kind: Literal["so3"] = "so3"
    cutoff: float = Field(5.0, gt=0, le=20, description="neighbours beyond do not count [Å]")
    n_max: int = Field(3, ge=1, le=12, description="radial functions n = 1 ... n_max")
    l_max: int = Field(3, ge=0, le=12, description="angular momenta l = 0 ... l_max")
    alpha: float = Field(2.0, gt=0, le=50, description="exponent of the Gaussian density [1/Å^2]")
    species_weighting: Literal["resolved", "atomic_number"] = Field(
        "resolved", description="one density per element, or one density weighted by Z (PyXtal_FF)"
    )


@dataclass(frozen=True)
class SO3Radial:
    """Radial functions of the power spectrum: different for every l."""

    cutoff: float
    n_radial: int
    l_max: int
    alpha: float
    shape: CutoffShape = COSINE
    per_l: bool = True

    @cached_property
    def coefficients(self) -> Any:
        """Chebyshev coefficients of the overlap integrals times the cutoff function."""
        return so3_radial_coefficients(self.cutoff, self.n_radial, self.l_max, self.alpha)

    def __call__(self, r: Any) -> list[Any]:
        """Return the functions at r, l-major."""
        return chebyshev_series(r, self.cutoff, self.coefficients, self.shape)


class SO3(Descriptor):
    """``P_(c1 n1)(c2 n2) l = sum_m c_(c1 n1) l m c_(c2 n2) l m`` of the Gaussian neighbour density.

    Notes
    -----
    Pairs (c1 n1) <= (c2 n2) of species channel and radial function, l-major. The density is multiplied by the
    cutoff function so that it vanishes smoothly. Real harmonics give the same sums over m as complex ones.
    Accuracy: the radial integrals are Chebyshev series with relative error <= 1e-12.
    Source: Yanxon et al. (PyXtal_FF), eqs. 15-18.
    """

    Settings: ClassVar[type[DescriptorSettings]] = SO3Settings
    settings: SO3Settings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p = self.settings
        resolved = p.species_weighting == "resolved"
        channels = identity_channels(self.n_species) if resolved else tuple((float(z),) for z in self.species)
        radial = SO3Radial(p.cutoff, p.n_max, p.l_max, p.alpha, p.cutoff_shape)
        self.expansions = (SphericalExpansion(radial, p.cutoff, 0, p.l_max, channels),)

    @property
    def feature_names(self) -> list[str]:
        """``Si1 Si2 l3``: element and radial index of both factors, then l."""
        p = self.settings
        elements = [chemical_symbols[z] for z in self.species] if p.species_weighting == "resolved" else ["Z"]
        labels = [f"{e}{n}" for e in elements for n in range(1, p.n_max + 1)]
        pairs = [f"{a} {b}" for a, b in itertools.combinations_with_replacement(labels, 2)]
        return [f"{pair} l{l}" for l in range(p.l_max + 1) for pair in pairs]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        return stage.join(stage.map_pairs(self._power_spectrum, a[0]))

    def jacobian(self, stage: Stage, a: Sequence[Any]) -> Jacobian | None:
        """Return dP/dc, every one of them a coefficient of the other factor; see `Descriptor.jacobian`."""
        del stage
        n_rows = a[0].shape[0]
        table, features, coefficients = _jacobian_table(n_rows, self.settings.l_max)
        return Jacobian(table, tuple(a), features, coefficients)

    def _power_spectrum(self, left: Any, right: Any) -> list[Any]:
        return power_spectrum(left, right, self.settings.l_max)


@lru_cache(maxsize=16)
def _jacobian_table(n_rows: int, l_max: int) -> tuple[ProductTable, NDArray[np.int64], NDArray[np.int64]]:
    """Return the derivatives of all power spectra of so many rows, and which feature and coefficient each is for."""
    first, second = np.triu_indices(n_rows)
    n_columns = (l_max + 1) ** 2
    pair, column = (
        g.ravel() for g in np.meshgrid(np.arange(len(first)), np.arange(n_columns), indexing="ij")
    )
    feature = np.sqrt(column).astype(np.int64) * len(first) + pair
    i, j = first[pair], second[pair]
    apart = i != j
    # d/dc_i of c_i c_j is c_j, and the other way round where they differ; of c_i^2 it is 2 c_i.
    factors = column * n_rows + j, (column * n_rows + i)[apart]
    indices = np.concatenate(factors)[:, None]
    values = np.concatenate([np.where(apart, 1.0, 2.0), np.ones(int(apart.sum()))])
    table = ProductTable.build([n_rows * n_columns], len(indices), np.arange(len(indices)), indices, values)
    features = np.concatenate([feature, feature[apart]])
    coefficients = np.concatenate([i * n_columns + column, (j * n_columns + column)[apart]])
    return table, features, coefficients
