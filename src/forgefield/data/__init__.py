"""Reference data: read, audited, split, with conventions detected rather than believed."""

from __future__ import annotations

from forgefield.data.audit import LabelAudit, audit
from forgefield.data.dataset import Dataset, DataSettings, ReferenceSettings, load
from forgefield.data.frames import get_energy, get_forces, get_stress
from forgefield.data.options import ReadOptions
from forgefield.data.reading import read
from forgefield.data.references import fit_references
from forgefield.data.split import Split, SplitSettings, split

__all__ = [
    "DataSettings",
    "Dataset",
    "LabelAudit",
    "ReadOptions",
    "ReferenceSettings",
    "Split",
    "SplitSettings",
    "audit",
    "fit_references",
    "get_energy",
    "get_forces",
    "get_stress",
    "load",
    "read",
    "split",
]
