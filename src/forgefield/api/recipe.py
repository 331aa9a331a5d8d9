"""The recommended training: optimiser, length, blocks and members that suit so many parameters and structures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from forgefield.training.optimisers.covariance import covariance_bytes
from forgefield.training.optimisers.kalman import COPIES
from forgefield.training.optimisers.memory import physical_memory

__all__ = ["QUALITIES", "Quality", "Workload", "recipe"]

Quality = Literal["fast", "standard", "best"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)

# ---- the values suggested, all in one place --------------------------------------------------------------------
WEIGHT_DECAY = 0.1
"""Of AdamW: takes away what the random start holds and the data do not ask for. Less has lower energies, and potentials that
fall into holes between the data in simulations."""
STEPS: dict[Quality, int] = {"fast": 4_000, "standard": 16_000, "best": 16_000}
"""Steps of a training by AdamW, unless..."""
SECONDS: dict[Quality, float] = {"fast": 60.0, "standard": 300.0, "best": 400.0}
"""... that took longer than this for each potential on one core of a 2024 processor, or needed..."""
FEWEST_EPOCHS, MOST_EPOCHS = 30, 1000
"""... fewer or more epochs than these."""
NEURONS = 40
KALMAN_NEURONS = (NEURONS, 24)
"""Of the Kalman filter: the most with which all parameters fit into one block. With 24 errors are the same on most sets, forces of
small ones higher."""
KALMAN_STEPS = 800
"""Steps of the Kalman filter, or..."""
KALMAN_EPOCHS = 16
"""... epochs, if these are more, unless that took too long. Longer training makes the errors of the worst structures grow."""
FEWEST_KALMAN_EPOCHS = 6
"""Where the time allows no more than this, AdamW does better."""
ONE_BLOCK = 8_000
"""Parameters up to which the Kalman filter keeps all of its covariance. More, as of many elements, are left to AdamW: the
filter in smaller blocks has not been measured there."""
KALMAN_LOSS = {"energy": 3.0, "stress": 0.3}
"""Weights of these terms with the Kalman filter, that of forces being 1: a structure has one energy and hundreds of forces."""
KALMAN_PROBES = 2
"""Rows of the sketch: four cost half as much again and bring nothing."""
KALMAN_VARIANCE = 0.1
"""Of the parameters at the start: with one the first steps may go so far that the rest of the training is spent on coming back."""
KALMAN_PRIOR = 3e-4
"""Information per step that parameters are zero: takes away what the random start holds and the data do not ask for."""
OUTPUT_PRIOR = 3e-2
"""The same for the weights of the output layer, whose sum bounds how deep a hole where there are no data can be: with less
errors are lower, but simulations of melts fell into such holes."""
COMMITTEE_OUTPUT_PRIOR = 1e-2
"""Of members of a committee, whose holes lie in different places."""
MARGIN = 0.35
"""Mean logarithm of errors that the few structures suggested for validation cannot tell apart; more is a collapse."""
SECONDS_PER_ENTRY = 1e-10
"""Cost of an entry of the covariance, per step and vector (rows of the sketch, and the gradient)."""
PULL_BACK = 0.8
"""Cost of a vector pulled back, in gradients."""
MEMBERS = 4
"""Potentials of a committee."""
MEMORY_SHARE = 0.25
"""Of the machine's memory, for the covariance."""
# ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """What has to be trained.

    Attributes
    ----------
    parameters : mapping
        Their number with each of `KALMAN_NEURONS`.
    n_train : int
        Training structures.
    batch_size : int
        Structures per step.
    seconds : float
        A pass of gradients over the training structures, estimated.
    """

    parameters: Mapping[int, int]
    n_train: int
    batch_size: int
    seconds: float

    @property
    def neurons(self) -> int:
        """Neurons that suit the Kalman filter."""
        return next((n for n in KALMAN_NEURONS if self.parameters[n] <= ONE_BLOCK), KALMAN_NEURONS[-1])

    @property
    def n_parameters(self) -> int:
        """Parameters with these neurons."""
        return self.parameters[self.neurons]

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return math.ceil(max(self.n_train, 1) / self.batch_size)

    def epochs(self, quality: Quality) -> int:
        """Return the epochs of a training by AdamW."""
        wanted = min(STEPS[quality] / self.steps, SECONDS[quality] / self.seconds)
        return min(max(round(wanted), FEWEST_EPOCHS), MOST_EPOCHS)

    @property
    def kalman_seconds(self) -> float:
        """Estimated time of an epoch of a Kalman filter."""
        vectors = KALMAN_PROBES + 1
        covariance = self.n_parameters**2 * vectors * SECONDS_PER_ENTRY
        return self.seconds * (1.0 + PULL_BACK * vectors) + self.steps * covariance

    def kalman_epochs(self, quality: Quality) -> int:
        """Return the epochs of a training by the Kalman filter; 0 where it does not suit."""
        memory = physical_memory()
        too_large = (
            memory is not None and COPIES * covariance_bytes([self.n_parameters]) > MEMORY_SHARE * memory
        )
        if self.n_parameters > ONE_BLOCK or too_large:
            return 0
        wanted = max(KALMAN_EPOCHS, math.ceil(KALMAN_STEPS / self.steps))
        epochs = min(wanted, int(SECONDS[quality] / self.kalman_seconds))
        return epochs if epochs >= FEWEST_KALMAN_EPOCHS else 0


def recipe(quality: Quality, work: Workload) -> dict[str, Any]:
    """Return the settings of a training: `training`, and what else differs from the defaults.

    Parameters
    ----------
    quality : {'fast', 'standard', 'best'}
    work : Workload

    Returns
    -------
    dict
        With `model` and `training`; where they differ from the defaults `loss`, `weights` and `committee`.
    """
    epochs = 0 if quality == "fast" else work.kalman_epochs(quality)
    values: dict[str, Any] = _kalman(work, epochs, quality) if epochs else _adamw(work, work.epochs(quality))
    if quality == "best":
        values["committee"] = {"members": MEMBERS}
    return values


def _adamw(work: Workload, epochs: int) -> dict[str, Any]:
    training = {
        "kind": "adamw",
        "weight_decay": WEIGHT_DECAY,
        "epochs": epochs,
        "batch_size": work.batch_size,
    }
    return {"model": _network(NEURONS), "training": training}


def _network(neurons: int) -> dict[str, Any]:
    return {"kind": "network", "hidden": [neurons]}


def _kalman(work: Workload, epochs: int, quality: Quality) -> dict[str, Any]:
    training = {
        "kind": "kalman",
        "epochs": epochs,
        "batch_size": work.batch_size,
        "blocks": "all",
        "block_size": ONE_BLOCK,
        "probes": KALMAN_PROBES,
        "variance": KALMAN_VARIANCE,
        "prior": KALMAN_PRIOR,
        "output_prior": COMMITTEE_OUTPUT_PRIOR if quality == "best" else OUTPUT_PRIOR,
        "margin": MARGIN,
    }
    return {
        "model": _network(work.neurons),
        "training": training,
        "loss": dict(KALMAN_LOSS),
        "weights": {"kind": "balanced", "early": {}},
    }
