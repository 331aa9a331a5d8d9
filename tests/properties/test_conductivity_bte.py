"""The Boltzmann equation of phonons: force constants against their definition, phono3py, limits."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from forgefield.errors import ConfigError, StructureError
from forgefield.properties.conductivity_bte import CONDUCTIVITY_BTE, BteSettings, anharmonic

pytest.importorskip("phono3py")

SMALL = {"supercell": (2, 2, 2), "pair_cutoff": 2.7, "displacement": 0.02, "relax": True}


@pytest.fixture(scope="module")
def copper():
    return bulk("Cu", "fcc", a=3.6, cubic=True)


def test_force_constants_are_third_derivatives(copper):
    settings = BteSettings(supercell=(1, 1, 1), displacement=0.01)
    engine, cells = anharmonic(copper, EMT(), settings)
    assert cells > 5
    h = 0.005

    def force(moves):
        atoms = copper.copy()
        for atom, axis, step in moves:
            atoms.positions[atom, axis] += step
        atoms.calc = EMT()
        return atoms.get_forces()[2, 1]

    first = int(engine.primitive.p2s_map[0])
    for axis, other in ((0, 1), (1, 1)):
        pairs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
        expected = -sum(s * t * force([(first, axis, s * h), (1, other, t * h)]) for s, t in pairs) / (
            4 * h * h
        )
        assert engine.fc3[0, 1, 2, axis, other, 1] == pytest.approx(expected, rel=0.05, abs=0.1)


def test_conductivity_of_copper_lattice(copper):
    result = CONDUCTIVITY_BTE(copper, EMT(), meshes=(3, 5), temperatures=(300.0, 600.0), **SMALL)
    hot, cold = result["conductivity 600 K"], result["conductivity"]
    assert 0 < hot < cold
    assert hot / cold == pytest.approx(0.5, abs=0.05)  # 1/T above the Debye temperature
    assert result["conductivity"] >= result["conductivity_rta"]
    tensor = result.tables["tensor"].values[0]
    assert tensor == pytest.approx(np.trace(tensor) / 3 * np.eye(3), abs=1e-6 * cold)
    assert result.curves["accumulated"].y[-1] == pytest.approx(cold, rel=1e-6)
    assert result.quantities["conductivity"].error == pytest.approx(abs(np.diff(result.curves["mesh"].y)[0]))


def test_unstable_crystals_are_refused():
    simple = bulk("Cu", "sc", a=2.4)
    with pytest.raises(StructureError, match="not stable"):
        CONDUCTIVITY_BTE(
            simple, EMT(), supercell=(2, 2, 2), pair_cutoff=2.5, meshes=(4,), solution="rta", relax=True
        )


def test_bad_input(copper):
    with pytest.raises(ConfigError, match="must rise"):
        CONDUCTIVITY_BTE(copper, EMT(), meshes=(9, 7))
    with pytest.raises(ConfigError, match="all must be >= 1"):
        CONDUCTIVITY_BTE(copper, EMT(), supercell=(0, 1, 1))
    with pytest.raises(ConfigError, match="allowed: 1500"):
        CONDUCTIVITY_BTE(copper, EMT(), supercell=(9, 9, 9), relax=True)
    with pytest.raises(StructureError, match="Unrelaxed"):
        CONDUCTIVITY_BTE(bulk("Cu", "fcc", a=3.9, cubic=True), EMT())
    with pytest.raises(StructureError, match="periodic"):
        CONDUCTIVITY_BTE(Atoms("Cu"), EMT())
