"""Settings of descriptors whose definition leaves the cutoff function open."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from forgefield.descriptors.base import DescriptorSettings
from forgefield.formulas.cutoffs import CutoffName, CutoffShape

__all__ = ["CutoffChoice"]


class CutoffChoice(DescriptorSettings):
    """Which cutoff function: see `formulas.cutoffs.CutoffShape`."""

    cutoff_function: CutoffName = Field("cosine", description="how neighbours fade out at the cutoff")
    cutoff_start: float = Field(
        0.0, ge=0, lt=1, description="share of the cutoff up to which the cutoff function is 1"
    )
    inner_switch: tuple[float, float] | None = Field(
        None, description="distances between which close neighbours fade in; none: all count [Å]"
    )

    @model_validator(mode="after")
    def _cutoff_function_fits(self) -> Self:
        if self.cutoff_function == "tanh" and self.cutoff_start:
            raise ValueError(
                "`cutoff_start` must be 0 for `cutoff_function: tanh`, whose slope would jump there, "
                f"got {self.cutoff_start}; choose another function"
            )
        if self.inner_switch is not None:
            first, last = self.inner_switch
            if not 0 <= first < last < self.smallest_cutoff:
                raise ValueError(
                    "`inner_switch` must be two ascending distances >= 0 below every cutoff "
                    f"({self.smallest_cutoff:g} Å), got [{first:g}, {last:g}]"
                )
        return self

    @property
    def smallest_cutoff(self) -> float:
        """Smallest of the cutoffs [Å]."""
        names = "cutoff", "cutoff_radial", "cutoff_angular"
        return min(float(c) for c in (getattr(self, n, None) for n in names) if c is not None)

    @property
    def cutoff_shape(self) -> CutoffShape:
        """The cutoff function."""
        return CutoffShape(self.cutoff_function, self.cutoff_start, self.inner_switch)
