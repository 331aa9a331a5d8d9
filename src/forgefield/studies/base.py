"""What a study is: independent cells of work, and a page made of their results."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from forgefield.config import Schema
from forgefield.errors import ForgefieldError
from forgefield.studies.keys import content_of, source_of
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
        Everything the result depends on, as plain JSON values; data by path or hash of the content, the configuration of
        a training under ``config``.
    """

    name: str
    parameters: Mapping[str, Any]

    def key(self, study: str, version: int, source: str = "") -> str:
        """Return the name under which the result is kept: the hash of all that determines it.

        Parameters
        ----------
        study : str
        version : int
        source : str
            See `source_of`.
        """
        text = json.dumps([study, version, source, content_of(self.parameters)], sort_keys=True)
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
    cpu_seconds : float or None
        Processor time of its process; None where it was not measured.
    """

    cell: Cell
    values: Mapping[str, Any]
    seconds: float
    cpu_seconds: float | None = None


class Study(ABC, Generic[S]):
    """An experiment of one file: its settings, its cells, and what their results say.

    Attributes
    ----------
    name, summary : str
        As on the command line.
    version : int
        Raised when cells change their meaning, so that results kept from before are not used. Of a study outside this
        package the file of its class counts as well: any change of it begins anew.
    Settings : subclass of Schema
    small : mapping
        Settings of the form that takes a minute.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int] = 1
    Settings: type[S]
    small: ClassVar[Mapping[str, Any]]

    def key(self, cell: Cell) -> str:
        """Return the name under which the result of a cell is kept, and its folder below ``runs``."""
        return cell.key(self.name, self.version, source_of(self))

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

    def recall(
        self,
        settings: S,  # noqa: ARG002 - for studies that have something to say again
        results: Sequence[CellResult],  # noqa: ARG002
        page: Page,
        conclusion: Mapping[str, Any],
    ) -> Page:
        """Return the page of results that were read from a file, with the conclusion that is in it.

        There are no folders of cells then, so nothing can be written.

        Parameters
        ----------
        conclusion : mapping
            `Page.conclusion` of the run that computed the results.
        """
        return replace(page, conclusion=conclusion)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN for the error of a single value."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array)))
