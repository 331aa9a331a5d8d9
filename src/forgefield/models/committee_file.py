"""A committee in one safetensors file: the files of its members side by side, each with its own checks.

The header has the conventions of `models.file` and holds the headers of the members; tensor ``name`` of member n is
``member.n.name``. A member is read exactly as its own file would be: checksum, upgrades, self-test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from forgefield import __version__
from forgefield.errors import PotentialFileError
from forgefield.files import write_bytes
from forgefield.models import file
from forgefield.models.committee import Committee
from forgefield.models.file import METADATA_KEY, UNITS, DtypeName, plain_provenance
from forgefield.models.results import Provenance

__all__ = ["FORMAT", "VERSION", "describe_content", "from_bytes", "is_committee", "save", "to_bytes"]

FORMAT = "forgefield-committee"
VERSION = 1


def save(committee: Committee, path: str | Path) -> Path:
    """Write a committee to one file, atomically.

    Raises
    ------
    PotentialFileError
        A member predicts NaN or infinity.
    ForgefieldError
        The file cannot be written; an existing one is left as it was.
    """
    return write_bytes(path, to_bytes(committee))


def to_bytes(committee: Committee, *, self_test: bool = True) -> bytes:
    """Return the content of the file; equal committees give equal bytes. See `models.file.to_bytes`."""
    headers: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for n, member in enumerate(committee.members):
        content = file.to_bytes(member, self_test=self_test)
        headers.append(_metadata(content))
        tensors |= {f"{_prefix(n)}{k}": v for k, v in safetensors.torch.load(content).items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "package_version": __version__,
        "species": committee.elements,
        "units": UNITS,
        "cutoffs": list(committee.cutoffs),
        "n_parameters": committee.n_parameters,
        "provenance": plain_provenance(committee.provenance),
        "members": headers,
    }
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    result: bytes = safetensors.torch.save(tensors, metadata={METADATA_KEY: text})
    return result


def is_committee(content: bytes) -> bool:
    """Return whether these are the bytes of a committee, intact or not."""
    try:
        return bool(_metadata(content).get("format") == FORMAT)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def from_bytes(
    content: bytes, *, verify: bool = True, dtype: DtypeName | None = None, name: str = "committee"
) -> Committee:
    """Return the committee of a file's content.

    Raises
    ------
    PotentialFileError
        The file is damaged, from a newer version, or a member fails its self-test.
    """
    header = _header(content, name)
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise PotentialFileError(f"{name} is damaged ({error}); copy it again") from None
    members = []
    for n, own in enumerate(header["members"]):
        prefix = _prefix(n)
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        text = json.dumps(own, ensure_ascii=False, allow_nan=False)
        single = safetensors.torch.save(part, metadata={METADATA_KEY: text})
        title = f"member {n + 1} of {name}"
        members.append(file.from_bytes(single, verify=verify, dtype=dtype, name=title))
    return Committee(members, Provenance(**header["provenance"]))


def describe_content(content: bytes, name: str) -> dict[str, Any]:
    """Return what the file says of itself: as `models.file.describe` of the first member, `members`, `bytes`."""
    header = _header(content, name)
    first = dict(header["members"][0])
    first |= {k: header[k] for k in ("provenance", "cutoffs", "n_parameters", "package_version", "version")}
    return {**first, "format": FORMAT, "members": header["members"], "bytes": len(content)}


def _prefix(n: int) -> str:
    return f"member.{n}."


def _metadata(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    if size > file.LARGEST_HEADER or content[8:9] != b"{":
        raise ValueError(size)
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA_KEY])
    return header


def _header(content: bytes, name: str) -> dict[str, Any]:
    header = _metadata(content)
    version, members = header.get("version"), header.get("members")
    if not isinstance(version, int) or version < 1 or not isinstance(members, list) or len(members) < 2:
        raise PotentialFileError(f"{name} is damaged: its header describes no committee; copy it again")
    if version > VERSION:
        raise PotentialFileError(
            f"{name} has committee format {version}, written by forgefield {header.get('package_version')}; this is "
            f"forgefield {__version__}, which reads up to {VERSION}: update with `pip install -U forgefield`"
        )
    return header
