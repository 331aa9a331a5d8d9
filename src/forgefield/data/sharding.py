"""From data files of any size to shards: read, judged, checked and filtered some structures at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ase import Atoms

from forgefield.data.checks import check_frames
from forgefield.data.dataset import DataSettings, filtered, judged
from forgefield.data.hashing import feed
from forgefield.data.reading import iterate
from forgefield.data.shards import SHARD_BYTES, ShardWriter
from forgefield.errors import ConfigError, DataError

__all__ = ["ShardReport", "write_shards"]

CHUNK = 2000
"""Structures that are judged and checked together."""

MOST_NAMES = 100
"""Structures that a finding names."""


@dataclass
class ShardReport:
    """What was written.

    Attributes
    ----------
    folder : Path
    structures, atoms : int
    shards : int
    dropped : dict
        Reason -> names of the structures left out.
    findings : list of dict
        As `checks.Finding.to_dict`; at most a hundred structures are named.
    hash : str
        Of the content, that of the same structures in memory.
    """

    folder: Path
    structures: int = 0
    atoms: int = 0
    shards: int = 0
    dropped: dict[str, list[str]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    hash: str = ""


def write_shards(
    settings: DataSettings,
    folder: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> ShardReport:
    """Write the structures of data files into a folder of shards, for `data.train` of a training.

    Files are read structure by structure. Stress conventions, checks (such as for duplicates) and filters see `chunk`
    structures at a time. Split and reference energies are settled by the training.

    Parameters
    ----------
    settings : DataSettings
        Files, how to read them, filters.
    folder : path
    shard_bytes : int
        About how much a shard holds.
    chunk : int
    progress : callable(structures), optional

    Raises
    ------
    DataError, LabelError
        Files that cannot be read; nothing left; shards are there already.
    ConfigError
        A setting that needs all structures at once.
    """
    if settings.max_energy is not None:
        raise ConfigError(
            "`data.max_energy` compares with the lowest energy of all structures, which shards do not hold at once; use "
            "max_force, or filter the files before"
        )
    writer, report, digest = ShardWriter(folder, shard_bytes), ShardReport(Path(folder)), hashlib.sha256()
    source = _all(settings)
    while some := list(islice(source, chunk)):
        frames, roles = [a for a, _ in some], [r for _, r in some]
        frames, _ = judged(frames, settings)
        findings = check_frames(frames)
        kept, roles, dropped = filtered(frames, roles, findings, settings)
        for reason, names in dropped.items():
            report.dropped.setdefault(reason, []).extend(names)
        _remember(report, [f.to_dict() for f in findings], {str(a.info["name"]) for a in kept})
        for atoms, role in zip(kept, roles, strict=True):
            if role:
                atoms.info["split"] = role
            writer.add(atoms)
            feed(digest, atoms)
            report.structures += 1
            report.atoms += len(atoms)
        if progress is not None:
            progress(report.structures)
    if not report.structures:
        raise DataError(
            f"no structure is left to write: {sorted(report.dropped) or 'the files hold none'}; loosen the filters"
        )
    report.hash = digest.hexdigest()
    writer.close({"hash": report.hash, "dropped": report.dropped, "findings": report.findings})
    report.shards = len(writer.counts)
    return report


def _all(settings: DataSettings) -> Iterator[tuple[Atoms, str]]:
    if not settings.train:
        raise DataError("`data.train` names no files; give at least one")
    options = settings.read
    if settings.stress_convention not in ("auto", "detect", "trust"):
        options = options.model_copy(update={"stress_convention": settings.stress_convention})
    for role, paths in (("train", settings.train), ("valid", settings.valid), ("test", settings.test)):
        if paths:
            fixed = role if role != "train" or settings.valid else ""
            for atoms in iterate(paths, format=settings.format, options=options):
                yield atoms, fixed


def _remember(report: ShardReport, found: list[dict[str, Any]], kept: set[str]) -> None:
    """Join findings of the same kind; those of dropped structures are settled."""
    for finding in found:
        names = [name for name in finding["structures"] if name in kept]
        if finding["structures"] and not names:
            continue
        known = next((f for f in report.findings if f["code"] == finding["code"]), None)
        if known is None:
            report.findings.append({**finding, "structures": names[:MOST_NAMES]})
        else:
            known["structures"] = (known["structures"] + names)[:MOST_NAMES]
