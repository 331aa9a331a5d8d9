"""The folder of a training run: what is in it, and how it is written."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import forgefield
from forgefield.api.findings import report_form
from forgefield.config import dump_yaml
from forgefield.data import Dataset, LabelAudit
from forgefield.data.shards import Shards
from forgefield.evaluation import Evaluation, write_predictions
from forgefield.evaluation.report import ReportData, write_report
from forgefield.files import append_csv, make_folder, write_csv, write_json, write_text
from forgefield.keys import PROPERTIES
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.training.progress import COLUMNS, Row
from forgefield.training.settings import RunSettings

__all__ = ["Run", "RunFolder", "versions"]

RESULTS = ("potential.ff", "metrics.json", "predictions.extxyz", "report.html")
"""What a run writes when it has ended; the first one when it is interrupted as well."""

EVALUATED = 2000
"""Structures of each set that stands for a set on disk, in metrics, predictions and report."""


@dataclass(frozen=True)
class Run:
    """What a training run returned.

    Attributes
    ----------
    potential : Potential or Committee
        The best one, by validation errors.
    metrics : dict
        Errors per split and group, as in metrics.json.
    folder : Path
        Where everything was written.
    evaluation : evaluation.Evaluation
        Structures, predictions and metrics.
    history : list of rows of log.csv
    """

    potential: Potential | Committee
    metrics: dict[str, Any]
    folder: Path
    evaluation: Evaluation
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class RunFolder:
    """Names and writers of the files of a run.

    Attributes
    ----------
    path : Path
    writes : bool
        Whether this process writes them; of several, one does.
    """

    path: Path
    writes: bool = True

    @classmethod
    def create(cls, path: str | Path, *, writes: bool = True) -> RunFolder:
        """Make the folder and prove that it can be written."""
        if not writes:
            return cls(Path(path), writes=False)
        folder = cls(make_folder(path))
        write_text(folder.path / ".writable", "").unlink()
        return folder

    @classmethod
    @contextmanager
    def opened(cls, path: str | Path, *, writes: bool = True) -> Iterator[RunFolder]:
        """Make the folder for a run; what is empty after an error is taken away again."""
        new = not Path(path).exists()
        try:
            yield cls.create(path, writes=writes)
        except BaseException:
            if new and writes:
                with suppress(OSError):  # there is something in it, or it could not be made
                    Path(path).rmdir()
            raise

    @property
    def potential(self) -> Path:
        """The potential."""
        return self.path / "potential.ff"

    @property
    def checkpoint(self) -> Path:
        """State to resume from."""
        return self.path / "checkpoint.ff"

    def set_aside(self, *, resumed: bool = False) -> None:
        """Move results of an earlier run into the folder ``earlier``: config.yaml and log.csv are those of another one.

        Of a run that was resumed the potential is its own.
        """
        if not self.writes:
            return
        for name in RESULTS if not resumed else RESULTS[1:]:
            path = self.path / name
            if path.exists():
                path.replace(make_folder(self.path / "earlier") / name)

    def write_config(self, settings: RunSettings) -> None:
        """Write the resolved settings."""
        if self.writes:
            write_text(self.path / "config.yaml", dump_yaml(settings))

    def write_log(self, history: Sequence[Row]) -> None:
        """Write log.csv anew, one row for each epoch: what an interrupted run wrote beyond its checkpoint is gone."""
        if self.writes:
            write_csv(self.path / "log.csv", history, COLUMNS)

    def append_log(self, row: Row) -> None:
        """Add the row of an epoch to log.csv."""
        if self.writes:
            append_csv(self.path / "log.csv", row, COLUMNS)

    def write_results(
        self,
        settings: RunSettings,
        dataset: Dataset,
        potential: Potential | Committee,
        evaluation: Evaluation,
        history: Sequence[Row],
        *,
        properties: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Write potential, metrics, predictions and report."""
        if not self.writes:
            return
        potential.save(self.potential)
        write_json(self.path / "metrics.json", evaluation.metrics.to_dict())
        write_predictions(self.path / "predictions.extxyz", evaluation.frames, evaluation.predictions)
        write_report(
            self.path / "report.html",
            ReportData(
                title=settings.title or f"{'-'.join(potential.elements)} potential",
                metrics=evaluation.metrics,
                frames=evaluation.frames,
                predictions=evaluation.predictions,
                log=list(history),
                audit={"rows": audit_rows(dataset.audit)},
                findings=report_form(dataset.findings),
                config_text=dump_yaml(settings),
                versions=versions(),
                notes=[
                    f"Split: {dataset.split.note}",
                    f"Reference energies: {dataset.reference_fit.note}",
                    *_sampled(dataset),
                    *notes,
                ],
                reference_energies=dict(zip(potential.elements, potential.references.tolist(), strict=True)),
                run=run_facts(settings, dataset, history),
                subtitle=subtitle(settings, potential),
                properties=properties,
            ),
        )


def _sampled(dataset: Dataset) -> list[str]:
    sizes = [len(getattr(dataset.split, role)) for role in ("train", "valid", "test")]
    if not isinstance(dataset.frames, Shards) or max(sizes) <= EVALUATED:
        return []
    return [
        f"The structures are in shards: errors are those of an even sample of at most {EVALUATED} of each set."
    ]


def versions() -> dict[str, str]:
    """Return the versions that produced a result."""
    found = {
        "forgefield": forgefield.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for package in ("torch", "numpy", "ase", "vesin"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def audit_rows(audit: LabelAudit) -> list[dict[str, Any]]:
    """Return the label audit as the report wants it: one row per group."""
    return [
        {
            "group": name,
            "n_structures": group.structures,
            "n_atoms": group.atoms,
            **{
                key: {"found": group.found[key], "used": group.used[key], "missing": group.missing[key]}
                for key in PROPERTIES
            },
        }
        for name, group in audit.groups.items()
    ]


def run_facts(settings: RunSettings, dataset: Dataset, history: Sequence[Row]) -> dict[str, Any]:
    """Return seed, hash of the data and the time training took."""
    facts: dict[str, Any] = {"seed": settings.seed, "hash of the data": dataset.hash}
    if history:
        facts |= {"epochs": len(history), "training [s]": history[-1]["seconds"]}
    return facts


def subtitle(settings: RunSettings, potential: Potential | Committee) -> str:
    """Return one line about the potential."""
    if isinstance(potential, Committee):
        return f"committee of {len(potential)}, each: {subtitle(settings, potential.members[0])}"
    cutoffs = " and ".join(f"{c:g}" for c in sorted(set(potential.descriptor.cutoffs), reverse=True))
    return (
        f"{settings.descriptor.kind} descriptor, cutoff {cutoffs} Å, {potential.descriptor.n_features} features; "
        f"{settings.model.kind} model; {potential.n_parameters:,} parameters"
    )


def splits_of(dataset: Dataset) -> list[Atoms]:
    """Return all structures, each marked with its set in ``info['split']``; of those on disk an even sample."""
    marked = []
    streamed = isinstance(dataset.frames, Shards)
    for name in ("train", "valid", "test"):
        index = getattr(dataset.split, name)
        if streamed and len(index) > EVALUATED:
            index = index[np.unique(np.linspace(0, len(index) - 1, EVALUATED).astype(int))]
        for i in index:
            atoms = dataset.frames[int(i)]
            atoms.info["split"] = name
            marked.append(atoms)
    return marked
