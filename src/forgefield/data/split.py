"""Training, validation and test sets: seeded, stratified, and without twins on both sides.

Published splits are kept. Where none exists, structures are drawn at random in each group, or whole groups or
clusters of near-duplicates are, since a random split of a relaxation path measures the training error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.data.fingerprint import twin_clusters
from forgefield.data.frames import group_of
from forgefield.data.references import is_isolated_atom
from forgefield.errors import DataError, counted

__all__ = ["Split", "SplitSettings", "part_of_training", "split"]

IntArray = NDArray[np.intp]
_ROLES = ("train", "valid", "test")


class SplitSettings(Schema):
    """How structures are divided.

    Parameters
    ----------
    valid, test : float, 0 <= value < 1
        Fractions of the structures that are not assigned already.
    seed : int, >= 0
        Same seed, same data: same split.
    by : "structure", "cluster" or "group"
        What is kept on one side: single structures (stratified by group), clusters of near-duplicates
        (``info["cluster"]`` where the data have it, else found with `twin_distance`), or whole groups.
    twin_distance : float or None [Å], > 0
        Structures closer than this (every atom and cell vector, atoms may be renumbered) stay together.
    official : bool
        Keep ``info["split"]`` where the data have it.
    """

    valid: float = Field(default=0.1, ge=0.0, lt=1.0, description="fraction for validation")
    test: float = Field(default=0.0, ge=0.0, lt=1.0, description="fraction for testing")
    seed: int = Field(default=0, ge=0, description="seed of the draw")
    by: Literal["structure", "cluster", "group"] = Field(
        default="structure", description="what stays together"
    )
    twin_distance: float | None = Field(default=None, gt=0.0, description="near-duplicates stay together [Å]")
    official: bool = Field(default=True, description="keep the split the data come with")

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSettings:
        if self.valid + self.test >= 1.0:
            raise ValueError(
                f"valid + test must be < 1 to leave training data, got {self.valid + self.test:g}"
            )
        return self


@dataclass(frozen=True)
class Split:
    """Indices of the structures of each set, ascending.

    Parameters
    ----------
    train, valid, test : (n,) int
        Disjoint; together every structure once, unless only a part is used.
    note : str
        How they came about, for a report.
    """

    train: IntArray
    valid: IntArray
    test: IntArray
    note: str = ""

    def role(self, index: int) -> str:
        """Return "train", "valid" or "test" for a structure."""
        return next(name for name in _ROLES if index in getattr(self, name))


def split(
    frames: Sequence[Atoms], settings: SplitSettings | None = None, roles: Sequence[str] | None = None
) -> Split:
    """Divide structures into training, validation and test sets.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        ``info["split"]`` is honoured; isolated atoms always train.
    settings : SplitSettings or None
        None: 10 % validation, seed 0.
    roles : sequence of str or None
        "train", "valid", "test" or "" (undecided) for each structure, as its file says; goes before
        ``info["split"]``.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        A set that was asked for would be empty, or nothing would be left to train on.
    """
    settings = settings or SplitSettings()
    n = len(frames)
    if n == 0:
        raise DataError("there are no structures to split; check the data files and filters")
    given = [""] * n if roles is None else list(roles)
    if settings.official:
        given = [role or str(a.info.get("split", "")) for role, a in zip(given, frames, strict=True)]
    official = sorted(set(given) - {""})
    alone = [is_isolated_atom(a) for a in frames]
    assigned = np.array(
        [r or ("train" if one else "") for r, one in zip(given, alone, strict=True)], dtype=object
    )
    if not np.isin(assigned, ["", "train"]).any():
        marked = _sizes({role: np.flatnonzero(assigned == role) for role in ("valid", "test")})
        raise DataError(
            f"no structure is left for training: all {n} are marked in their files ({marked}); add training data, or set "
            "data.split.official=false to draw a split of our own"
        )
    units, what = _units(frames, settings)
    strata = np.array(["" if settings.by == "group" else group_of(a) for a in frames], dtype=object)
    rng = np.random.default_rng(settings.seed)
    undecided = int((assigned == "").sum())
    for role in ("test", "valid"):
        fraction = getattr(settings, role)
        pool = assigned == ""
        if role == "valid" and not pool.any():
            pool = (assigned == "train") & ~np.array(alone)
        if fraction == 0.0 or role in official or (role == "test" and official and not pool.any()):
            continue
        # Fractions count from all that was undecided, not from what the draw before left.
        share = min(1.0, fraction * max(undecided, int(pool.sum())) / max(1, int(pool.sum())))
        chosen = _draw(units, strata, np.flatnonzero(pool), share, rng)
        if not len(chosen):
            raise DataError(_empty(role, fraction, _there(int(pool.sum()), len(set(units[pool])), what)))
        assigned[chosen] = role
    assigned[assigned == ""] = "train"
    sets = {role: np.flatnonzero(assigned == role) for role in _ROLES}
    if not len(sets["train"]):
        raise DataError(
            f"no structure is left for training: {_sizes(sets)}; lower split.valid and split.test"
        )
    note = f"{'kept the split of the data; ' if official else ''}drawn by {settings.by}, seed {settings.seed}"
    return Split(**sets, note=f"{_sizes(sets)}; {note}")


def part_of_training(frames: Sequence[Atoms], found: Split, fraction: float, seed: int) -> Split:
    """Return the split with a part of the training structures; the rest belongs to no set.

    They are taken in one random order, so that larger parts hold the smaller ones. Isolated atoms, and as many
    structures as it takes to have every element, come first.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    found : Split
    fraction : float, 0 to 1
    seed : int
        Of the order.
    """
    if fraction >= 1.0:
        return found
    order = np.random.default_rng(seed).permutation(found.train)
    first, seen = [], set[int]()
    for k in order:
        atoms = frames[int(k)]
        new = set(atoms.numbers.tolist()) - seen
        if new or is_isolated_atom(atoms):
            first.append(int(k))
            seen |= new
    n = max(len(first), math.ceil(fraction * len(order)))
    taken = set(first)
    rest = [int(k) for k in order if int(k) not in taken]
    train = np.sort(np.array([*first, *rest][:n], dtype=np.intp))
    return replace(found, train=train, note=f"{found.note}; {n} of {len(order)} training structures used")


def _empty(role: str, fraction: float, available: str) -> str:
    return (
        f"the {role} set would be empty: {available} and split.{role}={fraction:g}; raise split.{role}, add data, "
        f"give {role} files, or set split.{role}=0 to go without"
    )


def _sizes(sets: dict[str, IntArray]) -> str:
    return ", ".join(f"{role} {len(index)}" for role, index in sets.items())


def _units(frames: Sequence[Atoms], settings: SplitSettings) -> tuple[NDArray[np.int64], str]:
    """Return a number per structure, equal for structures that must stay together, and what that is."""
    if settings.by == "group":
        keys: list[object] = [group_of(a) for a in frames]
        what = "group"
    elif settings.by == "cluster":
        what = "cluster"
        if all("cluster" in a.info for a in frames):
            keys = [str(a.info["cluster"]) for a in frames]
        else:
            keys = list(twin_clusters(frames, settings.twin_distance or 0.05))
    else:
        keys, what = list(range(len(frames))), "structure"
    names = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    units = np.array([names[key] for key in keys], dtype=np.int64)
    if settings.twin_distance is not None and settings.by != "cluster":
        units = _joined(units, twin_clusters(frames, settings.twin_distance))
        what = "cluster" if what == "structure" else what
    return units, what


def _there(n_structures: int, n_units: int, what: str) -> str:
    alone = what == "structure" and n_units == n_structures
    return counted(n_structures, "structure") + ("" if alone else f" in {counted(n_units, what)}")


def _joined(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the finest partition that both partitions refine."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(first.max()) + 1
    size = n + int(second.max()) + 1
    graph = coo_array((np.ones(len(first)), (first, second + n)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[first], dtype=np.int64)


def _draw(
    units: NDArray[np.int64],
    strata: NDArray[np.object_],
    pool: IntArray,
    fraction: float,
    rng: np.random.Generator,
) -> IntArray:
    """Draw whole units from each stratum until about `fraction` of it is taken.

    What rounding leaves over in one stratum is carried to the next, so that the total is right as well. A stratum
    that is due less than one structure gives none: rare environments are what training can spare least.
    """
    members: dict[int, list[int]] = {}
    for k in pool:
        members.setdefault(int(units[k]), []).append(int(k))
    by_stratum: dict[str, list[int]] = {}
    for unit, inside in members.items():
        by_stratum.setdefault(str(strata[inside[0]]), []).append(unit)
    chosen: list[int] = []
    carried = 0.0
    sizes = {name: sum(len(members[u]) for u in those) for name, those in by_stratum.items()}
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    large = [name for name in order if fraction * sizes[name] >= 1.0]
    for name in large or order:
        shuffled = [by_stratum[name][k] for k in rng.permutation(len(by_stratum[name]))]
        quota = fraction * sum(len(members[u]) for u in shuffled) + carried
        taken = 0
        for unit in shuffled[: len(shuffled) - 1 if len(order) > 1 or len(shuffled) > 1 else 0]:
            size = len(members[unit])
            if abs(taken + size - quota) < abs(taken - quota):
                chosen.extend(members[unit])
                taken += size
        carried = quota - taken
    return np.array(sorted(chosen), dtype=np.intp)
