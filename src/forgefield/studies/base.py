"""What a study is: independent cells of work, and a page made of their results."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from forgefield.config import Schema
from forgefield.errors import ForgefieldError
from forgefield.studies.page import Page

__all__ = ["Cell", "CellResult", "Study", "StudyError", "mean_and_error"]

S = TypeVar("S", bound=Schema)


class StudyError(ForgefieldError, RuntimeError):
    """Cells of a study failed; what is finished is kept."""


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes
    ----------
    name : str
        For people, unique within the study: ``"softadapt, beta 1, seed 0"``.
    parameters : mapping
        Everything the result depends on, as plain JSON values; data by path and hash of the content.
    """

    name: str
    parameters: Mapping[str, Any]

    def key(self, study: str, version: int) -> str:
        """Return the name under which the result is kept: the hash of all that determines it."""
        text = json.dumps([study, version, self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes
    ----------
    cell : Cell
    values : mapping
        What the cell gave, plain JSON values.
    seconds : float
        Wall time it took.
    """

    cell: Cell
    values: Mapping[str, Any]
    seconds: float


class Study(ABC, Generic[S]):
    """An experiment of one file: its settings, its cells, and what their results say.

    Attributes
    ----------
    name, summary : str
        As on the command line.
    version : int
        Raised when cells change their meaning, so that results kept from before are not used.
    Settings : subclass of Schema
    small : mapping
        Settings of the form that takes a minute.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int] = 1
    Settings: type[S]
    small: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def cells(self, settings: S) -> list[Cell]:
        """Return the work to be done."""

    @abstractmethod
    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Do one cell and return plain JSON values.

        Parameters
        ----------
        parameters : mapping
            Of the cell.
        folder : Path
            For files of this cell; the same when an interrupted cell starts again.
        """

    @abstractmethod
    def page(self, settings: S, results: Sequence[CellResult]) -> Page:
        """Return the report; `results` may lack cells that failed."""

    def conclude(
        self,
        settings: S,  # noqa: ARG002 - for studies that have something to write
        results: Sequence[CellResult],  # noqa: ARG002
        page: Page,
        folder: Path,  # noqa: ARG002
    ) -> Page:
        """Write what follows from all results into the folder of the study, and return the page with what was written.

        Here nothing is written.
        """
        return page


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN for the error of a single value."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array)))
