"""Names under which extended XYZ files and ASE databases keep their labels and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from forgefield.data.frames import RawFrame, Where, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.stress import ASE, CONVENTIONS
from forgefield.errors import DataError, did_you_mean

__all__ = ["ENERGY_KEYS", "FORCES_KEYS", "STRESS_KEYS", "VIRIAL_KEYS", "assign_labels", "assign_weights"]

ENERGY_KEYS = ("ref_energy", "dft_energy", "energy", "free_energy")
FORCES_KEYS = ("ref_forces", "ref_force", "dft_forces", "dft_force", "forces", "force")
STRESS_KEYS = ("ref_stress", "dft_stress", "stress")
VIRIAL_KEYS = ("ref_virial", "ref_virials", "dft_virial", "dft_virials", "virial", "virials")

_WEIGHTS = {
    "weight": ("weight", "config_weight"),
    "energy_weight": ("energy_weight", "config_energy_weight"),
    "forces_weight": ("forces_weight", "force_weight", "config_forces_weight", "config_force_weight"),
    "stress_weight": (
        "stress_weight",
        "config_stress_weight",
        "virial_weight",
        "config_virial_weight",
        "virials_weight",
        "config_virials_weight",
    ),
}


def _take(
    values: dict[str, Any], names: tuple[str, ...], custom: str | None, where: Where
) -> tuple[str, Any]:
    """Remove every key that is one of `names`, return the first in the order of `names`."""
    if custom is not None:
        if custom not in values:
            raise DataError(f"{where}: no label {custom!r}; {did_you_mean(custom, values)}")
        return custom, values.pop(custom)
    found = {key.lower(): key for key in values if key.lower() in names}
    taken = [(found[name], values.pop(found[name])) for name in names if name in found]
    return taken[0] if taken else ("", None)


def assign_labels(
    raw: RawFrame,
    values: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    options: ReadOptions,
    where: Where,
    as_floats: Callable[[str], Any],
) -> None:
    """Move the labels out of the values and columns of a frame into its fields.

    Parameters
    ----------
    raw : RawFrame
        Receives energy, forces, stress.
    values, arrays : dict
        Values of the comment line and per-atom columns; the labels are removed.
    options : ReadOptions
        Unusual names.
    where : Where
        For messages.
    as_floats : callable
        Splits a text value into numbers.
    """

    def numbers(value: Any, what: str) -> Any:
        return number_array(as_floats(value) if isinstance(value, str) else value, what, where)

    free = next((values[key] for key in values if key.lower() == "free_energy"), None)
    key, energy = _take(values, ENERGY_KEYS, options.energy_key, where)
    if energy is not None:
        raw.energy = _single(numbers(energy, f"`{key}`"), key, where)
        if free is not None and key.lower() != "free_energy":
            other = _single(numbers(free, "`free_energy`"), "free_energy", where)
            if abs(other - raw.energy) > 1e-8 * max(1.0, abs(other)):
                raw.notes.append(
                    f"`{key}` was taken; the file also has free_energy, which is what forces derive from "
                    "(energy_key=free_energy takes that)"
                )
    _, forces = _take(arrays, FORCES_KEYS, options.forces_key, where)
    if forces is not None:
        raw.forces = number_array(forces, "forces", where, (len(raw.numbers), 3))
    stress_key, stress = _take(values, STRESS_KEYS, options.stress_key, where)
    virial_key, virial = _take(values, VIRIAL_KEYS, options.virial_key, where)
    if virial is not None:
        raw.stress, raw.convention = numbers(virial, f"`{virial_key}`"), CONVENTIONS["virial"]
        if stress is not None:
            raw.alternative = (_tensor(numbers(stress, f"`{stress_key}`"), where), ASE)
    elif stress is not None:
        raw.stress, raw.convention = numbers(stress, f"`{stress_key}`"), ASE


def _tensor(values: Any, where: Where) -> Any:
    if values.size not in (6, 9):
        raise DataError(f"{where}: a stress has 6 or 9 components, got {values.size}")
    return values


def _single(values: Any, key: str, where: Where) -> float:
    if values.size != 1:
        raise DataError(f"{where}: `{key}` must be one number, got {values.size}")
    return float(values.ravel()[0])


def assign_weights(info: dict[str, Any], where: Where) -> None:
    """Rename the weights of a frame to the package's names.

    Raises
    ------
    DataError
        A weight that is given is not a number.
    """
    lower = {key.lower(): key for key in info}
    for target, names in _WEIGHTS.items():
        for name in names:
            if name in lower:
                value = info.pop(lower[name])
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise DataError(f"{where}: `{lower[name]}` must be a number >= 0, got {value!r}")
                info.setdefault(target, value)
