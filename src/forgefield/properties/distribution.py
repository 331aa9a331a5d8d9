"""Distribution of neighbours: partial radial distribution functions, coordination numbers, angles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field

from forgefield.errors import ConfigError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.simulation import SimulationSettings, short_of, trajectory_of
from forgefield.properties.statistics import block_means, of_replicas
from forgefield.properties.structures import require_crystal
from forgefield.properties.trajectory import Trajectory

__all__ = ["RDF", "AngleDistribution", "RadialDistribution", "angle_distribution", "radial_distribution"]

FloatArray = NDArray[np.float64]

MAX_PAIRS = 10_000_000
"""Pairs of neighbours, or of bonds at one atom, of a frame beyond which they do not fit into memory."""


@dataclass(frozen=True)
class RadialDistribution:
    """How many neighbours of one element lie at which distance from atoms of another.

    Attributes
    ----------
    pair : tuple of two symbols
        Centre, neighbour.
    r : (n_bins,) [Å]
        Middle of each shell.
    g, g_error : (n_bins,)
        Density of neighbours over that of an ideal gas.
    coordination, coordination_error : (n_bins,)
        Neighbours up to the outer edge of each shell.
    """

    pair: tuple[str, str]
    r: FloatArray
    g: FloatArray
    g_error: FloatArray
    coordination: FloatArray
    coordination_error: FloatArray

    @property
    def first_peak(self) -> int:
        """Index of the first maximum: of the highest bin before g falls below 1 again."""
        above = np.flatnonzero(self.g > 1.0)
        if len(above) == 0:
            return int(self.g.argmax())
        below = np.flatnonzero(self.g[above[0] :] < 1.0)
        end = above[0] + (int(below[0]) if len(below) else len(self.g) - above[0])
        return int(above[0] + self.g[above[0] : end].argmax())

    @property
    def first_minimum(self) -> int | None:
        """Index of the lowest bin between the first maximum and the next rise above 1; None without one."""
        peak = self.first_peak
        below = peak + np.flatnonzero(self.g[peak:] < 1.0)
        if len(below) == 0:
            return None
        rise = np.flatnonzero(self.g[below[0] :] >= 1.0)
        end = below[0] + (int(rise[0]) if len(rise) else len(self.g) - below[0])
        return int(below[0] + self.g[below[0] : end].argmin())


@dataclass(frozen=True)
class AngleDistribution:
    """Angles between neighbours of an atom.

    Attributes
    ----------
    centre : str
    angle : (n_bins,) [degree]
    density, error : (n_bins,) [1/degree]
        Its integral is 1.
    mean_cosine, mean_cosine_error : float
    """

    centre: str
    angle: FloatArray
    density: FloatArray
    error: FloatArray
    mean_cosine: float
    mean_cosine_error: float


def radial_distribution(
    moving: Trajectory, *, r_max: float = 8.0, n_bins: int = 200, blocks: int = 10
) -> dict[str, RadialDistribution]:
    """Return the partial distributions of every pair of elements, named ``"O-Si"``, and of all atoms, ``"all"``.

    Parameters
    ----------
    moving : Trajectory
        Periodic in three directions; any cell, also one thinner than `r_max`: every image counts.
    r_max : float [Å]
    n_bins : int
    blocks : int
        Parts of the trajectory that errors come from.

    Notes
    -----
    ``g_ab(r) = <n_ab(r, r + dr) V> / (N_a (N_b - d_ab) 4 pi/3 ((r + dr)^3 - r^3))``: an ideal gas of N atoms gives
    exactly 1, as an atom is no neighbour of itself.

    Raises
    ------
    StructureError
        Not periodic in three directions.
    ConfigError
        Bad range, one that reaches too far, or fewer frames than blocks.
    """
    require_crystal(moving.frame(0), "a radial distribution function")
    if not (r_max > 0 and n_bins >= 2):
        raise ConfigError(f"`r_max` must be > 0 Å and `n_bins` >= 2, got {r_max} and {n_bins}")
    _require_size(moving.frame(0), r_max, "r_max")
    blocks = _fitting(blocks, len(moving))
    elements = moving.elements
    kind = np.searchsorted(np.unique(moving.numbers), moving.numbers)
    n_kinds = len(elements)
    counts = np.empty((len(moving), n_kinds * n_kinds, n_bins))
    for t in range(len(moving)):
        i, j, _, vectors = neighbour_pairs(moving.frame(t), r_max)
        distance = np.sqrt(np.einsum("pa,pa->p", vectors, vectors))
        shell = np.minimum((distance * (n_bins / r_max)).astype(np.int64), n_bins - 1)
        index = (kind[i] * n_kinds + kind[j]) * n_bins + shell
        counts[t] = np.bincount(index, minlength=counts[t].size).reshape(-1, n_bins)
    edges = np.linspace(0.0, r_max, n_bins + 1)
    shells = 4.0 * np.pi / 3.0 * np.diff(edges**3)
    n_of = np.bincount(kind, minlength=n_kinds)
    volumes = moving.volumes[:, None]

    def one(pair: tuple[str, str], found: FloatArray, centres: int, partners: int) -> RadialDistribution:
        g, g_error = of_replicas(block_means(found * volumes, blocks) / (max(1, centres * partners) * shells))
        number, number_error = of_replicas(np.cumsum(block_means(found, blocks), axis=1) / centres)
        return RadialDistribution(pair, 0.5 * (edges[1:] + edges[:-1]), g, g_error, number, number_error)

    n = len(kind)
    result = {"all": one(("all", "all"), counts.sum(axis=1), n, n - 1)}
    for a, b in combinations_with_replacement(range(n_kinds), 2):
        result[f"{elements[a]}-{elements[b]}"] = one(
            (elements[a], elements[b]), counts[:, a * n_kinds + b], int(n_of[a]), int(n_of[b]) - int(a == b)
        )
    return result


def angle_distribution(
    moving: Trajectory, *, cutoff: float, n_bins: int = 90, blocks: int = 10
) -> dict[str, AngleDistribution]:
    """Return the distribution of the angles between neighbours within `cutoff` [Å], by the element in the middle.

    Raises
    ------
    ConfigError
        No atom has two neighbours within the cutoff; it reaches too far.
    """
    _require_size(moving.frame(0), cutoff, "angle_cutoff", bonds=True)
    blocks = _fitting(blocks, len(moving))
    result = {}
    for element in moving.elements:
        z = chemical_symbols.index(element)
        counts, cosines = np.zeros((len(moving), n_bins)), np.zeros(len(moving))
        for t in range(len(moving)):
            cosine = _cosines(moving.frame(t), moving.numbers == z, cutoff)
            degrees = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
            counts[t], _ = np.histogram(degrees, bins=n_bins, range=(0.0, 180.0))
            cosines[t] = cosine.sum()
        totals = block_means(counts.sum(axis=1), blocks)
        if (totals <= 0).any():
            continue
        width = 180.0 / n_bins
        density, error = of_replicas(block_means(counts, blocks) / (totals[:, None] * width))
        mean, mean_error = of_replicas(block_means(cosines, blocks) / totals)
        middle = np.asarray((np.arange(n_bins) + 0.5) * width, dtype=np.float64)
        result[element] = AngleDistribution(element, middle, density, error, float(mean), float(mean_error))
    if not result:
        raise ConfigError(f"no atom has two neighbours within `angle_cutoff` = {cutoff} Å; increase it")
    return result


def _cosines(atoms: Atoms, centres: NDArray[np.bool_], cutoff: float) -> FloatArray:
    """Return the cosines of all angles at the centres, every pair of neighbours once."""
    i, _, _, vectors = neighbour_pairs(atoms, cutoff)
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    counts = np.bincount(i, minlength=len(atoms))
    first = np.cumsum(counts) - counts
    width = int(counts.max(initial=0))
    padded = np.zeros((len(atoms), width, 3))
    padded[i, np.arange(len(i)) - first[i]] = units
    product = np.einsum("nka,nla->nkl", padded, padded)
    k = np.arange(width)
    real = (k[:, None] < k[None, :]) & (k[None, None, :] < counts[:, None, None]) & centres[:, None, None]
    found: FloatArray = product[real]
    return found


def _require_size(atoms: Atoms, reach: float, name: str, *, bonds: bool = False) -> None:
    """Raise where all pairs within reach [Å], or all pairs of bonds, would be too many."""
    density = len(atoms) / abs(float(atoms.get_volume()))
    around = density * 4.0 / 3.0 * np.pi * reach**3
    n = len(atoms) * around**2 if bonds else len(atoms) * around
    if n > MAX_PAIRS:
        power = 6 if bonds else 3
        fits = reach * (MAX_PAIRS / n) ** (1.0 / power)
        what = "pairs of bonds" if bonds else "pairs"
        raise ConfigError(
            f"`{name}` = {reach:g} Å makes {n:.1e} {what} in every frame of {len(atoms)} atoms (allowed: {MAX_PAIRS:.0e}); "
            f"take {fits:.2g} Å or less"
        )


def _fitting(blocks: int, n_frames: int) -> int:
    if n_frames < 2:
        raise StructureError("standard errors need at least two frames")
    return min(blocks, n_frames)


class RdfSettings(SimulationSettings):
    """Neighbours of atoms."""

    r_max: float = Field(8.0, gt=0, description="largest distance [Å]")
    n_bins: int = Field(200, ge=2, description="shells up to there")
    angle_cutoff: float | None = Field(
        None,
        gt=0,
        description="reach of bonds for angles [Å]; null: first minimum of the radial distribution",
    )
    angle_bins: int = Field(90, ge=2, description="bins of angles from 0 to 180 degrees")
    error: float | None = Field(
        None, gt=0, description="relative standard error wanted of peak heights and coordination; null: any"
    )


def _shell(one: RadialDistribution, width: float) -> dict[str, Quantity]:
    """Return the numbers of the first shell; errors of distances are those of a bin."""
    peak, valley = one.first_peak, one.first_minimum
    found = {
        "first_peak": Quantity(float(one.r[peak]), "Å", width, "error: that of a bin"),
        "peak_height": Quantity(float(one.g[peak]), "", float(one.g_error[peak])),
    }
    if valley is None:
        return found
    number, error = float(one.coordination[valley]), float(one.coordination_error[valley])
    return found | {
        "first_minimum": Quantity(float(one.r[valley]), "Å", width, "error: that of a bin"),
        "coordination": Quantity(number, "", error, "neighbours up to the first minimum"),
    }


def _too_short(quantities: Mapping[str, Quantity], wanted: float | None, length: float) -> list[str]:
    """Return warnings that say which simulation [ps] would reach the relative error wanted."""
    found = []
    for name, q in quantities.items():
        if name.endswith(("peak_height", "coordination")) and q.error is not None:
            short = short_of(q.value, q.error, wanted, lambda times: f"{length * times:.3g} ps")
            found += [f"{name}: {text}" for text in short]
    return found


def _require_settings(atoms: Atoms, settings: RdfSettings) -> None:
    """Raise where the simulation to come could not be analysed; files are judged when they are read."""
    if settings.trajectory is not None:
        return
    require_crystal(atoms, "a radial distribution function")
    large = atoms * settings.supercell
    _require_size(large, settings.r_max, "r_max")
    if settings.angle_cutoff is not None:
        _require_size(large, settings.angle_cutoff, "angle_cutoff", bonds=True)


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: RdfSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    _require_settings(atoms, settings)
    moving, done = trajectory_of(
        atoms,
        calculator,
        settings,
        purpose="a radial distribution function",
        folder=folder,
        progress=progress,
    )
    found = radial_distribution(moving, r_max=settings.r_max, n_bins=settings.n_bins, blocks=settings.blocks)
    quantities: dict[str, Quantity] = {}
    curves: dict[str, Curve] = {}
    warnings = []
    width = settings.r_max / settings.n_bins / np.sqrt(12.0)  # deviation of what lies anywhere in a bin
    for name, one in found.items():
        if name == "all" and len(moving.elements) == 1:
            continue
        curves[name] = Curve(one.r, one.g, "distance [Å]", "g(r)", one.g_error)
        quantities |= {f"{name} {what}": value for what, value in _shell(one, float(width)).items()}
        if one.first_minimum is None:
            warnings.append(f"{name}: no minimum after the first peak up to {settings.r_max} Å")
    whole = found["all"]
    valley = whole.first_minimum
    cutoff = settings.angle_cutoff or (None if valley is None else float(whole.r[valley]))
    if cutoff is None:
        warnings.append("no angles: give `angle_cutoff`")
    else:
        for element, angles in angle_distribution(
            moving, cutoff=cutoff, n_bins=settings.angle_bins, blocks=settings.blocks
        ).items():
            curves[f"angles at {element}"] = Curve(
                angles.angle, angles.density, "angle [degree]", "density [1/degree]", angles.error
            )
            quantities[f"{element} mean_cosine"] = Quantity(
                angles.mean_cosine,
                "",
                angles.mean_cosine_error,
                f"of angles between neighbours within {cutoff:.3g} Å",
            )
    if moving.temperature is not None:
        mean, error = of_replicas(block_means(moving.temperature, min(settings.blocks, len(moving))))
        quantities["temperature"] = Quantity(float(mean), "K", float(error))
    warnings += _too_short(quantities, settings.error, moving.length)
    return PropertyResult(
        name="rdf",
        quantities=quantities,
        conditions=settings.model_dump(mode="json")
        | done
        | {"n_frames": len(moving), "angle_cutoff_A": cutoff},
        curves=curves,
        warnings=tuple(warnings),
    )


RDF = Property("rdf", "neighbours: radial and angular distributions, coordination", RdfSettings, _compute)
