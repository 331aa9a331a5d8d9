"""What a check returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ase import Atoms

from forgefield.errors import ConformanceError
from forgefield.models.potential import Potential

__all__ = ["Check", "CheckResult", "Measurement", "Measurements", "as_check"]


@dataclass(frozen=True)
class Measurement:
    """One number of a check: what was compared, how far it is off, what is allowed."""

    what: str
    deviation: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the deviation is allowed."""
        return self.deviation <= self.tolerance


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes
    ----------
    name : str
    measurements : tuple of Measurement
    """

    name: str
    measurements: tuple[Measurement, ...]

    @property
    def passed(self) -> bool:
        """Whether something was measured and all of it is allowed."""
        return bool(self.measurements) and all(m.passed for m in self.measurements)

    @property
    def failures(self) -> list[str]:
        """One line for each measurement that is not allowed."""
        if not self.measurements:
            return [f"{self.name}: nothing could be measured with these structures"]
        return [
            f"{self.name}: {m.what} is off by {m.deviation:.1e} (allowed: {m.tolerance:.0e})"
            for m in self.measurements
            if not m.passed
        ]


Measurements = Iterator[Measurement]
Check = Callable[..., CheckResult]


def as_check(
    name: str,
    measure: Callable[[Potential, Sequence[Atoms]], Iterable[Measurement]],
    prepare: Callable[[Potential, Sequence[Atoms] | None], tuple[Potential, Sequence[Atoms]]],
) -> Check:
    """Return the check ``(potential, structures=None) -> CheckResult``, which raises where it fails."""

    def check(potential: Potential, structures: Sequence[Atoms] | None = None) -> CheckResult:
        result = CheckResult(name, tuple(measure(*prepare(potential, structures))))
        if not result.passed:
            raise ConformanceError("\n".join(result.failures))
        return result

    check.__name__ = name
    check.__doc__ = measure.__doc__
    return check
