"""The property ``phonons``: settings, result and picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.phonons import Bands, Phonons, phonons, supercell_for
from forgefield.properties.relaxation import AtRest, at_rest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PHONONS", "PhononSettings"]

FloatArray = NDArray[np.float64]


class PhononSettings(AtRest):
    """Settings of phonons."""

    force_tolerance: float = Field(1e-4, gt=0, description="largest force left by relaxations [eV/Å]")
    length: float = Field(
        10.0,
        gt=0,
        description="supercell: least distance between opposite faces [Å]; twice the range of forces",
    )
    displacement: float = Field(0.01, gt=0, le=0.2, description="of one atom at a time [Å]")
    error_estimate: bool = Field(
        default=True, description="again with twice the displacement, which shows the error of the first"
    )
    points: int = Field(41, ge=2, description="q-points on each piece of the path")
    mesh: float = Field(60.0, gt=0, description="density of q-points for DOS and thermal properties [Å]")
    max_temperature: float = Field(1000.0, gt=0, description="of the thermal properties [K]")
    temperature_step: float = Field(50.0, gt=0, description="of the thermal properties [K]")
    imaginary_tolerance: float = Field(
        0.1, ge=0, description="imaginary frequencies up to this count as numerical noise [THz]"
    )


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: PhononSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    atoms, conditions = at_rest(atoms, calculator, settings, "a calculation of phonons")

    def displaced(size: float) -> Phonons:
        return phonons(atoms, calculator, length=settings.length, displacement=size, progress=progress)

    found = displaced(settings.displacement)
    bands = found.bands(settings.points)
    lowest = found.lowest(bands, settings.mesh)
    special, _ = found.special_points()
    at_points = found.frequencies(list(special.values()))
    error = None
    if settings.error_estimate:
        twice = displaced(2 * settings.displacement).frequencies(list(special.values()))
        error = float(np.abs(twice - at_points).max()) / 3.0
    lost = lowest.frequency < -settings.imaginary_tolerance
    where = f"at q = {lowest.q} ({lowest.where})"
    thermal, curves = _sums(found, settings)
    frequencies, states = curves["dos"].x, curves["dos"].y
    return PropertyResult(
        name="phonons",
        quantities={
            "highest_frequency": Quantity(float(at_points.max()), "THz", error, "at special points"),
            "lowest_frequency": Quantity(lowest.frequency, "THz", note=f"{where}; imaginary if negative"),
            **thermal,
        },
        conditions={
            **conditions,
            "supercell": list(supercell_for(atoms, settings.length)),
            "supercell_atoms": len(found.engine.supercell),
            "primitive_atoms": found.n_atoms,
            "special_points": {k: np.round(q, 8).tolist() for k, q in special.items()},
            "path": [" - ".join(piece) for piece in bands.labels],
            "imaginary": lost,
            "long_range": "no correction for long-range Coulomb forces",
            **settings.model_dump(mode="json"),
        },
        curves=_band_curves(bands) | curves,
        tables={"special_points": Table(at_points, "THz", (", ".join(special), "band"))},
        warnings=(f"imaginary mode of {-lowest.frequency:.3g}i THz {where}: the crystal is unstable",)
        if lost
        else (),
        draw=lambda figure: _draw(figure, bands, frequencies, states),
    )


def _sums(found: Phonons, settings: PhononSettings) -> tuple[dict[str, Quantity], dict[str, Curve]]:
    """Return what is summed over the mesh that was computed last."""
    frequencies, states = found.density_of_states()
    temperatures = np.arange(0.0, settings.max_temperature + 1e-9, settings.temperature_step)
    free, entropy, heat = found.thermal(np.array([0.0, 300.0, *temperatures]))
    quantities = {
        "zero_point_energy": Quantity(float(free[0]), "eV/atom"),
        "free_energy_300K": Quantity(float(free[1]), "eV/atom", note="vibrations, harmonic"),
        "entropy_300K": Quantity(float(entropy[1]), "k_B/atom"),
        "heat_capacity_300K": Quantity(float(heat[1]), "k_B/atom", note="constant volume"),
    }
    hot = "temperature [K]"
    curves = {
        "dos": Curve(frequencies, states, "frequency [THz]", "states [1/THz/atom]"),
        "free energy": Curve(temperatures, free[2:], hot, "free energy [eV/atom]"),
        "entropy": Curve(temperatures, entropy[2:], hot, "[k_B/atom]"),
        "heat capacity": Curve(temperatures, heat[2:], hot, "[k_B/atom]"),
    }
    return quantities, curves


def _band_curves(bands: Bands) -> dict[str, Curve]:
    x = np.concatenate(bands.distances)
    y = np.concatenate(bands.frequencies)
    return {f"band {k + 1}": Curve(x, y[:, k], "path [1/Å]", "frequency [THz]") for k in range(y.shape[1])}


def _draw(figure: Figure, bands: Bands, frequencies: FloatArray, states: FloatArray) -> None:
    figure.set_size_inches(8.0, 4.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    ticks: list[tuple[float, str]] = []
    for (first, last), x, y in zip(bands.labels, bands.distances, bands.frequencies, strict=True):
        left.plot(x, y, color="#0072b2", lw=1.0)
        if ticks and ticks[-1][1] != first:
            ticks[-1] = (ticks[-1][0], f"{ticks[-1][1]}|{first}")
        elif not ticks:
            ticks.append((float(x[0]), first))
        ticks.append((float(x[-1]), last))
    names = [name.replace("GAMMA", "Γ").replace("_", "") for _, name in ticks]
    left.set_xticks([x for x, _ in ticks], names)
    for place, _ in ticks:
        left.axvline(place, color="0.8", lw=0.6, zorder=0)
    left.axhline(0.0, color="0.5", lw=0.6, zorder=0)
    left.set_xlim(ticks[0][0], ticks[-1][0])
    low, high = min(float(f.min()) for f in bands.frequencies), max(float(f.max()) for f in bands.frequencies)
    left.set_ylim(min(1.05 * low, 0.0), 1.05 * high)
    left.set_ylabel("frequency [THz], imaginary below 0")
    right.plot(states, frequencies, color="#d55e00")
    right.set_xlabel("states [1/THz/atom]")


PHONONS = Property(
    "phonons", "bands, density of states, thermal properties, imaginary modes", PhononSettings, _compute
)
