"""The surrogate test: a potential fitted to energies and forces predicts the stress, the labels are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from forgefield.data.conventions.linear_model import LinearPotential, suggest_cutoff
from forgefield.data.frames import get_energy, get_forces, get_stress
from forgefield.data.stress import ORDERS, order_indices

__all__ = ["SurrogateTest", "surrogate_test"]

FloatArray = NDArray[np.float64]

_MAX_STRUCTURES = 32
_MAX_ATOMS = 200
_MAX_SPECIES = 4
_MIN_STRUCTURES = 8
_MIN_CORRELATION = 0.6
_MAX_CHANCE = 1e-3
_MIN_GAP = 0.15


@dataclass(frozen=True)
class SurrogateTest:
    """Outcome for one group.

    Parameters
    ----------
    n_structures : int
        Structures compared.
    slope : float
        eV/Å^3 per unit of the label, from the off-diagonal components with the best order.
    correlations : dict
        Order -> correlation of predicted and labelled off-diagonal components.
    votes : dict
        Order -> share of the structures that the best order fits better than this one.
    orders : tuple of str
        Orders that cannot be told from the best one.
    """

    n_structures: int
    slope: float
    correlations: dict[str, float]
    votes: dict[str, float]
    orders: tuple[str, ...]

    @property
    def conclusive(self) -> bool:
        """Tell whether prediction and labels are related well enough to conclude anything."""
        return bool(self.correlations) and max(abs(c) for c in self.correlations.values()) >= _MIN_CORRELATION


def surrogate_test(frames: Sequence[Atoms]) -> SurrogateTest:
    """Predict the off-diagonal stresses of a group from its energies and forces.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        One group; at most 32 structures of at most 200 atoms are used.
    """
    nothing = SurrogateTest(0, 0.0, {}, {}, ORDERS)
    usable = [a for a in frames if _usable(a)]
    if len(usable) > _MAX_STRUCTURES:
        usable = [usable[k] for k in np.linspace(0, len(usable) - 1, _MAX_STRUCTURES).astype(int)]
    species = sorted({int(z) for a in usable for z in np.unique(a.numbers)})
    if len(usable) < _MIN_STRUCTURES or len(species) > _MAX_SPECIES:
        return nothing
    model = LinearPotential(species, suggest_cutoff(usable))
    designs = [model.add(a, get_energy(a), get_forces(a)) for a in usable]
    model.fit()
    predicted = np.array([(design @ model.coefficients)[3:] for design in designs])
    labels = np.array([stress[3:] for a in usable if (stress := get_stress(a)) is not None])
    return _compare(predicted, labels)


def _usable(atoms: Atoms) -> bool:
    forces, stress = get_forces(atoms), get_stress(atoms)
    if forces is None or stress is None or len(atoms) > _MAX_ATOMS or not atoms.pbc.all():
        return False
    # Without forces there is nothing to learn from; without shear nothing to compare.
    return bool(np.abs(forces).max() > 0.0 and np.abs(stress[3:]).max() > 1e-3 * np.abs(stress).max())


def _compare(predicted: FloatArray, labels: FloatArray) -> SurrogateTest:
    scale = float(np.sqrt((labels**2).mean())) or 1.0
    spread = float(np.sqrt((predicted**2).mean())) or 1.0
    given = {order: labels[:, order_indices(order)] / scale for order in ORDERS}
    target = predicted / spread
    correlations = {order: float((target * values).mean()) for order, values in given.items()}
    best = max(correlations, key=lambda order: abs(correlations[order]))
    slope = float((target * given[best]).sum() / (given[best] ** 2).sum())
    errors = {order: ((target - slope * values) ** 2).sum(axis=1) for order, values in given.items()}
    votes, allowed = {}, []
    for order in ORDERS:
        gain = errors[order] - errors[best]
        differ = gain != 0.0
        votes[order] = float((gain[differ] > 0.0).mean()) if differ.any() else 0.5
        gap = abs(correlations[best]) - abs(correlations[order])
        clear = gap >= _MIN_GAP and _significance(gain[differ]) < _MAX_CHANCE
        if order == best or not clear:
            allowed.append(order)
    conclusive = abs(correlations[best]) >= _MIN_CORRELATION
    return SurrogateTest(
        len(labels), slope * spread / scale, correlations, votes, tuple(allowed) if conclusive else ORDERS
    )


def _significance(gains: FloatArray) -> float:
    """Return the chance that errors which are larger by `gains` are not larger (Wilcoxon's signed ranks)."""
    return 1.0 if len(gains) < _MIN_STRUCTURES else float(wilcoxon(gains, alternative="greater").pvalue)
