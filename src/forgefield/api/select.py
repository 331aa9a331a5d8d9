"""Which structures to label next: those a potential is least sure of, and no two of a kind."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from ase.io import extxyz
from numpy.typing import NDArray

from forgefield.api.naming import naming
from forgefield.deployment.load import load
from forgefield.engine.predictor import fastest
from forgefield.errors import ConfigError, DataError
from forgefield.evaluation.labels import structure_name
from forgefield.files import write_csv, write_text
from forgefield.models.committee import Committee
from forgefield.models.extrapolation import Grader
from forgefield.models.potential import Potential
from forgefield.training.laplace import stored_posterior
from forgefield.training.maxvol import fit_extrapolation

__all__ = ["Criterion", "Selection", "farthest_points", "select"]

Array = NDArray[np.float64]
Criterion = Literal["auto", "grade", "spread"]

COLUMNS = ("rank", "index", "name", "n_atoms", "score", "mean", "distance")
ARRAY_NAMES = {"grade": "extrapolation", "spread": "forces_spread"}


@dataclass(frozen=True)
class Selection:
    """Structures to label, in the order in which they were picked.

    Attributes
    ----------
    frames : list of ase.Atoms
        Copies without labels; ``info["selection_score"]``, and the values of every atom in ``arrays``.
    rows : list of dict
        ``rank``, ``index`` among the candidates (from 0), ``name``, ``n_atoms``, ``score`` (the largest value of an atom),
        ``mean`` (over its atoms), ``distance`` (of its mean features to those picked before; None for the first).
    by : {'grade', 'spread'}
        What the scores are: extrapolation grades, or spreads of forces [eV/Å].
    """

    frames: list[Atoms]
    rows: list[dict[str, Any]]
    by: str

    def write(self, path: str | Path) -> list[Path]:
        """Write the structures as extended XYZ and the table as CSV beside them.

        Raises
        ------
        ForgefieldError
            A file cannot be written.
        """
        buffer = io.StringIO()
        extxyz.write_xyz(buffer, self.frames)
        structures = write_text(path, buffer.getvalue())
        return [structures, write_csv(structures.with_suffix(".csv"), self.rows, COLUMNS)]


def select(
    potential: Potential | Committee | str | Path,
    candidates: Sequence[Atoms],
    n: int,
    *,
    by: Criterion = "auto",
    train: Sequence[Atoms] | None = None,
) -> Selection:
    """Pick the structures whose labels would teach a potential most.

    The first is the one with the largest score; each further one has the largest product of score and distance of its
    features to those already picked, so that copies of one surprise are not all picked.

    Parameters
    ----------
    potential : Potential, Committee or path
    candidates : sequence of ase.Atoms
        Labels are not looked at.
    n : int, >= 1
        How many; fewer are returned where the rest equals what was picked or is known with certainty.
    by : {'auto', 'grade', 'spread'}
        Largest extrapolation grade, or largest spread of the forces, of an atom: of a committee, or by the last layer of a
        potential that keeps its posterior. auto: spread of a committee, else grade, else spread by the last layer.
    train : sequence of ase.Atoms, optional
        What the potential was trained on, for one that was saved without grades. A committee uses it with `by: grade` only.

    Raises
    ------
    ConfigError
        `n` or `by` is wrong, `train` is of no use, or the potential does not offer what is needed.
    DataError
        No candidates.
    UnknownSpeciesError, StructureError
        A structure the potential cannot be applied to, by name.
    """
    if n < 1:
        raise ConfigError(f"the number of structures to select must be >= 1, got {n}")
    if by not in get_args(Criterion):
        raise ConfigError(f"`by` must be 'auto', 'grade' or 'spread', got {by!r}")
    if not candidates:
        raise DataError("no candidates to select from")
    loaded = load(potential) if isinstance(potential, str | Path) else potential
    criterion = _criterion(loaded, by, train)
    if criterion == "spread" and train is not None:
        whose = "members" if isinstance(loaded, Committee) else "last layer"
        raise ConfigError(
            f"training data (--train) serve extrapolation grades, but the spread of the {whose} would select: leave them "
            "out, or ask for --by grade"
        )
    grader = Grader(loaded)
    with naming(loaded, candidates):
        if criterion == "grade" and train is not None:
            single = loaded.members[0] if isinstance(loaded, Committee) else loaded
            grader.extrapolation = fit_extrapolation(single, train)
        features = [grader.features(atoms) for atoms in candidates]
        values = _values(loaded, grader, candidates, features, criterion)
    # An element without training atoms is infinitely far: as bad as the worst that can be told, and more.
    worst = np.array([float(v.max()) for v in values])
    finite = worst[np.isfinite(worst)]
    scores = np.where(np.isfinite(worst), worst, 10.0 * finite.max(initial=1.0))
    picked = farthest_points(scores, _fingerprints(grader, candidates, features), n)
    return _selection(candidates, values, picked, criterion)


def _criterion(
    potential: Potential | Committee, by: Criterion, train: Sequence[Atoms] | None
) -> Literal["grade", "spread"]:
    spreads = isinstance(potential, Committee) or potential.last_layer is not None
    if by == "spread" and not spreads:
        raise ConfigError(
            "`by: spread` needs a committee, or a potential that keeps the posterior of its last layer; train one with "
            "`committee: {members: 4}` or `last_layer: true`"
        )
    if by != "auto":
        return by
    single = not isinstance(potential, Committee)
    graded = single and (train is not None or getattr(potential, "extrapolation", None) is not None)
    return "spread" if spreads and not graded else "grade"


def _values(
    potential: Potential | Committee,
    grader: Grader,
    candidates: Sequence[Atoms],
    features: Sequence[Array],
    criterion: str,
) -> list[Array]:
    if criterion == "grade":
        return [grader.grades(a, x) for a, x in zip(candidates, features, strict=True)]
    if isinstance(potential, Potential):
        posterior = stored_posterior(potential)
        if posterior is None:
            raise ConfigError(
                "the potential keeps no posterior of its last layer; train it with `last_layer: true`"
            )
        return [posterior.spread(a).forces for a in candidates]
    predictor = fastest(potential) or potential
    return [np.asarray(getattr(predictor.predict(a), "forces_spread"), dtype=np.float64) for a in candidates]  # noqa: B009


def _fingerprints(grader: Grader, candidates: Sequence[Atoms], features: Sequence[Array]) -> Array:
    """Return the mean features of the atoms of each element times their share, (n_candidates, n)."""
    rows = []
    for atoms, x in zip(candidates, features, strict=True):
        parts = [x[atoms.numbers == z].sum(axis=0) / len(atoms) for z in grader.species]
        rows.append(np.concatenate(parts))
    return np.array(rows)


def farthest_points(scores: Array, points: Array, n: int) -> list[tuple[int, float | None]]:
    """Pick points with a large score and far from each other.

    Parameters
    ----------
    scores : (n_points,)
        Not negative.
    points : (n_points, dimension)
    n : int

    Returns
    -------
    list of (index, distance)
        The first has the largest score (distance None), each further one the largest product of its score and its distance to
        the nearest one picked before. It ends early where no product is above zero.
    """
    first = int(scores.argmax())
    picked: list[tuple[int, float | None]] = [(first, None)]
    nearest = np.linalg.norm(points - points[first], axis=1)
    tiny = 1e-9 * max(float(np.abs(points).max()), 1e-300)
    while len(picked) < min(n, len(scores)):
        products = np.where(nearest > tiny, scores * nearest, 0.0)
        best = int(products.argmax())
        if not products[best] > 0.0:
            break
        picked.append((best, float(nearest[best])))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return picked


def _selection(
    candidates: Sequence[Atoms], values: Sequence[Array], picked: Sequence[tuple[int, float | None]], by: str
) -> Selection:
    frames, rows = [], []
    for rank, (index, distance) in enumerate(picked, start=1):
        atoms, value = candidates[index], values[index]
        name = structure_name(atoms, index)
        image = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
        image.info = {"name": name, "selection_score": float(value.max())}
        image.arrays[ARRAY_NAMES[by]] = value.copy()
        frames.append(image)
        rows.append(
            {
                "rank": rank,
                "index": index,
                "name": name,
                "n_atoms": len(atoms),
                "score": float(value.max()),
                "mean": float(value.mean()),
                "distance": distance,
            }
        )
    return Selection(frames, rows, by)
