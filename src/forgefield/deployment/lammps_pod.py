"""POD potentials for LAMMPS (`pair_style pod`) and from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from forgefield.deployment.lammps_script import check_zbl
from forgefield.descriptors.pod import POD
from forgefield.descriptors.pod_files import (
    KEYWORDS,
    read_pod_coefficients,
    read_pod_parameters,
    write_pod_coefficients,
    write_pod_parameters,
)
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.files import make_folder
from forgefield.models.file import DTYPES, DtypeName
from forgefield.models.linear import Linear
from forgefield.models.potential import Potential

__all__ = ["export_pod", "is_pod", "load_pod", "read_pod"]


def is_pod(content: bytes) -> bool:
    """Return whether the content of a file looks like one of the two files of a POD potential."""
    lines = [
        line.partition("#")[0].split() for line in content[:65536].decode("utf-8", "ignore").splitlines()
    ]
    first = [words[0] for words in lines if words]
    return first[:1] == ["model_coefficients:"] or (
        "species" in first and len(set(first) & set(KEYWORDS)) > 2
    )


def load_pod(path: str | Path, dtype: DtypeName | None = None) -> Potential:
    """Read a POD potential from the path of one of its files, ``*_param.pod`` or ``*_coeff.pod``.

    Parameters
    ----------
    path : str or Path
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default float64.

    Raises
    ------
    PotentialFileError
        The name does not say where the other file is; use `read_pod`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    path = Path(path)
    pair = path.name.replace("_coeff", "_param"), path.name.replace("_param", "_coeff")
    if pair[0] == pair[1]:
        raise PotentialFileError(
            f"{path}: a POD potential has two files; name them NAME_param.pod and NAME_coeff.pod, or read them with "
            "forgefield.deployment.lammps_pod.read_pod(parameters, coefficients)"
        )
    potential = read_pod(path.with_name(pair[0]), path.with_name(pair[1]))
    return potential if dtype is None else potential.to_dtype(DTYPES[dtype])


def read_pod(parameters: str | Path, coefficients: str | Path) -> Potential:
    """Read the two files of a POD potential, e.g. ``Ta_param.pod`` and ``Ta_coeff.pod``.

    Returns
    -------
    Potential
        In float64; a free atom has the one-body coefficient of its element as its energy.

    Raises
    ------
    PotentialFileError
        A file is missing, damaged, does not fit the other or asks for something that is not supported.
    """
    descriptor = read_pod_parameters(parameters)
    table = torch.from_numpy(read_pod_coefficients(coefficients, descriptor))
    model = Linear(descriptor.n_features, descriptor.n_species)
    energies = dict(zip(descriptor.species, table[:, 0].tolist(), strict=True))
    potential = Potential(descriptor, model, energies).to_dtype(torch.float64)
    with torch.no_grad():
        model.weight.copy_(table[:, 1:])
    return potential


def export_pod(potential: Potential, folder: str | Path, name: str = "potential") -> list[Path]:
    """Write ``NAME_param.pod`` and ``NAME_coeff.pod`` for LAMMPS.

    In LAMMPS: ``pair_style pod``, ``pair_coeff * * NAME_param.pod NAME_coeff.pod Ta W ...`` (units metal).

    Parameters
    ----------
    potential : Potential
        POD descriptor, linear model; a repulsion of nuclei, in LAMMPS's form, is no part of the files.
    folder : str or Path
        Made if it does not exist.
    name : str
        How the files begin.

    Raises
    ------
    ConfigError
        The potential is of another kind.
    """
    descriptor, model = potential.descriptor, potential.model
    if not (isinstance(descriptor, POD) and isinstance(model, Linear)):
        raise ConfigError(
            "LAMMPS's pair_style pod needs `descriptor.kind: pod` and `model.kind: linear`, got "
            f"{descriptor.settings.kind} with {model.settings.kind}; train such a potential"
        )
    check_zbl(potential.zbl)
    scaler = potential.scaler
    with torch.no_grad():
        weights = model.weight.double() @ scaler.mix.double().T * scaler.scale.double()
        weights = weights * potential.energy_scale.double()
    free = potential.free_atom_energies()
    constants = np.array([free[z] for z in descriptor.species])
    table = np.column_stack([constants, weights.cpu().numpy()])
    target = make_folder(folder)
    return [
        write_pod_parameters(target / f"{name}_param.pod", descriptor),
        write_pod_coefficients(target / f"{name}_coeff.pod", descriptor, table),
    ]
