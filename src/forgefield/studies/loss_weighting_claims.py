"""What paper 1 states, row by row, and whether adaptive weights beat fixed ones of which as many were tried."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from forgefield.studies.base import CellResult
from forgefield.studies.loss_weighting_longer import Lengths, ranking_claim
from forgefield.studies.rounding import plain
from forgefield.studies.summary import Groups, Ratio, error, number, paired, ratio_of, score, score_of
from forgefield.studies.training import ERRORS
from forgefield.studies.verdicts import Claim, known_of, not_run

__all__ = ["best_of", "family_of", "own_claims", "paper_claims", "tested"]

PRIORITY = {"energy": "fixed 3", "forces": "fixed 4", "stress": "fixed 5"}
"""Which row of table 1 has nine tenths of the weight on what."""
QUESTIONS = (
    ("SoftAdapt in its paper's loss beats tuned fixed weights", "softadapt", "relative"),
    ("SoftAdapt in the relative loss beats tuned fixed weights", "relative softadapt", "relative"),
    ("the best of the other adaptive rules beats tuned fixed weights", "rival", "relative"),
)
"""What is asked of the best of two families, of as many cases each: is the first lower?"""
EQUAL = "relative 1:1:1"
"""What SoftAdapt starts from and swings about: what it gains over this is the gain of adapting."""
CLOSE = 10.0
"""What counts as the same accuracy [%]."""
SAME_WEIGHT = 0.05
"""What counts as the same weight."""


def family_of(results: Sequence[CellResult]) -> str:
    """Return the family of a case."""
    return str(results[0].cell.parameters["family"])


def _choosing(cases: Groups, family: str, seeds: int) -> dict[str, float]:
    """Return the mean validation score of every case of a family over the seeds that all have."""
    return {
        n: score([r for r in results if r.cell.parameters["config"]["seed"] < seeds], "valid")[0]
        for n, results in cases.items()
        if family_of(results) == family
    }


def best_of(cases: Groups, family: str, seeds: int) -> str | None:
    """Return the case of a family with the lowest mean score on the validation set over the seeds that all have."""
    own = _choosing(cases, family, seeds)
    return min(own, key=lambda n: own[n]) if own else None


def _test(key: str) -> Callable[[CellResult], float]:
    return lambda result: number(result.values["errors"]["test"][key])


def tested(result: CellResult) -> float:
    """Return the score on test structures."""
    return score_of(result, "test")


def _named(cases: Groups, start: str) -> list[CellResult]:
    """Return the results of the case of that name, or whose name begins so; empty where there is none."""
    found = [n for n in cases if n == start or n.startswith(f"{start} (")]
    return cases[found[0]] if found else []


def _lower(
    said: str, new: Sequence[CellResult], old: Sequence[CellResult], value: Callable[[CellResult], float]
) -> Claim:
    ratio = paired(new, old, value)
    return said, str(ratio), ratio.lower


# ---- the paper -----------------------------------------------------------------------------------------------


def paper_claims(cases: Groups, lengths: Lengths, seeds: int) -> Iterator[Claim]:
    """Yield the rows of the paper's tables 1 and 2 and figures 2 and 3."""
    yield from _table_1(cases)
    yield from _table_2(cases)
    yield from _figure_3(cases)
    new, old = (best_of(cases, family, seeds) for family in ("softadapt", "fixed"))
    if new is not None and old is not None:
        for epochs, own in [(0, cases), *list(lengths.items())[1:]]:
            if new in own and old in own:
                when = f"after {epochs} epochs: " if epochs else ""
                yield _lower(
                    f"{when}SoftAdapt beats the fixed weights of table 1 ({new}; {old})",
                    own[new],
                    own[old],
                    tested,
                )
    yield not_run(
        "tables 1 and 2 on 3146 structures of MoTe2 with 25 Å of vacuum",
        "other data, in the same order: see the tables",
    )
    yield not_run("weights change mainly in the first 1500 epochs (figure 3)", "shorter trainings")


def _table_1(cases: Groups) -> Iterator[Claim]:
    rows = {n: _named(cases, f"fixed {n}") for n in range(1, 7)}
    if rows[1] and rows[2]:
        yield _lower("row 2 beats row 1 (energy only) in forces", rows[2], rows[1], _test("forces"))
        yield _lower("row 2 beats row 1 (energy only) even in energy", rows[2], rows[1], _test("energy"))
    if rows[2] and rows[3]:
        yield _lower("row 3 beats row 2 (no stress) in stress", rows[3], rows[2], _test("stress"))
    for key, name in PRIORITY.items():
        own = _named(cases, name)
        others = [r for n in PRIORITY.values() if n != name and (r := _named(cases, n))]
        if own and len(others) == 2:
            other = min(others, key=lambda r: error(r, "valid", key)[0])
            said = f"of rows 3 to 5 the one that weights {key} has the lowest error of {key}"
            yield _lower(said, own, other, _test(key))
    if rows[3] and rows[6]:
        yield _lower(
            "equal weights (row 6) do not reach the energy error of row 3", rows[3], rows[6], _test("energy")
        )


def _table_2(cases: Groups) -> Iterator[Claim]:
    adaptive = _named(cases, "softadapt β 1")
    if not adaptive:
        return
    for key, name in PRIORITY.items():
        if own := _named(cases, name):
            ratio = paired(adaptive, own, _test(key))
            said = f"SoftAdapt with β = 1 reaches the error of {key} of the row that weights it (within {CLOSE:g} %)"
            yield said, f"test error of {key} {ratio}", ratio.within(CLOSE)
    if small := _named(cases, "softadapt β 0.01"):
        yield _lower("β = 1 is better than β = 0.01", adaptive, small, tested)
    if small and (large := _named(cases, "softadapt β 2")):
        swings = [{r.cell.parameters["config"]["seed"]: _swing(r) for r in runs} for runs in (large, small)]
        ratio = ratio_of(
            [math.log(swings[0][s] / swings[1][s]) for s in swings[0] if swings[1].get(s, 0.0) > 0.0]
        )
        verdict = Ratio(-ratio.mean, -ratio.high, -ratio.low).lower
        yield (
            "the larger β, the more the weights swing (β = 2 against 0.01)",
            _times(ratio),
            verdict,
        )


def _times(ratio: Ratio) -> str:
    value, low, high = (plain(1.0 + v / 100.0) for v in (ratio.mean, ratio.low, ratio.high))
    return f"{value} times the standard deviation ({low} to {high})"


def _late(result: CellResult, key: str) -> NDArray[np.float64]:
    """Return a weight in the second half of the training."""
    series = np.array([number(v) for v in result.values["weights"][f"weight_{key}"]], dtype=np.float64)
    return series[len(series) // 2 :]


def _swing(result: CellResult) -> float:
    return float(np.mean([_late(result, key).std() for key in ERRORS]))


def _figure_3(cases: Groups) -> Iterator[Claim]:
    adaptive = _named(cases, "softadapt β 1")
    starts = [r for r in cases.values() if family_of(r) == "start"]
    if not adaptive or not starts:
        return
    ratios = [paired(r, adaptive, tested) for r in starts]
    found = "test score against equal initial weights " + ", ".join(map(str, ratios))
    yield f"the initial weights do not matter for the errors (within {CLOSE:g} %)", found, _all_within(ratios)
    same = {r.cell.parameters["config"]["seed"]: r for r in adaptive}
    verdicts, most = [], 0.0
    for runs in starts:
        for key in ERRORS:
            pairs = [(r, same[s]) for r in runs if (s := r.cell.parameters["config"]["seed"]) in same]
            i = known_of(float(_late(a, key).mean() - _late(b, key).mean()) for a, b in pairs).interval
            verdicts.append(i.inside(-SAME_WEIGHT, SAME_WEIGHT))
            most = max(most, abs(i.value))
    said = f"means of the second half differ by {most:.3f} at most, {len(verdicts)} weights; " + ", ".join(
        f"{n} {v}" for v, n in Counter(verdicts).items()
    )
    statement = f"weights converge to the same from every start (within {SAME_WEIGHT:g})"
    yield statement, said, _all_of(verdicts)


def _all_of(verdicts: Sequence[str]) -> str:
    """Return the verdict on a statement about several things: one that disagrees is enough."""
    if "disagrees" in verdicts:
        return "disagrees"
    return "agrees" if set(verdicts) == {"agrees"} else "undecided"


def _all_within(ratios: Sequence[Ratio]) -> str:
    """Return whether all are at most 10 % away, upwards or downwards."""
    if all(r.low >= -CLOSE and r.high <= CLOSE for r in ratios):
        return "agrees"
    far = any(r.low > CLOSE or r.high < -CLOSE for r in ratios)
    return "disagrees" if far else "undecided"


# ---- our own questions ---------------------------------------------------------------------------------------


def own_claims(cases: Groups, best: Mapping[str, str], lengths: Lengths, seeds: int) -> Iterator[Claim]:
    """Yield whether adaptive weights beat fixed ones tuned with the same effort, and whether longer training changes that.

    Parameters
    ----------
    cases : dict of str to list of CellResult
        Of the shortest training, which chooses.
    best : mapping of family to case
    lengths : dict of int to groups
    seeds : int
        Those below this one choose.
    """
    yield from _tuned(cases, cases, best, seeds)
    if len(lengths) < 2:
        return
    last, own = list(lengths.items())[-1]
    for said, found, verdict in _tuned(cases, own, best, seeds):
        yield f"after {last} epochs: {said}", found, verdict
    yield from ranking_claim(lengths)


def _tuned(choosing: Groups, cases: Groups, best: Mapping[str, str], seeds: int) -> Iterator[Claim]:
    for said, new, old in QUESTIONS:
        if new in best and old in best:
            claim = _of_as_many(said, choosing, cases, (new, old), seeds)
            if claim is not None:
                yield claim
    own = best.get("relative softadapt")
    if own in cases and EQUAL in cases and own is not None:
        yield _lower(
            f"SoftAdapt in the relative loss beats equal fixed weights ({own}; {EQUAL})",
            cases[own],
            cases[EQUAL],
            tested,
        )


def _of_as_many(
    said: str, choosing: Groups, cases: Groups, families: tuple[str, str], seeds: int
) -> Claim | None:
    """Return whether what validation chooses from one family is lower than what it chooses from as many of the other.

    Of the larger family all subsets of that size are asked: choosing from more cases would be more effort. Only what all of
    them agree on is decided.
    """
    scores = [_choosing(choosing, family, seeds) for family in families]
    size = min(map(len, scores))
    chosen = [Counter(min(part, key=own.__getitem__) for part in combinations(own, size)) for own in scores]
    parts, verdicts = [], []
    ways = math.prod(sum(count.values()) for count in chosen)
    for new, n in chosen[0].items():
        for old, m in chosen[1].items():
            often = f" in {n * m} of {ways} ways to take {size} of each" if ways > 1 else ""
            if new not in cases or old not in cases:
                parts.append(f"{new}; {old}: not trained for so long{often}")
                verdicts.append("undecided")
                continue
            ratio = paired(cases[new], cases[old], tested)
            parts.append(f"{ratio} ({new}; {old}){often}")
            verdicts.append(ratio.lower)
    if all("not trained" in part for part in parts):
        return None
    verdict = verdicts[0] if len(set(verdicts)) == 1 else "undecided"
    return f"{said}, chosen from {size} of each", ", ".join(parts), verdict
