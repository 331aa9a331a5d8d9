"""Whether the ranking of loss weightings outlives a longer training: the control of the loss-weighting study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import Section, table
from forgefield.studies.styles import N_STYLES
from forgefield.studies.summary import Groups, error_table, grouped, paired, score, score_of, text

__all__ = ["Lengths", "by_length", "longer_section", "ranking_claim"]

Lengths = dict[int, Groups]
"""Results of each case, by epochs, ascending."""
TOLD = (
    "Each length is a training of its own, whose learning rate falls to the same last value. What was chosen above, with "
    "the weights it had there, is not chosen again."
)


def by_length(epochs: int, short: Groups, longer: Sequence[CellResult]) -> Lengths:
    """Return the results of the cases that were also trained for longer; empty if none was.

    Parameters
    ----------
    epochs : int
        Of `short`.
    short : dict of str to list of CellResult
    longer : sequence of CellResult
        Their parameter ``of`` names the case.
    """
    groups: dict[int, list[CellResult]] = {}
    for result in longer:
        groups.setdefault(int(result.cell.parameters["config"]["training"]["epochs"]), []).append(result)
    found = {length: grouped(own, "of") for length, own in groups.items()}
    known = set().union(*found.values()) if found else set()
    first = {name: results for name, results in short.items() if name in known}
    return dict(sorted({**found, epochs: first}.items())) if first else {}


def ranking_claim(lengths: Lengths) -> tuple[tuple[str, str, str], ...]:
    """Return whether the pairs that differ after the shortest training differ the same way after the longest one.

    It disagrees if one of them is decided the other way, and agrees if all are still decided.
    """
    if len(lengths) < 2:
        return ()
    (first, short), (last, long) = next(iter(lengths.items())), list(lengths.items())[-1]
    kept = turned = decided = 0
    for a, b in combinations([name for name in short if name in long], 2):
        before, after = (paired(own[a], own[b], _test_score).lower for own in (short, long))
        if before != "undecided":
            decided += 1
            kept += after == before
            turned += after not in (before, "undecided")
    if not decided:
        return ()
    said = (
        f"of {decided} pairs decided after {first} epochs {kept} are still, {turned} the other way, "
        f"{decided - kept - turned} undecided"
    )
    verdict = "disagrees" if turned else "agrees" if kept == decided else "undecided"
    return ((f"the ranking holds after {last} epochs", said, verdict),)


def longer_section(lengths: Lengths, rival: str | None) -> Section:
    """Return the section.

    Parameters
    ----------
    lengths : dict of int to groups
    rival : str or None
        The case all are compared with, at the same length.
    """
    names = list(dict.fromkeys(name for groups in lengths.values() for name in groups))
    shown = names[:N_STYLES]
    left_out = f" Without {', '.join(names[N_STYLES:])}." if len(names) > N_STYLES else ""
    chart = Chart(
        "Longer training",
        tuple(_series(name, lengths) for name in shown),
        "epochs",
        "test score",
        f"Lower is better.{left_out}",
        x_log=True,
        y_log=True,
    )
    last, errors = list(lengths.items())[-1]
    tables = (_scores(names, lengths, rival), error_table(errors, f"RMSE after {last} epochs"))
    return Section("Longer training", (TOLD,), charts=(chart,), tables=tables)


def _series(name: str, lengths: Mapping[int, Groups]) -> Series:
    own = {length: score(groups[name], "test") for length, groups in lengths.items() if name in groups}
    mean, spread = zip(*own.values(), strict=True)
    labels = [f"{name}, {n} epochs, mean of {len(lengths[n][name])} seed(s)" for n in own]
    return Series(name, list(own), mean, spread, labels)


def _scores(names: Sequence[str], lengths: Lengths, rival: str | None) -> TableView:
    """Return test scores by length, against the rival at that length, and the gain of the longest training."""
    first, last = next(iter(lengths)), list(lengths)[-1]
    rows = []
    for name in names:
        row = [name]
        for groups in lengths.values():
            own, other = groups.get(name, []), groups.get(rival or "", [])
            row.append(text(score(own, "test")) if own else "-")
            row.append(
                "" if name == rival else str(paired(own, other, _test_score)) if own and other else "-"
            )
        late, early = (lengths[length].get(name, []) for length in (last, first))
        rows.append([*row, str(paired(late, early, _test_score)) if late and early else "-"])
    heads = ["case"]
    for length in lengths:
        heads += [f"{length} epochs", f"against {rival or 'fixed'}"]
    return table("Test score by length of training", [*heads, f"{last} against {first} epochs"], rows)


def _test_score(result: CellResult) -> float:
    return score_of(result, "test")
