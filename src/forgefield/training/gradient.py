"""Training by iteration: steps of an optimiser, validation every epoch, the best potential kept."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from forgefield.errors import ConfigError, TrainingError
from forgefield.models.potential import Potential
from forgefield.training.accumulate import Errors
from forgefield.training.averages import ParameterMean
from forgefield.training.batches import LabelledSet
from forgefield.training.caching import stores_derivatives
from forgefield.training.distributed import Processes, SharedObjective
from forgefield.training.flat import flatten, segments
from forgefield.training.judgement import shortcomings
from forgefield.training.loss import Loss
from forgefield.training.objective import Objective, make_objective
from forgefield.training.optimisers import GradientSettings, Parameters, make_optimiser
from forgefield.training.progress import Means, Progress, Row
from forgefield.training.schedules import learning_rate
from forgefield.training.step import DivergedError, LabelWeights, Step
from forgefield.training.weighting import Weighting

__all__ = ["GradientSettings", "GradientTrainer", "Row"]

BLOWN_UP = 4.0
"""Errors this many times the best ones, on (geometric) average over the properties: a collapse, not noise."""

PATIENCE_WHEN_LOST = 4
"""Epochs that a collapse may take to mend itself."""

VALIDATED_AT_A_TIME = 16
"""Structures."""

JUDGED = 256
"""Training structures at most that judge a potential where there are none for validation."""

FEW = 10
"""Fewer validation structures do not tell how much energies vary."""

LEAST_SHARE = 0.1
"""Labels of the validation structures are taken to vary by this share of those for training at least."""

_log = logging.getLogger(__name__)


class GradientTrainer:
    """Runs epochs; owns the optimiser, the loss weights, the sampler and the history.

    Parameters
    ----------
    potential : Potential
        Initialised; changed in place.
    train, valid : LabelledSet
        `valid` may be empty: then the training errors select the best potential.
    loss : Loss
    weights : Weighting
    settings : GradientSettings
        Of any optimiser; see `optimisers.OPTIMISERS`.
    seed : int
        Of the order of the structures, and of what the optimiser draws.
    threads : int, optional
        Of compiled kernels; default: `parallel.get_num_threads`.
    processes : Processes, optional
        That train together, each with the same arguments.
    """

    def __init__(
        self,
        potential: Potential,
        train: LabelledSet,
        valid: LabelledSet,
        *,
        loss: Loss,
        weights: Weighting,
        settings: GradientSettings,
        seed: int,
        threads: int | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.potential, self.train, self.valid = potential, train, valid
        self.loss, self.weights, self.settings = loss, weights, settings
        self.progress = Progress()
        self.sampler = np.random.default_rng(seed)
        self.best: dict[str, Tensor] = {}
        places = segments(potential)
        self.flat = flatten(potential)
        plain_from = None
        if settings.swa_start is not None:
            plain_from = math.floor(settings.swa_start * settings.epochs * self.steps_per_epoch)
        self.average = ParameterMean(self.flat, settings.average, plain_from)
        self.processes = processes or Processes()
        self.labels, self._valid_labels = LabelWeights(train, loss), LabelWeights(valid, loss)
        self._refuse_idle()
        weights.floors = loss.floors()
        self.stored = stores_derivatives(settings, potential, (train, valid), self.processes.size)
        self.objective = self._objective(train, self.labels, threads)
        self.valid_objective = self._objective(valid, self._valid_labels, threads)
        self._boundary: tuple[dict[str, Tensor], str] | None = None
        parameters = Parameters(self.flat, places, len(potential.species))
        self.optimiser = make_optimiser(settings, parameters, loss, seed)

    def _objective(self, data: LabelledSet, labels: LabelWeights, threads: int | None) -> Objective:
        how, stored = self.settings.backend, self.stored and len(data) > 0
        own = make_objective(self.potential, data, self.loss, how, threads, stored=stored)
        shared = self.processes.size > 1
        return SharedObjective(own, self.flat, labels, self.processes) if shared else own

    def _refuse_idle(self) -> None:
        """Refuse a term of the loss of which nothing is left to learn."""
        for name in self.labels.idle():
            if name in self.weights.names:
                raise ConfigError(
                    f"`loss.{name}` is {self.weights.given[name]:g}, but all training structures with a label of it have "
                    f"weight zero; set loss.{name}: 0, or give some of them a weight (group_weights, or `weight` and "
                    f"`{name}_weight` of the structures)"
                )

    @property
    def stored_bytes(self) -> int:
        """Memory of stored features and derivatives; 0 where they are computed in every step."""
        return self.objective.stored_bytes + self.valid_objective.stored_bytes

    @property
    def structures_per_step(self) -> int:
        """Structures that a step sees."""
        wanted = self.settings.structures_per_step
        return len(self.train) if wanted is None else min(wanted, len(self.train))

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps in one pass."""
        return math.ceil(len(self.train) / max(self.structures_per_step, 1))

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
        if not self.progress.epoch:
            self._begin()
        start = time.monotonic()
        self.processes.check_equal(self.flat)
        errors, terms, weights, rate = self._errors(), Means(), Means(), 0.0
        for index in self._batches():
            rate = self._step(index, errors, terms, weights)
        current = weights.means() or self._weights_now()
        self.weights.end_of_epoch(terms.means())
        valid, valid_terms, p = self._errors(), Means(), self.progress
        with self.average.in_place():
            self.validate(valid, valid_terms)
            judged = valid if len(self.valid) else errors
            self._keep_best(judged, p.epoch + 1)
        p.epoch += 1
        score = judged.score(self._used())
        p.plateaus.add(score, self.settings.schedule.interval)
        p.seconds += time.monotonic() - start
        row = self._row(rate, current, terms, errors, valid)
        row |= {"loss_valid": valid_terms.weighted(current), "score": score}
        p.history.append(row)
        self._rescue(judged)
        return row

    def _errors(self) -> Errors:
        return Errors(self.loss.precision)

    def _begin(self) -> None:
        """Judge the potential before training: it is kept while the errors of all epochs have blown up from its own."""
        p, s = self.progress, self.settings
        warning = s.schedule.never_reached(s.epochs) if self.optimiser.follows_rate else ""
        if warning and self.processes.leads:
            _log.warning("warning: %s", warning)
        score = self._judge().score(self._used())
        if math.isfinite(score):
            p.initial_score = score
            self._keep()

    def _judge(self) -> Errors:
        """Return the errors on the validation structures, or where there are none on some for training."""
        if len(self.valid):
            return self.validate()
        errors, n = self._errors(), len(self.train)
        some = np.unique(np.linspace(0, n - 1, min(n, JUDGED)).astype(int)).tolist()
        for start in range(0, len(some), VALIDATED_AT_A_TIME):
            index = some[start : start + VALIDATED_AT_A_TIME]
            errors.add(self.objective.terms(index), self.labels.rows(index))
        return errors

    def warning(self) -> str:
        """Return what is wrong with the potential as it is, the best one after `use_best`; nothing where it has learned."""
        p, labels = self.progress, dict(self.loss.labels)
        errors = {k: v for k, v in self._judge().roots().items() if k in self._used()}
        if len(self.valid):
            shares = {"energy": 1.0 if len(self.valid) < FEW else LEAST_SHARE}
            found = self.valid.scales().items()
            labels = {k: max(v, shares.get(k, LEAST_SHARE) * labels.get(k, 0.0)) for k, v in found}
        kept = p.kept_epoch if math.isfinite(p.initial_score) else p.kept_epoch or None
        where = "validation" if len(self.valid) else "training"
        return shortcomings(kept, errors, labels, where, self.settings.schedule.start)

    def _rate(self) -> float:
        p, s = self.progress, self.settings
        rate = learning_rate(s.schedule, p.step, self.steps_per_epoch, s.epochs, p.plateaus.left)
        return p.rate_factor * rate

    def _moment(self, rate: float) -> tuple[float, float]:
        """Return the learning rate relative to the highest, and the part of the training that is done."""
        return min(rate / self.settings.schedule.start, 1.0), self.progress.epoch / self.settings.epochs

    def _weights_now(self) -> dict[str, float]:
        return self.weights.current(*self._moment(self._rate()))

    def _batches(self) -> Iterator[list[int]]:
        order: list[int] = self.sampler.permutation(len(self.train)).tolist()
        size, part = self.structures_per_step, self.settings.structures_at_a_time
        steps = [order[start : start + size] for start in range(0, len(order), size)]
        self.objective.expect([s[k : k + part] for s in steps for k in range(0, len(s), part)])
        yield from steps

    def _step(self, index: list[int], errors: Errors, terms: Means, weights: Means) -> float:
        p, rate = self.progress, self._rate()
        moment = self._moment(rate)
        current = self.weights.current(*moment)
        p.step += 1
        if not any(current.values()):
            return rate
        size = self.settings.structures_at_a_time
        step = Step(self.objective, self.flat, self.labels, index, current, size, self.weights, moment=moment)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is checked
                result = self.optimiser.step(step, rate)
        except DivergedError as reason:
            kept = f"the best potential of epoch {p.kept_epoch} is kept"
            if not p.kept_epoch:
                kept = "no epoch has left a potential worth keeping"
            raise TrainingError(
                f"the loss became {reason.loss} (gradient norm {reason.norm}) in epoch {p.epoch + 1}; {kept}. Lower "
                f"training.schedule.start (now {self.settings.schedule.start}), or look for structures with extreme forces "
                "in the data audit"
            ) from None
        self.average.update(p.step)
        self.weights.end_of_step(result.values)
        errors.add(result, self.labels.rows(index))
        terms.add(result.total, result.values)
        weights.add(0.0, step.weights)
        return rate

    def try_steps(self, structures: int) -> int:
        """Take a step on the first structures of a random batch, to see what it costs; return how many they were."""
        index = next(self._batches())[:structures]
        self._step(index, Errors(), Means(), Means())
        return len(index)

    def validate(self, errors: Errors | None = None, terms: Means | None = None) -> Errors:
        """Return the errors on the validation structures, and add the loss terms to `terms`."""
        errors = errors or self._errors()
        n, size = len(self.valid), VALIDATED_AT_A_TIME
        for start in range(0, n, size):
            index = range(start, min(start + size, n))
            result = self.valid_objective.terms(index)
            errors.add(result, self._valid_labels.rows(index))
            if terms is not None:
                terms.add(0.0, result.values)
        return errors

    def _keep_best(self, errors: Errors, epoch: int) -> None:
        score, p = errors.score(self._used()), self.progress
        if score < p.best_score:
            p.best_score, p.best_epoch = score, epoch
        elif not score <= p.best_score + self.settings.margin:
            return
        if score > p.initial_score + math.log(BLOWN_UP):
            return  # training has gone astray so far
        p.kept_epoch = epoch
        self._keep()

    def _keep(self) -> None:
        self.best = {k: v.detach().clone() for k, v in self.potential.state_dict().items()}

    def _rescue(self, errors: Errors) -> None:
        """Return to the best parameters at half the learning rate when the errors have blown up for good."""
        p = self.progress
        lost = errors.score(self._used()) > min(p.best_score, p.initial_score) + math.log(BLOWN_UP)
        p.lost_epochs = p.lost_epochs + 1 if lost else 0
        if p.lost_epochs < PATIENCE_WHEN_LOST:
            return
        self.use_best()
        self.average.restart()
        self.optimiser.reset()
        p.lost_epochs = 0
        p.rate_factor *= 0.5

    def _used(self) -> list[str]:
        return list(self.weights.names)

    def _row(
        self, rate: float, current: Mapping[str, float], terms: Means, errors: Errors, valid: Errors
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
        """Return tensors and plain values that continue this run exactly; the history is not copied."""
        tensors = {f"potential.{k}": v for k, v in self.potential.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimiser.state().items()}
        values = {
            "progress": self.progress.state(),
            "weights": self.weights.state(),
            "sampler": self.sampler.bit_generator.state,
        }
        copies = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        return copies | {f"history.{k}": v for k, v in self.progress.history.state().items()}, values

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
        self.average.load(_part(tensors, "average."))
        self.optimiser.load(_part(tensors, "optimiser."))
        self.progress = Progress.of_state(values["progress"], _part(tensors, "history."))
        self.weights.load(values["weights"])
        self.sampler.bit_generator.state = values["sampler"]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}
