"""What paper 2 states, table by table, and what the study of descriptors found; and its order on other data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.summary import Groups, Ratio, number, score, text, unpaired
from forgefield.studies.training import UNITS
from forgefield.studies.verdicts import Claim, Interval, known_of, not_run

__all__ = ["missing_claims", "order_claims", "own_claims", "paper_claims"]

ORDER = (
    ("ACSF", "wACSF"),
    ("ACSF", "SO3"),
    ("SO3", "wACSF"),
    ("SO3", "SO4"),
    ("wACSF", "EAD"),
    ("SO4", "EAD"),
)
"""Pairs of which the first is better in energy and forces in table 1 of the paper."""
CHEAPER = (("EAD", "ACSF"), ("SO3", "ACSF"), ("SO4", "ACSF"))
"""Pairs of which the first costs less there."""
ALIKE = (("wACSF", "ACSF"), ("SO3", "SO4"))
"""Pairs that cost the same there."""
CLOSE = 25.0
"""What counts as the same cost [%]."""
SECTION_5_2 = {"energy": 7.57, "forces": 170.0}
"""Test MAE [meV/atom, meV/Å] of SO3 on the alloy in the paper, on the same test structures."""
TABLE_2_MEAN = 10.1
"""Mean distance [GPa] of C11, C12 and C44 of the four elements from DFT in table 2, SO3."""
ELASTIC = ("c11", "c12", "c44")


def _mae(key: str) -> Callable[[CellResult], float]:
    return lambda result: number(result.values["mae"]["test"][key])


def _cost(result: CellResult) -> float:
    return float(result.values["microseconds"])


def _said(
    cases: Groups, pair: tuple[str, str], value: Callable[[CellResult], float], unit: str, ratio: Ratio
) -> str:
    a, b = (text(mean_and_error([value(r) for r in cases[name]])) for name in pair)
    return f"{a} against {b} {unit}: {ratio}"


def order_claims(data: str, cases: Groups, keys: Sequence[str]) -> Iterator[Claim]:
    """Yield whether the order of table 1 holds on a set of data, by the MAE of test structures."""
    for key in keys:
        for pair in ORDER:
            if all(name in cases for name in pair):
                ratio = unpaired(cases[pair[0]], cases[pair[1]], _mae(key))
                said = _said(cases, pair, _mae(key), UNITS[key], ratio)
                yield f"{data}: {pair[0]} beats {pair[1]} in {key} (MAE)", said, ratio.lower


def paper_claims(
    data: str, beside: str | None, cases: Groups, dft: Mapping[str, Sequence[float | None]]
) -> Iterator[Claim]:
    """Yield the rows of table 1 on silica, and those of section 5.2 and table 2 on the alloy.

    Parameters
    ----------
    data : str
    beside : str or None
        System of the paper that the data stand for.
    cases : dict of str to list of CellResult
    dft : mapping of element to constants
        C11, C12, C44 [GPa] by DFT first.
    """
    if beside == "SiO2":
        yield from order_claims(data, cases, ("forces", "energy"))
        yield from _costs(data, cases)
    if beside == "NbMoTaW" and "SO3" in cases:
        yield from _alloy(data, cases["SO3"], dft)


def _costs(data: str, cases: Groups) -> Iterator[Claim]:
    for pair in CHEAPER:
        if all(name in cases for name in pair):
            ratio = unpaired(cases[pair[0]], cases[pair[1]], _cost)
            yield (
                f"{data}: {pair[0]} costs less than {pair[1]}",
                _said(cases, pair, _cost, "µs per atom", ratio),
                ratio.lower,
            )
    for pair in ALIKE:
        if all(name in cases for name in pair):
            ratio = unpaired(cases[pair[0]], cases[pair[1]], _cost)
            near = Interval(ratio.mean, ratio.low, ratio.high).inside(-CLOSE, CLOSE)
            said = _said(cases, pair, _cost, "µs per atom", ratio)
            yield f"{data}: {pair[0]} costs as much as {pair[1]} (within {CLOSE:g} %)", said, near


def _alloy(
    data: str, runs: Sequence[CellResult], dft: Mapping[str, Sequence[float | None]]
) -> Iterator[Claim]:
    for key, most in SECTION_5_2.items():
        i = known_of(_mae(key)(r) for r in runs).interval
        statement = f"{data}: SO3 and two times 20 neurons have a test MAE of {key} of {most:g} {UNITS[key]} at most (section 5.2)"
        yield statement, i.said(".3g", UNITS[key]), i.below(most)
    elements = [e for e in runs[0].values["elastic"] if e in dft]
    if not elements:
        return
    truth = np.array([[float(v or 0.0) for v in dft[e][:3]] for e in elements])
    off = []
    for r in runs:
        found = [r.values["elastic"][e] for e in elements]
        if not any("failed" in one for one in found):
            values = np.array([[float(one[key]) for key in ELASTIC] for one in found])
            off.append(float(np.abs(values - truth).mean()))
    i = known_of(off).interval
    statement = (
        f"{data}: SO3's elastic constants are {TABLE_2_MEAN:g} GPa from DFT at most, on average (table 2)"
    )
    yield statement, i.said(".3g", "GPa"), i.below(TABLE_2_MEAN)
    if "Nb" in elements:
        found = [r.values["elastic"]["Nb"] for r in runs]
        i = known_of(float(one["c44"]) for one in found if "failed" not in one).interval
        yield f"{data}: C44 of niobium is negative with SO3 (table 2)", i.said(".3g", "GPa"), i.below(0.0)


def own_claims(data: str, beside: str | None, cases: Groups) -> Iterator[Claim]:
    """Yield whether the order of table 1 holds on data the paper does not have, and whether the best beats its best."""
    if beside != "SiO2":
        yield from order_claims(data, cases, ("forces",))
    best = min(cases, key=lambda n: score(cases[n], "valid")[0])
    if best != "ACSF" and "ACSF" in cases:
        ratio = unpaired(cases[best], cases["ACSF"], _mae("forces"))
        said = _said(cases, (best, "ACSF"), _mae("forces"), UNITS["forces"], ratio)
        yield f"{data}: {best}, the best on validation, beats ACSF in forces (MAE)", said, ratio.lower


def missing_claims() -> Iterator[Claim]:
    """Yield what the paper states of data that were not at hand."""
    yield not_run(
        "table 1 on 1316 structures of SiO2 by DFT", "silica by a classical potential instead, see above"
    )
    yield not_run(
        "a linear fit of the alloy's absolute energies fails (section 5.2: 944 meV/atom)",
        "networks only in this study",
    )
    yield not_run(
        "platinum: errors of bulk, surfaces and clusters (table 3)",
        "no such data here; errors by group of the alloy instead",
    )
