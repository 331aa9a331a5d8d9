"""Rock salt of rigid ions: Born, Huggins and Mayer's repulsion and dispersion, damped and shifted Coulomb forces.

A two-component truth. Its energy is a sum over pairs, so that LAMMPS's own heat flux is right, its conductivity is low, and
it melts where ions diffuse apart from each other: that is why it stands here and not Vashishta's SiO2, whose heat flux LAMMPS
does not have. Parameters of F. G. Fumi and M. P. Tosi, J. Phys. Chem. Solids 25, 31 and 45 (1964), from memory; the cutoff
of 7 Å makes it a model of its own, and it is compared with nothing else.
"""

from closed_loop_system import Coexisting, Conduction, Liquid, System

SYSTEM = System(
    title="born/coul/dsf NaCl",
    elements={"Na": 1.0, "Cl": -1.0},
    formula="NaCl",
    lattice="rocksalt",
    length=5.64,
    commands=(
        "pair_style born/coul/dsf 0.3 7.0",
        "pair_coeff 1 1 0.2637 0.317 2.340 1.0486 -0.4993",
        "pair_coeff 1 2 0.2110 0.317 2.755 6.9905 -8.6758",
        "pair_coeff 2 2 0.1582 0.317 3.170 72.402 -145.43",
        "pair_modify shift yes",
    ),
    melting=1080.0,
    # Where it does melt; its training set was made for 1080 K. At 3 times that and no pressure it would boil.
    compared=955.0,
    melted_at=1.5,
    # Farther than its reach: a shell of ions lies at 6.85 Å, where features that vanish at 7 Å hardly see it.
    cutoff=7.4,
    fine=True,
    group_weights={"fine": 20.0, "near": 10.0, "interstitial": 0.5, "shaken": 0.5},
    interstitials=(("Na", (0.25, 0.25, 0.25)), ("Cl", (0.25, 0.25, 0.25))),
    planes=((1, 0, 0), (1, 1, 0)),
    # Ions of one sign nearer to each other than in the melt attract each other in this model.
    shaken=4.0,
    # It is a sum over pairs, and ends with a kink, so that the radial functions are fine out there too.
    recipe={
        "descriptor": {"kind": "ace", "cutoff": 7.4, "decay": 0.2, "n_max": [40], "l_min": [0], "l_max": [0]},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares", "solver": "ridge", "ridge": 1e-13},
    },
    statics={
        "eos": {},
        "elastic": {},
        "phonons": {"mesh": 40.0},
        "surfaces": {"miller": ((1, 0, 0), (1, 1, 0)), "thickness": 12.0},
        "vacancy": {"tries": 1},
    },
    free_energies={"direct": 2000, "coexistence": 1500, "scaling": 500, "hysteresis": 1000, "absolute": 3000},
    coexisting=Coexisting(seeds=2, melt_temperature=2900.0, melt_steps=2, strain=0.05, compressibility=0.15),
    liquid=Liquid(1300.0, 3000.0, 33.5, 4.1, timestep=2.0, length=60.0),
    vibrations=300.0,
    conduction=(Conduction(900.0, (8e-3, 1.6e-2), 48, 30.0, 240.0, 7.5, 7.5, strain=0.03),),
    boltzmann={"supercell": (2, 2, 2), "pair_cutoff": 4.1, "meshes": (7, 9, 11), "temperatures": (300.0,)},
    pairwise=True,
)
