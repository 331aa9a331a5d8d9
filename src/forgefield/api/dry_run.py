"""What a training will take, measured: a few steps on the real data with the real optimiser, then arithmetic."""

from __future__ import annotations

import contextlib
import copy
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from forgefield.api.run import RunFolder, splits_of
from forgefield.api.train import (
    Listener,
    Prepared,
    Silent,
    make_trainer,
    memory_of,
    prepare,
    resolve,
    store_judges,
)
from forgefield.engine.predictor import fastest
from forgefield.errors import ConfigError
from forgefield.evaluation import evaluate
from forgefield.kernel_cache import seconds_building
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.checkpoint import write_checkpoint
from forgefield.training.gradient import GradientSettings, GradientTrainer
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.progress import Row
from forgefield.training.settings import RunSettings
from forgefield.training.streaming import StreamedSet

__all__ = ["DryRun", "dry_run"]

clock = time.monotonic
"""Benchmarks on a busy machine put the time of the processor here."""

BUDGET = 5.0
"""Seconds that whole epochs may take to be measured as they are; longer ones are put together from steps."""

MOST_EPOCHS = 10
STEPS = 4
FULL_BATCH = 256
"""Structures on which a step on all structures is tried; its time grows with the number of atoms."""

FIT_SIZES = (48, 144)
"""Structures of the two fits from which the time of a least-squares fit is extrapolated."""

EVALUATED = (24, 96)
"""Structures of the two evaluations from which the time of the last one is extrapolated."""

JUDGED = (12, 36)
"""Training structures from which the time of last layer and extrapolation is extrapolated."""

WRITTEN_BYTES = 600
"""Held for each atom while predictions are compared and written: arrays, text, and its encoded copy."""

FEATURE_BYTES = 16
"""Held for each feature of each atom while the extrapolation grade is fitted: its number, twice."""


@dataclass(frozen=True)
class DryRun:
    """What a run will take.

    Attributes
    ----------
    prepare : float [s]
        Reading, checking, neighbour lists; not the building of kernels, which the run will find in the cache.
    epochs : int
        0 for a fit without any.
    epoch : float [s]
        One pass over the data and its validation; of a fit without epochs the whole fit.
    finish : float [s]
        Last layer and extrapolation where they are stored, evaluation of all structures, predictions, report.
    peak_memory : int [bytes]
        Largest resident memory of the process, libraries included.
    parts : dict of name to bytes
        Neighbour lists, arrays of a step, optimiser state and stored features in it, as computed.
    members : int
        Potentials of the committee.
    """

    prepare: float
    epochs: int
    epoch: float
    finish: float
    peak_memory: int
    parts: dict[str, int]
    members: int = 1

    @property
    def training(self) -> float:
        """Seconds in epochs, or in the fit."""
        return self.epoch * max(self.epochs, 1)

    @property
    def seconds(self) -> float:
        """All of it."""
        own = self.prepare + self.training + self.finish
        return own * self.members + (self.finish * self.members if self.members > 1 else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return asdict(self) | {"training": self.training, "seconds": self.seconds}


def dry_run(
    config: RunSettings | Mapping[str, Any] | str | Path, *, listener: Listener | None = None
) -> DryRun:
    """Measure what a training takes, without training.

    Data are read and prepared as in the run. Whole epochs are timed where they are short, else steps of the optimiser
    after one to warm up; then a few structures are evaluated and reported. Nothing is kept.

    Parameters
    ----------
    config : RunSettings, mapping, or path of a YAML file
    listener : Listener, optional
        Told about the data.

    Raises
    ------
    ConfigError, DataError, LabelError
        What the run itself would raise.
    """
    settings = resolve(config)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    start, built = clock(), seconds_building()
    prepared = prepare(settings, listener or Silent())
    how = settings.training
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder.create(name)
        if isinstance(how, LeastSquaresSettings):
            parts: dict[str, int] = {}
            ready = clock() - start
            epochs, epoch = 0, _fit_seconds(settings, how, prepared)
        else:
            trainer = make_trainer(settings, how, prepared)
            memory = memory_of(settings, how, trainer)
            parts = {
                "neighbour lists": memory.graphs,
                "one step": memory.batch,
                "optimiser": memory.optimiser,
            }
            if memory.stored:
                parts["stored features and derivatives"] = memory.stored
            begin = copy.deepcopy(trainer.state())
            trainer.try_steps(1)  # compiles
            trainer.load_state(*copy.deepcopy(begin))
            # The run will find the kernels that were built here.
            ready = max(clock() - start - (seconds_building() - built), 0.0)
            epochs, epoch = how.epochs, _epoch_seconds(trainer, how, folder)
        n_atoms = sum(map(len, splits_of(prepared.dataset)))
        judges, potential = _judge_seconds(settings, prepared)
        finish, written = _finish_seconds(settings, prepared, potential, folder, n_atoms)
        finish += judges
    peak = _peak() + WRITTEN_BYTES * max(0, n_atoms - written)
    if settings.extrapolation:
        peak += FEATURE_BYTES * prepared.potential.descriptor.n_features * prepared.train.n_atoms
    members = 1 if settings.committee is None else settings.committee.members
    return DryRun(ready, epochs, epoch, finish, peak, parts, members)


def _seconds(task: Callable[[], object]) -> float:
    start = clock()
    task()
    return clock() - start


def _peak() -> int:
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


# ---- epochs --------------------------------------------------------------------------------------------------


def _epoch_seconds(trainer: GradientTrainer, how: GradientSettings, folder: RunFolder) -> float:
    some = FULL_BATCH if how.structures_per_step is None else len(trainer.train)
    begin = copy.deepcopy(trainer.state())
    step, structures = 0.0, 0
    for _ in range(2):
        step = _seconds(lambda: trainer.try_steps(some))
    structures = min(trainer.structures_per_step, some)
    share = trainer.structures_per_step / max(structures, 1)
    guess = step * share * trainer.steps_per_epoch
    # Line searches and damping make steps dear or cheap: those of the beginning, as the run will take them, are counted.
    trainer.load_state(*copy.deepcopy(begin))
    if guess <= BUDGET / 2:
        return _whole_epochs(trainer, folder)
    times = list[float]()
    while not times or (len(times) < STEPS and sum(times) + step < BUDGET):
        times.append(_seconds(lambda: trainer.try_steps(some)))
    return float(np.mean(times)) * share * trainer.steps_per_epoch + _validation_seconds(trainer)


def _whole_epochs(trainer: GradientTrainer, folder: RunFolder) -> float:
    """Return the mean time of epochs as a run has them, with log and what a checkpoint needs."""
    folder.write_log(trainer.progress.history)
    times: list[float] = []
    last = clock()

    def on_epoch(row: Row) -> None:
        nonlocal last
        folder.append_log(row)
        now = clock()
        times.append(now - last)
        last = now
        if len(times) > MOST_EPOCHS or sum(times) > BUDGET:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        trainer.run(on_epoch=on_epoch, on_checkpoint=lambda: None)
    write_checkpoint(folder.checkpoint, *trainer.boundary(), "")
    return float(np.mean(times))


class _EnoughError(Exception):
    """Enough epochs have been seen."""


def _validation_seconds(trainer: GradientTrainer) -> float:
    n = len(trainer.valid)
    some = list(range(min(n, 64)))
    if not some:
        return 0.0
    trainer.valid_objective.terms(some[:2])
    return _seconds(lambda: trainer.valid_objective.terms(some)) * n / len(some)


# ---- least squares -------------------------------------------------------------------------------------------


def _fit_seconds(settings: RunSettings, how: LeastSquaresSettings, prepared: Prepared) -> float:
    """Extrapolate in the number of atoms from two smaller fits."""
    n = len(prepared.train)
    points = []
    for size in sorted({min(size, n) for size in (4, *FIT_SIZES)}):
        part = _part(settings, prepared, _even(n, size))
        potential = copy.deepcopy(prepared.potential)

        def fit(potential: Any = potential, part: LabelledSet = part) -> None:
            fit_linear(potential, part, settings.loss, how)

        points.append((part.n_atoms, _seconds(fit)))
    return _extrapolated(points[-2:], prepared.train.n_atoms)


def _part(
    settings: RunSettings, prepared: Prepared, index: Sequence[int], data: LabelledSet | None = None
) -> LabelledSet:
    data = prepared.train if data is None else data
    if isinstance(data, StreamedSet):
        return data.pick(index)
    return LabelledSet(prepared.potential, [data.frames[i] for i in index], settings.group_weights)


def _extrapolated(points: Sequence[tuple[int, float]], n_atoms: int) -> float:
    """Return the time for some atoms from that of one or two smaller numbers."""
    if len(points) < 2 or points[1][0] == points[0][0]:
        return points[-1][1] * n_atoms / max(points[-1][0], 1)
    (n1, t1), (n2, t2) = points
    slope = max((t2 - t1) / (n2 - n1), 0.0)
    return t2 + slope * (n_atoms - n2)


def _judge_seconds(settings: RunSettings, prepared: Prepared) -> tuple[float, Potential]:
    """Return the time of what is stored with the potential, extrapolated in the number of atoms, and one that has it."""
    potential = prepared.potential
    if not (settings.extrapolation or settings.last_layer):
        return 0.0, potential
    n, n_valid = len(prepared.train), len(prepared.valid)
    points = []
    for size in sorted({min(size, n) for size in (2, *JUDGED)}):
        potential = copy.deepcopy(prepared.potential)
        part = _part(settings, prepared, _even(n, size))
        valid = _part(settings, prepared, _even(n_valid, math.ceil(size / n * n_valid)), prepared.valid)

        def judge(p: Potential = potential, part: LabelledSet = part, valid: LabelledSet = valid) -> None:
            store_judges(settings, p, part, valid)

        points.append((part.n_atoms + valid.n_atoms, _seconds(judge)))
    return _extrapolated(points[-2:], prepared.train.n_atoms + prepared.valid.n_atoms), potential


def _even(n: int, size: int) -> list[int]:
    """Return so many numbers below n, evenly spread."""
    found: list[int] = np.unique(np.linspace(0, n - 1, size).astype(int)).tolist()
    return found


# ---- the end -------------------------------------------------------------------------------------------------


def _finish_seconds(
    settings: RunSettings, prepared: Prepared, potential: Potential, folder: RunFolder, n_atoms: int
) -> tuple[float, int]:
    """Return the time of evaluation and report for all structures, and the atoms on which it was measured."""
    frames = splits_of(prepared.dataset)
    if not frames:
        raise ConfigError("there is no structure to evaluate")
    points = []
    for size in (2, *EVALUATED):
        some: list[Atoms] = [frames[i] for i in _even(len(frames), min(size, len(frames)))]

        def finish(some: Sequence[Atoms] = some) -> None:
            found = evaluate(fastest(potential) or potential, some)
            folder.write_results(settings, prepared.dataset, potential, found, [])

        points.append((sum(map(len, some)), _seconds(finish)))
    return _extrapolated(points[-2:], n_atoms), points[-1][0]
