"""Melting and coexistence in LAMMPS: the same averages as by our integrator, journals that know their engine."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from forgefield.errors import CheckpointError
from forgefield.properties.coexistence import COEXISTENCE
from forgefield.properties.dynamics_lammps import LammpsForces
from forgefield.properties.journal import Journal
from forgefield.properties.md_engine import EACH, LONG, choose_engine
from forgefield.properties.melting import MELTING
from forgefield.properties.two_phases import CoexistenceSettings, TwoPhases
from forgefield.properties.walks import begin_walk

COLD = {
    "low": 100.0,
    "high": 300.0,
    "interval": 200.0,
    "timestep": 4.0,
    "steps": 1000,
    "equilibration": 500,
    "every": 10,
    "friction": 0.02,
    "rdf_cutoff": 5.0,
    "seed": 2,
}


def crystal(repetitions: tuple[int, int, int] = (3, 3, 3)) -> Atoms:
    return bulk("Cu", a=3.60) * repetitions


@pytest.fixture
def begun(copper, tmp_path):
    """A sweep through cold copper in LAMMPS, in a folder."""
    return MELTING(crystal(), copper, folder=tmp_path, engine="lammps", **COLD)


def test_a_cold_crystal_has_the_heat_of_its_vibrations_by_either_engine(copper, begun):
    own = MELTING(crystal(), copper, engine="own", **COLD)
    assert begun.conditions["engine"] == "lammps"
    assert own.conditions["engine"] == "own"
    for what in ("enthalpy", "volume"):
        for way in ("heating", "cooling"):
            ours, theirs = own.curves[f"{what}, {way}"], begun.curves[f"{what}, {way}"]
            errors = np.hypot(ours.error, theirs.error)
            assert np.all(np.abs(ours.y - theirs.y) < 5.0 * errors), (what, way)
    rise = np.diff(begun.curves["enthalpy, heating"].y)[0]
    assert rise == pytest.approx(3.0 * units.kB * 200.0, rel=0.06)  # Dulong and Petit, and some anharmonicity


def test_a_journal_goes_on_with_the_engine_that_began(copper, begun, tmp_path):
    path = tmp_path / "melting.journal.json"
    content = json.loads(path.read_text())
    assert content["engine"] == "lammps"
    gone = [key for key in content["stages"] if "cooling" in key]
    for key in gone[1:]:
        del content["stages"][key]
    path.write_text(json.dumps(content))  # interrupted while it cooled, at the end of the stage that is left
    with pytest.raises(
        CheckpointError, match=r"begun with engine=lammps, not own; set engine=lammps or auto"
    ):
        MELTING(crystal(), copper, folder=tmp_path, engine="own", **COLD)
    again = MELTING(crystal(), copper, folder=tmp_path, **COLD)  # by itself it would be too short for LAMMPS
    assert again.conditions["engine"] == "lammps"
    del content["engine"]  # as older ones are
    path.write_text(json.dumps(content))
    assert Journal(path, content["digest"]).engine == "own"


def test_many_short_runs_are_not_worth_the_starts_of_lammps(copper):
    one, atoms = copper.calculator(threads=1), crystal()

    def lammps(steps: int, runs: int) -> bool:
        return isinstance(choose_engine(one, atoms, steps, runs=runs), LammpsForces)

    assert lammps(2 * LONG, 2 * LONG // EACH)
    assert not lammps(2 * LONG, 2 * LONG // EACH + 1)
    assert isinstance(choose_engine(one, atoms, 1, begun="lammps"), LammpsForces)
    assert not isinstance(choose_engine(one, atoms, LONG, begun="own"), LammpsForces)


def test_crystal_and_melt_are_made_with_both_engines(copper):
    # LAMMPS brings the crystal to its volume, our integrator melts one half beside the other on springs, LAMMPS goes on.
    atoms = bulk("Cu", a=3.60, cubic=True) * (2, 2, 6)
    settings = CoexistenceSettings(
        temperature=700.0,
        timestep=4.0,
        friction=0.02,
        steps=400,
        equilibration=160,
        melt_temperature=5000.0,
        melt_steps=600,
    )
    walker = begin_walk(
        "slab",
        atoms,
        settings,
        Journal(None, ""),
        steps=1.0,
        ensemble="npt",
        temperature=700.0,
        pressure=0.0,
        barostat="isotropic",
    )
    slab = TwoPhases(atoms, LammpsForces(copper, atoms), walker, settings)
    slab.prepare()
    made = walker.current()
    profile = slab.order.profile(made.positions, made.cell.array)
    half = len(profile) // 2
    assert profile[:half].mean() > 1.15 * profile[half:].mean()
    found = COEXISTENCE(atoms, copper, engine="lammps", **settings.model_dump(exclude={"engine"}))
    assert found.conditions["engine"] == "lammps"
    assert len(found.curves["temperature"].y) == 20
