"""Every descriptor on the same data with the same network: the protocol of Yanxon et al. (paper 2), tables 1 to 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase.build import bulk
from pydantic import Field

from forgefield.api.run import Run
from forgefield.config import Schema
from forgefield.errors import ConfigError, ForgefieldError, did_you_mean
from forgefield.properties.elastic import elastic_constants
from forgefield.properties.eos import equation_of_state
from forgefield.studies.base import Cell, CellResult, Study, mean_and_error
from forgefield.studies.charts import Chart, Series
from forgefield.studies.cost import microseconds_per_atom
from forgefield.studies.page import Page, Section, table
from forgefield.studies.subsets import write_subset
from forgefield.studies.summary import Groups, compare, error, error_table, grouped, number, score, text
from forgefield.studies.training import checked, data_source, errors_of, merged, single, train_cell

__all__ = ["DESCRIPTORS", "Descriptors", "DescriptorsSettings"]

DESCRIPTORS: dict[str, dict[str, Any]] = {
    "ACSF": {"kind": "acsf"},
    "wACSF": {"kind": "wacsf"},
    "EAD": {"kind": "ead"},
    "SO3": {"kind": "so3", "n_max": 4, "l_max": 3},
    "SO4": {"kind": "snap", "two_j_max": 6},
    "NEP": {"kind": "nep"},
    "Chebyshev": {"kind": "chebyshev"},
    "ACE": {"kind": "ace"},
    "POD": {"kind": "pod"},
}
"""Descriptors by the names of the paper's table 1, and those of the other papers; defaults of this package else."""
ELASTIC = {
    "Mo": (472, 158, 106),
    "Nb": (233, 145, 11),
    "Ta": (265, 158, 69),
    "W": (510, 201, 143),
    "Si": (149.8, 55.1, 73.5),
}
"""C11, C12 and C44 [GPa] by DFT: table 2 of the paper, and the reference answers of the bundled silicon."""


class CrystalSettings(Schema):
    """A crystal whose elastic constants are computed."""

    element: str = Field(description="chemical symbol")
    structure: Literal["bcc", "fcc", "diamond"] = Field("bcc", description="lattice")
    a: float = Field(gt=0, description="lattice constant to start from [Å]")


class DataSetSettings(Schema):
    """One set of data."""

    name: str = Field("silicon", description="in the report")
    file: str = Field("silicon", description="bundled set or file of structures")
    structures: int | None = Field(None, ge=2, description="draw so many training structures; null: all")
    crystals: tuple[CrystalSettings, ...] = Field((), description="elastic constants to compute")


class DescriptorsSettings(Schema):
    """Settings of the study."""

    data: tuple[DataSetSettings, ...] = Field(
        (DataSetSettings(crystals=(CrystalSettings(element="Si", structure="diamond", a=5.47),)),),
        description="sets of data",
    )
    descriptors: tuple[str, ...] = Field(tuple(DESCRIPTORS), description="by name")
    seeds: int = Field(2, ge=1, description="runs of each case")
    cutoff: float = Field(4.9, gt=0, description="of every descriptor [Å]; the paper's")
    base: dict[str, Any] = Field(
        default_factory=lambda: {
            "model": {"kind": "network", "hidden": [30, 30]},
            "training": {"kind": "adamw", "epochs": 150, "batch_size": 4},
        },
        description="the rest of the configuration, as in train.yaml",
    )


class Descriptors(Study[DescriptorsSettings]):
    """Accuracy and cost of every descriptor with one and the same network."""

    name: ClassVar[str] = "descriptors"
    summary: ClassVar[str] = "accuracy, cost and elastic constants of every descriptor with the same network"
    Settings = DescriptorsSettings
    small: ClassVar[Mapping[str, Any]] = {
        "descriptors": ("SO3", "NEP"),
        "seeds": 1,
        "base": {
            "model": {"kind": "network", "hidden": [10]},
            "training": {"kind": "adamw", "epochs": 3, "batch_size": 4},
        },
    }

    def cells(self, settings: DescriptorsSettings) -> list[Cell]:
        """See `Study.cells`."""
        cells = []
        for data in settings.data:
            source = data_source(data.file)
            for name in settings.descriptors:
                if name not in DESCRIPTORS:
                    raise ConfigError(f"unknown descriptor {name!r}: {did_you_mean(name, DESCRIPTORS)}")
                for seed in range(settings.seeds):
                    config = merged(
                        {
                            "data": {"train": [source["path"]]},
                            "descriptor": {**DESCRIPTORS[name], **_cutoffs(name, settings.cutoff)},
                            "seed": seed,
                            "threads": 1,
                        },
                        settings.base,
                    )
                    parameters = {
                        "set": data.name,
                        "descriptor": name,
                        "seed": seed,
                        "structures": data.structures,
                        "crystals": [c.model_dump() for c in data.crystals],
                        "config": checked(config),
                        "data": source["hash"],
                    }
                    cells.append(Cell(f"{data.name}: {name}, seed {seed}", parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        config = dict(parameters["config"])
        if parameters["structures"] is not None:
            path = config["data"]["train"][0]
            files = write_subset(
                path, parameters["structures"], "random", parameters["seed"], folder / "data"
            )
            config["data"] = {**config["data"], **files}
        run = train_cell(config, folder)
        splits = run.evaluation.metrics.splits
        frames = [a for a in run.evaluation.frames if len(a) > 1 and a.pbc.all()]
        return {
            "errors": errors_of(run),
            "mae": {
                name: {key: getattr(entry, key).mae for key in ("energy", "forces", "stress")}
                for name, entry in splits.items()
            },
            "n_features": single(run).descriptor.n_features,
            "microseconds": microseconds_per_atom(run.potential, frames[0]),
            "training_seconds": run.history[-1]["seconds"] if run.history else None,
            "elastic": {c["element"]: _elastic(run, c) for c in parameters["crystals"]},
        }

    def page(self, settings: DescriptorsSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        sections, answers, claims = [], [], []
        for data in settings.data:
            cases = grouped([r for r in results if r.cell.parameters["set"] == data.name], "descriptor")
            if not cases:
                continue
            best = min(cases, key=lambda n: score(cases[n], "valid")[0])
            answers.append(
                f"{data.name}: best on validation is {best}, test score {text(score(cases[best], 'test'))}"
            )
            claims += _claims(data.name, cases)
            tables = [_table_1(cases), error_table(cases, "RMSE", "descriptor")]
            if data.crystals:
                tables.append(_table_2(cases))
            sections.append(
                Section(f"{data.name}", (_method(settings),), charts=(_chart(cases),), tables=tuple(tables))
            )
        return Page(
            title="Descriptors: which one?",
            question="How accurate is the same network on each descriptor, and what does a simulation with it cost?",
            answer=". ".join(answers)
            + ". Scores are geometric means of the RMSE of energy, forces and stress.",
            claims=tuple(claims),
            sections=tuple(sections),
        )


def _cutoffs(name: str, cutoff: float) -> dict[str, float]:
    if name in {"NEP", "Chebyshev"}:
        return {"cutoff_radial": cutoff, "cutoff_angular": cutoff}
    return {"cutoff": cutoff}


def _elastic(run: Run, crystal: Mapping[str, Any]) -> dict[str, Any]:
    """Return lattice constant and elastic constants of a crystal at its own minimum; ``failed`` where there is none."""
    calculator = run.potential.calculator(dtype="float64", threads=1)
    atoms = bulk(crystal["element"], crystal["structure"], a=crystal["a"])
    cube = {"bcc": 2, "fcc": 4, "diamond": 8}[crystal["structure"]]
    try:
        eos = equation_of_state(atoms, calculator)
        cubic = elastic_constants(
            bulk(crystal["element"], crystal["structure"], a=eos.length(cube)), calculator
        ).cubic
    except ForgefieldError as failure:
        return {"failed": str(failure).splitlines()[0]}
    return {"a": eos.length(cube), "c11": cubic.c11, "c12": cubic.c12, "c44": cubic.c44}


def _method(settings: DescriptorsSettings) -> str:
    training = settings.base.get("training", {})
    hidden = settings.base.get("model", {}).get("hidden", "?")
    return (
        f"Network of {hidden} neurons for each element, cutoff {settings.cutoff:g} Å, {training.get('kind', 'adam')} with "
        f"{training.get('epochs', 'default')} epochs, {settings.seeds} seed(s); ± is one standard error. Cost: energy, "
        "forces and virial of 200 atoms or more, one thread."
    )


def _chart(cases: Groups) -> Chart:
    series = []
    for name, results in cases.items():
        y, spread = error(results, "test", "forces")
        series.append(Series(name, [_cost(results)], [y], [spread], line=False))
    titles = ("cost [µs per atom and step]", "test RMSE of forces [meV/Å]")
    return Chart("Accuracy and cost", tuple(series), *titles, "Lower left is better.", x_log=True, y_log=True)


def _cost(results: Sequence[CellResult]) -> float:
    return min(float(r.values["microseconds"]) for r in results)


def _mae(results: Sequence[CellResult], key: str) -> tuple[float, float]:
    return mean_and_error([number(r.values["mae"]["test"][key]) for r in results])


def _table_1(cases: Groups) -> Any:
    heads = [
        "descriptor",
        "features",
        "µs/atom",
        "training [s]",
        "energy [meV/atom]",
        "forces [meV/Å]",
        "stress [GPa]",
    ]
    rows = [
        [
            name,
            str(results[0].values["n_features"]),
            f"{_cost(results):.3g}",
            f"{number(results[0].values['training_seconds']):.3g}",
            *(text(_mae(results, key)) for key in ("energy", "forces", "stress")),
        ]
        for name, results in cases.items()
    ]
    return table("Test MAE and cost (table 1 of the paper)", heads, rows)


def _table_2(cases: Groups) -> Any:
    rows = []
    for element in cases[next(iter(cases))][0].values["elastic"]:
        if element in ELASTIC:
            rows.append([element, "DFT", "", *(f"{c:g}" for c in ELASTIC[element])])
        for name, results in cases.items():
            found = results[0].values["elastic"][element]
            if "failed" in found:
                rows.append([element, name, found["failed"], "", "", ""])
            else:
                numbers = (f"{found['a']:.4g}", *(f"{found[k]:.4g}" for k in ("c11", "c12", "c44")))
                rows.append([element, name, *numbers])
    heads = ["crystal", "by", "a [Å]", "C11 [GPa]", "C12 [GPa]", "C44 [GPa]"]
    return table("Elastic constants (table 2 of the paper)", heads, rows, text_columns=2)


def _claims(data: str, cases: Groups) -> list[tuple[str, str, str]]:
    claims = []
    for better, worse in (("ACSF", "wACSF"), ("SO3", "SO4"), ("wACSF", "EAD")):
        if better in cases and worse in cases:
            a, b = error(cases[better], "test", "forces"), error(cases[worse], "test", "forces")
            claims.append(
                (
                    f"{data}: {better} beats {worse} in forces",
                    f"{text(a)} against {text(b)} meV/Å",
                    compare(a, b),
                )
            )
    return claims
