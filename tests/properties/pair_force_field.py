"""A Lennard-Jones force field in plain NumPy, with atomic energies and virials: a truth for tests of simulations."""

from __future__ import annotations

import numpy as np

from forgefield.properties.dynamics_forces import Forces


class LennardJonesForces:
    """Truncated and shifted at `cutoff`, nearest images only: the cell must be wider than twice the cutoff."""

    def __init__(self, epsilon=1.0, sigma=1.0, cutoff=2.5):
        self.epsilon, self.sigma, self.cutoff = epsilon, sigma, cutoff
        x = (sigma / cutoff) ** 6
        self.shift = 4 * epsilon * (x * x - x)

    def reset(self):
        pass

    def evaluate(self, positions, cell, *, virial=False, atomic=False):
        n = len(positions)
        a, b = np.triu_indices(n, 1)
        r = positions[b] - positions[a]
        r -= np.round(r @ np.linalg.inv(cell)) @ cell
        squared = np.einsum("pa,pa->p", r, r)
        near = squared < self.cutoff**2
        a, b, r, squared = a[near], b[near], r[near], squared[near]
        x = (self.sigma**2 / squared) ** 3
        energy = 4 * self.epsilon * (x * x - x) - self.shift
        pull = -24 * self.epsilon * (2 * x * x - x) / squared  # dU/dr / r
        force = pull[:, None] * r  # on a, towards b where attractive
        forces = np.stack(
            [np.bincount(a, force[:, c], n) - np.bincount(b, force[:, c], n) for c in range(3)], axis=1
        )
        outer = -r[:, :, None] * force[:, None, :]
        total = outer.sum(axis=0) if virial else None
        if not atomic:
            return Forces(float(energy.sum()), forces, total)
        energies = 0.5 * (np.bincount(a, energy, n) + np.bincount(b, energy, n))
        virials = np.zeros((n, 3, 3))
        np.add.at(virials, a, 0.5 * outer)
        np.add.at(virials, b, 0.5 * outer)
        return Forces(float(energy.sum()), forces, total, energies, virials)
