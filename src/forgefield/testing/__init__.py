"""Checks that hold for every potential, whatever its descriptor and model.

``check_potential(potential)`` runs all of them; in pytest::

    @pytest.mark.parametrize("name", forgefield.testing.CHECKS)
    def test_physics(name, potential):
        forgefield.testing.CHECKS[name](potential)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from ase import Atoms

from forgefield.errors import ConformanceError
from forgefield.models.potential import Potential
from forgefield.models.self_test import self_test_structures
from forgefield.testing import computation, physics
from forgefield.testing.results import Check, CheckResult, Measurement, as_check

__all__ = ["CHECKS", "CheckResult", "ConformanceError", "Measurement", "check_potential"]


def _prepare(potential: Potential, structures: Sequence[Atoms] | None) -> tuple[Potential, Sequence[Atoms]]:
    """Return the potential in float64 and structures: the self-test's unless given."""
    double = (
        potential if potential.dtype == torch.float64 else copy.deepcopy(potential).to_dtype(torch.float64)
    )
    return double, list(structures) if structures is not None else self_test_structures(potential)


CHECKS: dict[str, Check] = {
    measure.__name__: as_check(measure.__name__, measure, _prepare)  # type: ignore[arg-type]
    for measure in (
        physics.forces,
        physics.stress,
        physics.rotation,
        physics.reflection,
        physics.translation,
        physics.permutation,
        physics.periodic_images,
        physics.batches,
        physics.isolated_atom,
        physics.cutoff,
        physics.virials,
        physics.heat_flux,
        computation.backends,
        computation.derivatives,
        computation.single_precision,
        computation.file_round_trip,
    )
}
"""Every check by name: ``(potential, structures=None) -> CheckResult``; raises `ConformanceError` where it fails.

All run in float64 (a float32 potential is converted in a copy), on the structures given or on the three of the
potential's self-test: two triclinic crystals and a slab with all its elements.
"""


def check_potential(potential: Potential, structures: Sequence[Atoms] | None = None) -> list[CheckResult]:
    """Run every check.

    Parameters
    ----------
    potential : Potential
    structures : sequence of ase.Atoms, optional
        Default: the structures of the self-test.

    Raises
    ------
    ConformanceError
        One line for everything that is off, after all checks have run.
    """
    results, problems = [], []
    for check in CHECKS.values():
        try:
            results.append(check(potential, structures))
        except ConformanceError as error:
            problems.append(str(error))
    if problems:
        raise ConformanceError("\n".join(problems))
    return results
