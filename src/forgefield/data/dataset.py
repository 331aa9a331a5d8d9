"""A data set ready for training: read, checked, with conventions verified, split, and referenced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms
from pydantic import Field, field_validator, model_validator

from forgefield.config import Schema
from forgefield.data.audit import LabelAudit, audit
from forgefield.data.conventions import ConventionReport, check_claims, detect_conventions
from forgefield.data.options import ReadOptions
from forgefield.data.reading import read
from forgefield.data.references import ReferenceFit, reference_fit
from forgefield.data.split import Split, SplitSettings, split

__all__ = ["DataSettings", "Dataset", "ReferenceSettings", "load"]


class ReferenceSettings(Schema):
    """Reference energy of each element, subtracted before training."""

    method: Literal["auto", "least_squares", "isolated_atoms", "given", "none"] = Field(
        default="auto", description="auto: isolated atoms where every element has one, else least squares"
    )
    energies: dict[str, float] = Field(
        default_factory=dict, description="energy of each element [eV], for method: given"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.method == "given") != bool(self.energies):
            raise ValueError(
                "`energies` and `method: given` go together; give both, or neither, "
                f"method is {self.method!r} with {len(self.energies)} energies"
            )
        return self


class DataSettings(Schema):
    """Which structures, what their labels mean, and how they are divided."""

    train: tuple[str, ...] = Field(min_length=1, description="files, folders or patterns to train on")
    valid: tuple[str, ...] = Field(default=(), description="files for validation; none: split off `train`")
    test: tuple[str, ...] = Field(default=(), description="files for testing")
    read: ReadOptions = Field(default_factory=ReadOptions, description="format, units, names of labels")
    split: SplitSettings = Field(default_factory=SplitSettings, description="how structures are divided")
    references: ReferenceSettings = Field(
        default_factory=ReferenceSettings, description="reference energies subtracted"
    )
    check_conventions: bool = Field(
        default=True, description="infer sign, unit and order of the stress and stop on a contradiction"
    )

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


@dataclass(frozen=True)
class Dataset:
    """Structures with everything that was found out about them.

    Attributes
    ----------
    frames : list of ase.Atoms
    split : Split
        Indices of the training, validation and test structures.
    audit : LabelAudit
    findings : list of Finding
        Warnings and notes of the checks.
    conventions : ConventionReport or None
        What the stress labels mean, with evidence; None without stress labels or where it was switched off.
    reference_fit : ReferenceFit
        Fitted to the training structures.
    """

    frames: list[Atoms]
    split: Split
    audit: LabelAudit
    reference_fit: ReferenceFit
    findings: list[Any] = field(default_factory=list)
    conventions: ConventionReport | None = None

    @property
    def references(self) -> dict[int, float]:
        """Reference energy [eV] by atomic number."""
        return self.reference_fit.energies

    @property
    def content_hash(self) -> str:
        """SHA-256 of structures and labels, in order."""
        digest = hashlib.sha256()
        for atoms in self.frames:
            for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
                digest.update(np.ascontiguousarray(array).tobytes())
            results = atoms.calc.results if atoms.calc is not None else {}
            for key in ("energy", "forces", "stress"):
                if key in results:
                    digest.update(key.encode() + np.asarray(results[key], dtype=np.float64).tobytes())
        return digest.hexdigest()


def load(settings: DataSettings, *, weights: Mapping[str, float] | None = None) -> Dataset:
    """Read, check, split and reference the data of a run.

    Parameters
    ----------
    settings : DataSettings
    weights : mapping of property to weight, optional
        Of the loss; a non-zero weight without any label is an error.

    Raises
    ------
    DataError, LabelError
        Files that cannot be read, labels that are missing or contradict what the files claim.
    """
    frames: list[Atoms] = []
    for role, paths in (("", settings.train), ("valid", settings.valid), ("test", settings.test)):
        frames += _read_role(paths, settings.read, role)
    labels = audit(frames, weights)
    report = None
    if settings.check_conventions and any("stress" in (a.calc.results if a.calc else {}) for a in frames):
        report = check_claims(frames, detect_conventions(frames))
    divided = split(frames, settings.split)
    given: dict[int | str, float] = {k: v for k, v in settings.references.energies.items()}
    train = [frames[int(i)] for i in divided.train]
    fit = reference_fit(train, settings.references.method, given or None)
    return Dataset(frames, divided, labels, fit, [], report)


def _read_role(paths: Sequence[str | Path], options: ReadOptions, role: str) -> list[Atoms]:
    """Read files; those given as validation or test data are marked so."""
    if not paths:
        return []
    frames = read(list(paths), options=options)
    if role:
        for atoms in frames:
            atoms.info["split"] = role
    return frames
