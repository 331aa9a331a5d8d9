"""What the tests of the LAMMPS plug-in share: small potentials of every descriptor and model, files, scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.deployment.cpp import CompilerMissingError, compiler
from forgefield.deployment.engines import EngineMissingError
from forgefield.deployment.lammps_any import PLUGIN, find_lammps, pair_commands, plugin
from forgefield.deployment.lammps_library import own_level, write_library
from forgefield.deployment.lammps_run import launch
from forgefield.descriptors import DESCRIPTORS
from forgefield.files import write_bytes
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.self_test import self_test_structures
from forgefield.models.zbl import ZBL, ZBLSettings

GPUMD = {"form": "gpumd", "outer": 2.4}
LAMMPS = {"form": "lammps", "inner": 1.8, "outer": 2.6}
NETWORK = {"kind": "network", "hidden": (5,), "activation": "tanh"}
DEEP = {"kind": "network", "hidden": (6, 4), "activation": "silu"}
POD = {
    "bessel_degree": 2,
    "inverse_degree": 2,
    "n_max_two_body": 3,
    "n_max_three_body": 2,
    "n_max_four_body": 1,
}
CASES = {
    "nep, zbl": ("nep", ("O", "Si"), NETWORK, {"l_max": 2, "four_body": True, "five_body": True}, GPUMD),
    "acsf": ("acsf", ("O", "Si"), DEEP, {}, None),
    "wacsf": ("wacsf", ("O", "Si"), {"kind": "linear"}, {}, None),
    "chebyshev": ("chebyshev", ("C", "O", "Si"), NETWORK, {}, None),
    "ead": ("ead", ("Si",), NETWORK, {"l_max": 1}, LAMMPS),
    "ace": ("ace", ("C", "Si"), {"kind": "linear"}, {"n_max": (3, 2, 1, 1), "l_max": (0, 2, 1, 1)}, None),
    "pod, zbl": ("pod", ("C", "Si"), {"kind": "linear"}, POD, GPUMD),
    "so3": ("so3", ("C", "Si"), DEEP, {"n_max": 2, "l_max": 2}, None),
    "snap chemical, zbl": (
        "snap",
        ("In", "P"),
        {"kind": "quadratic"},
        {"two_j_max": 2, "chemical": True},
        LAMMPS,
    ),
}
"""Descriptor, elements, model, settings, repulsion."""


def make_potential(case: str, *, exact: bool = False) -> Potential:
    """Return a potential with random parameters."""
    kind, elements, model_settings, settings, repulsion = CASES[case]
    torch.manual_seed(0)
    descriptor = DESCRIPTORS[kind](elements, **settings)
    model = make_model(model_settings, descriptor.n_features, descriptor.n_species)
    references = {z: -3.0 * k - 7.5 for k, z in enumerate(descriptor.species)}
    zbl = None if repulsion is None else ZBL(descriptor.species, ZBLSettings(**repulsion))
    potential = Potential(descriptor, model, references, 0.7, exact_free_atom=exact, zbl=zbl)
    potential.to_dtype(torch.float64)
    features = np.concatenate([descriptor.compute(atoms) for atoms in self_test_structures(potential)])
    potential.scaler.fit(torch.from_numpy(features), "standard")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return potential


def write_files(potential: Potential, folder: Path, name: str = "potential", **options: object) -> list[str]:
    """Write library and plug-in for this processor and return the commands, or skip what cannot be done here."""
    try:
        compiler()
        find_lammps().headers()
    except (CompilerMissingError, EngineMissingError) as error:
        pytest.skip(str(error))
    options = {"kinds": [own_level()], **options}
    write_library(potential, folder / f"{name}.so", **options)
    write_bytes(folder / PLUGIN, plugin())
    return pair_commands(f"{name}.so", potential.elements)


def crystal(
    elements: tuple[str, ...] | list[str], repeats: tuple[int, int, int], *, surface: bool = False
) -> Atoms:
    """Return a rattled triclinic crystal of mixed elements, with a vacuum along z if asked for."""
    rng = np.random.default_rng(5)
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * repeats
    strain = np.array([[1.02, 0.0, 0.0], [0.07, 0.98, 0.0], [-0.05, 0.03, 1.01]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += 0.12 * rng.standard_normal(atoms.positions.shape)
    atoms.numbers = Atoms(list(elements)).numbers[rng.integers(len(elements), size=len(atoms))]
    if surface:
        atoms.cell.array[2, 2] += 12.0
    return atoms


def run_script(
    lines: list[str], folder: Path, processes: int = 1, name: str = "in.test"
) -> subprocess.CompletedProcess:
    """Run an input script; what fails is shown."""
    (folder / name).write_text("\n".join(lines) + "\n")
    return launch(name, folder, processes, time_limit=60.0)


def dumped(path: Path) -> np.ndarray:
    """Return the numbers of the last frame of a dump, by atom."""
    text = path.read_text().split("ITEM: ATOMS")[-1].splitlines()[1:]
    rows = np.array([line.split() for line in text], dtype=float)
    return rows[np.argsort(rows[:, 0]), 1:]
