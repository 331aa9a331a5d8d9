"""Who takes the steps of a simulation of which only frames are looked at: our own integrator, or LAMMPS.

The numbers are those of `benchmarks/md_engines.py`; see `docs/decisions/0020-md-engine.md`.
"""

from __future__ import annotations

from typing import Any, Literal

from ase import Atoms

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.deployment.cpp import CompilerError
from forgefield.deployment.engines import EngineError
from forgefield.errors import ConfigError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.dynamics_lammps import LammpsForces, potential_of

__all__ = ["ENGINE", "EngineChoice", "choose_engine", "engine_of"]

EngineChoice = Literal["auto", "own", "lammps"]

ENGINE = (
    "who takes the steps: own, the integrator of this package, with any calculator; lammps, LAMMPS with the plug-in, with a "
    "potential of Forgefield; auto, the faster one that is there"
)
"""Description of the setting."""

LONG = 20_000
"""Steps from which on LAMMPS gains more (some 0.1 ms a step) than it takes to start it and to compile for it (seconds)."""

EACH = 1000
"""Steps of a run from which on it gains more than it takes to start LAMMPS once more."""

SHARED = 256
"""Atoms from which on several threads of ours are faster than one process of LAMMPS."""


def choose_engine(
    calculator: Any,
    atoms: Atoms,
    steps: int,
    choice: EngineChoice = "auto",
    processes: int = 1,
    *,
    runs: int = 1,
    begun: str | None = None,
) -> ForceField:
    """Return the forces for the engine that is to run a simulation; `dynamics_lammps.make_dynamics` starts it.

    Parameters
    ----------
    calculator : anything that `force_field` takes
    atoms : ase.Atoms
        What is simulated.
    steps : int
        How many it will take.
    choice : {'auto', 'own', 'lammps'}
        ``auto`` is LAMMPS where it is installed, can run the potential and is faster: simulations of `LONG` steps and
        more, in runs of `EACH` and more, unless several threads share more than `SHARED` atoms.
    processes : int
        Of LAMMPS; more than one is a reason to take it.
    runs : int
        Among which the steps are divided.
    begun : {'own', 'lammps'}, optional
        What ``auto`` has to be, because the simulation has begun with it.

    Raises
    ------
    ConfigError
        LAMMPS is asked for and cannot run this calculator.
    EngineMissingError
        LAMMPS is asked for and not installed.
    """
    if choice == "own" and processes > 1:
        raise ConfigError(f"`processes` = {processes} are those of LAMMPS; set engine=lammps, or processes=1")
    if choice == "auto" and begun is not None:
        choice = "lammps" if begun == "lammps" else "own"
    if choice == "lammps":
        return LammpsForces(potential_of(calculator), atoms, processes=processes)
    long = steps >= max(LONG, EACH * runs)
    if choice == "auto" and (processes > 1 or (long and _gains(calculator, atoms))):
        try:
            return LammpsForces(potential_of(calculator), atoms, processes=processes)
        except (CompilerError, ConfigError, EngineError):
            if processes > 1:
                raise
    return force_field(calculator, atoms)


def engine_of(field: ForceField) -> str:
    """Return the name of the engine that forces are for."""
    return "lammps" if isinstance(field, LammpsForces) else "own"


def _gains(calculator: Any, atoms: Atoms) -> bool:
    """Return whether one process of LAMMPS takes many steps faster."""
    threads = get_num_threads()
    if isinstance(calculator, ForgefieldCalculator):
        if calculator.parameters["backend"] not in ("auto", "compiled"):
            return False
        threads = calculator.threads or threads
    elif not isinstance(calculator, Potential | Committee):
        return False
    return threads == 1 or len(atoms) <= SHARED
