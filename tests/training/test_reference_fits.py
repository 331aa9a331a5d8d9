"""Fits of the data that FitSNAP publishes give its published errors, digit by digit."""

from __future__ import annotations

import io
import json
import lzma

import numpy as np
import pytest
import torch
from ase.io import read
from ase.units import bar

from forgefield.descriptors import SNAP
from forgefield.engine.predictor import Predictor
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.loss import LossSettings

WEIGHTS = ("eweight", "fweight", "vweight")
DIGITS = 6
"""As printed."""


def fitted(descriptor, kind, frames, weights, *, exact, outer=4.8, references=None):
    zbl = ZBL(descriptor.species, ZBLSettings(form="lammps", inner=4.0, outer=outer))
    model = make_model({"kind": kind}, descriptor.n_features, descriptor.n_species)
    potential = Potential(descriptor, model, references or {}, exact_free_atom=exact, zbl=zbl)
    potential.to_dtype(torch.float64)
    settings = LeastSquaresSettings(solver="svd", row_weights=weights)
    fit_linear(potential, LabelledSet(potential, frames), LossSettings(), settings)
    return potential


def published_weights(path):
    """Return the row weights of the groups of a data set."""
    groups = json.loads(path.read_text())["groups"]
    return {g: {k: v[k] for k in WEIGHTS} for g, v in groups.items()}


def errors(potential, frames):
    """Return MAE and RMSE of energies [eV/atom], forces [eV/Å] and stresses [bar] of a list of structures."""
    predicted = Predictor(potential).predict_many(frames)
    pairs = list(zip(predicted, frames, strict=True))
    differences = (
        np.array([(p.energy - a.get_potential_energy()) / len(a) for p, a in pairs]),
        np.concatenate([p.forces - a.get_forces() for p, a in pairs]),
        np.concatenate([p.stress - a.get_stress() for p, a in pairs]) / bar,
    )
    return [
        f(x) for x in differences for f in (lambda d: np.abs(d).mean(), lambda d: np.sqrt((d * d).mean()))
    ]


def read_compressed(path):
    """Return the structures of a compressed file: unpacked first, for jumping back and forth in it takes a minute."""
    return read(io.StringIO(lzma.decompress(path.read_bytes()).decode("utf-8")), ":", format="extxyz")


def printed(values):
    return [float(f"{v:.{DIGITS}g}") for v in values]


@pytest.mark.slow
def test_linear_snap_of_tantalum(shared_data):
    frames = read(shared_data / "fitsnap_Ta" / "Ta.xyz", ":")
    weights = published_weights(shared_data / "fitsnap_Ta" / "weights.json")
    descriptor = SNAP(["Ta"], two_j_max=6, cutoff=4.67637, bzero=False)
    potential = fitted(descriptor, "linear", frames, weights, exact=False)
    assert printed(errors(potential, frames)) == [0.112787, 0.379769, 0.0757576, 0.160973, 68338.6, 381744]
    for group, expected in (
        ("Displaced_BCC", [0.00188368, 0.00273058, 0.143397, 0.184865, 14936.3, 20563.1]),
        ("Liquid", [0.00566804, 0.00655589, 0.353795, 0.483646, 42922.2, 58565]),
        ("Surface", [0.0135232, 0.0157123, 0.047601, 0.108954, 2309.39, 4277.6]),
    ):
        some = [a for a in frames if a.info["config_type"] == group]
        assert errors(potential, some) == pytest.approx(expected, rel=1e-5)
    # Coefficients as published, B[0] ... B[3].
    assert potential.model.bias.item() == pytest.approx(-2.97994848705, rel=1e-6)
    published = [-0.0114374539722844, -0.00765461855113634, -0.0502616837463119]
    assert potential.model.weight[0, :3].tolist() == pytest.approx(published, rel=1e-6)


@pytest.mark.slow
def test_quadratic_snap_of_tantalum(shared_data):
    frames = read(shared_data / "fitsnap_Ta" / "Ta.xyz", ":")
    groups = {a.info["config_type"] for a in frames}
    weights = {g: dict(zip(WEIGHTS, (100.0, 1.0, 1e-12), strict=True)) for g in groups}
    descriptor = SNAP(["Ta"], two_j_max=8, cutoff=5.594)
    potential = fitted(descriptor, "quadratic", frames, weights, exact=True)
    # 1595 parameters with a condition number of 5e11: the last printed digit may turn with the order of summation.
    published = [0.000238497, 0.000540195, 0.01585, 0.0269927, 347527, 6.63311e6]
    assert errors(potential, frames) == pytest.approx(published, rel=2e-5)


@pytest.mark.slow
def test_chemical_snap_of_indium_phosphide(shared_data):
    frames = read_compressed(shared_data / "fitsnap_InP" / "InP.xyz.xz")
    weights = published_weights(shared_data / "fitsnap_InP" / "weights.json")
    descriptor = SNAP(
        ["In", "P"],
        two_j_max=6,
        cutoff=1.0,
        radii={"In": 3.812045629514403, "P": 3.829453817954964},
        weights={"In": 1.0, "P": 0.9293160905266721},
        chemical=True,
        bnorm=True,
        wself_all=True,
    )
    shifts = {49: 1.65967588701534, 15: -4.38159549501534}
    potential = fitted(descriptor, "linear", frames, weights, exact=True, outer=4.2, references=shifts)
    found = Predictor(potential).predict_many(frames)
    energy = np.array(
        [(p.energy - a.get_potential_energy()) / len(a) for p, a in zip(found, frames, strict=True)]
    )
    # Mean absolute components of forces depend on the frame: LAMMPS turns the cells of these files.
    forces = np.concatenate(
        [
            ((p.forces - a.get_forces()) @ a.cell.standard_form()[1].T).ravel()
            for p, a in zip(found, frames, strict=True)
        ]
    )
    # As printed; weights over many decades leave the sixth digit to rounding.
    assert np.abs(energy).mean() == pytest.approx(0.0033117, rel=2e-5)
    assert np.sqrt((energy * energy).mean()) == pytest.approx(0.0073733, rel=2e-5)
    assert np.abs(forces).mean() == pytest.approx(0.0675, abs=5e-5)
    assert np.sqrt((forces * forces).mean()) == pytest.approx(0.306146, rel=5e-6)
