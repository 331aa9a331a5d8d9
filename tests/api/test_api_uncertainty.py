"""Uncertainty of labelled structures, and which structures to label next."""

from __future__ import annotations

import csv
import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

import forgefield as ff
from forgefield import api
from forgefield.api.select import farthest_points
from forgefield.cli.app import app
from forgefield.errors import ConfigError, DataError
from forgefield.training.laplace import fit_last_layer

CONFIG = {
    "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
    "model": {"kind": "network", "hidden": [6]},
    "training": {"kind": "adam", "epochs": 5, "batch_size": 8},
    "committee": {"members": 2},
    "extrapolation": True,
}


@pytest.fixture(scope="module")
def trained(alloy_file, tmp_path_factory):
    config = {**CONFIG, "data": {"train": [str(alloy_file)]}}
    return ff.train(config, output=tmp_path_factory.mktemp("alloy"))


@pytest.fixture(scope="module")
def candidates(alloy_frames) -> list[Atoms]:
    """Six known structures, a compressed one, the same one again, and gold with a hole."""
    odd = bulk("Cu", "fcc", a=3.1, cubic=True)
    odd.rattle(0.05, seed=1)
    hole = bulk("Au", "fcc", a=4.4, cubic=True)
    del hole[0]
    frames = [a.copy() for a in alloy_frames[:6]] + [odd, odd.copy(), hole]
    for n, atoms in enumerate(frames):
        atoms.info = {"name": f"c{n}"}
    return frames


def test_values_of_atoms_are_those_of_the_calculator(trained, alloy_frames):
    found = api.uncertainty(trained.potential, alloy_frames)
    atoms = alloy_frames[4].copy()
    atoms.calc = trained.potential.calculator()
    atoms.get_forces()
    for name in ("forces_spread", "extrapolation"):
        expected = atoms.calc.get_property(name, atoms)
        np.testing.assert_allclose(
            found.evaluation.predictions[4].atomic[name], expected, rtol=1e-4, atol=1e-6
        )
    errors = [
        np.linalg.norm(p.forces - a.get_forces(), axis=1)
        for p, a in zip(found.evaluation.predictions, alloy_frames, strict=True)
    ]
    rms = np.sqrt(np.mean(np.square(np.concatenate(errors))))
    spread = found.calibrations["forces_spread"]
    assert spread.scale == pytest.approx(rms / np.sqrt(np.mean(np.square(found.atomic("forces_spread")))))


def test_evaluate_command_writes_atoms_and_pictures(trained, alloy_file, tmp_path):
    arguments = [
        "evaluate",
        str(trained.folder / "potential.ff"),
        str(alloy_file),
        "--uncertainty",
        str(tmp_path / "u"),
    ]
    result = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "errors.json")])
    assert result.exit_code == 0, result.output
    assert "rank correlation" in result.output
    names = {p.name for p in (tmp_path / "u").iterdir()}
    assert names == {"predictions.extxyz", "calibration_forces_spread.svg", "calibration_extrapolation.svg"}
    frames = ase.io.read(tmp_path / "u" / "predictions.extxyz", index=":")
    assert frames[0].arrays["extrapolation"].shape == (4,)
    assert frames[0].info["energy_spread"] > 0
    numbers = json.loads((tmp_path / "errors.json").read_text())
    assert numbers["uncertainty"]["forces_spread"]["n_values"] == 4 * 24


def test_forces_that_are_zero_by_symmetry_do_not_count(trained, alloy_frames):
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True)
    crystal.calc = SinglePointCalculator(crystal, energy=0.0, forces=np.zeros((4, 3)))
    found = api.uncertainty(trained.potential, [*alloy_frames[:5], crystal])
    assert len(found.calibrations["extrapolation"].error) == 20


def test_last_layer_of_a_single_potential(trained, alloy_frames):
    single = ff.load(trained.folder / "member_1" / "potential.ff")
    train = [a for a in trained.evaluation.frames if a.info["split"] == "train"]
    found = api.uncertainty(single, alloy_frames[:4], train=train)
    expected = fit_last_layer(single, train).spread(alloy_frames[2]).forces
    np.testing.assert_allclose(
        found.evaluation.predictions[2].atomic["last_layer_spread"], expected, rtol=1e-9
    )
    assert set(found.calibrations) == {"extrapolation", "last_layer_spread"}


def test_single_potential_without_grades_cannot_judge_itself(trained, alloy_frames):
    bare = ff.load(trained.folder / "member_1" / "potential.ff")
    bare.extrapolation = None
    with pytest.raises(ConfigError, match="committee"):
        api.uncertainty(bare, alloy_frames)
    with pytest.raises(ConfigError, match="needs a committee"):
        api.select(bare, alloy_frames, 2, by="spread")


def test_farthest_points_by_hand():
    points = np.array([[0.0], [1.0], [1.1], [5.0]])
    scores = np.array([1.0, 3.0, 2.9, 1.0])
    # First the largest score (1); then 3 at distance 4 with score 1 beats 2 at 0.1 with 2.9; then 0 at 1 with 1.
    assert [i for i, _ in farthest_points(scores, points, 4)] == [1, 3, 0, 2]
    assert [d for _, d in farthest_points(scores, points, 3)] == [None, 4.0, 1.0]
    assert farthest_points(scores, np.zeros((4, 1)), 4) == [(1, None)]


@pytest.mark.parametrize("by", ["grade", "spread"])
def test_new_structures_come_first_and_copies_never_twice(trained, candidates, by):
    found = api.select(trained.potential, candidates, 9, by=by)
    picked = [row["index"] for row in found.rows]
    assert not {6, 7} <= set(picked)
    assert len(picked) == 8
    assert set(picked[: 2 if by == "grade" else 1]) <= {
        6,
        7,
        8,
    }  # the hole is symmetric: its forces spread little
    assert found.rows[0]["score"] == max(row["score"] for row in found.rows)


def test_grades_from_training_data_given_afterwards(trained, alloy_frames, candidates):
    bare = ff.load(trained.folder / "member_1" / "potential.ff")
    stored = api.select(bare, candidates, 3)
    bare.extrapolation = None
    with pytest.raises(ConfigError, match="no extrapolation grade"):
        api.select(bare, candidates, 3)
    train = [a for a in trained.evaluation.frames if a.info["split"] == "train"]
    assert [r["score"] for r in api.select(bare, candidates, 3, train=train).rows] == pytest.approx(
        [r["score"] for r in stored.rows]
    )


def test_training_data_that_selection_would_not_use_are_refused(trained, alloy_frames, candidates):
    with pytest.raises(ConfigError, match=r"--train.*spread of the members.*--by grade"):
        api.select(trained.potential, candidates, 3, train=alloy_frames)
    assert api.select(trained.potential, candidates, 3, by="grade", train=alloy_frames).by == "grade"


def test_select_command(trained, candidates, tmp_path):
    ase.io.write(tmp_path / "candidates.xyz", candidates, format="extxyz")
    arguments = [
        "select",
        str(tmp_path / "candidates.xyz"),
        "--potential",
        str(trained.folder / "potential.ff"),
    ]
    result = CliRunner().invoke(app, [*arguments, "-n", "3", "-o", str(tmp_path / "next.extxyz")])
    assert result.exit_code == 0, result.output
    frames = ase.io.read(tmp_path / "next.extxyz", index=":")
    with (tmp_path / "next.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(frames) == len(rows) == 3
    assert frames[0].calc is None
    assert "forces_spread" in frames[0].arrays
    assert [float(r["score"]) for r in rows] == [a.info["selection_score"] for a in frames]


def test_info_says_that_it_is_a_committee(trained):
    result = CliRunner().invoke(app, ["info", str(trained.folder / "potential.ff")])
    assert result.exit_code == 0, result.output
    assert "2 members" in result.output


def test_bad_questions(trained, candidates):
    with pytest.raises(ConfigError, match="must be >= 1"):
        api.select(trained.potential, candidates, 0)
    with pytest.raises(ConfigError, match="`by`"):
        api.select(trained.potential, candidates, 1, by="luck")
    with pytest.raises(DataError, match="no candidates"):
        api.select(trained.potential, [], 1)
