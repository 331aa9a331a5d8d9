"""Potentials for other programs, each export proven in the program it is for."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import warnings
from pathlib import Path

import torch
from ase import Atoms

from forgefield.deployment.certificate import (
    FILE_NAME,
    CertificateError,
    Exported,
    certify,
    write_certificate,
)
from forgefield.deployment.certificate_structures import certificate_structures
from forgefield.deployment.engines import EngineError, EngineMissingError
from forgefield.deployment.targets import HOLDS, MEANS, TARGETS
from forgefield.errors import ConfigError, did_you_mean
from forgefield.files import make_folder, write_bytes
from forgefield.graph import species_index
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["NOT_VERIFIED", "TARGETS", "UnverifiedExportWarning", "export"]

NOT_VERIFIED = (
    "the exported files are NOT VERIFIED: nobody has checked that {engine} computes with them what the potential does; "
    "there is no certificate.json"
)


class UnverifiedExportWarning(UserWarning):
    """Files were exported without a certificate."""


def export(
    potential: Potential | Committee,
    to: str,
    folder: str | Path,
    *,
    verify: bool = True,
    structure: Atoms | None = None,
) -> list[Path]:
    """Write the files another program needs to run a potential, an input script and a certificate.

    The program itself evaluates several structures with the files. Only where it says what the potential says is
    anything written; a folder with an earlier export is otherwise left as it was.

    Parameters
    ----------
    potential : Potential or Committee
        Of a committee the mean; for `MEANS` only.
    to : str
        One of `TARGETS`.
    folder : str or Path
        Made if it does not exist.
    verify : bool
        Without, nothing is compared, there is no ``certificate.json``, and a warning says so.
    structure : ase.Atoms, optional
        What the input scripts are about, periodic; default: a small made-up crystal of all elements.

    Returns
    -------
    list of Path
        The files written: those of the potential, the input script with its structure, the certificate.

    Raises
    ------
    ConfigError
        Unknown program, or one that cannot represent this potential; `structure` is not periodic.
    UnknownSpeciesError
        `structure` has other elements than the potential.
    EngineMissingError
        The program is not installed, so that nothing can be verified.
    CertificateError
        The program says something else than the potential.
    ForgefieldError
        A file cannot be written.
    """
    if to not in TARGETS:
        raise ConfigError(f"cannot export to {to!r}: {did_you_mean(to, TARGETS)}")
    if structure is not None:
        _check_structure(structure, potential)
    potential = copy.deepcopy(potential).to("cpu").to_dtype(torch.float64)
    with tempfile.TemporaryDirectory(prefix="forgefield-export-") as scratch:
        try:
            exported = _write(potential, to, Path(scratch))
        except ConfigError as error:
            raise ConfigError(f"{error}{_alternatives(potential, to)}") from None
        start = certificate_structures(potential)["rattled"] if structure is None else structure
        files = [*exported.files, *exported.finish(start)]
        if verify:
            try:
                certificate = certify(potential, to, exported)
            except EngineMissingError as error:
                raise EngineMissingError(
                    f"{error}; or export without a certificate: verify=False, on the command line --no-verify"
                ) from None
            except EngineError as error:
                raise CertificateError(f"{error}; nothing was written to {folder}") from None
            if not certificate.passed:
                raise CertificateError(
                    f"{exported.engine} {certificate.engine_version} does not say what the potential says, "
                    f"{certificate.summary()}, allowed: {certificate.tolerance:.0e} relative; nothing was written to "
                    f"{folder}"
                )
            files.append(write_certificate(certificate, potential, files, Path(scratch)))
        else:
            warnings.warn(NOT_VERIFIED.format(engine=exported.engine), UnverifiedExportWarning, stacklevel=2)
        return _moved(files, folder)


def _write(potential: Potential | Committee, to: str, folder: Path) -> Exported:
    if not isinstance(potential, Committee):
        return TARGETS[to](potential, folder)
    if to in MEANS:
        return MEANS[to](potential, folder)
    raise ConfigError(
        f"{to} knows no mean of several potentials, and this is a committee of {len(potential)}; export one member: "
        "member_1/potential.ff of its training run, or `committee.members[0]`"
    )


def _check_structure(structure: Atoms, potential: Potential | Committee) -> None:
    species_index(structure.numbers, potential.species)
    if len(structure) == 0 or not structure.pbc.all():
        raise ConfigError(
            f"input scripts need a structure with atoms, periodic in three directions; got {len(structure)} atoms, "
            f"pbc={structure.pbc.tolist()}"
        )


def _alternatives(potential: Potential | Committee, refused: str) -> str:
    """Return which other exports can hold a potential, for a message."""
    if isinstance(potential, Committee):
        return f". Its mean can be exported to {', '.join(MEANS)}" if refused not in MEANS else ""
    able = []
    for name, write in TARGETS.items():
        with (
            tempfile.TemporaryDirectory(prefix="forgefield-export-") as scratch,
            contextlib.suppress(ConfigError),
        ):
            if name != refused:
                HOLDS[name](potential) if name in HOLDS else write(potential, Path(scratch))
                able.append(name)
    return f". As it is, it can be exported to {', '.join(able)}" if able else ""


def _moved(files: list[Path], folder: str | Path) -> list[Path]:
    """Write the files into a folder, where a certificate never lies beside files it is not about."""
    target = make_folder(folder)
    with contextlib.suppress(FileNotFoundError):
        (target / FILE_NAME).unlink()
    return [write_bytes(target / path.name, path.read_bytes()) for path in files]
