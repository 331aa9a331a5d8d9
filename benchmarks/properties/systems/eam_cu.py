"""Mishin's copper by the embedded atom method: a metal, energies not a sum over pairs or triplets.

Source of the file that LAMMPS ships: Y. Mishin et al., Phys. Rev. B 63, 224106 (2001). There is no conductivity by Green-Kubo
or HNEMD: LAMMPS has no atomic virials of kind I for it, and heat in copper is carried by electrons.

Its energies are functions of sums over pairs, so that radial features are enough, but fine ones: its pair potential ends within
half an Ångström about the fourth shell. The third derivative of its embedding energy jumps at the density of the crystal at rest.
A network over radial functions of fixed, fine resolution follows that, polynomials (linear ACE) and the trained radial functions
of NEP did not.
"""

from closed_loop_system import Coexisting, Liquid, System

SYSTEM = System(
    title="Cu_mishin1.eam.alloy",
    elements={"Cu": 0.0},
    formula="Cu",
    lattice="fcc",
    length=3.615,
    commands=("pair_style eam/alloy", "pair_coeff * * {folder}/Cu_mishin1.eam.alloy Cu"),
    melting=1330.0,
    epochs=60,
    cutoff=5.6,
    fine=True,
    group_weights={"fine": 10.0, "near": 6.0, "compressed": 0.2, "shaken": 0.2, "volume": 0.5},
    interstitials=(("Cu", (0.5, 0.5, 0.5)), ("Cu", (0.25, 0.25, 0.25))),
    shaken=10.0,
    recipe={
        "descriptor": {"kind": "ace", "cutoff": 5.6, "n_max": [32], "l_min": [0], "l_max": [0]},
        "model": {"kind": "network", "hidden": [30]},
    },
    statics={
        "eos": {},
        "elastic": {},
        "phonons": {"mesh": 40.0},
        "surfaces": {},
        "vacancy": {},
    },
    free_energies={"direct": 500, "coexistence": 2000, "scaling": 500, "hysteresis": 1000, "absolute": 3000},
    coexisting=Coexisting((5, 5, 14), seeds=2, temperature=1340.0, strain=0.0257),
    liquid=Liquid(1600.0, 3500.0, 13.5, 3.4, cells=3, timestep=2.0, length=40.0),
    boltzmann={"supercell": (3, 3, 3), "pair_cutoff": 4.0, "meshes": (9, 11, 13), "temperatures": (300.0,)},
)
