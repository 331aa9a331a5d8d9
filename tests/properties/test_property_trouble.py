"""What goes wrong is named, with the cure, and what was computed is kept."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT

from forgefield.errors import ConfigError, PredictionError, SimulationError, StructureError
from forgefield.properties.registry import find_property
from forgefield.properties.start import Foreign

RUN = {
    "temperature": 300.0,
    "timestep": 2.0,
    "equilibration": 0.05,
    "length": 0.4,
    "interval": 4.0,
    "blocks": 2,
}


def overlapping():
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    atoms.positions[3] = atoms.positions[0] + [0.6, 0.0, 0.0]
    return atoms


@pytest.mark.parametrize("name", ["rdf", "msd"])
def test_an_explosion_while_equilibrating_keeps_the_structure(name, tmp_path):
    with pytest.raises(SimulationError, match=r"Fastest atoms: Cu [03], Cu [03].*equilibration\.broken\.xyz"):
        find_property(name)(overlapping(), EMT(), folder=tmp_path, **RUN)
    kept = ase.io.read(tmp_path / "equilibration.broken.xyz")
    assert kept.get_chemical_symbols() == ["Cu"] * 4
    assert (tmp_path / "equilibration.broken").exists()


def test_an_explosion_on_a_walk_names_the_stage_and_keeps_the_structure(tmp_path):
    settings = {"steps": 100, "equilibration": 20, "high": 400.0, "timestep": 4.0}
    with pytest.raises(
        SimulationError, match=r"melting, heating 300\.00 K \(equilibration\): .*melting\.broken\.xyz"
    ):
        find_property("melting")(overlapping(), EMT(), folder=tmp_path, **settings)
    assert len(ase.io.read(tmp_path / "melting.broken.xyz")) == 4


def test_a_resumed_simulation_says_what_an_uninterrupted_one_says(tmp_path):
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    settings = RUN | {"pressure": 0.0}

    class KilledError(Exception):
        pass

    def kill(done, _text=""):
        if (tmp_path / "broken" / "simulation.npz").exists() and done > 0.5:
            raise KilledError

    whole = find_property("rdf")(atoms, EMT(), folder=tmp_path / "whole", **settings)
    with pytest.raises(KilledError):
        find_property("rdf")(atoms, EMT(), folder=tmp_path / "broken", progress=kill, **settings)
    resumed = find_property("rdf")(atoms, EMT(), folder=tmp_path / "broken", **settings)
    assert resumed.to_dict() == whole.to_dict()
    assert whole.conditions["volume_A3"] == pytest.approx(
        abs(np.linalg.det(whole.conditions["cell_A"])), rel=1e-5
    )
    assert len(whole.conditions["pressure_found_GPa"]) == 6


@pytest.mark.parametrize("name", ["eos", "elastic", "phonons", "relax", "rdf", "free-energy"])
def test_positions_that_are_no_numbers_are_named(name):
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    atoms.positions[2, 1] = np.nan
    with pytest.raises(StructureError, match="not finite: Cu 2"):
        find_property(name)(atoms, EMT())
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    atoms.cell[0, 0] = np.inf
    with pytest.raises(StructureError, match="cell is not finite"):
        find_property(name)(atoms, EMT())


def test_a_crystal_off_its_sites_has_no_free_energy():
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True) * (2, 2, 1)
    atoms.rattle(0.2, seed=1)
    settings = {"points": 1, "steps": 40, "target_steps": 60, "equilibration": 20, "timestep": 4.0}
    with pytest.raises(StructureError, match=r"Unrelaxed structure: atom \d+ \(Cu\) is not on its site"):
        find_property("free-energy")(atoms, EMT(), temperature=200.0, **settings)


@pytest.mark.parametrize(
    ("name", "purpose"), [("elastic", "a tensor of elastic constants"), ("vacancy", "a point defect")]
)
def test_a_cell_that_is_open_is_named_with_what_needs_it(name, purpose):
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    atoms.pbc = [True, True, False]
    with pytest.raises(StructureError, match=f"{purpose} needs a cell periodic in three directions"):
        find_property(name)(atoms, EMT())


def test_imaginary_modes_stop_the_boltzmann_equation_on_the_first_mesh():
    atoms = bulk("Cu", "bcc", a=2.86, cubic=True)
    told = []
    with pytest.raises(StructureError, match=r"imaginary mode of .*i THz on the mesh 2 .*harmonic_supercell"):
        find_property("conductivity-bte")(
            atoms,
            EMT(),
            relax=True,
            meshes=(2, 9),
            solution="rta",
            progress=lambda _, text="": told.append(text),
        )
    assert told
    assert not any("mesh 9" in text for text in told)


def test_atoms_on_top_of_each_other_are_named():
    atoms = bulk("Cu", "fcc", a=3.59, cubic=True)
    atoms.positions[3] = atoms.positions[0] + [0.1, 0.0, 0.0]
    with pytest.raises(StructureError, match=r"atoms overlap: Cu 0 and Cu 3 .* are 0\.1 Å apart"):
        find_property("eos")(atoms, EMT())
    small = bulk("Cu", "fcc", a=3.59)
    small.cell[2] *= 0.1  # the conventional positions in another cell
    with pytest.raises(StructureError, match=r"an image of Cu 0 of the cell with lengths"):
        find_property("rdf")(small, EMT())


class Silent(EMT):
    """A calculator without stress."""

    implemented_properties = ("energy", "forces")

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name == "stress":
            raise PropertyNotImplementedError("stress not implemented")
        return super().get_property(name, atoms, allow_calculation)


class Broken(EMT):
    """A calculator whose forces are not numbers."""

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["forces"] = np.full((4, 3), np.nan)


def test_what_a_foreign_calculator_cannot_do_is_one_message():
    copper = bulk("Cu", "fcc", a=3.59, cubic=True)
    with pytest.raises(PredictionError, match=r"EMT cannot compute .* No EMT-potential for Si"):
        find_property("eos")(bulk("Si"), EMT())
    with pytest.raises(PredictionError, match="Broken gives energy"):
        find_property("dimer")(copper, Broken())
    with pytest.raises(ConfigError, match=r"Silent does not offer what is needed here .*stress"):
        find_property("elastic")(copper, Silent())


def test_exceptions_of_our_own_are_not_renamed():
    with pytest.raises(ZeroDivisionError), Foreign(EMT()):
        _ = 1 / 0
    with pytest.raises(PredictionError, match="boom"), Foreign(EMT()):
        raise Exception("boom")  # noqa: TRY002 - as LAMMPS does
