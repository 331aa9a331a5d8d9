"""Potentials from any file this package can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from forgefield.deployment.gpumd import parse_nep
from forgefield.deployment.gpumd_header import is_nep
from forgefield.deployment.lammps_include import is_include, read_include
from forgefield.deployment.lammps_mliap import is_mliap_descriptor, is_mliap_model, load_mliap
from forgefield.deployment.lammps_pod import is_pod, load_pod
from forgefield.deployment.lammps_snap import is_snap_coefficients, is_snap_parameters, load_snap
from forgefield.errors import PotentialFileError
from forgefield.models import committee_file, file
from forgefield.models.committee import Committee
from forgefield.models.file import DtypeName
from forgefield.models.potential import Potential

__all__ = ["describe", "load", "load_single"]

Reader = Callable[[bytes, DtypeName | None, str], Potential]


def _nep(content: bytes, dtype: DtypeName | None, name: str) -> Potential:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PotentialFileError(
            f"{name} begins like a nep.txt, but byte {error.start} is no text; copy it again"
        ) from None
    return parse_nep(text, dtype=dtype, name=name)


def _beside(read: Callable[[str, DtypeName | None], Potential]) -> Reader:
    """Return the reader of a file that needs others beside it."""
    return lambda content, dtype, name: read(name, dtype)  # noqa: ARG005


FOREIGN: tuple[tuple[Callable[[bytes], bool], Reader], ...] = (
    (is_nep, _nep),
    (is_pod, _beside(load_pod)),
    (is_include, _beside(read_include)),
    (is_snap_coefficients, _beside(load_snap)),
    (is_snap_parameters, _beside(load_snap)),
    (is_mliap_descriptor, _beside(load_mliap)),
    (is_mliap_model, _beside(load_mliap)),
)
"""Files of other programs: how their content is recognised and read."""


def load(path: str | Path, *, verify: bool = True, dtype: DtypeName | None = None) -> Potential | Committee:
    """Read a potential: a file of this package, of GPUMD (nep.txt) or of LAMMPS; its content decides.

    A file that holds several potentials gives a `Committee`, which predicts their mean and spread.

    Of LAMMPS: .snapcoeff or .snapparam, .mliap.model or .mliap.descriptor, one of two .pod files (the other one lies
    beside it), or the include file with their pair_style and pair_coeff, which may add zbl.

    Parameters
    ----------
    path : str or Path
    verify : bool
        Recompute the self-test structures of a file of this package and compare.
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default: the one it was saved with, float64 for files of other programs.

    Raises
    ------
    PotentialFileError
        The file is missing, not a potential, damaged, from a newer version, or fails its self-test.
    """
    content = file.read_content(path)
    for recognised, read in FOREIGN:
        if recognised(content):
            return read(content, dtype, str(path))
    if committee_file.is_committee(content):
        return committee_file.from_bytes(content, verify=verify, dtype=dtype, name=str(path))
    return file.from_bytes(content, verify=verify, dtype=dtype, name=str(path))


def load_single(path: str | Path, *, verify: bool = True, dtype: DtypeName | None = None) -> Potential:
    """Read a potential as `load` does, and refuse a committee.

    Raises
    ------
    PotentialFileError
        See `load`; or the file holds a committee.
    """
    found = load(path, verify=verify, dtype=dtype)
    if isinstance(found, Committee):
        raise PotentialFileError(
            f"{path} is a committee of {len(found)}, one potential is needed here; use that of a member, "
            "e.g. member_1/potential.ff of its training run"
        )
    return found


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a potential file says of itself, as `models.file.describe`; `bytes` is the size of the file."""
    content = file.read_content(path)
    if not any(recognised(content) for recognised, _ in FOREIGN):
        if committee_file.is_committee(content):
            return committee_file.describe_content(content, str(path))
        return file.describe_content(content, str(path))
    own = file.to_bytes(load_single(path), self_test=False)
    return {**file.describe_content(own, str(path)), "bytes": len(content)}
