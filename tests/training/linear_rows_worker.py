"""One of several processes that fit together; see test_linear_parallel.py.

Usage: python linear_rows_worker.py OUTPUT, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch.distributed as dist
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from forgefield.descriptors import SNAP
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, LinearFit, fit_linear
from forgefield.training.linear.parallel import ProcessShare, Share
from forgefield.training.loss import LossSettings


def frames(n: int = 9) -> list[Atoms]:
    """Return strained, rattled Cu-Au cells of different sizes with EMT labels."""
    rng = np.random.default_rng(5)
    result = []
    for k in range(n):
        atoms = bulk("Cu", "fcc", a=3.75, cubic=True).repeat((1 + k % 2, 1, 1))
        atoms.numbers[rng.permutation(len(atoms))[: 1 + k % 3]] = 79
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.04 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=(len(atoms), 3))
        atoms.calc = EMT()
        found = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(
            atoms, **dict(zip(("energy", "forces", "stress"), found, strict=True))
        )
        result.append(atoms)
    return result


def fit(share: Share | None, **settings: object) -> LinearFit:
    """Return a linear fit."""
    descriptor = SNAP(["Cu", "Au"], two_j_max=2, cutoff=4.0, weights={"Au": 0.7})
    potential = Potential(descriptor, make_model({"kind": "linear"}, descriptor.n_features, 2))
    given = LeastSquaresSettings.model_validate({"solver": "svd", **settings})
    return fit_linear(potential, LabelledSet(potential, frames()), LossSettings(), given, share=share)


def values(share: Share | None, **settings: object) -> NDArray[np.float64]:
    """Return the parameters of a linear fit."""
    return fit(share, **settings).solution.values


if __name__ == "__main__":
    dist.init_process_group("gloo")
    alone = values(ProcessShare())
    validated = values(ProcessShare(), solver="ridge", ridge=None, folds=3)
    np.savez(Path(sys.argv[1]) / f"{dist.get_rank()}.npz", alone=alone, validated=validated)
    dist.destroy_process_group()
