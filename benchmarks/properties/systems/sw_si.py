"""Stillinger and Weber's silicon: three-body terms."""

from closed_loop_system import Conduction, Liquid, System
from stillinger_weber import StillingerWeber

from forgefield.api.init import INVARIANTS

MELTING = "quoted from memory: J. Q. Broughton and X. P. Li, Phys. Rev. B 35, 9120 (1987); not confirmed"

SYSTEM = System(
    title="Si.sw",
    elements={"Si": 0.0},
    formula="Si",
    lattice="diamond",
    length=5.43095,
    commands=("pair_style sw", "pair_coeff * * {folder}/Si.sw Si"),
    melting=1690.0,
    cutoff=3.77,
    interstitials=(("Si", (0.5, 0.5, 0.5)),),
    # It has no terms of more than three bodies.
    descriptor=dict.fromkeys(INVARIANTS, False),
    statics={
        "eos": {},
        "elastic": {},
        "phonons": {"mesh": 40.0},
        "surfaces": {},
        "vacancy": {},
        "interstitial": {},
    },
    # 2.48 g/cm^3
    liquid=Liquid(2500.0, 5000.0, 18.805, 3.1, length=32.0),
    # The melt: heat is lost within a fraction of a picosecond, so that short simulations of few atoms suffice.
    conduction=(
        Conduction(2500.0, (2e-2, 3e-2), 8, 12.0, 25.0, 1.0, timestep=1.5, interval=6.0, liquid=True),
    ),
    boltzmann={
        "supercell": (2, 2, 2),
        "pair_cutoff": 4.0,
        "meshes": (7, 9, 11),
        "temperatures": (300.0, 1000.0),
    },
    published=(1691.0, 20.0, MELTING),
    forces=StillingerWeber,
)
