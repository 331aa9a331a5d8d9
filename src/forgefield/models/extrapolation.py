"""The extrapolation grade: how far an atom's features lie outside what the training set spans."""

from __future__ import annotations

import copy

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ConfigError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.models.results import Extrapolation

__all__ = ["Extrapolation", "Grader"]

FloatArray = NDArray[np.float64]


class Grader:
    """Computes feature vectors and extrapolation grades of the atoms of structures, in float64.

    A feature vector is 1 followed by the scaled features: what a linear model multiplies with its parameters. For a
    network they are the inputs of its first layer.

    Parameters
    ----------
    potential : Potential or Committee
        Of a committee the first member that has grades, else the first.
    """

    def __init__(self, potential: Potential | Committee) -> None:
        if isinstance(potential, Committee):
            graded = [m for m in potential.members if m.extrapolation is not None]
            potential = graded[0] if graded else potential.members[0]
        self.species = potential.species
        self.descriptor = copy.deepcopy(potential.descriptor).double().cpu()
        self.scaler = copy.deepcopy(potential.scaler).double().cpu()
        self.extrapolation = potential.extrapolation

    @property
    def n_features(self) -> int:
        """Length of a feature vector."""
        return self.descriptor.n_features + 1

    def features(self, atoms: Atoms) -> FloatArray:
        """Return the feature vectors, (n_atoms, n_features).

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements the potential does not know; overlapping atoms, no atoms, flat cell.
        """
        scaled = self.scaler(torch.from_numpy(self.descriptor.compute(atoms))).numpy()
        return np.concatenate([np.ones((len(atoms), 1)), scaled], axis=1)

    def grades(self, atoms: Atoms, features: FloatArray | None = None) -> FloatArray:
        """Return the extrapolation grade of every atom, (n_atoms,).

        At most 1 (within 0.1 %) for training atoms. From 1 to about 2 an atom is still interpolated with confidence,
        above about 10 it is unlike anything known; infinite for an element that was in no training structure.

        Parameters
        ----------
        atoms : ase.Atoms
        features : (n_atoms, n_features), optional
            What `features` returned.

        Raises
        ------
        ConfigError
            The potential was saved without what this needs.
        """
        if self.extrapolation is None:
            raise ConfigError(
                "this potential has no extrapolation grade; train it with `extrapolation: true`, or give one to it: "
                "potential.extrapolation = fit_extrapolation(potential, training_structures)"
            )
        x = self.features(atoms) if features is None else features
        grades = np.full(len(atoms), np.inf)
        index = np.searchsorted(self.species, atoms.numbers)
        for k, matrix in enumerate(self.extrapolation.matrices):
            rows = np.flatnonzero(index == k)
            if len(rows) and matrix.shape[1]:
                grades[rows] = np.abs(x[rows] @ matrix.numpy()).max(axis=1)
        return grades
