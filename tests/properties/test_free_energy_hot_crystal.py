"""The correction for finite size of crystals that only motion holds on their sites."""

from __future__ import annotations

import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from forgefield.properties.dynamics_forces import CalculatorForces
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_phases import _finite_size
from forgefield.properties.free_energy_settings import FreeEnergySettings


def test_correction_of_an_unstable_crystal_is_that_of_the_nearest_stable_one() -> None:
    def correction(edge: float) -> tuple[Measured | None, tuple[str, ...]]:
        atoms = bulk("Ar", a=edge, cubic=True).repeat(2)
        calculator = LennardJones(sigma=3.4, epsilon=0.0104, rc=5.2, smooth=True)
        return _finite_size(
            atoms,
            CalculatorForces(calculator, atoms),
            FreeEnergySettings(temperature=80.0),
            atoms.get_volume() / 32,
        )

    stable, nothing = correction(5.8)
    assert stable.value > 0
    assert stable.error == 0.0
    assert nothing == ()
    found, (warning,) = correction(6.0)
    assert "% shorter" in warning
    assert found.value == pytest.approx(stable.value, rel=0.5)
    none, (warning,) = correction(7.5)
    assert none is None
    assert warning.startswith("no correction")
