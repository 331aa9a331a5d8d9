"""LAMMPS commands of a potential: the include file with its pair styles, and an input script that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsdata import write_lammps_data

from forgefield.deployment.lammps_files import UNITS
from forgefield.errors import ConfigError
from forgefield.files import write_text
from forgefield.models.zbl import ZBL

__all__ = ["PairStyle", "check_zbl", "write_commands", "write_include", "write_input"]


@dataclass(frozen=True)
class PairStyle:
    """The pair style of a potential, and the nuclear repulsion over it.

    Attributes
    ----------
    style : str
        Such as ``snap``.
    arguments : str
        Of the command pair_style, after the name.
    files : str
        Of the command pair_coeff, before the elements.
    elements : sequence of str
        Of the atom types, in order.
    zbl : ZBL, optional
        In LAMMPS's form.
    """

    style: str
    arguments: str
    files: str
    elements: Sequence[str]
    zbl: ZBL | None = None

    def commands(self) -> list[str]:
        """Return the commands."""
        own = f"{self.style} {self.arguments}".rstrip()
        coefficients = " ".join(filter(None, (self.files, *self.elements)))
        if self.zbl is None:
            return [f"pair_style {own}", f"pair_coeff * * {coefficients}"]
        inner, outer = check_zbl(self.zbl)
        numbers = [atomic_numbers[e] for e in self.elements]
        pairs = [
            f"pair_coeff {i + 1} {j + 1} zbl {numbers[i]} {numbers[j]}"
            for i in range(len(numbers))
            for j in range(i, len(numbers))
        ]
        return [
            f"pair_style hybrid/overlay zbl {inner!r} {outer!r} {own}",
            *pairs,
            f"pair_coeff * * {self.style} {coefficients}",
        ]


def check_zbl(zbl: ZBL | None) -> tuple[float, float]:
    """Return inner and outer cutoff [Å] of a repulsion in LAMMPS's form; zeros without one.

    Raises
    ------
    ConfigError
        It is in GPUMD's form, which LAMMPS's pair_style zbl is not.
    """
    if zbl is None:
        return 0.0, 0.0
    settings = zbl.settings
    if settings.form != "lammps":
        raise ConfigError(
            "LAMMPS's pair_style zbl ends the repulsion of nuclei by an added polynomial, this potential has "
            f"`zbl.form: {settings.form}`, a factor; train it with `zbl: {{form: lammps, inner: "
            f"{float(zbl.tables['inner'].max()):g}, outer: {settings.outer:g}}}`, or export it to gpumd"
        )
    return float(zbl.tables["inner"].max()), settings.outer


def write_include(path: Path, pair: PairStyle) -> Path:
    """Write the commands of the pair style, for LAMMPS's command include."""
    return write_commands(path, pair.commands())


def write_commands(path: Path, commands: Sequence[str]) -> Path:
    """Write commands for LAMMPS's command include."""
    return write_text(path, UNITS + "".join(f"{line}\n" for line in commands))


WATCH = """# How far the members of the committee disagree on the force on an atom, eV/Angstrom: f_spread is the value of each atom.
fix           spread all pair 20 forgefield spread 1
compute       largest all reduce max f_spread
"""


def write_input(
    folder: Path,
    include: Path,
    atoms: Atoms,
    elements: Sequence[str],
    name: str = "in.lammps",
    *,
    spread: bool = False,
) -> list[Path]:
    """Write a script and ``structure.data``: the energy of a structure, then a short simulation.

    With `spread` it also prints the largest spread of the members of a committee.
    """
    buffer = StringIO()
    write_lammps_data(
        buffer, atoms, specorder=list(elements), masses=True, atom_style="atomic", units="metal"
    )
    watch, column = (WATCH, " c_largest") if spread else ("", "")
    script = f"""# lmp -in {name}
units         metal
atom_style    atomic
read_data     structure.data
include       {include.name}
thermo        20
{watch}thermo_style  custom step temp pe etotal press{column}
run           0
# From here on: 100 fs at 300 K. Put your own structure into structure.data; types are {" ".join(elements)}.
timestep      0.001
velocity      all create 300.0 1
fix           dynamics all nvt temp 300.0 300.0 0.1
run           100
"""
    return [
        write_text(folder / name, script),
        write_text(folder / "structure.data", buffer.getvalue()),
    ]
