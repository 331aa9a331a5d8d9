"""Cells of the complexity study as its tests make them up."""

import math

from forgefield.studies import Cell, CellResult
from forgefield.studies.summary import grouped

LIMITS = {"forces": 100.0, "energy": 10.0, "properties": None, "transport": None}
ANSWERS = {
    "a0": 5.43,
    "bulk_modulus": 100.0,
    "c11": 150.0,
    "c12": 75.0,
    "c44": 60.0,
    "frequencies": [[0.0, 15.0], [4.0, 12.0], [3.0, 14.0]],
    "r": [1.0, 2.0, 3.0, 4.0],
    "rdf": [0.0, 2.0, 0.5, 1.5],
    "diffusion": 0.8,
    "diffusion_error": 0.08,
    "conductivity": [2000.0, 400.0],
}


def result(descriptor, model, ratio=1.0, *, forces=90.0, energy=5.0, us=3.0, split=0, loop=None, **values):
    parameters = {"descriptor": descriptor, "model": model, "ratio": ratio, "split": split}
    parameters["config"] = {"seed": split}
    if loop is not None:
        parameters["loop"] = loop
    errors = {s: {"energy": energy, "forces": forces, "stress": math.nan} for s in ("train", "valid", "test")}
    own = {"errors": errors, "microseconds": us, "n_features": 10, "n_parameters": 11}
    return CellResult(Cell(f"{descriptor}, {model}, {ratio}, {split}, {loop}", parameters), own | values, 1.0)


def cases(*results):
    return grouped(results, "descriptor", "model", "ratio")
