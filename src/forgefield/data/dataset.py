"""`Dataset`: frames that were read, audited, checked, split and given reference energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, field_validator

from forgefield.config import Schema
from forgefield.data.audit import LabelAudit, audit
from forgefield.data.checks import CHECKS, Finding, check_frames
from forgefield.data.conventions import ConventionReport, apply_convention, check_claims, detect_conventions
from forgefield.data.frames import get_energy, get_forces, get_stress, group_of
from forgefield.data.hashing import content_hash
from forgefield.data.options import ReadOptions
from forgefield.data.reading import read
from forgefield.data.references import (
    ReferenceFit,
    ReferenceMethod,
    is_isolated_atom,
    reference_fit,
    relative_energies,
)
from forgefield.data.shards import Shards, is_shards
from forgefield.data.split import Split, SplitSettings, part_of_training, split
from forgefield.data.stress import parse_convention
from forgefield.errors import ConfigError, DataError, did_you_mean

__all__ = ["DataSettings", "Dataset", "ReferenceSettings", "content_hash", "filtered", "judged", "load"]


class ReferenceSettings(Schema):
    """Where the energy per element comes from that is subtracted before the fit.

    Parameters
    ----------
    method : str
        ``auto``, ``least_squares``, ``isolated_atoms``, ``given`` or ``none``; see `fit_references`.
    energies : mapping
        Symbol -> eV per atom, for ``given``.
    """

    method: ReferenceMethod = Field(default="auto", description="how reference energies are found")
    energies: dict[str, float] = Field(default_factory=dict, description="eV per atom, for method given")


class DataSettings(Schema):
    """Which data to train on, how to read and divide them.

    Parameters
    ----------
    train, valid, test : list of str
        Files, folders and patterns. Without `valid` (`test`) files the split decides.
    format : str or None
        Name of a format; None: each file decides.
    stress_convention : str
        ``auto``: labels whose data contradict what the file claims are refused; ``detect``: they are corrected
        per group as detected; ``trust``: used as they are; or a convention (``vasp``, ``virial``, ...) that
        overrides the file's.
    read : ReadOptions
        Units and names that are not the format's own.
    references : ReferenceSettings
    split : SplitSettings
    drop : list of str
        Codes of findings whose structures are left out, such as ``duplicate``.
    accept : list of str
        Codes of findings that would stop training, but are known to be fine in these data.
    exclude_groups : list of str
        Groups that are left out.
    max_force : float or None [eV/Å], > 0
        Structures with a larger force component are left out.
    max_energy : float or None [eV/atom], > 0
        Structures farther above the lowest energy per atom (after reference energies) are left out.
    max_stress : float or None [eV/Å^3], > 0
        Structures with a larger stress component are left out.
    fraction, fraction_seed : float, int
        Train on a random part of the training structures that has all their elements.
    """

    train: list[str] = Field(default_factory=list, description="files to train on")
    valid: list[str] = Field(default_factory=list, description="files to validate on")
    test: list[str] = Field(default_factory=list, description="files to test on")
    format: str | None = Field(default=None, description="format of the files; None: recognised")
    stress_convention: str = Field(default="auto", description="auto, detect, trust, or a convention")
    read: ReadOptions = Field(default_factory=ReadOptions, description="units and names of the labels")
    references: ReferenceSettings = Field(default_factory=ReferenceSettings, description="reference energies")
    split: SplitSettings = Field(default_factory=SplitSettings, description="how the data are divided")
    drop: list[str] = Field(default_factory=list, description="codes of findings to leave out")
    accept: list[str] = Field(
        default_factory=list, description="codes of grave findings to train in spite of"
    )
    exclude_groups: list[str] = Field(default_factory=list, description="groups to leave out")
    max_force: float | None = Field(default=None, gt=0.0, description="largest force component [eV/Å]")
    max_energy: float | None = Field(default=None, gt=0.0, description="energy above the lowest [eV/atom]")
    max_stress: float | None = Field(default=None, gt=0.0, description="largest stress component [eV/Å^3]")
    fraction: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="share of the training structures that is used; see fraction_seed",
    )
    fraction_seed: int = Field(
        default=0,
        ge=0,
        description="order in which `fraction` takes them: larger shares hold the smaller ones",
    )

    @field_validator("stress_convention")
    @classmethod
    def _known_convention(cls, value: str) -> str:
        if value not in ("auto", "detect", "trust"):
            parse_convention(value)
        return value

    @field_validator("drop", "accept")
    @classmethod
    def _known_codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if code not in CHECKS:
                raise ValueError(f"unknown finding {code!r}; {did_you_mean(code, CHECKS)}")
        return value


@dataclass(frozen=True)
class Dataset:
    """Data ready for training.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        All structures, labels in the package's conventions: a list, or `Shards` on disk.
    split : Split
        Indices into `frames`.
    audit : LabelAudit
        Labels per group.
    findings : list of Finding
        What a person should look at.
    conventions : ConventionReport or None
        Verdicts on the stress labels; None if they were not judged.
    references : dict
        Atomic number -> eV per atom.
    reference_fit : ReferenceFit
        How the reference energies were found.
    dropped : dict
        Reason -> names of the structures left out.
    hash : str
        sha256 of the content, for provenance.
    """

    frames: Sequence[Atoms]
    split: Split
    audit: LabelAudit
    findings: list[Finding]
    conventions: ConventionReport | None
    references: dict[int, float]
    reference_fit: ReferenceFit
    dropped: dict[str, list[str]]
    hash: str

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of all frames, ascending."""
        return tuple(sorted({int(z) for atoms in self.frames for z in np.unique(atoms.numbers)}))

    def part(self, role: str) -> list[Atoms]:
        """Return the frames of "train", "valid" or "test"."""
        return list(self.view(role))

    def view(self, role: str) -> Sequence[Atoms]:
        """Return the frames of "train", "valid" or "test" without reading those on disk."""
        index = getattr(self.split, role)
        return (
            self.frames.select(index)
            if isinstance(self.frames, Shards)
            else [self.frames[int(k)] for k in index]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a summary for JSON."""
        return {
            "structures": len(self.frames),
            "species": list(self.species),
            "split": {role: len(getattr(self.split, role)) for role in ("train", "valid", "test")},
            "labels": self.audit.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "conventions": None if self.conventions is None else self.conventions.to_dict(),
            "references": {str(z): energy for z, energy in self.references.items()},
            "dropped": {reason: list(names) for reason, names in self.dropped.items()},
            "hash": self.hash,
        }


def load(settings: DataSettings, weights: Mapping[str, float] | None = None) -> Dataset:
    """Read, judge, filter, split and audit the data of a run.

    Parameters
    ----------
    settings : DataSettings
    weights : mapping or None
        Weights of energy, forces and stress in the loss, for the audit; None: one for each label there is.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError, LabelError
        Files that cannot be read, labels that contradict themselves or are missing, an empty set.
    """
    source = _found(settings)
    frames = source.frames
    divided = part_of_training(
        frames, split(frames, settings.split, source.roles), settings.fraction, settings.fraction_seed
    )
    training = source.of(divided.train)
    reference = _references(training, frames, settings.references)
    if weights is None:
        getters = {"energy": get_energy, "forces": get_forces, "stress": get_stress}
        weights = {name: float(any(get(a) is not None for a in frames)) for name, get in getters.items()}
    return Dataset(
        frames=frames,
        split=divided,
        audit=audit(frames, weights),
        findings=source.findings,
        conventions=source.conventions,
        references=reference.energies,
        reference_fit=reference,
        dropped=source.dropped,
        hash=source.hash,
    )


@dataclass(frozen=True)
class _Found:
    """Structures that may be trained on, and what was found out about them."""

    frames: Sequence[Atoms]
    roles: list[str]
    findings: list[Finding]
    conventions: ConventionReport | None
    dropped: dict[str, list[str]]
    hash: str

    def of(self, index: NDArray[np.intp]) -> Sequence[Atoms]:
        return (
            self.frames.select(index) if isinstance(self.frames, Shards) else [self.frames[k] for k in index]
        )


def _found(settings: DataSettings) -> _Found:
    if any(is_shards(path) for path in settings.train):
        return _stored(settings)
    frames, roles = _read_all(settings)
    frames, conventions = judged(frames, settings)
    findings = check_frames(frames)
    everything, count = frames, len(frames)
    frames, roles, dropped = filtered(everything, roles, findings, settings)
    if not frames:
        raise DataError(
            f"the filters leave none of {count} structures: {sorted(dropped)}; loosen data.drop, "
            "data.exclude_groups, data.max_force, data.max_energy or data.max_stress"
        )
    return _Found(frames, roles, _remaining(findings, frames), conventions, dropped, content_hash(frames))


def _stored(settings: DataSettings) -> _Found:
    """Return structures on disk; they were judged and filtered when the shards were written."""
    if len(settings.train) > 1 or settings.valid or settings.test:
        raise ConfigError(
            f"`data.train` is {settings.train}: shards stand alone; write all files into one folder with `forgefield shard`, "
            "which keeps the roles of `data.valid` and `data.test`"
        )
    for name in ("drop", "exclude_groups", "max_force", "max_energy", "max_stress"):
        if getattr(settings, name):
            raise ConfigError(
                f"`data.{name}` filters structures while shards are written; give it to `forgefield shard`, not to the "
                "training"
            )
    frames = Shards(settings.train[0])
    facts = frames.facts
    findings = [
        Finding(x["severity"], x["code"], x["message"], tuple(x["structures"])) for x in facts["findings"]
    ]
    return _Found(frames, [""] * len(frames), findings, None, facts["dropped"], facts["hash"])


def _references(
    training: Sequence[Atoms], frames: Sequence[Atoms], settings: ReferenceSettings
) -> ReferenceFit:
    """Fit on the training set; an element that only occurs elsewhere is an error."""
    seen = {int(z) for a in training for z in np.unique(a.numbers)}
    strange = sorted({str(a.info.get("name")) for a in frames if not set(a.numbers.tolist()) <= seen})
    if strange and settings.method != "given":
        raise DataError(
            f"{len(strange)} validation or test structures have elements the training set lacks (first: "
            f"{strange[0]}); add training data with them or remove these structures"
        )
    given: dict[int | str, float] = {symbol: energy for symbol, energy in settings.energies.items()}  # noqa: C416
    return reference_fit(frames if settings.method == "given" else training, settings.method, given)


def _read_all(settings: DataSettings) -> tuple[list[Atoms], list[str]]:
    if not settings.train:
        raise DataError(
            "`data.train` names no files; give at least one, for example --set data.train=[train.xyz]"
        )
    options = settings.read
    if settings.stress_convention not in ("auto", "detect", "trust"):
        options = options.model_copy(update={"stress_convention": settings.stress_convention})
    frames: list[Atoms] = []
    roles: list[str] = []
    for role, paths in (("train", settings.train), ("valid", settings.valid), ("test", settings.test)):
        if not paths:
            continue
        found = read(paths, format=settings.format, options=options)
        frames.extend(found)
        # With validation files of its own, everything in the training files trains.
        fixed = role if role != "train" or settings.valid else ""
        roles.extend([fixed] * len(found))
    _unique_names(frames)
    return frames, roles


def _unique_names(frames: Sequence[Atoms]) -> None:
    """Prefix the folder where files of different roles share a name."""
    seen: set[str] = set()
    for atoms in frames:
        name = str(atoms.info["name"])
        if name in seen:
            name = f"{atoms.info['source']}#{name.rpartition('#')[2]}"
            atoms.info["name"] = name
        seen.add(name)


def judged(frames: list[Atoms], settings: DataSettings) -> tuple[list[Atoms], ConventionReport | None]:
    """Return frames whose stress labels are what they claim, or as detected."""
    if settings.stress_convention == "detect":
        report = detect_conventions(frames)
        return apply_convention(frames, report), report
    if settings.stress_convention == "auto":
        # A file with full tensors leaves no doubt about their order; six components do.
        doubtful = any(a.info.get("stress_components") == 6 for a in frames)
        return frames, check_claims(frames, detect_conventions(frames, surrogate=doubtful))
    return frames, None


def filtered(
    frames: list[Atoms], roles: list[str], findings: Sequence[Finding], settings: DataSettings
) -> tuple[list[Atoms], list[str], dict[str, list[str]]]:
    """Return the frames that are left, their roles, and the names of the others by reason."""
    reasons: dict[int, str] = {}
    for finding in findings:
        if finding.code in settings.drop or finding.code in ("not-finite", "no-volume"):
            reasons.update(dict.fromkeys(finding.indices, finding.code))
    for k, atoms in enumerate(frames):
        forces, stress = get_forces(atoms), get_stress(atoms)
        if group_of(atoms) in settings.exclude_groups:
            reasons[k] = "exclude_groups"
        elif settings.max_force and forces is not None and np.abs(forces).max() > settings.max_force:
            reasons[k] = "max_force"
        elif settings.max_stress and stress is not None and np.abs(stress).max() > settings.max_stress:
            reasons[k] = "max_stress"
    if settings.max_energy:
        reasons.update(_too_high(frames, reasons, settings.max_energy))
    kept = [k for k in range(len(frames)) if k not in reasons]
    dropped: dict[str, list[str]] = {}
    for k, reason in sorted(reasons.items()):
        dropped.setdefault(reason, []).append(str(frames[k].info["name"]))
    return [frames[k] for k in kept], [roles[k] for k in kept], dropped


def _remaining(findings: Sequence[Finding], frames: Sequence[Atoms]) -> list[Finding]:
    """Return the findings of the structures that are left, with their new places."""
    places = {str(atoms.info["name"]): k for k, atoms in enumerate(frames)}
    kept = []
    for finding in findings:
        names = tuple(name for name in finding.structures if name in places)
        if names or not finding.structures:
            kept.append(replace(finding, structures=names, indices=tuple(places[name] for name in names)))
    return kept


def _too_high(frames: list[Atoms], reasons: Mapping[int, str], limit: float) -> dict[int, str]:
    members = [
        k
        for k, a in enumerate(frames)
        if k not in reasons and get_energy(a) is not None and not is_isolated_atom(a)
    ]
    if not members:
        return {}
    some = [frames[k] for k in members]
    rest = relative_energies(some, reference_fit(some, "least_squares").energies)
    return {members[k]: "max_energy" for k in np.flatnonzero(rest > rest.min() + limit)}
