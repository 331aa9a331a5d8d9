"""Definitions of pair and triplet features written as loops over neighbours, for comparison."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list


def cutoff_function(r, cutoff):
    return 0.5 * (1.0 + np.cos(np.pi * r / cutoff)) if r < cutoff else 0.0


def neighbours_of(atoms, centre, cutoff):
    """Atomic numbers and vectors of the neighbours of an atom, from ASE."""
    i, j, vectors = neighbor_list("ijD", atoms, cutoff)
    keep = i == centre
    return atoms.numbers[j[keep]], vectors[keep]


def pair_sum(atoms, centre, cutoff, function, weight):
    """Sum of weight(Z_j) function(r_ij)."""
    numbers, vectors = neighbours_of(atoms, centre, cutoff)
    return sum(weight(z) * function(np.linalg.norm(v)) for z, v in zip(numbers, vectors, strict=True))


def triplet_sum(atoms, centre, cutoff, function, weight):
    """Sum over j < k of weight(Z_j, Z_k) function(r_ij, r_ik, r_jk, cos theta)."""
    numbers, vectors = neighbours_of(atoms, centre, cutoff)
    total = 0.0
    for a in range(len(vectors)):
        for b in range(a):
            v, w = vectors[a], vectors[b]
            r, s, t = np.linalg.norm(v), np.linalg.norm(w), np.linalg.norm(v - w)
            total += weight(numbers[a], numbers[b]) * function(r, s, t, v @ w / (r * s))
    return total


def oxide():
    """A small triclinic crystal of silicon and oxygen, thinner than the cutoffs in use."""
    atoms = bulk("SiO", "zincblende", a=4.6) * (1, 1, 2)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.08 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    atoms.rattle(0.15, seed=3)
    return atoms


def cluster():
    """Six atoms of two elements."""
    positions = [
        [0, 0, 0],
        [1.5, 0.3, 0.1],
        [-0.8, 1.9, 0.7],
        [0.4, -1.1, 1.6],
        [-1.2, -0.7, 0.9],
        [0.7, 0.8, -1.3],
    ]
    return Atoms("SiOSiOSiO", positions)
