"""What every property gives: numbers with units and standard errors, curves, and a record of what was done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from forgefield.config import Schema
from forgefield.errors import DataError
from forgefield.files import make_folder, write_bytes, write_json
from forgefield.properties.start import Foreign, require_apart, require_finite, try_calculator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Compute",
    "Curve",
    "Progress",
    "Property",
    "PropertyResult",
    "Quantity",
    "Table",
    "floats",
    "silent",
]

FloatArray = NDArray[np.float64]
Settings_contra = TypeVar("Settings_contra", bound=Schema, contravariant=True)
SettingsType = TypeVar("SettingsType", bound=Schema)

FORMAT = 1
"""Version of the JSON layout."""


@dataclass(frozen=True)
class Quantity:
    """One number.

    Attributes
    ----------
    value : float
    unit : str
        ``""`` where there is none.
    error : float, optional
        One standard error, in the same unit; None where there is no statistical or fit error.
    note : str
        What a reader should know beside the name.
    """

    value: float
    unit: str
    error: float | None = None
    note: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (_with_error(self.value, self.error), self.unit)))


@dataclass(frozen=True)
class Curve:
    """One line or one set of points of a picture.

    Attributes
    ----------
    x, y : (n,)
    x_label, y_label : str
        With the unit, e.g. ``"volume [Å^3/atom]"``; curves of equal labels share a panel.
    error : (n,), optional
        Standard errors of `y`.
    points : bool
        Draw points instead of a line.
    """

    x: FloatArray
    y: FloatArray
    x_label: str
    y_label: str
    error: FloatArray | None = None
    points: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers with more than one index, such as a matrix of elastic constants.

    Attributes
    ----------
    values : array
    unit : str
    axes : tuple of str
        What each index counts.
    """

    values: FloatArray
    unit: str
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PropertyResult:
    """A property of a structure, as a potential gives it.

    Attributes
    ----------
    name : str
        Of the property, as in the registry.
    quantities : mapping of Quantity
    conditions : mapping
        What was done: relaxed or clamped ions, cell, ensemble, length, seed, settings. Plain values.
    curves : mapping of Curve
    tables : mapping of Table
    warnings : tuple of str
        What makes the numbers doubtful; empty if nothing does.
    draw : callable, optional
        ``draw(figure)`` for pictures that curves do not describe; not saved in the JSON.
    """

    name: str
    quantities: Mapping[str, Quantity]
    conditions: Mapping[str, Any]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    draw: Callable[[Figure], None] | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, name: str) -> float:
        """Return the value of a quantity."""
        return self.quantities[name].value

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists."""
        return {
            "format": FORMAT,
            "property": self.name,
            "quantities": {
                k: {"value": q.value, "error": q.error, "unit": q.unit, "note": q.note}
                for k, q in self.quantities.items()
            },
            "conditions": dict(self.conditions),
            "warnings": list(self.warnings),
            "curves": {
                k: {
                    "x": c.x.tolist(),
                    "y": c.y.tolist(),
                    "error": None if c.error is None else c.error.tolist(),
                    "x_label": c.x_label,
                    "y_label": c.y_label,
                    "points": c.points,
                }
                for k, c in self.curves.items()
            },
            "tables": {
                k: {"values": t.values.tolist(), "unit": t.unit, "axes": list(t.axes)}
                for k, t in self.tables.items()
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PropertyResult:
        """Read what `to_dict` gave.

        Raises
        ------
        DataError
            Not a result of this format.
        """
        if content.get("format") != FORMAT or "property" not in content:
            raise DataError(f"not the result of a property in format {FORMAT}: keys {sorted(content)[:8]}")

        def array(values: Any) -> FloatArray:
            return np.asarray(values, dtype=np.float64)

        curves = {
            k: Curve(
                array(c["x"]),
                array(c["y"]),
                c["x_label"],
                c["y_label"],
                None if c["error"] is None else array(c["error"]),
                c["points"],
            )
            for k, c in content["curves"].items()
        }
        return cls(
            name=content["property"],
            quantities={k: Quantity(**q) for k, q in content["quantities"].items()},
            conditions=content["conditions"],
            curves=curves,
            tables={
                k: Table(array(t["values"]), t["unit"], tuple(t["axes"]))
                for k, t in content["tables"].items()
            },
            warnings=tuple(content["warnings"]),
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``NAME.json`` and the picture ``NAME.png``; return their paths."""
        folder = make_folder(folder)
        written = [write_json(folder / f"{self.name}.json", self.to_dict())]
        if self.draw is not None or self.curves or self.quantities:
            from forgefield.properties.picture import picture

            written.append(write_bytes(folder / f"{self.name}.png", picture(self)))
        return written


class Progress(Protocol):
    """Told how far a computation has come."""

    def __call__(self, done: float, text: str = "") -> None:
        """Take the part done, 0 to 1, and what is being done."""


def silent(done: float, text: str = "") -> None:
    """Take progress and say nothing."""


class Compute(Protocol[Settings_contra]):
    """The function behind a property."""

    def __call__(
        self,
        atoms: Atoms,
        calculator: Any,
        settings: Settings_contra,
        *,
        folder: Path | None = None,
        progress: Progress = silent,
    ) -> PropertyResult:
        """Compute.

        Parameters
        ----------
        atoms : ase.Atoms
            Not changed.
        calculator : ASE calculator
            Of a Forgefield potential or any other.
        settings : Schema
        folder : Path, optional
            Where trajectories and checkpoints go; None: nothing is written.
        progress : callable
        """


@dataclass(frozen=True)
class Property(Generic[SettingsType]):
    """One entry of the registry.

    Attributes
    ----------
    name : str
        As on the command line.
    summary : str
        One line.
    settings : subclass of Schema
    compute : callable
        See `Compute`.
    """

    name: str
    summary: str
    settings: type[SettingsType]
    compute: Compute[SettingsType]

    def __call__(
        self,
        atoms: Atoms,
        calculator: Any = None,
        *,
        folder: str | Path | None = None,
        progress: Progress = silent,
        **settings: Any,
    ) -> PropertyResult:
        """Check the settings, compute, and save into `folder` if there is one.

        Raises
        ------
        ForgefieldError
            Of the property.
        """
        from forgefield.errors import ConfigError

        calculator = atoms.calc if calculator is None else calculator
        if calculator is None:
            raise ConfigError("no calculator: give `calculator`, or attach one with atoms.calc = ...")
        parsed = self.settings.parse(settings, where=self.name)
        require_finite(atoms)
        if getattr(parsed, "trajectory", None) is None:  # which is analysed without computing anything
            require_apart(atoms)
            if hasattr(calculator, "get_property") and getattr(calculator, "name", None) != "forgefield":
                try_calculator(atoms, calculator)
        place = None if folder is None else make_folder(folder)
        with Foreign(calculator):
            result = self.compute(atoms, calculator, parsed, folder=place, progress=progress)
        if place is not None:
            result.save(place)
        return result


def _with_error(value: float, error: float | None) -> str:
    """Return two digits of the error and the value to the same place, as a power of ten where both are small."""
    if error is None or not math.isfinite(error) or not math.isfinite(value):
        return f"{value:.6g}"
    if error <= 0:
        return f"{value:.6g} ± 0"
    power = math.floor(math.log10(max(abs(value), error)))
    if power >= -4:
        place = min(max(1 - math.floor(math.log10(error)), 0), 6)
        small = float(f"{error:.{place}f}") == 0.0
        return f"{value:.{place}f} ± {error:.1g}" if small else f"{value:.{place}f} ± {error:.{place}f}"
    scale = 10.0**-power
    place = min(max(1 - math.floor(math.log10(error * scale)), 0), 6)
    return f"({value * scale:.{place}f} ± {error * scale:.{place}f})e{power:+03d}"


def floats(values: ArrayLike | Sequence[float]) -> FloatArray:
    """Return a float64 array."""
    return np.asarray(values, dtype=np.float64)
