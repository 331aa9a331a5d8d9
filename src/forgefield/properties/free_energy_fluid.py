"""What a liquid's free energy lacks because its number of atoms is fixed, from its compressibility and composition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import ConfigError
from forgefield.properties.dynamics import Observable, Records, State
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.statistics import series_mean
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "FluidFluctuations",
    "bulk_modulus",
    "fluid_finite_size",
    "liquid_correction",
    "number_fluctuations",
]

FloatArray = NDArray[np.float64]

STRAIN = 0.005
"""Change of ln V, up and down, by which the curvature of the energy of one configuration is found."""
APART = 0.03
"""Change of ln V, up and down, by which the bulk modulus is found from mean pressures."""
RESOLVED = 2.0
"""A bulk modulus of more standard errors than these is known well enough for its logarithm."""
CURVED = 10
"""The curvature, which fluctuates little, is computed at every so many samples."""
DISCRETE = 0.35
"""Below this variance numbers of atoms are summed over one by one; the integral over a normal distribution is off by 0.2 %."""
MOST_POINTS = 1_000_000


def number_fluctuations(precision: FloatArray) -> float:
    """Return ``ln sum_n exp(-n P n / 2)`` over all integer vectors n, for a matrix P (m, m).

    Where every variance is large it is ``1/2 ln det(2 pi P^-1)``, where they are small it goes to 0 as it must.
    """
    covariance = np.linalg.inv(precision)
    normal = 0.5 * float(np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    if np.linalg.eigvalsh(covariance)[0] >= DISCRETE:
        return normal
    reach = np.ceil(6.0 * np.sqrt(np.diag(covariance))).astype(int)
    if float(np.prod(2.0 * reach + 1.0)) > MOST_POINTS:
        return max(normal, 0.0)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    n = grid.reshape(-1, len(reach)).astype(np.float64)
    return math.log(float(np.exp(-0.5 * np.einsum("na,ab,nb->n", n, precision, n)).sum()))


def fluid_finite_size(
    counts: ArrayLike, compressibility: Measured, composition: ArrayLike | None, temperature: float
) -> Measured:
    """Return ``F(infinite) - F(this cell)`` of all atoms [eV] of a fluid in a periodic cell.

    Parameters
    ----------
    counts : (m,)
        Atoms of each species.
    compressibility : Measured
        ``rho kT kappa_T``, the variance of the number of atoms in an open volume over its mean; 1 for the ideal gas.
    composition : (m - 1, m - 1), optional
        Covariance in the same volume of ``N_s - x_s N`` of all species but the last; None for one species.
    temperature : float [K]

    Raises
    ------
    ConfigError
        Several species without `composition`.

    Notes
    -----
    The grand potential of a periodic cell, ``-p V``, lacks nothing but what falls off exponentially with the edge. The
    partition function of N atoms is its part with that number, whose probability is ``1 / sqrt(2 pi N chi)``:
    ``F(N) - N f = kT/2 ln(2 pi N chi)``. The derivative with respect to N is the correction of the chemical
    potential of B. Smit and D. Frenkel, J. Phys.: Condens. Matter 1, 8659 (1989), the idea that of J. L. Lebowitz
    and J. K. Percus, Phys. Rev. 124, 1673 (1961). It is exact for hard rods. Of several species all numbers are
    fixed: A. B. Bhatia and D. E. Thornton, Phys. Rev. B 2, 3004 (1970), have their covariance from the compressibility
    and the composition. Where the composition does not fluctuate (a salt) only whole formula units can come and go.
    """
    n = np.asarray(counts, dtype=np.float64)
    m, total = len(n), float(n.sum())
    inner = np.zeros((m, m))
    inner[-1, -1] = 1.0 / (total * compressibility.value)
    to_parts = np.zeros((m, m))  # from numbers to deviations of the composition, and the sum
    to_parts[-1] = 1.0
    if m > 1:
        if composition is None:
            raise ConfigError(f"a fluid of {m} species needs the covariance of its composition")
        inner[:-1, :-1] = np.linalg.inv(np.asarray(composition, dtype=np.float64))
        to_parts[:-1, :-1] += np.eye(m - 1)
        to_parts[:-1] -= (n[:-1] / total)[:, None]
    lacks = number_fluctuations(to_parts.T @ inner @ to_parts)
    thermal = float(units.kB * temperature)
    return Measured(-thermal * lacks, 0.5 * thermal * compressibility.error / compressibility.value)


@dataclass(frozen=True)
class FluidFluctuations:
    """What is recorded of a fluid at constant volume for its compressibility and the fluctuations of its composition.

    Parameters
    ----------
    atoms : ase.Atoms
        Species, cell.
    field : ForceField
    temperature : float [K]

    Notes
    -----
    ``K = rho kT + <V d2U/dV2> - V/kT var(P)`` at the volume of the run, P being the pressure of the forces alone. Compositions are those of the
    longest waves that the cell holds, brought to wavelength infinity as ``ln det S`` is linear in k^2 over the two longest.
    """

    atoms: Atoms
    field: ForceField
    temperature: float

    @property
    def observe(self) -> Mapping[str, Observable]:
        """What to record at every sample."""
        found: dict[str, Observable] = {"configurational": _configurational, "curvature": self._curvature()}
        if len(np.unique(self.atoms.numbers)) > 1:
            found["waves"] = self._waves()
        return found

    def summarise(self, records: Records) -> dict[str, list[float]]:
        """Return bulk modulus and pressure of the forces [eV/Å^3] as value, error and independent samples."""
        p, curved = records["configurational"], records["curvature"]
        curved = curved[np.isfinite(curved)]
        volume, thermal = float(records["volume"][0]), float(units.kB * self.temperature)
        independent = max(series_mean(p).n_independent, 2.0)
        spread = (p - p.mean()) ** 2 * volume / thermal * independent / (independent - 1.0)
        soft, stiffness = series_mean(spread), float(curved.mean())
        unsure = series_mean(curved).error if len(curved) > 1 else abs(stiffness)
        value = len(self.atoms) * thermal / volume + stiffness - soft.value
        mean = series_mean(p)
        return {
            "bulk_modulus": [value, math.hypot(unsure, soft.error), soft.n_independent],
            "configurational": [mean.value, mean.error, mean.n_independent],
        }

    def composition(self, waves: FloatArray) -> FloatArray:
        """Return the covariance (m - 1, m - 1) of numbers at infinite wavelength from those (2, m - 1, m - 1) of waves."""
        (first, second), (k1, k2) = waves, (k for k, _ in self._shells())
        logs = [float(np.linalg.slogdet(s)[1]) for s in (first, second)]
        grows = (logs[0] - logs[1]) * k1 / (k2 - k1) / len(first)
        scaled: FloatArray = first * math.exp(min(max(grows, -3.0), 3.0))
        return scaled

    def _curvature(self) -> Observable:
        calls = itertools.count()

        def curvature(state: State, _forces: Forces) -> float:
            if next(calls) % CURVED:
                return math.nan
            ends = []
            for sign in (1.0, -1.0):
                factor = math.exp(sign * STRAIN / 3.0)
                positions, cell = state.positions * factor, state.cell * factor
                virial = self.field.evaluate(positions, cell, virial=True).virial
                ends.append(math.nan if virial is None else float(np.trace(virial)) / factor**3)
            return -(ends[0] - ends[1]) / (2.0 * STRAIN) / (3.0 * state.volume)

        return curvature

    def _shells(self) -> list[tuple[float, FloatArray]]:
        """Return squared wave numbers [1/Å^2] and waves (n, 3) [1/Å] of the two longest wavelengths."""
        reach = itertools.product(range(-2, 3), repeat=3)
        waves = 2.0 * np.pi * np.array([i for i in reach if i > (0, 0, 0)]) @ self.atoms.cell.reciprocal()
        squares = (waves**2).sum(axis=1)
        lowest = float(squares.min())
        next_one = float(squares[squares > 1.05 * lowest].min())
        return [
            (float(squares[near].mean()), waves[near])
            for near in (squares <= 1.05 * lowest, np.abs(squares / next_one - 1.0) <= 0.05)
        ]

    def _waves(self) -> Observable:
        numbers = self.atoms.numbers
        species, counts = np.unique(numbers, return_counts=True)
        member = (numbers == species[:-1, None]) - (counts[:-1] / len(numbers))[:, None]
        fractional = [np.round(w @ self.atoms.cell.array.T / (2.0 * np.pi)) for _, w in self._shells()]

        def covariances(state: State, _forces: Forces) -> FloatArray:
            scaled = state.positions @ np.linalg.inv(state.cell)
            found = []
            for indices in fractional:
                waves = member @ np.exp(2j * np.pi * (scaled @ indices.T))  # species, waves
                found.append((waves @ waves.conj().T).real / len(indices))
            return np.array(found)

        return covariances


def _configurational(state: State, forces: Forces) -> float:
    return math.nan if forces.virial is None else float(np.trace(forces.virial)) / (3.0 * state.volume)


def bulk_modulus(
    walker: Walker, settings: FreeEnergySettings, spread: FluidFluctuations, volume: float
) -> Measured | None:
    """Return the bulk modulus [eV/Å^3] of a liquid at a volume [Å^3] after its stage ``potential``; the walker is left there.

    By fluctuations at three volumes, which are sharp for soft fluids, and by the pressures at two of them, which are sharp for
    stiff ones, weighted with their errors. None where a journal of old has gone on without these runs.
    """
    stages = walker.journal.stages
    gone_on = any(stage.startswith(f"{walker.name}/repulsion") for stage in stages)
    if f"{walker.name}/expanded" not in stages and gone_on:
        return None
    found = []
    for stage, sign in (("compressed", -1.0), ("expanded", 1.0)):
        walker.scale_to(volume * math.exp(sign * APART))
        found.append(
            walker.average(
                stage,
                spread.field,
                {},
                steps=max(settings.target_steps // 2, 20),
                equilibration=max(settings.equilibration, settings.target_steps // 8),
                fluctuations=spread,
            )
        )
    walker.scale_to(volume)
    here = Measured(*stages[f"{walker.name}/potential"]["bulk_modulus"][:2])
    around = (found[0]["bulk_modulus"] + found[1]["bulk_modulus"]) * 0.5
    ideal = len(spread.atoms) * units.kB * settings.temperature / volume
    slope = (found[0]["configurational"] - found[1]["configurational"]) * (0.5 / APART)
    return _weighted([here, around, slope + ideal * math.sinh(APART) / APART])


def _weighted(values: list[Measured]) -> Measured:
    weights = [1.0 / max(v.error, 1e-9 * abs(v.value), 1e-300) ** 2 for v in values]
    mean = sum(w * v.value for w, v in zip(weights, values, strict=True)) / sum(weights)
    return Measured(mean, 1.0 / math.sqrt(sum(weights)))


def liquid_correction(
    modulus: Measured | None, spread: FluidFluctuations, walker: Walker, settings: FreeEnergySettings
) -> tuple[Measured | None, dict[str, float | str], tuple[str, ...]]:
    """Return what a liquid's cell lacks [eV], the numbers it is made of, and a warning where it was left out."""
    n, without = len(spread.atoms), "no correction for the finite size of the cell: "
    if not settings.finite_size:
        return None, {}, ()
    if modulus is None:
        return None, {}, (f"{without}the journal is of a version that had none",)
    facts: dict[str, float | str] = {
        "bulk_modulus_GPa": modulus.value * EV_PER_A3_TO_GPA,
        "bulk_modulus_error_GPa": modulus.error * EV_PER_A3_TO_GPA,
    }
    if not modulus.value > RESOLVED * modulus.error:
        text = (
            f"{without}the bulk modulus of the liquid, {facts['bulk_modulus_GPa']:.3g} ± "
            f"{facts['bulk_modulus_error_GPa']:.2g} GPa, is not resolved; raise `target_steps`"
        )
        return None, facts, (text,)
    ideal = n * units.kB * settings.temperature / float(spread.atoms.get_volume())
    chi = Measured(ideal / modulus.value, ideal * modulus.error / modulus.value**2)
    _, counts = np.unique(spread.atoms.numbers, return_counts=True)
    mixed = spread.composition(walker.profile("potential", "waves")) if len(counts) > 1 else None
    size = fluid_finite_size(counts, chi, mixed, settings.temperature)
    return size, facts | {"density_fluctuation": chi.value}, ()
