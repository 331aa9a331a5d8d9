"""Learning curves, parts of the training data, dry runs, shards and processes on the command line."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forgefield import kernel_cache
from forgefield.api import dry_run as dry
from forgefield.api import learning_curve as curves
from forgefield.api.dry_run import dry_run
from forgefield.api.learning_curve import CurvePoint, LearningCurve, learning_curve
from forgefield.api.run import RunFolder
from forgefield.api.train import train
from forgefield.cli.app import app
from forgefield.cli.learning_curve import trend
from forgefield.data import DataSettings, load
from forgefield.errors import ConfigError
from forgefield.training.gradient import GradientTrainer

LINEAR = {
    "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
    "model": {"kind": "linear"},
    "training": {"kind": "least_squares"},
    "dtype": "float64",
}
NETWORK = {
    "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
    "model": {"kind": "network", "hidden": [4]},
    "training": {"kind": "adam", "epochs": 40, "batch_size": 4},
}


def config(path, values=LINEAR):
    return {**values, "data": {"train": [str(path)]}}


def test_parts_of_the_training_data_are_nested_and_have_all_elements(alloy_file):
    whole = load(DataSettings(train=[str(alloy_file)]))
    before: set[int] = set()
    for fraction in (0.01, 0.2, 0.6, 1.0):
        part = load(DataSettings(train=[str(alloy_file)], fraction=fraction, fraction_seed=3))
        chosen = set(part.split.train.tolist())
        assert before <= chosen <= set(whole.split.train.tolist())
        wanted = math.ceil(fraction * len(whole.split.train))
        assert wanted <= len(chosen) <= max(wanted, 2)
        assert part.split.valid.tolist() == whole.split.valid.tolist()
        assert {z for k in chosen for z in part.frames[k].numbers.tolist()} == {29, 79}
        assert part.species == whole.species
        before = chosen
    other = load(DataSettings(train=[str(alloy_file)], fraction=0.6, fraction_seed=4))
    assert set(other.split.train.tolist()) != set(
        load(DataSettings(train=[str(alloy_file)], fraction=0.6, fraction_seed=3)).split.train.tolist()
    )


def test_the_learning_curve_is_that_of_single_runs(alloy_file, tmp_path):
    done = []
    curve = learning_curve(
        config(alloy_file), (1.0, 0.5), (0, 5), output=tmp_path, progress=lambda *x: done.append(x)
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.fraction for p in curve.points] == [0.5, 1.0]
    single = curves.train(
        config(alloy_file)
        | {"data": {"train": [str(alloy_file)], "fraction": 0.5, "fraction_seed": 5}, "seed": 5},
        output=tmp_path / "own",
    )
    split, entry = single.evaluation.metrics.headline()
    assert curve.split == split
    assert curve.points[0].rmse["forces"][1] == pytest.approx(entry.of("forces").rmse, rel=1e-12)
    assert curve.points[0].structures == len(
        load(DataSettings(train=[str(alloy_file)], fraction=0.5)).split.train
    )
    # A fit with everything does not depend on the seed; the error bar says so.
    assert curve.points[1].spread("forces") == pytest.approx(0.0, abs=1e-9)
    assert curve.points[0].spread("forces") > 0
    saved = json.loads((tmp_path / "learning_curve.json").read_text())
    assert saved["points"][0]["forces_rmse"] == pytest.approx(curve.points[0].mean("forces"))
    assert (tmp_path / "learning_curve.csv").read_text().startswith("fraction,structures,energy_rmse")


def test_exponent_and_error_bars_of_known_numbers():
    points = [
        CurvePoint(f, n, {"forces": (e - 1.0, e + 1.0)}, {"forces": (e, e)})
        for f, n, e in ((0.25, 100, 80.0), (1.0, 400, 20.0))
    ]
    curve = LearningCurve("test", (0, 1), tuple(points))
    assert curve.exponent("forces") == pytest.approx(1.0)
    assert points[0].spread("forces") == pytest.approx(np.sqrt(2.0))
    assert LearningCurve("test", (0,), tuple(points[:1])).exponent("forces") is None


def test_the_trend_is_said_in_words():
    assert trend(0.456) == "falls as structures^-0.46"
    assert trend(-0.11) == "grows as structures^0.11: more structures did not help"
    assert trend(-0.001) == "does not change with the number of structures"


@pytest.mark.parametrize(
    ("fractions", "seeds"), [((0.0,), (0,)), ((1.5,), (0,)), ((), (0,)), ((1.0,), ()), ((1.0,), (1, 1))]
)
def test_learning_curve_refuses_nonsense(fractions, seeds, alloy_file, tmp_path):
    with pytest.raises(ConfigError, match=r"fractions|seeds"):
        learning_curve(config(alloy_file), fractions, seeds, output=tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("values", [LINEAR, NETWORK])
def test_a_dry_run_measures_and_leaves_nothing(values, alloy_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dry_run(config(alloy_file, values))
    assert list(tmp_path.iterdir()) == []
    assert found.seconds == pytest.approx(found.prepare + found.training + found.finish)
    assert min(found.prepare, found.epoch, found.finish) > 0
    assert 50e6 < found.peak_memory < 50e9
    assert found.epochs == (40 if values is NETWORK else 0)
    assert json.dumps(found.to_dict())


def test_a_dry_run_counts_last_layer_and_extrapolation(alloy_file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(dry, "clock", lambda: now[0])

    def judge(settings, potential, data, valid):
        assert settings.last_layer
        assert len(valid) < len(data)
        potential.last_layer = "of a copy"
        now[0] += 5.0 + 2.0 * (data.n_atoms + valid.n_atoms)

    monkeypatch.setattr(dry, "store_judges", judge)
    evaluated = []
    monkeypatch.setattr(dry, "fastest", lambda potential: evaluated.append(potential.last_layer))
    monkeypatch.setattr(RunFolder, "write_results", lambda *_, **__: None)
    assert dry_run(config(alloy_file, NETWORK)).finish == 0.0
    assert set(evaluated) == {None}
    # measured on 12 and on all of the training structures, with as large a share of the others
    assert 12 < len(load(DataSettings(train=[str(alloy_file)])).split.train) < 24
    for values in (NETWORK, LINEAR):
        found = dry_run(config(alloy_file, values | {"last_layer": True}))
        assert found.finish == pytest.approx(5.0 + 2.0 * 96)  # training and validation
        assert evaluated[-1] == "of a copy"  # spreads take time in the evaluation


def test_a_dry_run_says_what_a_step_takes_in_the_dtype_of_the_run(alloy_file):
    single, double = (
        dry_run(config(alloy_file, {**NETWORK, "dtype": t})).parts["one step"] for t in ("float32", "float64")
    )
    assert double == 2 * single > 0


def test_kernels_built_by_the_dry_run_are_not_built_again(alloy_file, monkeypatch, tmp_path):
    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path))

    def build():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return 1, b"code"

    before = kernel_cache.seconds_building()
    assert kernel_cache.cached("slow", 1, build) == kernel_cache.cached("slow", 1, build) == (1, b"code")
    assert 0.05 <= kernel_cache.seconds_building() - before < 0.1
    spent = iter([0.0, 1e6])
    monkeypatch.setattr("forgefield.api.dry_run.seconds_building", lambda: next(spent))
    assert dry_run(config(alloy_file, NETWORK)).prepare == 0.0


@pytest.mark.parametrize("kind", ["lbfgs", "adam", "snes", "levenberg_marquardt"])
def test_a_dry_run_times_the_epochs_that_the_run_begins_with(kind, alloy_file, monkeypatch, tmp_path):
    losses: list[float] = []
    epoch = GradientTrainer.epoch

    def noted(trainer):
        row = epoch(trainer)
        losses.append(float(row["loss_train"]))
        return row

    monkeypatch.setattr(GradientTrainer, "epoch", noted)
    values = config(alloy_file, {**NETWORK, "training": {"kind": kind, "epochs": 2}})
    dry_run(values)
    seen, losses = losses, []
    train(values, output=tmp_path / "run")
    assert len(seen) == 2
    np.testing.assert_allclose(seen, losses, rtol=1e-5)


def test_the_commands(alloy_file, tmp_path):
    runner = CliRunner()
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config(alloy_file)))
    dry = runner.invoke(app, ["train", str(path), "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "Time:   about" in dry.output
    assert "Memory: about" in dry.output
    made = runner.invoke(app, ["shard", str(path), "-o", str(tmp_path / "shards")])
    assert made.exit_code == 0, made.output
    assert "24 structures, 96 atoms in 1 shard;" in made.output
    curve = runner.invoke(
        app,
        f"learning-curve {path} -o {tmp_path / 'curve'} --fractions 0.5,1 --seeds 2 --json "
        f"--set data.train=[{tmp_path / 'shards'}]",
    )
    assert curve.exit_code == 0, curve.output
    assert [p["fraction"] for p in json.loads(curve.output)["points"]] == [0.5, 1.0]
    bad = runner.invoke(app, ["learning-curve", str(path), "--fractions", "half"])
    assert bad.exit_code == 2
