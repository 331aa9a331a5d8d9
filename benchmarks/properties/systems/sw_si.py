"""Stillinger and Weber's silicon: three-body terms."""

from closed_loop_system import Coexisting, Conduction, Liquid, System
from stillinger_weber import StillingerWeber

MELTING = (
    "two phases in one cell of 8000 atoms: output.json of the example diaSi of github.com/pyiron/pyiron_meltingpoint, method of "
    "L.-F. Zhu et al., Comput. Mater. Sci. 187, 110065 (2021); the error is the spread of the last three iterations"
)

SYSTEM = System(
    title="Si.sw",
    elements={"Si": 0.0},
    formula="Si",
    lattice="diamond",
    length=5.43095,
    commands=("pair_style sw", "pair_coeff * * {folder}/Si.sw Si"),
    melting=1690.0,
    cutoff=3.77,
    interstitials=(("Si", (0.5, 0.5, 0.5)), ("Si", (0.625, 0.625, 0.625)), ("Si", (0.125, 0.125, 0.125))),
    # Its repulsion is soft, so that dumbbells and hot melts come close.
    shaken=60.0,
    close=(1.2, 2.3),
    # It has no terms of more than three bodies, and of the angle only the cosine and its square.
    recipe={
        "descriptor": {"kind": "ace", "cutoff": 3.77, "n_max": [24, 16], "l_min": [0, 0], "l_max": [0, 2]},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares", "solver": "ridge", "ridge": 1e-13},
    },
    group_weights={"near": 20.0, "strain": 4.0, "volume": 4.0, "solid": 4.0, "close": 0.1},
    statics={
        "eos": {},
        "elastic": {},
        "phonons": {"mesh": 40.0},
        "surfaces": {},
        "vacancy": {},
        "interstitial": {},
    },
    coexisting=Coexisting(seeds=2, temperature=1670.0, strain=0.006),
    free_energies={"direct": 500, "coexistence": 1500, "scaling": 500, "hysteresis": 1000, "absolute": 4000},
    # 2.48 g/cm^3
    liquid=Liquid(2500.0, 5000.0, 18.805, 3.1, length=32.0),
    # The melt: heat is lost within a fraction of a picosecond, so that short simulations of few atoms suffice.
    conduction=(
        Conduction(2500.0, (2e-2, 3e-2), 16, 12.0, 25.0, 1.0, 0.5, timestep=1.5, interval=6.0, liquid=True),
    ),
    boltzmann={
        "supercell": (2, 2, 2),
        "pair_cutoff": 4.0,
        "meshes": (7, 9, 11),
        "temperatures": (300.0, 1000.0),
    },
    published=(1670.0, 1.0, MELTING),
    forces=StillingerWeber,
)
