"""Nuclear repulsion alone, pair by pair, against LAMMPS's pair_style zbl and GPUMD's form in calorine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from forgefield.deployment.engines import EngineMissingError
from forgefield.descriptors import NEP
from forgefield.models import Linear
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.testing.tolerances import OTHER_PROGRAM

ELEMENTS = ("O", "Si")
DISTANCES = (0.3, 0.7, 0.95, 1.2, 1.6, 1.95, 1.9999, 2.3)
INNER, OUTER = 0.9, 2.0


def repulsion(form):
    """A potential that is nothing but the repulsion."""
    d = NEP(ELEMENTS, n_max_radial=1, n_max_angular=1, basis_size_radial=1, basis_size_angular=1, l_max=2)
    model = Linear(d.n_features, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    zbl = ZBL(d.species, ZBLSettings(form=form, inner=INNER, outer=OUTER))
    return Potential(d, model, zbl=zbl).to_dtype(torch.float64)


def dimers():
    """Dimers of all pairs of elements in a box."""
    return [
        Atoms([a, b], [[5, 5, 5], [5 + 0.6 * r, 5, 5 + 0.8 * r]], cell=[12.0, 13.0, 14.0], pbc=True)
        for a, b in (("O", "O"), ("O", "Si"), ("Si", "Si"))
        for r in DISTANCES
    ]


def test_lammps_pair_style_zbl(tmp_path):
    engines = pytest.importorskip("forgefield.deployment.engines")
    frames = dimers()
    commands = [
        f"pair_style zbl {INNER} {OUTER}",
        "pair_coeff 1 1 8 8",
        "pair_coeff 1 2 8 14",
        "pair_coeff 2 2 14 14",
    ]
    try:
        found = engines.run_lammps([engines.LammpsRun(commands, list(ELEMENTS), frames)], tmp_path)[0][0]
    except EngineMissingError as error:
        pytest.skip(str(error))
    potential = repulsion("lammps")
    assert len(found) == len(frames) == 3 * len(DISTANCES)
    for atoms, theirs in zip(frames, found, strict=True):
        ours = potential.predict(atoms)
        scale = max(1.0, np.abs(ours.forces).max())
        assert abs(theirs.energy - ours.energy) < OTHER_PROGRAM * max(1.0, abs(ours.energy))
        assert np.abs(theirs.forces - ours.forces).max() < OTHER_PROGRAM * scale
        assert (np.abs(ours.forces).max() > 0) == (atoms.get_distance(0, 1) < OUTER)


def test_gpumd_zbl(tmp_path):
    """A nep.txt of which all parameters of the network are zero."""
    nepy = pytest.importorskip("_nepy", reason="calorine is not installed: pip install calorine")
    neurons, dim = 2, 2 + 2 * 2
    numbers = [0.0] * (2 * neurons * (dim + 2) + 1 + 4 * (2 * 2 + 2 * 2)) + [1.0] * dim
    head = ["nep4_zbl 2 O Si", f"zbl {INNER} {OUTER}", "cutoff 5 4 100 50", "n_max 1 1", "basis_size 1 1"]
    head += ["l_max 2 0 0", f"ANN {neurons} 0"]
    path = tmp_path / "nep.txt"
    path.write_text("\n".join(head) + "\n" + "".join(f"{v:15.7e}\n" for v in numbers))
    potential = repulsion("gpumd")
    for atoms in dimers():
        cell, positions = (x.T.ravel().tolist() for x in (atoms.cell.array, atoms.positions))
        cpu = nepy.NEPY(
            str(path), 2, cell, atoms.get_chemical_symbols(), positions, atoms.get_masses().tolist()
        )
        energies, forces, _ = (np.array(x).reshape(-1, 2) for x in cpu.get_potential_forces_and_virials())
        ours = potential.predict(atoms)
        assert np.abs(energies[0] - ours.energies).max() < OTHER_PROGRAM * max(1.0, abs(ours.energy))
        assert np.abs(forces.T - ours.forces).max() < OTHER_PROGRAM * max(1.0, np.abs(ours.forces).max())
        assert (np.abs(ours.forces).max() > 0) == (atoms.get_distance(0, 1) < OUTER)
