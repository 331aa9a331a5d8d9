"""Reference data: read, audited, split, with conventions detected rather than believed."""

from __future__ import annotations

from forgefield.data.frames import get_energy, get_forces, get_stress
from forgefield.data.options import ReadOptions
from forgefield.data.reading import read
from forgefield.data.references import fit_references
from forgefield.data.split import Split, SplitSettings, split

__all__ = [
    "ReadOptions",
    "Split",
    "SplitSettings",
    "fit_references",
    "get_energy",
    "get_forces",
    "get_stress",
    "read",
    "split",
]
