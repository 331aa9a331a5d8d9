"""Parts of a training set: drawn at random, or chosen to cover what the structures have to offer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield import data as ff_data
from forgefield.api.select import farthest_points
from forgefield.data import DataSettings
from forgefield.data.frames import group_of
from forgefield.descriptors import make_descriptor, parse_settings
from forgefield.errors import ConfigError
from forgefield.files import make_folder
from forgefield.training.batches import elements_of

__all__ = ["pick", "split_frames", "write_split", "write_subset"]

IntArray = NDArray[np.int64]

FINGERPRINT = {"kind": "so3", "n_max": 4, "l_max": 4, "cutoff": 5.0}
"""Descriptor that says how different two structures are."""


@lru_cache(maxsize=2)
def split_frames(source: str) -> Mapping[str, list[Atoms]]:
    """Return structures by ``train``, ``valid`` and ``test``, with free atoms in training.

    Parameters
    ----------
    source : str
        A file, or the settings `data` as JSON; read once for the cells of a process.
    """
    settings = json.loads(source) if source.startswith("{") else {"train": [source]}
    dataset = ff_data.load(DataSettings.parse(settings), weights={})
    split = {
        name: [dataset.frames[int(i)] for i in getattr(dataset.split, name)]
        for name in ("train", "valid", "test")
    }
    if not split["valid"]:
        raise ConfigError(f"{source} leaves no structures to validate on; give a file with more structures")
    return split


def pick(frames: Sequence[Atoms], n: int, how: str, seed: int) -> IntArray:
    """Return the indices of `n` structures; free atoms are always among them.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    n : int
    how : {'random', 'groups', 'selected'}
        Drawn; drawn so that every group has the same share, or all it has; or farthest-point sampling on the mean
        features of their atoms, from a random start.
    seed : int
    """
    single = [k for k, atoms in enumerate(frames) if len(atoms) == 1]
    others = np.array([k for k in range(len(frames)) if k not in set(single)], dtype=np.int64)
    n = min(n, len(others))
    rng = np.random.default_rng(seed)
    if how == "random":
        chosen = rng.permutation(others)[:n]
    elif how == "groups":
        chosen = _by_turns([group_of(frames[k]) for k in others], others, rng)[:n]
    elif how == "selected":
        points = _fingerprints([frames[k] for k in others])
        scores = np.ones(len(others))
        scores[rng.integers(len(others))] = 1.0 + 1e-9  # where to start
        found = [index for index, _ in farthest_points(scores, points, n)]
        rest = [k for k in rng.permutation(len(others)) if k not in set(found)]
        chosen = others[np.array([*found, *rest][:n], dtype=np.int64)]
    else:
        raise ConfigError(f"structures are picked 'random', 'groups' or 'selected', got {how!r}")
    return np.sort(np.concatenate([np.array(single, dtype=np.int64), chosen]))


def _by_turns(groups: Sequence[str], indices: IntArray, rng: np.random.Generator) -> IntArray:
    """Return all indices in random order, one of each group after the other."""
    turn = np.empty(len(groups), dtype=np.int64)
    for group in sorted(set(groups)):
        own = np.flatnonzero([g == group for g in groups])
        turn[own] = rng.permutation(len(own))
    ordered: IntArray = indices[np.lexsort((rng.permutation(len(groups)), turn))]
    return ordered


def _fingerprints(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    species = elements_of(frames)
    descriptor = make_descriptor(parse_settings(FINGERPRINT), species)
    rows = []
    for atoms in frames:
        features = np.asarray(descriptor.compute(atoms), dtype=np.float64)
        symbols = np.array(atoms.get_chemical_symbols())
        rows.append(np.concatenate([features[symbols == s].sum(axis=0) / len(atoms) for s in species]))
    points = np.array(rows)
    scaled: NDArray[np.float64] = points / np.maximum(points.std(axis=0), 1e-12)
    return scaled


def write_split(
    divided: Mapping[str, list[Atoms]], n: int, how: str, seed: int, folder: Path
) -> dict[str, list[str]]:
    """Write `n` training structures and all for validation and test; return them as the settings of `data`."""
    split = {**divided, "train": [divided["train"][k] for k in pick(divided["train"], n, how, seed)]}
    make_folder(folder)
    files = {}
    for name, frames in split.items():
        if frames:
            target = folder / f"{name}.extxyz"
            ase.io.write(target, frames, format="extxyz")
            files[name] = [str(target)]
    return files


def write_subset(path: str, n: int, how: str, seed: int, folder: Path) -> dict[str, list[str]]:
    """Write training, validation and test structures of a file; return them as the settings of `data`."""
    return write_split(split_frames(path), n, how, seed, folder)
