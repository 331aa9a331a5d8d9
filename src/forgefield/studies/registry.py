"""The studies by name; a new one is one file and one line here."""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from forgefield.errors import ConfigError, did_you_mean
from forgefield.studies.base import Study

__all__ = ["STUDIES", "absolute_name", "find_study"]

STUDIES = {
    "loss-weighting": "forgefield.studies.loss_weighting:LossWeighting",
    "optimisers": "forgefield.studies.optimisers:Optimisers",
    "data-efficiency": "forgefield.studies.data_efficiency:DataEfficiency",
    "complexity": "forgefield.studies.complexity:Complexity",
    "descriptors": "forgefield.studies.descriptors:Descriptors",
    "stress-training": "forgefield.studies.stress_training:StressTraining",
    "heat-flux": "forgefield.studies.heat_flux:HeatFlux",
}
"""Where each study is defined; imported when asked for."""


def find_study(name: str) -> Study[Any]:
    """Return a study by its name, or by ``FILE.py:Class`` or ``module:Class`` for one outside this package.

    Raises
    ------
    ConfigError
        There is none of that name; the file or module cannot be loaded.
    """
    place = STUDIES.get(name, name)
    if ":" not in place:
        raise ConfigError(
            f"unknown study {name!r}: {did_you_mean(name, STUDIES)}; or give FILE.py:Class, or module:Class"
        )
    module, _, attribute = place.rpartition(":")
    file = _file_of(module)
    try:
        found = import_module(module) if file is None else _import_file(file)
        made = getattr(found, attribute)()
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ConfigError(f"study {name!r} cannot be loaded: {error}") from error
    if not isinstance(made, Study):
        raise ConfigError(f"{name!r} is a {type(made).__name__}, not a Study")
    return made


def absolute_name(name: str) -> str:
    """Return the name by which processes with another working folder find the same study."""
    module, _, attribute = name.rpartition(":")
    file = None if name in STUDIES else _file_of(module)
    return name if file is None else f"{file}:{attribute}"


def _file_of(module: str) -> Path | None:
    """Return the file meant by ``FILE.py``, or by a module that lies in the working folder and nowhere else."""
    if module.endswith(".py"):
        return Path(module).resolve()
    local = Path(f"{module}.py").resolve()
    return local if local.is_file() and not _importable(module) else None


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _import_file(file: Path) -> ModuleType:
    """Import a file once for each of its contents, under a name of its own."""
    title = f"forgefield_study_{sha256(str(file).encode() + file.read_bytes()).hexdigest()[:16]}"
    if title in sys.modules:
        return sys.modules[title]
    spec = spec_from_file_location(title, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    made = module_from_spec(spec)
    sys.modules[title] = made
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[title]
        raise
    return made
