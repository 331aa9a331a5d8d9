"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ase import Atoms

from forgefield.evaluation.metrics import MetricsTable
from forgefield.evaluation.predict import Prediction

__all__ = ["ReportData"]


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; only the first four are needed, what is absent is left out.

    Parameters
    ----------
    title : str
        Heading.
    metrics : MetricsTable
        Errors of these predictions.
    frames : sequence of ase.Atoms
        Structures with labels in ``atoms.calc.results``.
    predictions : sequence of Prediction
        One for each frame.
    log : sequence of mapping
        Rows of ``log.csv``, one for each epoch; numbers or text, empty where there is no value.
    audit : mapping or None
        Labels found and used: ``{"rows": [{"group", "n_structures", "n_atoms", "energy": {"found", "used",
        "missing"}, "forces": ..., "stress": ...}]}``.
    findings : sequence of mapping
        ``severity`` (error, warning, info), ``code``, ``message`` and ``names`` of structures.
    config_text : str
        The resolved configuration as YAML.
    versions : mapping
        Software and machine, name to version.
    notes : sequence of str
        Remarks, one paragraph each.
    properties : mapping or None
        ``{"rows": [{"property", "dft", "potential", "unit"}]}``: physical properties beside their reference.
    reference_energies : mapping
        Chemical symbol to reference energy [eV/atom]; also subtracted in the energy plot.
    run : mapping
        Facts about the run, shown as they are: seed, hash of the training data, timings.
    subtitle : str
        One line about the potential: descriptor, model, number of parameters.
    """

    title: str
    metrics: MetricsTable
    frames: Sequence[Atoms]
    predictions: Sequence[Prediction]
    log: Sequence[Mapping[str, Any]] = ()
    audit: Mapping[str, Any] | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    config_text: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    properties: Mapping[str, Any] | None = None
    reference_energies: Mapping[str, float] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    subtitle: str = ""
