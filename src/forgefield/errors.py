"""Exceptions of the package: every message names the value, what is allowed and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ConformanceError",
    "DataError",
    "ForgefieldError",
    "LabelError",
    "PotentialFileError",
    "PredictionError",
    "SimulationError",
    "StructureError",
    "TrainingError",
    "UnknownSpeciesError",
    "counted",
    "did_you_mean",
    "of_structure",
]


class ForgefieldError(Exception):
    """Base class of every error a user can cause; the command line prints it and exits with 2."""


class ConfigError(ForgefieldError, ValueError):
    """A setting is unknown, of the wrong type or outside its domain."""


class DataError(ForgefieldError, ValueError):
    """A data file cannot be read or holds something unusable."""


class LabelError(DataError):
    """Labels are missing, contradict what the file claims, or cannot be right."""


class StructureError(ForgefieldError, ValueError):
    """A structure is unphysical: overlapping atoms, no volume, NaN positions."""


class UnknownSpeciesError(ForgefieldError, ValueError):
    """An element the potential was not trained for."""


class PotentialFileError(ForgefieldError, ValueError):
    """A potential file is damaged, of an unknown version or fails its self-test."""


class PredictionError(ForgefieldError, ValueError):
    """A potential returned something of the wrong shape or not finite."""


class SimulationError(ForgefieldError, RuntimeError):
    """A simulation broke down: atoms overlap, the temperature runs away or numbers are not finite."""


class ConformanceError(ForgefieldError, AssertionError):
    """A potential violates the physics or numerics every potential must obey."""


class CheckpointError(ForgefieldError, ValueError):
    """A checkpoint is damaged or belongs to another run."""


class TrainingError(ForgefieldError, RuntimeError):
    """Training cannot go on: the loss diverged or nothing is left to train on."""


@contextmanager
def of_structure(name: str) -> Iterator[None]:
    """Put the name of the structure in front of an error about it.

    Raises
    ------
    StructureError, UnknownSpeciesError
        As raised inside, with the name.
    """
    try:
        yield
    except (StructureError, UnknownSpeciesError) as error:
        raise type(error)(f"{name}: {error}") from None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a hint that lists the choices and, where one is close, the nearest name.

    Parameters
    ----------
    name : str
        What the user wrote.
    choices : iterable of str
        What is allowed.
    """
    allowed = sorted(choices)
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"choose from {', '.join(allowed)}{hint}"


SINGULAR = {"have": "has", "are": "is"}


def counted(n: int, noun: str, verb: str = "") -> str:
    """Return a number with its noun, and a verb that agrees: ``1 structure has``, ``3 structures have``.

    Parameters
    ----------
    n : int
    noun, verb : str
        The noun in the singular, the verb as of several; regular ones, and those of `SINGULAR`.
    """
    if verb:
        verb = f" {SINGULAR.get(verb, verb + 's') if n == 1 else verb}"
    return f"{n} {noun}{'' if n == 1 else 's'}{verb}"
