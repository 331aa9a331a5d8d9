"""Forgefield: machine-learned interatomic potentials that can be trusted in simulation.

::

    import forgefield as ff
    frames = ff.read("train.xyz")                 # list of ase.Atoms with audited labels
    run = ff.train("train.yaml", output="run")    # run.potential, run.metrics
    potential = ff.load("run/potential.ff")       # or a nep.txt
    atoms.calc = potential.calculator(dtype="float32", threads=2)
    result = potential.predict(atoms)             # .energy, .forces, .stress: eV, eV/Å, eV/Å^3
    table = ff.evaluate(potential, frames)        # errors per split and group
    features = ff.descriptors.NEP(["Si"], cutoff_radial=6.0).compute(atoms)

Everything is imported when first used: ``import forgefield`` itself is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgefield import datasets, descriptors, models, properties, testing
    from forgefield.api.evaluate import evaluate
    from forgefield.api.train import train
    from forgefield.data import read
    from forgefield.deployment.load import load
    from forgefield.parallel import get_num_threads, set_num_threads

__all__ = [
    "__version__",
    "datasets",
    "descriptors",
    "evaluate",
    "get_num_threads",
    "load",
    "models",
    "properties",
    "read",
    "set_num_threads",
    "testing",
    "train",
]

__version__ = "0.1.0"

_FUNCTIONS = {
    "evaluate": "forgefield.api.evaluate",
    "get_num_threads": "forgefield.parallel",
    "load": "forgefield.deployment.load",
    "read": "forgefield.data",
    "set_num_threads": "forgefield.parallel",
    "train": "forgefield.api.train",
}
_MODULES = ("datasets", "descriptors", "models", "properties", "testing")


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(f"forgefield.{name}")
    raise AttributeError(f"module 'forgefield' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
