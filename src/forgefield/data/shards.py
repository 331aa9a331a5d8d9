"""Structures on disk in shards: written once, read one at a time, for data that do not fit into memory.

A folder holds ``shards.json`` and files ``shard_00000.safetensors``, ...; each file has the arrays of its structures one
after the other. Structures are read by position, without mapping files into memory, so that what a process holds does
not grow with what it has read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray
from safetensors.numpy import save

from forgefield.data.frames import get_energy, get_forces, get_stress, group_of
from forgefield.errors import DataError
from forgefield.files import make_folder, write_bytes, write_json

__all__ = ["MANIFEST", "ShardWriter", "Shards", "is_shards"]

MANIFEST = "shards.json"
FORMAT = "forgefield-shards"
VERSION = 1
SHARD_BYTES = 64 * 2**20
"""Positions and forces that a shard holds."""

WEIGHTS = ("weight", "energy_weight", "forces_weight", "stress_weight")
ROLES = ("", "train", "valid", "test")
DTYPES = {"I64": np.int64, "F64": np.float64, "U8": np.uint8}

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def is_shards(path: str | Path) -> bool:
    """Whether a folder holds shards."""
    return (Path(path) / MANIFEST).is_file()


class ShardWriter:
    """Appends structures to a folder; nothing is valid before `close`.

    Parameters
    ----------
    folder : path
        Made; one that already holds shards is refused.
    shard_bytes : int
        About how much a shard holds.
    """

    def __init__(self, folder: str | Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = make_folder(folder)
        if is_shards(self.folder):
            raise DataError(f"{folder} already holds shards; delete them or choose another folder")
        self.shard_bytes = shard_bytes
        self.groups: dict[str, int] = {}
        self.counts: list[int] = []
        self._waiting: list[Atoms] = []
        self._bytes = 0

    def add(self, atoms: Atoms) -> None:
        """Append a structure with its labels."""
        self._waiting.append(atoms)
        self._bytes += 56 * len(atoms)
        if self._bytes >= self.shard_bytes:
            self._flush()

    def close(self, facts: dict[str, Any] | None = None) -> None:
        """Write what is left and the manifest.

        Parameters
        ----------
        facts : dict, optional
            Goes into the manifest under ``facts``.
        """
        self._flush()
        if not self.counts:
            raise DataError("there are no structures to write into shards")
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "structures": self.counts,
            "groups": list(self.groups),
            "facts": facts or {},
        }
        write_json(self.folder / MANIFEST, manifest)

    def _flush(self) -> None:
        if not self._waiting:
            return
        frames = self._waiting
        groups = [self.groups.setdefault(group_of(a), len(self.groups)) for a in frames]
        names = [str(a.info.get("name", f"structure {n}")).encode() for n, a in enumerate(frames)]
        stresses = [get_stress(a) for a in frames]
        forces = [get_forces(a) for a in frames]
        energies = [get_energy(a) for a in frames]
        arrays = {
            "first": np.cumsum([0, *map(len, frames)]),
            "numbers": np.concatenate([a.numbers for a in frames]).astype(np.int64),
            "positions": np.concatenate([a.positions for a in frames]),
            "cell": np.array([a.cell.array for a in frames]),
            "pbc": np.array([a.pbc for a in frames]).astype(np.uint8),
            "energy": np.array([0.0 if e is None else e for e in energies]),
            "forces": np.concatenate(
                [np.zeros((len(a), 3)) if f is None else f for a, f in zip(frames, forces, strict=True)]
            ),
            "stress": np.array([np.zeros(6) if s is None else s for s in stresses]),
            "known": np.array(
                [[x is not None for x in labels] for labels in zip(energies, forces, stresses, strict=True)]
            ).astype(np.uint8),
            "weights": np.array([[float(a.info.get(w, 1.0)) for w in WEIGHTS] for a in frames]),
            "group": np.array(groups, dtype=np.int64),
            "role": np.array([ROLES.index(str(a.info.get("split", ""))) for a in frames], dtype=np.int64),
            "name_first": np.cumsum([0, *map(len, names)]),
            "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        }
        content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
        write_bytes(self.folder / _name(len(self.counts)), content)
        self.counts.append(len(frames))
        self._waiting, self._bytes = [], 0


def _name(k: int) -> str:
    return f"shard_{k:05d}.safetensors"


class _Shard:
    """One open file."""

    def __init__(self, path: Path, n: int) -> None:
        try:
            self.file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"cannot read the shard {path}: {error.strerror or error}") from None
        self.path = path
        size = int.from_bytes(os.pread(self.file, 8, 0), "little")
        try:
            header = json.loads(os.pread(self.file, min(size, 2**20), 8))
            self.places = {
                k: (DTYPES[v["dtype"]], tuple(v["shape"]), 8 + size + v["data_offsets"][0])
                for k, v in header.items()
                if k != "__metadata__"
            }
            self.first, self.name_first = self.read("first"), self.read("name_first")
        except (ValueError, KeyError) as error:
            raise DataError(f"{path} is not a shard or damaged ({error}); write the shards anew") from None
        if len(self.first) != n + 1:
            raise DataError(
                f"{path} holds {len(self.first) - 1} structures, {MANIFEST} says {n}; write them anew"
            )

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return some rows of an array."""
        dtype, shape, offset = self.places[name]
        stop = shape[0] if stop is None else stop
        row = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
        content = os.pread(self.file, (stop - start) * row, offset + start * row)
        if len(content) != (stop - start) * row:
            raise DataError(f"{self.path} is truncated; write the shards anew")
        return np.frombuffer(content, dtype=dtype).reshape(stop - start, *shape[1:])

    def close(self) -> None:
        os.close(self.file)


@dataclass(frozen=True)
class _Store:
    """All files of a folder."""

    shards: list[_Shard]
    first: IntArray
    groups: list[str]

    def __del__(self) -> None:
        for shard in self.shards:
            shard.close()

    def place(self, i: int) -> tuple[_Shard, int]:
        """Return the file of a structure, and its number therein."""
        k = int(np.searchsorted(self.first, i, side="right")) - 1
        return self.shards[k], i - int(self.first[k])


class Shards(Sequence[Atoms]):
    """The structures of a folder, or some of them, each read when asked for.

    Parameters
    ----------
    folder : path
        Written by `ShardWriter`.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read {path} ({error}); write the shards with `forgefield shard`"
            ) from None
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise DataError(
                f"{path} has format {manifest.get('format')!r}, version {manifest.get('version')!r}; this version reads "
                f"{FORMAT!r}, version {VERSION}: write the shards anew"
            )
        counts = manifest["structures"]
        shards = [_Shard(Path(folder) / _name(k), n) for k, n in enumerate(counts)]
        self.folder = Path(folder)
        self.facts: dict[str, Any] = manifest["facts"]
        self._store = _Store(shards, np.cumsum([0, *counts]), manifest["groups"])
        self._index: IntArray = np.arange(int(self._store.first[-1]))
        self._last: tuple[int, Atoms] | None = None

    def select(self, index: Sequence[int] | IntArray) -> Shards:
        """Return some of these structures, in the order given."""
        chosen = object.__new__(Shards)
        chosen.folder, chosen.facts, chosen._store, chosen._last = self.folder, self.facts, self._store, None
        chosen._index = self._index[np.asarray(index, dtype=np.int64)]
        return chosen

    @property
    def sizes(self) -> IntArray:
        """Atoms of each structure."""
        every = np.concatenate([np.diff(s.first) for s in self._store.shards])
        return np.asarray(every[self._index], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, i: int) -> Atoms: ...
    @overload
    def __getitem__(self, i: slice) -> Shards: ...
    def __getitem__(self, i: int | slice) -> Atoms | Shards:
        if isinstance(i, slice):
            return self.select(np.arange(len(self))[i])
        if self._last is None or self._last[0] != i:  # the same structure is often asked for twice in a row
            self._last = i, self._read(int(self._index[i]))
        return self._last[1]

    def __iter__(self) -> Iterator[Atoms]:
        for i in self._index:
            yield self._read(int(i))

    def _read(self, i: int) -> Atoms:
        shard, k = self._store.place(i)
        lo, hi = (int(x) for x in shard.first[k : k + 2])
        atoms = Atoms(
            numbers=shard.read("numbers", lo, hi),
            positions=shard.read("positions", lo, hi),
            cell=shard.read("cell", k, k + 1)[0],
            pbc=shard.read("pbc", k, k + 1)[0].astype(bool),
        )
        energy, forces, stress = shard.read("known", k, k + 1)[0].astype(bool)
        labels: dict[str, Any] = {}
        if energy:
            labels["energy"] = float(shard.read("energy", k, k + 1)[0])
        if forces:
            labels["forces"] = shard.read("forces", lo, hi).copy()
        if stress:
            labels["stress"] = shard.read("stress", k, k + 1)[0].copy()
        if labels:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info["name"] = (
            shard.read("names", *(int(x) for x in shard.name_first[k : k + 2])).tobytes().decode()
        )
        atoms.info["source"] = str(self.folder)
        atoms.info["config_type"] = self._store.groups[int(shard.read("group", k, k + 1)[0])]
        role = ROLES[int(shard.read("role", k, k + 1)[0])]
        if role:
            atoms.info["split"] = role
        for name, weight in zip(WEIGHTS, shard.read("weights", k, k + 1)[0].tolist(), strict=True):
            if weight != 1.0:
                atoms.info[name] = weight
        return atoms
