"""What paper 3 states, figure by figure, and what the study of optimisers found; and how our default does beside Adam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from forgefield import datasets
from forgefield.studies.base import CellResult
from forgefield.studies.rounding import plain
from forgefield.studies.summary import Groups, Ratio, error, number, paired, ratio_of, score, score_of, text
from forgefield.studies.training import ERRORS, UNITS
from forgefield.studies.verdicts import Claim, Interval, known_of, not_run

__all__ = ["ADAM", "OWN", "SNES", "missing_claims", "own_claims", "paper_claims", "row_scores", "seconds"]

ADAM, SNES, OWN = "Adam (paper 3)", "SNES", "our default"
ALIKE = 50.0
"""How much higher errors of test structures may be than those of training [%]: the paper's are 25, -3 and 51 % higher."""
MARGINAL = 20.0
"""What counts as a marginal gain [%]."""
FIRST = 100
"""Epochs of the paper's shortest training."""
NEAR = {"a0": ("lattice constant", 1.0), "bulk_modulus": ("bulk modulus", 10.0)}
"""How near to DFT an equation of state must be [%]."""


def seconds(results: Sequence[CellResult], column: str = "cpu_seconds") -> float:
    """Return the mean time of runs [s]."""
    return float(sum(number(r.values["log"][column][-1]) for r in results) / len(results))


def row_scores(result: CellResult) -> list[float]:
    """Return the score on validation structures at every look."""
    log = result.values["log"]
    columns = [[number(v) for v in log[f"{key}_rmse_valid"]] for key in ERRORS]
    labelled = [column for column in columns if any(map(math.isfinite, column))]
    return [math.exp(sum(map(math.log, row)) / len(row)) for row in zip(*labelled, strict=True)]


def _test(result: CellResult) -> float:
    return score_of(result, "test")


def _time_to(result: CellResult, goal: float) -> float | None:
    """Return the processor time after which the score is as low as that [s]; None where it never is."""
    for time, value in zip(result.values["log"]["cpu_seconds"], row_scores(result), strict=True):
        if value <= goal:
            return number(time)
    return None


def _sooner(new: Sequence[CellResult], old: Sequence[CellResult]) -> tuple[Ratio, int]:
    """Return the time of the first case to the last score of the other over the other's time, and how often it failed.

    Pairs of the same seed. Where the score was not reached, the whole time stands: too little, so that the ratio is then a
    lower bound.
    """
    known = {r.cell.parameters["config"]["seed"]: r for r in old}
    logs, missed = [], 0
    for run in new:
        other = known.get(run.cell.parameters["config"]["seed"])
        if other is None:
            continue
        time = _time_to(run, row_scores(other)[-1])
        missed += time is None
        logs.append(math.log((seconds([run]) if time is None else time) / seconds([other])))
    return ratio_of(logs), missed


def _time_claim(statement: str, whose: str, found: tuple[Ratio, int], percent: float) -> Claim:
    """Return whether the time is below so many per cent of the other's; with runs that did not get there it is at most no."""
    ratio, missed = found
    verdict = ratio.within(percent - 100.0)
    part = [plain(100.0 + v, 2) for v in (ratio.mean, ratio.low, ratio.high)]
    known = f" ({part[1]} to {part[2]})" if math.isfinite(ratio.low) else ""
    said = f"{part[0]} % of {whose}'s whole processor time{known}"
    if missed:
        said, verdict = (
            f"not reached in {missed} run(s); {said} at least",
            "undecided" if verdict == "agrees" else verdict,
        )
    return statement, said, verdict


def paper_claims(data: str, methods: Groups, results: Sequence[CellResult]) -> Iterator[Claim]:
    """Yield the rows of the paper's figures for one set of data."""
    if ADAM not in methods:
        return
    adam = methods[ADAM]
    if SNES in methods:
        snes = methods[SNES]
        a, b = (f"{text(score(own, 'test'))} after {seconds(own):.0f} s" for own in (adam, snes))
        gain = paired(adam, snes, _test)
        yield (
            f"{data}: Adam ends at lower errors than SNES (figure 1)",
            f"test score {a}; SNES {b}: {gain}",
            gain.lower,
        )
        statement = f"{data}: Adam reaches SNES's last validation error in less time (figure 1a)"
        yield _time_claim(statement, "SNES", _sooner(adam, snes), 100.0)
    apart = ratio_of([math.log(_test(r) / score_of(r, "train")) for r in adam])
    both = ", ".join(
        f"{key} {text(error(adam, 'train', key))} and {text(error(adam, 'test', key))} {UNITS[key]}"
        for key in ERRORS
        if math.isfinite(error(adam, "test", key)[0])
    )
    statement = f"{data}: Adam's errors of training and test structures are alike (test {ALIKE:g} % higher at most, figure 2)"
    yield (
        statement,
        f"test score {apart} against that of training; training and test: {both}",
        apart.within(ALIKE),
    )
    yield from _scan_claims(data, results)
    yield from _crystal_claims(data, adam)
    yield from _liquid_claims(data, adam)


def _scanned(results: Sequence[CellResult], family: str, setting: str) -> dict[int, list[CellResult]]:
    found: dict[int, list[CellResult]] = {}
    for r in results:
        if r.cell.parameters["family"] == family:
            found.setdefault(int(r.cell.parameters["config"]["training"][setting]), []).append(r)
    return dict(sorted(found.items()))


def _scan_claims(data: str, results: Sequence[CellResult]) -> Iterator[Claim]:
    lengths = _scanned(results, "length", "epochs")
    longer = {n: own for n, own in lengths.items() if n >= FIRST}
    if len(longer) < 2:
        yield not_run(
            f"{data}: 100 to 1271 epochs differ marginally (figure 3)", "no scan of lengths on this set"
        )
    else:
        first, last = min(longer), max(longer)
        ratio = paired(longer[last], longer[first], _test)
        kept = Ratio(-ratio.mean, -ratio.high, -ratio.low).within(MARGINAL)
        statement = f"{data}: from {first} to {last} epochs Adam's error falls marginally (by {MARGINAL:g} % at most, figure 3)"
        yield statement, f"test score {ratio}, {len(longer[last])} run(s)", kept
    batches = _scanned(results, "batch", "batch_size")
    if len(batches) < 2:
        yield not_run(
            f"{data}: smaller batches end lower and take longer (figure 4)",
            "no scan of batch sizes on this set",
        )
    else:
        one, many = min(batches), max(batches)
        lower, longer_time = (paired(batches[one], batches[many], f) for f in (_test, lambda r: seconds([r])))
        statement = f"{data}: batches of {one} end at a lower error than batches of {many} after as many epochs (figure 4)"
        yield statement, f"test score {lower}, {len(batches[one])} run(s)", lower.lower
        slower = Interval(longer_time.mean, longer_time.low, longer_time.high).above()
        yield (
            f"{data}: batches of {one} take longer than batches of {many} (figure 4)",
            f"processor time {longer_time}",
            slower,
        )


def _crystal_claims(data: str, adam: Sequence[CellResult]) -> Iterator[Claim]:
    crystal = adam[0].cell.parameters["crystal"]
    if crystal is None:
        return
    files = [
        Path(str(path)).name for path in adam[0].cell.parameters["config"].get("data", {}).get("train", ())
    ]
    bundled = datasets.path("silicon").name in files
    if not bundled or crystal["formula"] != "Si":
        yield not_run(
            f"{data}: the equation of state is that of DFT (figure 5)",
            "no curve of DFT with the settings of this set",
        )
        return
    known = datasets.reference("silicon")["diamond"]
    truth = {"a0": float(known["a0"]), "bulk_modulus": float(known["eos"]["bulk_modulus"])}
    for key, (name, most) in NEAR.items():
        off = known_of(
            100.0 * (number(r.values["eos"].get(key)) / truth[key] - 1.0)
            for r in adam
            if "failed" not in r.values["eos"]
        )
        lost = sum("failed" in r.values["eos"] for r in adam)
        note = f"; {lost} of {len(adam)} without a minimum" if lost else ""
        i = off.interval
        statement = f"{data}: Adam's {name} is that of DFT (within {most:g} %, figure 5)"
        yield statement, f"{i.said('+.2g', '%')}{note}", i.inside(-most, most)


def _liquid_claims(data: str, adam: Sequence[CellResult]) -> Iterator[Claim]:
    if adam[0].cell.parameters["liquid"] is None:
        yield not_run(
            f"{data}: the liquid has the g(r) of DFT (figure 6)", "no snapshots of a liquid to compare with"
        )
        return
    good = [r.values["liquid"] for r in adam if "failed" not in r.values["liquid"]]
    noise = float(adam[0].values["liquid"]["noise"])
    off = known_of(float(one["difference"]) for one in good)
    i = off.interval
    lost = f"; {len(adam) - len(good)} of {len(adam)} failed" if len(good) < len(adam) else ""
    statement = f"{data}: Adam's liquid has the g(r) of DFT (rms difference at most twice the noise of the snapshots, figure 6)"
    said = f"{i.said('.3f')} against a noise of {noise:.3f}{lost}"
    yield statement, said, Interval(i.value, i.low, i.high).inside(-math.inf, 2.0 * noise)


def own_claims(data: str, methods: Groups) -> Iterator[Claim]:
    """Yield how our default does beside the paper's Adam."""
    if ADAM not in methods or OWN not in methods:
        return
    adam, own = methods[ADAM], methods[OWN]
    found = _sooner(own, adam)
    statement = f"{data}: our default reaches Adam's last validation error in less time"
    yield _time_claim(statement, "Adam", found, 100.0)
    statement = f"{data}: our default reaches Adam's last validation error in a third of its time"
    yield _time_claim(statement, "Adam", found, 100.0 / 3.0)
    gain = paired(own, adam, _test)
    yield f"{data}: our default ends at a lower test score than Adam", str(gain), gain.lower


def missing_claims() -> Iterator[Claim]:
    """Yield what the paper states of data and lengths that were not tried."""
    yield not_run(
        "SNES needs thousands of generations, and ends near Adam then (figure 1b)",
        "300 generations at most here",
    )
    yield not_run(
        "the same on Sb-Te, SiO2, GeTe/Sb2Te3, PdCuNiP and ICOF (figures 1 and S2 to S5)",
        "these sets were not at hand",
    )
    yield not_run(
        "Sb2Te and Sb2Te3: equations of state and liquids (figures 5 and 6)", "these sets were not at hand"
    )
