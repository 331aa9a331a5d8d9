"""Weighted symmetry functions: one set for all elements, weighted by atomic numbers."""

from __future__ import annotations

from typing import ClassVar, Literal

from forgefield.descriptors.acsf import SymmetryFunctions, SymmetrySettings
from forgefield.descriptors.base import DescriptorSettings
from forgefield.expansions.triplets import product_channel

__all__ = ["WACSF", "WACSFSettings"]


class WACSFSettings(SymmetrySettings):
    """Parameters of weighted symmetry functions; the defaults are the 26 functions of PyXtal_FF for SiO2."""

    kind: Literal["wacsf"] = "wacsf"


class WACSF(SymmetryFunctions):
    """Symmetry functions whose terms are multiplied by Z_j (radial) or Z_j Z_k (angular).

    Their number does not grow with the number of elements. Everything else is as for `ACSF`.

    Notes
    -----
    Source: Gastegger et al., J. Chem. Phys. 148 (2018) 241709; Yanxon et al. (PyXtal_FF), section 2.1.1.
    """

    Settings: ClassVar[type[DescriptorSettings]] = WACSFSettings
    settings: WACSFSettings

    def _radial_channels(self) -> tuple[tuple[float, ...], ...]:
        # The squares serve the terms j = k of G5.
        return tuple((float(z), float(z * z)) if self._spherical else (float(z),) for z in self.species)

    def _angular_channels(self) -> tuple[tuple[float, ...], ...]:
        return tuple((float(z),) for z in self.species)

    def _pair_channels(self) -> tuple[tuple[tuple[float, ...], ...], ...]:
        return product_channel(self.species)

    @property
    def _elements(self) -> list[str]:
        return ["Z"]

    def _square_channel(self, channel: int) -> int:
        return channel + 1
