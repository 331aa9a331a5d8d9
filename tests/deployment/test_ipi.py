"""i-PI with a potential: the trajectory ASE gives, path integrals, and a driver at the other end of a socket."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.io import write
from ase.md.verlet import VelocityVerlet

from forgefield.descriptors import NEP
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential

pytest.importorskip("ipi", reason="needs pip install ipi")

from ipi.scripting import InteractiveSimulation, simulation_xml
from ipi.utils.units import unit_to_user

from forgefield.deployment import ipi as driver

STEP = 0.5
NVE = f"<motion mode='dynamics'><fixcom> False </fixcom><dynamics mode='nve'><timestep units='femtosecond'> {STEP} </timestep></dynamics></motion>"


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(3)
    d = NEP(["Si"], n_max_radial=3, n_max_angular=2, basis_size_radial=5, basis_size_angular=4, l_max=2)
    model = Network(d.n_features, 1, NetworkSettings(hidden=(8,)))
    return Potential(d, model, {14: -3.0}).to_dtype(torch.float64)


@pytest.fixture
def start(potential, tmp_path, monkeypatch):
    """A structure with velocities, its file and that of the potential in the working folder."""
    monkeypatch.chdir(tmp_path)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_velocities(0.03 * np.random.default_rng(0).normal(size=(8, 3)))
    write("start.xyz", atoms)
    potential.save("potential.ff")
    return atoms


def inside(batch=""):
    return (
        f"<ffdirect name='ff'><pes> custom </pes><pes_path> {driver.__file__} </pes_path>{batch}"
        "<parameters> {template: start.xyz, potential: potential.ff, threads: 1} </parameters></ffdirect>"
    )


def simulation(atoms, **settings):
    return InteractiveSimulation(
        simulation_xml(atoms, inside(), output="<output prefix='out'></output>", **settings)
    )


def test_follows_ase(start, potential):
    atoms = start.copy()
    sim = simulation(atoms, motion=NVE)
    sim.set_structures(atoms)
    sim.run(20, write_outputs=False)
    moved = sim.get_structures()
    atoms.calc = potential.calculator(threads=1)
    VelocityVerlet(atoms, STEP * units.fs).run(20)
    # i-PI and ASE have constants of different years.
    assert np.allclose(moved.positions, atoms.positions, rtol=0, atol=1e-5)
    assert np.abs(moved.positions - start.positions).max() > 0.03
    assert moved.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert np.allclose(moved.get_forces(), atoms.get_forces(), rtol=0, atol=1e-4)


def test_virial(start, potential):
    sim = simulation(start, motion=NVE)
    virial = np.asarray(sim.syslist[0].forces.vir) * unit_to_user("energy", "electronvolt", 1.0)
    start.calc = potential.calculator()
    expected = -start.get_stress(voigt=False) * start.get_volume()
    upper = np.triu_indices(3)
    assert np.allclose(virial[upper], expected[upper], rtol=1e-6, atol=1e-6)


def test_beads_of_a_ring_polymer(start, potential):
    beads = [start.copy() for _ in range(4)]
    for k, atoms in enumerate(beads):
        atoms.rattle(0.05, seed=k)
    sim = simulation(
        beads,
        motion=NVE.replace("nve", "nvt").replace(
            "</timestep>",
            "</timestep><thermostat mode='pile_g'><tau units='femtosecond'> 50 </tau></thermostat>",
        ),
        temperature=300.0,
    )
    sim.run(3, write_outputs=False)
    found = sim.get_structures()
    assert len(found) == 4
    for atoms in found:
        atoms.pbc = True
        assert atoms.get_potential_energy() == pytest.approx(potential.predict(atoms).energy, abs=1e-4)


def test_without_periodicity(start):
    start.pbc = False
    write("start.xyz", start)
    assert driver.ForgefieldDriver("start.xyz", "potential.ff").capabilities == ["energy", "forces"]


@pytest.mark.slow
def test_through_a_socket(start, potential):
    """i-PI as one program, the driver as another."""
    name = f"forgefield_{os.getpid()}"
    socket = f"<ffsocket name='ff' mode='unix' pbc='false'><address> {name} </address><latency> 1e-3 </latency></ffsocket>"
    output = "<output prefix='out'><properties stride='1' filename='log'> [ step, potential{electronvolt} ] </properties></output>"
    text = simulation_xml(start, socket, NVE, output=output)
    Path("input.xml").write_text(text.replace("<system>", "<total_steps> 3 </total_steps><system>", 1))
    programs = Path(sys.executable).parent
    server = subprocess.Popen([programs / "i-pi", "input.xml"], stdout=subprocess.DEVNULL)
    client = None
    try:
        address = Path("/tmp") / f"ipi_{name}"  # noqa: S108 - where i-PI puts its sockets
        while not address.exists() and server.poll() is None:
            time.sleep(0.1)
        options = "template=start.xyz,potential=potential.ff,threads=1"
        command = ["i-pi-driver-py", "-u", "-a", name, "-m", "custom", "-P", driver.__file__, "-o", options]
        client = subprocess.Popen([programs / command[0], *command[1:]], stdout=subprocess.DEVNULL)
        assert server.wait(timeout=60) == 0
    finally:
        for process in (server, client):
            if process is not None and process.poll() is None:
                process.kill()
    energies = np.loadtxt("out.log")[:, 1]
    assert len(energies) == 4
    assert energies[0] == pytest.approx(potential.predict(start).energy, abs=1e-5)
    assert np.ptp(energies) > 1e-6


def test_path_for_the_input(capsys):
    runpy.run_path(driver.__file__, run_name="__main__")
    assert Path(capsys.readouterr().out.strip()).samefile(driver.__file__)
