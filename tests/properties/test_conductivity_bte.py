"""The Boltzmann equation of phonons: force constants against their definition, phono3py, limits."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from forgefield.errors import CheckpointError, ConfigError, StructureError
from forgefield.properties import conductivity_bte, kept_arrays
from forgefield.properties.conductivity_bte import CONDUCTIVITY_BTE, BteSettings, Solution, anharmonic

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


def test_temperatures_are_above_zero(copper):
    for bad in (-300.0, 0.0, np.inf):
        with pytest.raises(ConfigError, match=r"temperatures.*> 0 K"):
            CONDUCTIVITY_BTE(copper, EMT(), temperatures=(300.0, bad))


def test_left_handed_cells_have_the_force_constants_of_right_handed_ones(copper):
    left = copper.copy()
    left.set_cell(copper.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) < 0
    found = [
        anharmonic(a, EMT(), BteSettings(supercell=(1, 1, 1), displacement=0.01))[0] for a in (left, copper)
    ]
    assert np.linalg.norm(found[0].fc3) == pytest.approx(np.linalg.norm(found[1].fc3), rel=0.02)


def test_meshes_without_scattering_are_refused():
    with pytest.raises(ConfigError, match="no others to scatter with"):
        CONDUCTIVITY_BTE(bulk("Cu", a=3.59), EMT(), meshes=(3,), solution="rta", **SMALL)


class KilledError(Exception):
    pass


def test_an_interrupted_run_goes_on_where_it_was(copper, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_arrays, "PAUSE", 0.0)
    options = {"supercell": (1, 1, 1), "meshes": (3, 5), "solution": "rta", "relax": True}
    solved: list[int] = []

    def solution(engine, mesh, settings):
        """As cheap as it can be, and of the forces."""
        solved.append(mesh)
        size = float(np.linalg.norm(engine.fc3)) * mesh * np.ones((len(settings.temperatures), 1, 1))
        return Solution(mesh, size * np.eye(3), None, 0.0, np.arange(3.0), size[0, 0] * np.arange(3.0))

    monkeypatch.setattr(conductivity_bte, "solve", solution)
    told: list[str] = []

    def run(folder, kill="", **more):
        def progress(_, text=""):
            told.append(text)
            if kill and kill in text:
                raise KilledError

        return CONDUCTIVITY_BTE(copper, EMT(), folder=folder, progress=progress, **options | more)

    whole = run(tmp_path / "whole")
    assert whole.conditions["long_range"] == "no correction for long-range Coulomb forces"
    displaced = [text for text in told if "displacement" in text]
    assert len(displaced) > 5
    with pytest.raises(KilledError):
        run(tmp_path / "broken", kill=displaced[4].split(",")[0])
    told.clear()
    with pytest.raises(KilledError):
        run(tmp_path / "broken", kill="mesh 5")
    assert sum("displacement" in text for text in told) == len(displaced) - 4
    told.clear()
    solved.clear()
    resumed = run(tmp_path / "broken")
    assert not any("displacement" in text for text in told)
    assert solved == [5]
    assert resumed.to_dict() == whole.to_dict()
    # Another structure, another potential and a damaged file are told apart; finer meshes are no reason to begin anew.
    with pytest.raises(KilledError):
        run(tmp_path / "broken", meshes=(7,), kill="mesh 7")
    assert not any("displacement" in text for text in told)
    with pytest.raises(CheckpointError, match="another structure or other settings"):
        run(tmp_path / "broken", displacement=0.04)
    kept = tmp_path / "broken" / "conductivity-bte.npz"
    with pytest.raises(CheckpointError, match="another potential"):
        CONDUCTIVITY_BTE(copper, Shifted(), folder=kept.parent, **options)
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        run(tmp_path / "broken")


class Shifted(EMT):
    """Another potential."""

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["energy"] = self.results["energy"] + 0.01
