"""Training by gradients: mini-batches of structures, validation every epoch, the best potential kept."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from forgefield.config import Schema
from forgefield.errors import TrainingError
from forgefield.models.potential import Potential
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LabelledSet
from forgefield.training.flat import flatten
from forgefield.training.loss import Loss
from forgefield.training.objective import Backend, make_objective
from forgefield.training.schedules import ScheduleSettings, learning_rate
from forgefield.training.weights import LossWeights

__all__ = ["GradientSettings", "GradientTrainer", "Row"]

Row = dict[str, float | int | None]

BLOWN_UP = 4.0
"""Errors this many times the best ones, on (geometric) average over the properties: a collapse, not noise."""

PATIENCE_WHEN_LOST = 4
"""Epochs that a collapse may take to mend itself."""


class GradientSettings(Schema):
    """Optimiser and its surroundings."""

    kind: Literal["adam", "adamw"] = Field("adam", description="optimiser")
    epochs: int = Field(300, ge=1, le=1_000_000, description="passes over the training structures")
    batch_size: int = Field(4, ge=1, le=100_000, description="structures per step")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="learning rate")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay rates of Adam's moments")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="decoupled (adamw) or L2 (adam) decay")
    clip: float | None = Field(2.0, gt=0, description="largest gradient norm, in units of its running mean")
    average: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept",
    )
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without improvement")
    backend: Backend = Field(
        "auto",
        description="compiled kernels, plain torch, compiled where there are kernels (auto), or kernels on a GPU (cuda)",
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="least time between checkpoints [s]")


@dataclass
class Progress:
    """Everything beyond parameters and optimiser that a resumed run needs."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_score: float = math.inf
    best_epoch: int = 0
    gradient_norm: float = 0.0
    rate_factor: float = 1.0
    lost_epochs: int = 0
    history: list[Row] = field(default_factory=list)


class GradientTrainer:
    """Runs epochs; owns the optimiser, the loss weights, the sampler and the history.

    Parameters
    ----------
    potential : Potential
        Initialised; changed in place.
    train, valid : LabelledSet
        `valid` may be empty: then the training errors select the best potential.
    loss : Loss
    weights : LossWeights
    settings : GradientSettings
    seed : int
        Of the order of the structures.
    threads : int, optional
        Of compiled kernels; default: `parallel.get_num_threads`.
    """

    def __init__(
        self,
        potential: Potential,
        train: LabelledSet,
        valid: LabelledSet,
        *,
        loss: Loss,
        weights: LossWeights,
        settings: GradientSettings,
        seed: int,
        threads: int | None = None,
    ) -> None:
        self.potential, self.train, self.valid = potential, train, valid
        self.loss, self.weights, self.settings = loss, weights, settings
        self.progress = Progress()
        self.sampler = np.random.default_rng(seed)
        self.best: dict[str, Tensor] = {}
        self.flat = flatten(potential)
        self.average = self.flat.detach().clone()
        self.objective, self.valid_objective = (
            make_objective(potential, data, loss, settings.backend, threads) for data in (train, valid)
        )
        self._boundary: tuple[dict[str, Tensor], str] | None = None
        optimiser = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
        self.optimiser: torch.optim.Optimizer = optimiser(
            [self.flat],
            lr=settings.schedule.start,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps in one pass."""
        return math.ceil(len(self.train) / self.settings.batch_size)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or patience ran out."""
        patience, p = self.settings.patience, self.progress
        waited = patience is not None and p.epoch - p.best_epoch >= patience
        return p.epoch >= self.settings.epochs or waited

    def run(self, *, on_epoch: Callable[[Row], None], on_checkpoint: Callable[[], None]) -> None:
        """Train to the end; call back after every epoch, and for a checkpoint now and then.

        Raises
        ------
        TrainingError
            The loss is not finite; the best potential so far is kept.
        """
        saved = time.monotonic()
        self._mark()
        while not self.finished:
            row = self.epoch()
            self._mark()
            on_epoch(row)
            if time.monotonic() - saved >= self.settings.checkpoint_seconds or self.finished:
                on_checkpoint()
                saved = time.monotonic()

    def epoch(self) -> Row:
        """Train one epoch and validate; an exception leaves the last complete epoch untouched by the history."""
        start = time.monotonic()
        current = self.weights.current(self._rate() / self.settings.schedule.start)
        errors, terms, rate = Errors(), _Means(), 0.0
        for index in self._batches():
            rate = self._step(index, current, errors, terms)
        self.weights.end_of_epoch(terms.means())
        valid, valid_terms, p = Errors(), _Means(), self.progress
        with self._averaged():
            self.validate(valid, valid_terms)
            self._keep_best(valid if len(self.valid) else errors, p.epoch + 1)
        p.epoch += 1
        p.seconds += time.monotonic() - start
        row = self._row(rate, current, terms, errors, valid)
        row["loss_valid"] = valid_terms.weighted(current)
        p.history.append(row)
        self._rescue(valid if len(self.valid) else errors)
        return row

    def _rate(self) -> float:
        p, s = self.progress, self.settings
        return p.rate_factor * learning_rate(s.schedule, p.step, self.steps_per_epoch, s.epochs)

    def _batches(self) -> Iterator[list[int]]:
        order = self.sampler.permutation(len(self.train))
        size = self.settings.batch_size
        for start in range(0, len(order), size):
            yield order[start : start + size].tolist()

    def _step(self, index: list[int], current: Mapping[str, float], errors: Errors, terms: _Means) -> float:
        p, _settings = self.progress, self.settings
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        p.step += 1
        if not any(current.values()):
            return rate
        result = self.objective.gradient(index, current)
        self._clip(result.total)
        self.optimiser.step()
        self._update_average()
        errors.add(result)
        terms.add(result.total, result.values)
        return rate

    def _clip(self, loss: float) -> None:
        """Limit the gradient norm to `clip` times its running mean; stop if it is not finite."""
        limit = math.inf
        p = self.progress
        if self.settings.clip is not None and p.gradient_norm > 0:
            limit = self.settings.clip * p.gradient_norm
        gradient = self.flat.grad
        norm = 0.0 if gradient is None else float(gradient.norm())
        if gradient is not None and norm > limit:
            gradient.mul_(limit / norm)
        if not (math.isfinite(norm) and math.isfinite(loss)):
            raise TrainingError(
                f"the loss became {loss} (gradient norm {norm}) in epoch {p.epoch + 1}; the best potential of epoch "
                f"{p.best_epoch} is kept. Lower training.schedule.start (now {self.settings.schedule.start}), or look "
                "for structures with extreme forces in the data audit"
            )
        p.gradient_norm = (
            min(norm, limit) if p.gradient_norm == 0 else 0.98 * p.gradient_norm + 0.02 * min(norm, limit)
        )

    def validate(self, errors: Errors | None = None, terms: _Means | None = None) -> Errors:
        """Return the errors on the validation structures, and add the loss terms to `terms`."""
        errors = errors or Errors()
        for start in range(0, len(self.valid), 16):
            result = self.valid_objective.terms(range(start, min(start + 16, len(self.valid))))
            errors.add(result)
            if terms is not None:
                terms.add(0.0, result.values)
        return errors

    def _update_average(self) -> None:
        """Move the running mean; its memory grows from nothing, so that the start is forgotten."""
        memory = min(self.settings.average, self.progress.step / (self.progress.step + 10))
        self.average.lerp_(self.flat.detach(), 1.0 - memory)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the running means in place of the parameters for a while."""
        own = self.flat.detach().clone()
        self.flat.data.copy_(self.average)
        try:
            yield
        finally:
            self.flat.data.copy_(own)

    def _keep_best(self, errors: Errors, epoch: int) -> None:
        score = errors.score(self._used())
        if score < self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = score, epoch
            self.best = {k: v.detach().clone() for k, v in self.potential.state_dict().items()}

    def _rescue(self, errors: Errors) -> None:
        """Return to the best parameters at half the learning rate when the errors have blown up for good."""
        p = self.progress
        lost = errors.score(self._used()) > p.best_score + math.log(BLOWN_UP)
        p.lost_epochs = p.lost_epochs + 1 if lost else 0
        if p.lost_epochs < PATIENCE_WHEN_LOST:
            return
        self.use_best()
        self.average = self.flat.detach().clone()
        self.optimiser.state.clear()
        p.lost_epochs, p.gradient_norm = 0, 0.0
        p.rate_factor *= 0.5

    def _used(self) -> list[str]:
        return [k for k, w in self.weights.given.items() if w > 0]

    def _row(
        self, rate: float, current: Mapping[str, float], terms: _Means, errors: Errors, valid: Errors
    ) -> Row:
        p = self.progress
        row: Row = {
            "epoch": p.epoch,
            "step": p.step,
            "learning_rate": rate,
            "loss_train": terms.total(),
        }
        row.update({f"{k}_train": v for k, v in errors.rmse().items()})
        row.update({f"{k}_valid": v for k, v in valid.rmse().items()})
        row.update({f"{k}_valid": v for k, v in valid.mae().items()})
        row.update({f"weight_{k}": v for k, v in current.items()})
        row["seconds"] = round(p.seconds, 3)
        return row

    def use_best(self) -> None:
        """Put the best parameters into the potential."""
        if self.best:
            self.potential.load_state_dict(self.best)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain values that continue this run exactly."""
        tensors = {f"potential.{k}": v for k, v in self.potential.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors["average"] = self.average
        optimiser = self.optimiser.state_dict()["state"]
        for i, entries in optimiser.items():
            tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for k, v in entries.items()}
        values = {
            "progress": vars(self.progress),
            "weights": self.weights.state(),
            "sampler": self.sampler.bit_generator.state,
        }
        return {k: v.detach().clone().contiguous() for k, v in tensors.items()}, values

    def _mark(self) -> None:
        """Remember the state between two epochs: a checkpoint taken inside one could not be resumed exactly."""
        tensors, values = self.state()
        self._boundary = tensors, json.dumps(values)

    def boundary(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state at the end of the last complete epoch."""
        if self._boundary is None:
            self._mark()
        tensors, values = self._boundary or ({}, "{}")
        return tensors, json.loads(values)

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.potential.load_state_dict(_part(tensors, "potential."))
        self.best = _part(tensors, "best.")
        self.average = tensors["average"].clone()
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, "optimiser.").items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = value
        state = self.optimiser.state_dict()
        state["state"] = entries
        self.optimiser.load_state_dict(state)
        self.progress = Progress(**values["progress"])
        self.weights.load(values["weights"])
        self.sampler.bit_generator.state = values["sampler"]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}


class _Means:
    """Running means of the loss and its unweighted terms over the steps of an epoch."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, total: float, terms: Mapping[str, float]) -> None:
        for name, value in {"": total, **terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def total(self) -> float | None:
        return self.sums[""] / self.counts[""] if self.counts else None

    def weighted(self, weights: Mapping[str, float]) -> float | None:
        return sum(weights.get(k, 0.0) * v for k, v in self.means().items()) if self.counts else None

    def means(self) -> dict[str, float]:
        return {k: v / self.counts[k] for k, v in self.sums.items() if k}
