"""What the errors say in words: the verdict, the headline cards and the points to check."""

from __future__ import annotations

from dataclasses import dataclass

from forgefield.evaluation.metrics import MetricsEntry, MetricsTable, format_error, format_r2
from forgefield.evaluation.residuals import QUANTITIES
from forgefield.keys import PROPERTIES

__all__ = ["Card", "Check", "cards", "checks", "verdict"]

OVERFITTING = 1.5
"""Held-out RMSE over training RMSE from which the difference is pointed out."""

WEAK_GROUP = 3.0
"""RMSE of a group over the RMSE of its split from which the group is pointed out."""

LARGE_BIAS = 0.5
"""Size of the mean error over the RMSE from which a constant offset is pointed out."""

SMALL_SET = 10
"""Held-out structures below which the errors are called uncertain."""

_WHERE = {
    "test": "test structures, never seen in training",
    "valid": "validation structures, used to choose the potential but not to fit it",
    "train": "training structures (no held-out structures, so this says nothing about new ones)",
    "all": "structures",
}


@dataclass(frozen=True)
class Card:
    """One headline number.

    Parameters
    ----------
    key, title, unit : str
        Property, heading and unit of the errors.
    rmse : str
        The number; empty without labels.
    lines : tuple of (name, value)
        Below it.
    """

    key: str
    title: str
    unit: str
    rmse: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Check:
    """Something a reader should look at.

    Parameters
    ----------
    severity : str
        ``error``, ``warning`` or ``info``.
    code : str
        Short name.
    message : str
        What was seen.
    names : tuple of str
        Structures or groups concerned.
    """

    severity: str
    code: str
    message: str
    names: tuple[str, ...] = ()


def verdict(metrics: MetricsTable) -> str:
    """Return the headline errors in one or two sentences."""
    split, entry = metrics.headline()
    parts = [
        f"{QUANTITIES[key].noun} {format_error(rmse)}\u00a0{_unbroken(QUANTITIES[key].error_unit)}"
        for key in PROPERTIES
        if (rmse := entry.of(key).rmse) is not None
    ]
    text = f"RMSE on {entry.n_structures:,} {_WHERE.get(split, split)}: {', '.join(parts)}."
    forces = entry.forces
    if forces.rmse is not None and forces.reference_rms:
        text += f" The force error is {100 * forces.rmse / forces.reference_rms:.2g} % of the rms force."
    return text


def _unbroken(unit: str) -> str:
    """Return a unit that is not split between lines at its slash."""
    return unit.replace("/", "/\u2060")


def cards(metrics: MetricsTable) -> list[Card]:
    """Return one card for each property of the headline split."""
    split, entry = metrics.headline()
    train = metrics.splits.get("train") if split != "train" else None
    result = []
    for key in PROPERTIES:
        item, quantity = entry.of(key), QUANTITIES[key]
        if item.rmse is None or item.mae is None or item.max is None:
            result.append(Card(key, quantity.title, quantity.error_unit, "", ()))
            continue
        lines = [("MAE", format_error(item.mae)), ("Largest", format_error(item.max))]
        lines.append(("R²", format_r2(item.r2)))
        if train is not None and (rmse := train.of(key).rmse) is not None:
            lines.append(("Train RMSE", format_error(rmse)))
        result.append(Card(key, quantity.title, quantity.error_unit, format_error(item.rmse), tuple(lines)))
    return result


def checks(metrics: MetricsTable) -> list[Check]:
    """Return what the errors themselves give reason to look at."""
    split, entry = metrics.headline()
    found = _held_out(metrics, split, entry)
    for key in PROPERTIES:
        item, quantity = entry.of(key), QUANTITIES[key]
        if item.rmse is None or item.bias is None:
            continue
        if item.n_missing:
            found.append(
                Check(
                    "info",
                    f"missing-{key}",
                    f"{item.n_missing} of {entry.n_structures} structures ({split}) have no {quantity.noun} label; they are"
                    f" left out of its errors.",
                )
            )
        if key != "forces" and item.n_values >= SMALL_SET and abs(item.bias) > LARGE_BIAS * item.rmse:
            found.append(
                Check(
                    "warning",
                    f"offset-{key}",
                    f"The {quantity.noun} errors share an offset: their mean is {format_error(item.bias)} {quantity.error_unit},"
                    f" their RMSE {format_error(item.rmse)} ({split}).",
                )
            )
        found += _weak_groups(metrics, split, key)
    return found


def _held_out(metrics: MetricsTable, split: str, entry: MetricsEntry) -> list[Check]:
    found = []
    if split not in ("test", "valid"):
        message = (
            "There are no held-out structures with labels: these errors do not tell how new structures fare."
        )
        found.append(Check("warning", "no-test-set", message))
    elif entry.n_structures < SMALL_SET:
        message = f"Only {entry.n_structures} {split} structures: their errors are uncertain."
        found.append(Check("warning", "small-test-set", message))
    train = metrics.splits.get("train")
    if train is None or split == "train":
        return found
    for key in PROPERTIES:
        held, fitted = entry.of(key).rmse, train.of(key).rmse
        if held is not None and fitted and held > OVERFITTING * fitted:
            found.append(
                Check(
                    "warning",
                    f"gap-{key}",
                    f"The {QUANTITIES[key].noun} RMSE is {held / fitted:.2g} times as large on {split} as in training"
                    f" ({format_error(held)} against {format_error(fitted)} {QUANTITIES[key].error_unit}): the"
                    " potential overfits, or the two sets differ.",
                )
            )
    return found


def _weak_groups(metrics: MetricsTable, split: str, key: str) -> list[Check]:
    overall = (metrics.total if split == "all" else metrics.splits[split]).of(key).rmse
    groups = metrics.groups if split == "all" else metrics.split_groups[split]
    if not overall:
        return []
    weak = {
        name: rmse
        for name, item in groups.items()
        if (rmse := item.of(key).rmse) and rmse > WEAK_GROUP * overall
    }
    if not weak:
        return []
    listed = ", ".join(
        f"{name} ({format_error(rmse)})" for name, rmse in sorted(weak.items(), key=lambda i: -i[1])
    )
    return [
        Check(
            "warning",
            f"weak-group-{key}",
            f"Groups with a {QUANTITIES[key].noun} RMSE more than {WEAK_GROUP:g} times that of all {split} structures"
            f" ({format_error(overall)} {QUANTITIES[key].error_unit}): {listed}.",
        )
    ]
