"""Mishin's copper by the embedded atom method: a metal, energies not a sum over pairs or triplets.

Source of the file that LAMMPS ships: Y. Mishin et al., Phys. Rev. B 63, 224106 (2001). There is no conductivity by Green-Kubo
or HNEMD: LAMMPS has no atomic virials of kind I for it, and heat in copper is carried by electrons.
"""

from closed_loop_system import Liquid, System

SYSTEM = System(
    title="Cu_mishin1.eam.alloy",
    elements={"Cu": 0.0},
    formula="Cu",
    lattice="fcc",
    length=3.615,
    commands=("pair_style eam/alloy", "pair_coeff * * {folder}/Cu_mishin1.eam.alloy Cu"),
    melting=1330.0,
    epochs=30,
    cutoff=5.5,
    interstitials=(("Cu", (0.5, 0.5, 0.5)), ("Cu", (0.25, 0.25, 0.25))),
    shaken=10.0,
    descriptor={"cutoff_angular": 4.5},
    statics={
        "eos": {},
        "elastic": {},
        "phonons": {"mesh": 40.0},
        "surfaces": {},
        "vacancy": {},
    },
    liquid=Liquid(1600.0, 3500.0, 13.5, 3.4, cells=3, timestep=2.0, length=40.0),
    boltzmann={"supercell": (3, 3, 3), "pair_cutoff": 4.0, "meshes": (9, 11, 13), "temperatures": (300.0,)},
)
