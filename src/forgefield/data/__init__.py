"""Reference data: read, audited, split, with conventions detected rather than believed."""

from __future__ import annotations

from forgefield.data.audit import GroupAudit, LabelAudit, audit
from forgefield.data.checks import CHECKS, Finding, check_frames
from forgefield.data.conventions import (
    ConventionReport,
    GroupVerdict,
    apply_convention,
    check_claims,
    detect_conventions,
)
from forgefield.data.dataset import Dataset, DataSettings, ReferenceSettings, content_hash, load
from forgefield.data.fingerprint import twin_clusters
from forgefield.data.frames import get_energy, get_forces, get_stress, group_of, with_labels
from forgefield.data.options import ReadOptions
from forgefield.data.readers import FORMATS
from forgefield.data.reading import read
from forgefield.data.references import (
    ReferenceFit,
    fit_references,
    is_isolated_atom,
    reference_fit,
    relative_energies,
)
from forgefield.data.split import Split, SplitSettings, split
from forgefield.data.stress import CONVENTIONS, StressConvention, parse_convention

__all__ = [
    "CHECKS",
    "CONVENTIONS",
    "FORMATS",
    "ConventionReport",
    "DataSettings",
    "Dataset",
    "Finding",
    "GroupAudit",
    "GroupVerdict",
    "LabelAudit",
    "ReadOptions",
    "ReferenceFit",
    "ReferenceSettings",
    "Split",
    "SplitSettings",
    "StressConvention",
    "apply_convention",
    "audit",
    "check_claims",
    "check_frames",
    "content_hash",
    "detect_conventions",
    "fit_references",
    "get_energy",
    "get_forces",
    "get_stress",
    "group_of",
    "is_isolated_atom",
    "load",
    "parse_convention",
    "read",
    "reference_fit",
    "relative_energies",
    "split",
    "twin_clusters",
    "with_labels",
]
