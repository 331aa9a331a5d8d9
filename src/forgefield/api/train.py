"""Training from a configuration to a folder with a potential and a report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from ase import Atoms

from forgefield import data as ff_data
from forgefield.api.committee import train_committee
from forgefield.api.estimate import MemoryEstimate, check_cutoff, estimate_memory
from forgefield.api.findings import refuse_errors
from forgefield.api.naming import naming
from forgefield.api.run import Run, RunFolder, splits_of, versions
from forgefield.config import load_yaml, parse
from forgefield.data.shards import Shards
from forgefield.descriptors import make_descriptor
from forgefield.engine.predictor import fastest
from forgefield.errors import CheckpointError, ConfigError, TrainingError, did_you_mean
from forgefield.evaluation import evaluate
from forgefield.models import make_model
from forgefield.models.file import save
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL
from forgefield.training.batches import LabelledSet, elements_of
from forgefield.training.checkpoint import read_checkpoint, write_checkpoint
from forgefield.training.distributed import join
from forgefield.training.gradient import GradientSettings, GradientTrainer, Row
from forgefield.training.initialise import initialise
from forgefield.training.laplace import fit_last_layer
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.linear.parallel import ProcessShare
from forgefield.training.loss import Loss
from forgefield.training.maxvol import fit_extrapolation
from forgefield.training.settings import RunSettings
from forgefield.training.streaming import StreamedSet
from forgefield.training.weighting import make_weighting

__all__ = ["Listener", "Prepared", "Silent", "train"]

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Told what happens; the command line draws it."""

    def on_data(self, dataset: ff_data.Dataset) -> None:
        """Hear that data are read, audited and split."""

    def on_start(self, settings: RunSettings, potential: Potential, memory: MemoryEstimate) -> None:
        """Hear what is about to be fitted, before the first step."""

    def on_epoch(self, row: Row) -> None:
        """Hear the row of log.csv after every epoch."""

    def on_fit(self, done: int, total: int) -> None:
        """Hear the progress of a least-squares fit, after every structure."""


class Silent:
    """A listener that says nothing."""

    def on_data(self, dataset: ff_data.Dataset) -> None:
        """Ignore."""

    def on_start(self, settings: RunSettings, potential: Potential, memory: MemoryEstimate) -> None:
        """Ignore."""

    def on_epoch(self, row: Row) -> None:
        """Ignore."""

    def on_fit(self, done: int, total: int) -> None:
        """Ignore."""


@dataclass(frozen=True)
class Prepared:
    """Data and an initialised potential, ready to be fitted."""

    dataset: ff_data.Dataset
    potential: Potential
    train: LabelledSet
    valid: LabelledSet


def train(
    config: RunSettings | Mapping[str, Any] | str | Path,
    *,
    output: str | Path = "run",
    resume: bool = False,
    listener: Listener | None = None,
    properties: Callable[[Any], dict[str, Any]] | None = None,
) -> Run:
    """Train a potential and write it with its evidence into a folder.

    Parameters
    ----------
    config : RunSettings, mapping, or path of a YAML file
    output : path
        Folder for potential.ff, metrics.json, log.csv, config.yaml, checkpoint.ff, predictions.extxyz, report.html;
        of a committee with one such folder for each member.
    resume : bool
        Continue from the folder's checkpoint; the result equals that of an uninterrupted run.
    listener : Listener, optional
        Told about data, start and every epoch.
    properties : callable, optional
        Computes a table of physical properties of the trained potential for the report.

    Returns
    -------
    Run

    Raises
    ------
    ConfigError, DataError, LabelError
        Before anything is written; results of an earlier run in the folder stay as they are.
    KeyboardInterrupt, TrainingError
        Interrupted, or the loss is not finite: after checkpoint and best potential so far are saved. Results of an earlier
        run are in the folder ``earlier`` then.

    Notes
    -----
    Started by ``torchrun`` on several processes, they share the structures of every batch, or those of a least-squares
    fit: the result is that of one process to rounding. The first one writes; all return the same.
    """
    settings = resolve(config)
    listener = listener or Silent()
    processes = join()
    with RunFolder.opened(output, writes=processes.leads) as folder:
        if settings.committee is not None:
            try:
                return train_committee(
                    settings, folder, train, listener, resume=resume, properties=properties
                )
            except (KeyboardInterrupt, TrainingError):
                folder.set_aside()
                raise
        return _train_one(settings, folder, listener, resume=resume, properties=properties)


def _train_one(
    settings: RunSettings,
    folder: RunFolder,
    listener: Listener,
    *,
    resume: bool,
    properties: Callable[[Any], dict[str, Any]] | None,
) -> Run:
    """Train a single potential."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    prepared = prepare(settings, listener)
    history, warning = _fit(settings, prepared, folder, listener, resume=resume)
    potential = prepared.potential
    store_judges(settings, potential, prepared.train, prepared.valid)
    frames = splits_of(prepared.dataset)
    evaluation = evaluate(fastest(potential) or potential, frames)
    potential.provenance.metrics = evaluation.metrics.to_dict()
    potential.provenance.data_hash = prepared.dataset.hash
    potential.provenance.notes = {
        "seed": settings.seed,
        "versions": versions(),
        "title": settings.title,
        "max_neighbours": prepared.train.max_neighbours[: len(potential.descriptor.expansions)],
    }
    table = properties(potential) if properties else None
    notes = [f"Warning: {warning}."] if warning else []
    folder.write_results(
        settings, prepared.dataset, potential, evaluation, history, properties=table, notes=notes
    )
    return Run(potential, evaluation.metrics.to_dict(), folder.path, evaluation, history)


def store_judges(
    settings: RunSettings, potential: Potential, data: LabelledSet, valid: LabelledSet | None = None
) -> None:
    """Store with a trained potential what judges its predictions, where it is asked for."""
    weights = settings.group_weights
    if settings.extrapolation:
        potential.extrapolation = fit_extrapolation(potential, data.frames, weights)
    if settings.last_layer:
        posterior = fit_last_layer(potential, data.frames, group_weights=weights)
        if valid is not None and len(valid):
            posterior = posterior.calibrated(valid.frames, weights)
        potential.last_layer = posterior.stored()


def resolve(config: RunSettings | Mapping[str, Any] | str | Path) -> RunSettings:
    """Return typed settings; paths in a YAML file are relative to that file."""
    if isinstance(config, RunSettings):
        return config
    if isinstance(config, Mapping):
        return parse(RunSettings, config)
    values = load_yaml(config)
    return parse(RunSettings, with_base(values, Path(config).resolve().parent))


def with_base(values: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make the data paths of a configuration absolute, as seen from the folder of its file."""
    data = values.get("data")
    if isinstance(data, dict):
        data = dict(data)
        for key in ("train", "valid", "test"):
            paths = data.get(key)
            if isinstance(paths, str):
                paths = [paths]
            if isinstance(paths, list):
                data[key] = [str(p) if Path(str(p)).is_absolute() else str(base / str(p)) for p in paths]
        values = {**values, "data": data}
    return values


def prepare(settings: RunSettings, listener: Listener) -> Prepared:
    """Read the data and build the initialised potential."""
    dataset = ff_data.load(settings.data, weights=settings.loss.weights())
    listener.on_data(dataset)
    refuse_errors(dataset.findings, settings.data.accept)
    dtype = torch.float32 if settings.dtype == "float32" else torch.float64
    check_groups(settings.group_weights, dataset.frames)
    species = elements_of(dataset.frames)
    descriptor = make_descriptor(settings.descriptor, species)
    check_cutoff(descriptor, dataset.frames)
    model = make_model(settings.model, descriptor.n_features, len(species))
    exact = settings.free_atom == "exact" or (
        settings.free_atom == "auto" and dataset.reference_fit.method in ("isolated_atoms", "given")
    )
    zbl = None if settings.zbl is None else ZBL(descriptor.species, settings.zbl)
    potential = Potential(descriptor, model, dataset.references, exact_free_atom=exact, zbl=zbl).to_dtype(
        dtype
    )
    with naming(potential, dataset.frames):
        kind = StreamedSet if isinstance(dataset.frames, Shards) else LabelledSet
        train_set, valid_set = (
            kind(potential, dataset.view(role), settings.group_weights) for role in ("train", "valid")
        )
        initialise(potential, train_set, settings.scaling, torch.Generator().manual_seed(settings.seed))
    return Prepared(dataset, potential, train_set, valid_set)


def check_groups(weights: Mapping[str, float], frames: Sequence[Atoms]) -> None:
    """Refuse weights of groups that no structure belongs to."""
    groups = {ff_data.group_of(atoms) for atoms in frames}
    for name in weights:
        if name not in groups:
            raise ConfigError(f"`group_weights` names the group {name!r}: {did_you_mean(name, groups)}")


def _fit(
    settings: RunSettings, prepared: Prepared, folder: RunFolder, listener: Listener, *, resume: bool
) -> tuple[list[Row], str]:
    """Fit the potential; return the history, and what is wrong with the result, if anything."""
    how, potential = settings.training, prepared.potential
    if isinstance(how, LeastSquaresSettings):
        folder.write_config(settings)
        listener.on_start(settings, potential, estimate_memory(potential.descriptor, prepared.train, 1, 8))
        share = ProcessShare() if join().size > 1 else None
        fit_linear(potential, prepared.train, settings.loss, how, listener.on_fit, share=share)
        return [], ""
    return _descend(settings, how, prepared, folder, listener, resume=resume)


def make_trainer(settings: RunSettings, how: GradientSettings, prepared: Prepared) -> GradientTrainer:
    """Return what descends, before its first step."""
    return GradientTrainer(
        prepared.potential,
        prepared.train,
        prepared.valid,
        loss=Loss(settings.loss, prepared.train.scales()),
        weights=make_weighting(settings.weights, settings.loss.weights(), settings.seed),
        settings=how,
        seed=settings.seed,
        threads=settings.threads,
        processes=join(),
    )


def memory_of(settings: RunSettings, how: GradientSettings, trainer: GradientTrainer) -> MemoryEstimate:
    """Return what a descent will take."""
    return estimate_memory(
        trainer.potential.descriptor,
        trainer.train,
        how.structures_at_a_time,
        4 if settings.dtype == "float32" else 8,
        trainer.optimiser.n_bytes,
        trainer.stored_bytes,
    )


def _descend(
    settings: RunSettings,
    how: GradientSettings,
    prepared: Prepared,
    folder: RunFolder,
    listener: Listener,
    *,
    resume: bool,
) -> tuple[list[Row], str]:
    potential, trainer = prepared.potential, make_trainer(settings, how, prepared)
    run = fingerprint(settings, prepared.dataset.hash)
    if resume:
        if not folder.checkpoint.exists():
            raise CheckpointError(
                f"nothing to resume in {folder.path}: checkpoint.ff is missing; run without --resume"
            )
        trainer.load_state(*read_checkpoint(folder.checkpoint, run))
    folder.write_config(settings)  # not before: bad structures and checkpoints leave the folder as it was
    listener.on_start(settings, potential, memory_of(settings, how, trainer))

    folder.write_log(trainer.progress.history)

    def on_epoch(row: Row) -> None:
        folder.append_log(row)
        listener.on_epoch(row)

    def on_checkpoint() -> None:
        if folder.writes:
            write_checkpoint(folder.checkpoint, *trainer.boundary(), run)

    try:
        trainer.run(on_epoch=on_epoch, on_checkpoint=on_checkpoint)
    except (KeyboardInterrupt, TrainingError):
        on_checkpoint()
        trainer.use_best()
        folder.set_aside(resumed=resume)
        if trainer.progress.kept_epoch and folder.writes:
            save(potential, folder.potential)
        raise
    trainer.use_best()
    warning = trainer.warning()
    if warning and folder.writes:
        _log.warning("warning: %s", warning)
    return list(trainer.progress.history), warning


def fingerprint(settings: RunSettings, data_hash: str) -> str:
    """Return what must be equal for a checkpoint to be continued: settings and data."""
    values = settings.model_dump(
        mode="json", exclude={"title", "threads", "committee", "extrapolation", "last_layer"}
    )
    paths = ("train", "valid", "test", "format")  # files may move; what they hold may not change
    values["data"] = {k: v for k, v in values["data"].items() if k not in paths} | {"hash": data_hash}
    values["training"].pop("cache", None)  # how numbers are computed, not which
    if values["data"].get("fraction") == 1.0:
        del values["data"]["fraction"], values["data"]["fraction_seed"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
