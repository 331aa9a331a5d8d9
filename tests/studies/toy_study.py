"""A study whose cells are instant, for tests of the runner."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from forgefield.config import Schema
from forgefield.errors import DataError
from forgefield.studies import Cell, CellResult, Page, Section, Study
from forgefield.studies.charts import Chart, Series


class ToySettings(Schema):
    numbers: tuple[float, ...] = (1.0, 2.0, 3.0)
    bad: tuple[float, ...] = ()
    same_name: bool = False


class Toy(Study[ToySettings]):
    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "squares"
    Settings = ToySettings
    small: ClassVar[Mapping[str, Any]] = {"numbers": (2.0,)}

    def cells(self, settings: ToySettings) -> list[Cell]:
        label = (lambda _: "x") if settings.same_name else (lambda n: f"square of {n:g}")
        return [Cell(label(n), {"n": n, "bad": n in settings.bad}) for n in settings.numbers]

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        with (folder / "visits.txt").open("a") as file:
            file.write("x")
        if parameters["bad"]:
            raise DataError("this cell cannot be done\nbecause it is bad")
        return {"square": parameters["n"] ** 2}

    def page(self, settings: ToySettings, results: Sequence[CellResult]) -> Page:  # noqa: ARG002 - the signature of all
        x = [r.cell.parameters["n"] for r in results]
        y = [r.values["square"] for r in results]
        chart = Chart("Squares", (Series("squares", x, y, [0.5] * len(x)), Series("n", x, x)), "n", "n²")
        claims = (("squares <b>grow</b>", "they do", "agrees"),)
        return Page("Toy", "What?", "That.", (Section("All", ("Text.",), (chart,)),), claims)
