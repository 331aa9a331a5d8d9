"""One file per potential: a safetensors file whose metadata is a JSON header.

The header says what to build (settings of descriptor and model, from their registries), in which units the potential
speaks and where it comes from. The tensors are the parameters, bit for bit, and three structures with the energies,
forces and stress this potential gave when it was written: loading computes them again, so that a file that no longer
means what it meant is refused. Nothing in the file is code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from ase.data import chemical_symbols
from safetensors import SafetensorError
from torch import Tensor

from forgefield import __version__
from forgefield.descriptors import make_descriptor
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.files import write_bytes
from forgefield.models import make_model
from forgefield.models.potential import Potential, Provenance
from forgefield.models.results import Extrapolation, LastLayer
from forgefield.models.self_test import self_test_tensors, verify_self_test
from forgefield.models.zbl import ZBL, ZBLSettings

__all__ = [
    "DTYPES",
    "UPGRADES",
    "VERSION",
    "describe",
    "describe_content",
    "from_bytes",
    "load",
    "plain_provenance",
    "read_content",
    "save",
    "to_bytes",
]

DtypeName = Literal["float32", "float64"]
Header = dict[str, Any]
Tensors = dict[str, Tensor]

VERSION = 1
"""Version of the format that is written."""

UPGRADES: dict[int, Callable[[Header, Tensors], tuple[Header, Tensors]]] = {}
"""How to turn the content of a file of version n into that of version n + 1."""

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}
"""Number types a potential may be evaluated in."""

FORMAT = "forgefield-potential"
METADATA_KEY = "forgefield"
STATE_PREFIX = "state."
GRADE_PREFIX = "extrapolation."
COVARIANCE = "last_layer.covariance"
UNITS = {"energy": "eV", "length": "Å", "stress": "eV/Å^3, positive in tension, xx yy zz yz xz xy"}
LARGEST_HEADER = 100_000_000


# ---- writing -------------------------------------------------------------------------------------------------


def save(potential: Potential, path: str | Path) -> Path:
    """Write a potential to one file, atomically.

    Parameters
    ----------
    potential : Potential
    path : str or Path
        By convention ``*.ff``.

    Raises
    ------
    PotentialFileError
        The potential predicts NaN or infinity, so the file could never be verified.
    ForgefieldError
        The file cannot be written; an existing one is left as it was.
    """
    return write_bytes(path, to_bytes(potential))


def to_bytes(potential: Potential, *, self_test: bool = True) -> bytes:
    """Return the content of the file of a potential; equal potentials give equal bytes.

    Without `self_test` it is made faster, may hold numbers that are not finite, and must be read with
    ``verify=False``: for handing a potential to another process.
    """
    state = {STATE_PREFIX + k: v.detach().cpu().contiguous() for k, v in potential.state_dict().items()}
    tensors = {**state, **(self_test_tensors(potential) if self_test else {})}
    if potential.extrapolation is not None:
        tensors |= {f"{GRADE_PREFIX}{n}": x.clone() for n, x in enumerate(potential.extrapolation.matrices)}
    if potential.last_layer is not None:
        tensors[COVARIANCE] = potential.last_layer.covariance.clone()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "package_version": __version__,
        "species": potential.elements,
        "dtype": str(potential.dtype).removeprefix("torch."),
        "descriptor": potential.descriptor.settings.model_dump(mode="json"),
        "model": potential.model.settings.model_dump(mode="json"),
        "units": UNITS,
        "references": dict(zip(potential.elements, potential.references.tolist(), strict=True)),
        "energy_scale": float(potential.energy_scale),
        "cutoffs": list(potential.cutoffs),
        "n_features": potential.descriptor.n_features,
        "n_parameters": potential.n_parameters,
        "provenance": plain_provenance(potential.provenance),
        "checksum": _checksum(tensors),
    }
    if potential.zbl is not None:
        header["zbl"] = potential.zbl.settings.model_dump(mode="json")
    if potential.last_layer is not None:
        kept = potential.last_layer
        scale = {"scale": kept.scale} if kept.scale else {}
        header["last_layer"] = {"noise": kept.noise, "prior": kept.prior, **scale}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    content: bytes = safetensors.torch.save(tensors, metadata={METADATA_KEY: text})
    return content


def plain_provenance(provenance: Provenance) -> dict[str, Any]:
    """Return where a potential comes from as JSON knows it."""
    values: dict[str, Any] = _plain(asdict(provenance))
    return values


def _plain(value: Any) -> Any:
    """Return the value as JSON knows it: NumPy numbers become numbers, NaN and infinity null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


# ---- reading -------------------------------------------------------------------------------------------------


def load(path: str | Path, *, verify: bool = True, dtype: DtypeName | None = None) -> Potential:
    """Read a potential.

    Parameters
    ----------
    path : str or Path
    verify : bool
        Recompute the stored self-test structures and compare.
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default: the one it was saved with.

    Raises
    ------
    PotentialFileError
        The file is missing, not a potential, damaged, from a newer version, or fails its self-test.
    """
    return from_bytes(read_content(path), verify=verify, dtype=dtype, name=str(path))


def from_bytes(
    content: bytes, *, verify: bool = True, dtype: DtypeName | None = None, name: str = "potential"
) -> Potential:
    """Return the potential of a file's content; see `load`. `name` stands for the file in messages."""
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    header = _header(content, name)
    try:
        # Copies: the loaded tensors would share one read-only buffer.
        tensors = {k: v.clone() for k, v in safetensors.torch.load(content).items()}
    except SafetensorError as error:
        raise PotentialFileError(f"{name} is damaged ({error}); copy it again") from None
    if header.get("checksum") != _checksum(tensors):
        raise PotentialFileError(
            f"{name} is damaged: its numbers do not match its checksum; copy it again or train it anew"
        )
    for version in range(header["version"], VERSION):
        header, tensors = UPGRADES[version](header, tensors)
    potential = _build(header, tensors, name)
    if verify:
        verify_self_test(potential, tensors, name)
    return potential if dtype is None else potential.to_dtype(DTYPES[dtype])


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a potential file says of itself, without building it.

    Returns
    -------
    dict
        The header (`version`, `species`, `descriptor`, `model`, `references` [eV], `provenance`, ...) and
        `bytes`, the size of the file.
    """
    return describe_content(read_content(path), str(path))


def describe_content(content: bytes, name: str) -> dict[str, Any]:
    """Return what the content of a potential file says of itself; see `describe`."""
    return {**_header(content, name), "bytes": len(content)}


def read_content(path: str | Path) -> bytes:
    """Return the bytes of a file, or explain why not."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PotentialFileError(f"cannot read {path}: {error.strerror or error}") from None


def _header(content: bytes, name: str) -> Header:
    """Return the JSON header; every reason why the content is no potential has its own message."""
    if not content:
        raise PotentialFileError(f"{name} is empty; copy it again")
    stranger = PotentialFileError(f"{name} is not a forgefield potential file")
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > LARGEST_HEADER or content[8:9] != b"{":
        raise stranger
    cut = PotentialFileError(f"{name} is truncated: {len(content)} bytes, more are announced; copy it again")
    if len(content) < 8 + size:
        raise cut
    try:
        index = json.loads(content[8 : 8 + size])
        header = json.loads(index.pop("__metadata__")[METADATA_KEY])
        end = max((entry["data_offsets"][1] for entry in index.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise stranger from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise stranger
    if len(content) < 8 + size + end:
        raise cut
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise PotentialFileError(f"{name} is damaged: its format version is {version!r}")
    if version > VERSION:
        raise PotentialFileError(
            f"{name} has format version {version}, written by forgefield {header.get('package_version')}; this "
            f"is forgefield {__version__}, which reads up to version {VERSION}: update with "
            "`pip install -U forgefield`"
        )
    return header


def _build(header: Header, tensors: Tensors, name: str) -> Potential:
    """Make the potential that the header describes and give it its parameters."""
    try:
        descriptor = make_descriptor(header["descriptor"], header["species"])
        model = make_model(header["model"], descriptor.n_features, descriptor.n_species)
        zbl = None
        if "zbl" in header:
            zbl = ZBL(descriptor.species, ZBLSettings.parse(header["zbl"], where="zbl"))
        potential = Potential(descriptor, model, zbl=zbl).to_dtype(DTYPES[header["dtype"]])
        potential.provenance = Provenance(**header["provenance"])
    except (ConfigError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__} {error}" if not isinstance(error, ConfigError) else str(error)
        raise PotentialFileError(
            f"{name}, written by forgefield {header.get('package_version')}, cannot be rebuilt: {reason}"
        ) from None
    state = {k.removeprefix(STATE_PREFIX): v for k, v in tensors.items() if k.startswith(STATE_PREFIX)}
    expected = potential.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise PotentialFileError(
            f"{name} does not fit its own header: missing {', '.join(missing) or 'nothing'}; "
            f"unknown {', '.join(unknown) or 'nothing'}"
        )
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise PotentialFileError(
                f"{name} does not fit its own header: `{key}` has shape {tuple(state[key].shape)}, "
                f"{tuple(value.shape)} is needed"
            )
    potential.load_state_dict(state, assign=True)
    potential.extrapolation = _extrapolation(potential, tensors, name)
    potential.last_layer = _last_layer(header, tensors, name)
    if [chemical_symbols[z] for z in potential.species] != list(header["species"]):
        raise PotentialFileError(f"{name} lists its elements as {header['species']}, not by atomic number")
    return potential


def _extrapolation(potential: Potential, tensors: Tensors, name: str) -> Extrapolation | None:
    found = {k.removeprefix(GRADE_PREFIX): v for k, v in tensors.items() if k.startswith(GRADE_PREFIX)}
    if not found:
        return None
    matrices = tuple(found[str(n)] for n in range(len(potential.species)) if str(n) in found)
    sizes = {x.shape[0] for x in matrices if x.ndim == 2}
    if len(matrices) != len(potential.species) or sizes != {potential.descriptor.n_features + 1}:
        raise PotentialFileError(
            f"{name} holds extrapolation grades that do not fit its descriptor; copy it again"
        )
    return Extrapolation(matrices)


def _last_layer(header: Header, tensors: Tensors, name: str) -> LastLayer | None:
    facts, covariance = header.get("last_layer"), tensors.get(COVARIANCE)
    if facts is None and covariance is None:
        return None
    try:
        noise = {str(k): float(v) for k, v in facts["noise"].items()} if facts else {}
        prior = float(facts["prior"]) if facts else 0.0
        scale = {str(k): float(v) for k, v in facts.get("scale", {}).items()} if facts else {}
    except (KeyError, TypeError, ValueError, AttributeError):
        noise, prior, scale = {}, 0.0, {}
    if (
        covariance is None
        or covariance.ndim != 2
        or covariance.shape[0] != covariance.shape[1]
        or not prior > 0
    ):
        raise PotentialFileError(
            f"{name} holds a posterior of the last layer that is not whole; copy it again"
        )
    return LastLayer(covariance, noise, prior, scale)
