"""The programs potentials are exported to: what is written for each, and how it is asked whether it came across."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ase import Atoms

from forgefield.deployment.certificate import Exported
from forgefield.deployment.engines import Answer, LammpsRun, run_calorine, run_lammps
from forgefield.deployment.gpumd import export_nep
from forgefield.deployment.gpumd_tasks import TaskSettings, write_tasks
from forgefield.deployment.lammps_any import check_holds, export_any, pair_commands
from forgefield.deployment.lammps_mliap import export_mliap, model_kind
from forgefield.deployment.lammps_pod import export_pod
from forgefield.deployment.lammps_script import PairStyle, write_commands, write_include, write_input
from forgefield.deployment.lammps_snap import export_snap
from forgefield.descriptors.snap import SNAP
from forgefield.engine.inference import Precision
from forgefield.errors import ConfigError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["HOLDS", "MEANS", "TARGETS", "Writer"]

Writer = Callable[[Potential, Path], Exported]

AnyWriter = Callable[[Potential | Committee, Path], Exported]

NAME = "potential"

DOUBLE = 1e-10
"""Both programs compute in double precision."""

EIGENVECTORS = 1e-9
"""Both programs compute the radial functions of pod as eigenvectors, each in its own way."""

QUADRATURE = 1e-7
"""LAMMPS computes the radial integrals of so3 with few points; see `lammps_so3`."""

SINGLE = 1e-4
"""Kernels in float32 beside others in float64."""


def _lammps(
    potential: Potential, folder: Path, files: list[Path], pair: PairStyle, include: str, tolerance: float
) -> Exported:
    path = write_include(folder / include, pair)

    def ask(structures: Sequence[Atoms]) -> tuple[list[Answer], str]:
        answers, version = run_lammps([LammpsRun(pair.commands(), pair.elements, structures)], folder)
        return answers[0], version

    return Exported(
        files=[*files, path],
        engine="LAMMPS",
        ask=ask,
        virials="III",
        tolerance=tolerance,
        finish=lambda atoms: write_input(folder, path, atoms, potential.elements),
    )


def _snap(potential: Potential, folder: Path) -> Exported:
    files = export_snap(potential, folder, NAME)
    pair = PairStyle("snap", "", " ".join(f.name for f in files), potential.elements, potential.zbl)
    return _lammps(potential, folder, files, pair, f"{NAME}.snap", DOUBLE)


def _mliap(potential: Potential, folder: Path) -> Exported:
    files = export_mliap(potential, folder, NAME)
    snap = isinstance(potential.descriptor, SNAP)
    model, descriptor = (f.name for f in files)
    arguments = f"model {model_kind(potential)} {model} descriptor {'sna' if snap else 'so3'} {descriptor}"
    pair = PairStyle("mliap", arguments, "", potential.elements, potential.zbl)
    return _lammps(potential, folder, files, pair, f"{NAME}.mliap", DOUBLE if snap else QUADRATURE)


def _pod(potential: Potential, folder: Path) -> Exported:
    files = export_pod(potential, folder, NAME)
    pair = PairStyle("pod", "", " ".join(f.name for f in files), potential.elements, potential.zbl)
    exported = _lammps(potential, folder, files, pair, f"{NAME}.lammps", EIGENVECTORS)
    return replace(
        exported, left_out={"free atoms": "LAMMPS's pair_style pod crashes on an atom without neighbours"}
    )


def _any(potential: Potential | Committee, folder: Path, dtype: Precision, tolerance: float) -> Exported:
    libraries, program = export_any(potential, folder, NAME, dtype)
    commands = pair_commands([path.name for path in libraries], potential.elements)
    include = write_commands(folder / f"{NAME}.forgefield", commands)
    file = folder / f"{NAME}.ff"
    potential.save(file)

    def ask(structures: Sequence[Atoms]) -> tuple[list[Answer], str]:
        runs = [LammpsRun(commands, potential.elements, structures, centroid=True)]
        answers, version = run_lammps(runs, folder)
        return answers[0], version

    return Exported(
        files=[file, *libraries, *program, include],
        engine="LAMMPS",
        ask=ask,
        virials="I",
        tolerance=tolerance,
        finish=lambda atoms: write_input(
            folder,
            include,
            atoms,
            potential.elements,
            "in.forgefield",
            spread=isinstance(potential, Committee),
        ),
    )


def _gpumd(potential: Potential, folder: Path) -> Exported:
    path = export_nep(potential, folder / "nep.txt")
    return Exported(
        files=[path],
        engine="calorine (NEP_CPU)",
        ask=lambda structures: run_calorine(path, structures),
        virials="I",
        tolerance=DOUBLE,
        finish=lambda atoms: write_tasks(folder, TaskSettings(atoms, potential.cutoff)),
    )


def _metatomic(potential: Potential, folder: Path) -> Exported:
    from forgefield.deployment.metatomic import export_metatomic, run_metatomic

    path = export_metatomic(potential, folder / f"{NAME}.pt")
    return Exported(
        files=[path],
        engine="metatomic",
        ask=lambda structures: run_metatomic(path, structures),
        virials="I",
        tolerance=DOUBLE,
        finish=lambda _: [],
    )


def _check_metatomic(potential: Potential) -> None:
    if find_spec("metatomic") is None:
        raise ConfigError("metatomic is not installed: pip install metatomic-torch metatomic-ase")
    from forgefield.deployment.metatomic import check_recordable

    check_recordable(potential)


TARGETS: dict[str, Writer] = {
    "gpumd": _gpumd,
    "lammps-mliap": _mliap,
    "lammps-pod": _pod,
    "lammps-snap": _snap,
    "metatomic": _metatomic,
}
"""What writes the files for each program into a folder."""

MEANS: dict[str, AnyWriter] = {
    "lammps": partial(_any, dtype="float64", tolerance=DOUBLE),
    "lammps-float32": partial(_any, dtype="float32", tolerance=SINGLE),
}
"""Those among them that also take a committee, of which they compute the mean."""

TARGETS |= MEANS

HOLDS: dict[str, Callable[[Potential], None]] = {
    "lammps": check_holds,
    "lammps-float32": check_holds,
    "metatomic": _check_metatomic,
}
"""What raises a `ConfigError` for a potential that a target cannot hold, for targets whose files take long to write."""
