"""What is wrong with a potential that training has left: said in words, where it predicts no better than nothing."""

from __future__ import annotations

from collections.abc import Mapping

from forgefield.training.accumulate import UNITS

__all__ = ["shortcomings"]

NOTHING = 0.99
"""Share of the root mean square of the labels from which errors are those of a potential that knows nothing."""

NAMES = {"energy": "meV/atom", "forces": "meV/Å", "stress": "GPa"}


def shortcomings(
    kept_epoch: int | None, errors: Mapping[str, float], labels: Mapping[str, float], where: str, start: float
) -> str:
    """Return a warning about a potential that has not learned, nothing about one that has.

    Parameters
    ----------
    kept_epoch : int or None
        Epoch whose potential is kept; 0: the one before training; None: unknown.
    errors, labels : mapping of property to float
        Root mean squares of the errors of that potential and of the labels, energies about their mean: eV/atom, eV/Å,
        eV/Å^3.
    where : str
        The set they are of.
    start : float
        Highest learning rate.
    """
    useless = [k for k, x in errors.items() if not x < NOTHING * labels[k]]
    if kept_epoch != 0 and not useless:
        return ""
    if kept_epoch == 0:
        said = "in all epochs errors were far above those of the potential before training, which is kept"
    else:
        said = f"the potential that is kept, of epoch {kept_epoch}, predicts {' and '.join(useless)} no better than a constant"
    numbers = ", ".join(
        f"{k} {x * UNITS[k]:.3g} {NAMES[k]} ({labels[k] * UNITS[k]:.3g})" for k, x in errors.items()
    )
    return (
        f"training has not learned the data: {said}. RMSE on the {where} structures, with the root mean square of their labels: "
        f"{numbers}. Train longer, lower training.schedule.start (now {start:g}), or look for structures with extreme labels in "
        "the data audit"
    )
