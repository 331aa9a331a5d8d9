"""What goes wrong is named, with the cure, and what was computed is kept."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from forgefield.errors import SimulationError, StructureError
from forgefield.properties.registry import find_property

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
    atoms.positions[3] = atoms.positions[0] + [0.2, 0.0, 0.0]
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
