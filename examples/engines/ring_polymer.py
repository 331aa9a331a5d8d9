"""Quantum nuclei: path integrals of silicon by i-PI, inside Python: ``python ring_polymer.py potential.ff start.xyz``.

The same potential serves i-PI as a program of its own; see docs/deploy.md.
"""

from __future__ import annotations

import sys

import ase.io
import numpy as np
from ase import units
from ipi.scripting import InteractiveSimulation, motion_nvt_xml, simulation_xml

from forgefield.deployment import ipi


def simulation(potential: str, start: str, beads: int, temperature: float) -> InteractiveSimulation:
    """Return a simulation of ring polymers at a temperature [K], with time steps of 1 fs."""
    atoms = ase.io.read(start)
    forces = (
        f"<ffdirect name='forgefield'><pes> custom </pes><pes_path> {ipi.__file__} </pes_path>"
        f"<parameters> {{template: {start}, potential: {potential}}} </parameters></ffdirect>"
    )
    motion = motion_nvt_xml(timestep=units.fs, path_integrals=True)
    output = "<output prefix='ring'></output>"
    structures = [atoms.copy() for _ in range(beads)]
    return InteractiveSimulation(
        simulation_xml(structures, forces, motion, temperature=temperature, output=output)
    )


if __name__ == "__main__":
    ring = simulation(sys.argv[1], sys.argv[2], beads=8, temperature=100.0)
    energies = []
    for _ in range(20):
        ring.run(10, write_outputs=False)
        energies.append(ring.properties("kinetic_cv"))
    mean = np.mean(energies[5:]) / len(ring.get_structures()[0])
    classical = 1.5 * units.kB * 100.0
    print(f"kinetic energy {1000 * mean:.1f} meV/atom, classical {1000 * classical:.1f} meV/atom")
