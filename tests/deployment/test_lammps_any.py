"""Potentials of every descriptor in LAMMPS through the plug-in: our own numbers, all of them."""

from __future__ import annotations

import numpy as np
import pytest
from lammps_any_cases import CASES, crystal, make_potential, write_files
from lammps_cases import answers

from forgefield.deployment.certificate_structures import certificate_structures
from forgefield.deployment.engines import LammpsRun
from forgefield.descriptors import DESCRIPTORS
from forgefield.testing.tolerances import FLOAT32, OTHER_PROGRAM

STRUCTURES = ("rattled", "strained", "triclinic", "surface", "free atoms")


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """For each case the potential, its structures, and LAMMPS's answers with both kinds of atomic virials."""
    folder, runs, found = tmp_path_factory.mktemp("any"), [], {}
    for n, case in enumerate(CASES):
        potential = make_potential(case, exact=n % 2 == 0)
        commands = write_files(potential, folder, f"p{n}")
        every = certificate_structures(potential)
        frames = [every[k] for k in STRUCTURES]
        found[case] = potential, frames
        runs += [LammpsRun(commands, potential.elements, frames, centroid=c) for c in (False, True)]
    given = answers(runs, folder)
    return {case: (*found[case], *given[2 * n : 2 * n + 2]) for n, case in enumerate(CASES)}


def test_every_descriptor_is_here():
    assert {kind for kind, *_ in CASES.values()} == set(DESCRIPTORS)


def differences(potential, frames, found, virials):
    """Return the largest differences relative to the largest component in the same structure."""
    worst = np.zeros(5)
    for atoms, answer in zip(frames, found, strict=True):
        ours = potential.predict(atoms, virials=virials)
        total = ours.virials.sum(axis=0)
        given = ~np.isnan(answer.virials)
        pairs = (
            (ours.energies, answer.energies),
            (ours.forces, answer.forces),
            (ours.virials[given], answer.virials[given]),
            (0.5 * (total + total.T), answer.virial),
            (np.array([ours.energy]), np.array([answer.energy])),
        )
        worst = np.maximum(worst, [np.abs(a - b).max() / np.abs(a).max() for a, b in pairs])
    return worst


@pytest.mark.parametrize("case", CASES)
def test_energies_forces_virials(computed, case):
    potential, frames, plain, centroid = computed[case]
    assert np.abs(plain[0].forces).max() > 1e-3
    assert not np.isnan(centroid[0].virials).any()
    assert np.isnan(plain[0].virials).sum() == 3 * len(frames[0])
    assert differences(potential, frames, plain, "III").max() < OTHER_PROGRAM
    assert differences(potential, frames, centroid, "I").max() < OTHER_PROGRAM


def test_the_two_kinds_of_atomic_virials_differ(computed):
    _, frames, plain, centroid = computed["nep, zbl"]
    one, other = plain[0].virials[:, 0, 1], centroid[0].virials[:, 0, 1]
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
    assert one.sum() == pytest.approx(other.sum(), rel=1e-9)
    assert len(frames[0]) == len(one)


def test_single_precision_and_lesser_processors(tmp_path, monkeypatch):
    """One library holds kernels for several processors; FORGEFIELD_SIMD chooses a lesser one."""
    potential = make_potential("wacsf")
    frames = [crystal(potential.elements, (2, 1, 1))]
    doubles = write_files(potential, tmp_path, "double", kinds=("avx2", "sse2"))
    singles = write_files(potential, tmp_path, "single", dtype="float32")
    runs = [LammpsRun(c, potential.elements, frames, centroid=True) for c in (doubles, singles)]
    for level in ("", "sse2"):
        monkeypatch.setenv("FORGEFIELD_SIMD", level)
        double, single = answers(runs[: 1 if level else 2], tmp_path) + ([None] if level else [])
        assert differences(potential, frames, double, "I").max() < OTHER_PROGRAM
        if single is not None:
            assert OTHER_PROGRAM < differences(potential, frames, single, "I")[1:4].max() < FLOAT32
