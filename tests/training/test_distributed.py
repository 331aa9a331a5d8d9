"""Training on two processes against training on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes_worker import descend, results

import forgefield as ff
from forgefield.errors import ConfigError
from forgefield.training import distributed
from forgefield.training.distributed import Processes

WORKER = Path(__file__).with_name("processes_worker.py")

DESCRIPTOR = {
    "kind": "nep",
    "cutoff_radial": 4.5,
    "cutoff_angular": 4.0,
    "n_max_radial": 3,
    "n_max_angular": 2,
    "basis_size_radial": 4,
    "basis_size_angular": 3,
    "l_max": 2,
}

CASES = {
    "adam": {"kind": "adam", "epochs": 5, "batch_size": 5},
    "adam_torch": {"kind": "adam", "epochs": 2, "batch_size": 5, "backend": "torch"},
    "adamw": {"kind": "adamw", "epochs": 4, "batch_size": 2, "accumulate": 3, "weight_decay": 0.01},
    "sgd": {"kind": "sgd", "epochs": 4, "batch_size": 4},
    "lbfgs": {"kind": "lbfgs", "epochs": 2, "iterations": 4, "batch_size": 16},
    "kalman": {"kind": "kalman", "epochs": 2, "batch_size": 3, "prior": 1e-3},
    "levenberg_marquardt": {"kind": "levenberg_marquardt", "epochs": 1, "iterations": 3, "probes": 2},
    "snes": {"kind": "snes", "epochs": 2, "population": 4, "batch_size": 8},
}


def settings(path, training, **changes):
    return {
        "data": {"train": [str(path)]},
        "descriptor": DESCRIPTOR,
        "model": {"kind": "network", "hidden": [5]},
        "training": training | {"checkpoint_seconds": 0.0},
        "dtype": "float64",
        **changes,
    }


def cases(path):
    found = {name: settings(path, training) for name, training in CASES.items()}
    found["config_rule"] = settings(path, CASES["adam"] | {"epochs": 2}, weights={"kind": "config"})
    # One structure a step: the second process has nothing to do in any of them.
    found["idle"] = settings(path, CASES["adam"] | {"epochs": 1, "batch_size": 1})
    return found


def linear_cases(path):
    """Least squares, with and without cross-validation of the strength."""
    snap = {"kind": "snap", "cutoff": 4.2, "two_j_max": 2}
    how = {"plain": {"solver": "svd"}, "validated": {"solver": "ridge", "ridge": None, "folds": 3}}
    return {
        f"linear_{name}": {
            "data": {"train": [str(path)], "split": {"valid": 0.2}},
            "descriptor": snap,
            "model": {"kind": "linear"},
            "training": {"kind": "least_squares", **solver},
            "dtype": "float64",
        }
        for name, solver in how.items()
    }


@pytest.fixture(scope="module")
def together(alloy_file, tmp_path_factory):
    """Results of two processes, started as torchrun starts them."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "cases.json").write_text(json.dumps(cases(alloy_file)))
    (folder / "linear.json").write_text(json.dumps(linear_cases(alloy_file)))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder / "cases.json"), str(folder)],
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [p.communicate(timeout=120)[1] for p in started]
    return folder, errors, [p.returncode for p in started]


def load(folder, name, rank):
    with np.load(folder / f"{name}.{rank}.npz") as file:
        return {k: file[k] for k in file.files}


@pytest.mark.parametrize("name", [*CASES, "config_rule", "idle"])
def test_two_processes_give_the_result_of_one(together, name, alloy_file, tmp_path):
    folder, errors, _ = together
    assert (folder / f"{name}.0.npz").exists(), errors[0]
    alone = results(descend(cases(alloy_file)[name], Processes()))
    first, second = load(folder, name, 0), load(folder, name, 1)
    assert alone.keys() == first.keys() == second.keys()
    # Levenberg-Marquardt multiplies by finite differences, whose own error is about 1e-10.
    tolerance = 1e-7 if name == "levenberg_marquardt" else 1e-10
    for key, value in alone.items():
        assert first[key].tobytes() == second[key].tobytes(), key
        np.testing.assert_allclose(first[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", ["linear_plain", "linear_validated"])
def test_two_processes_share_the_rows_of_a_linear_fit(together, name, alloy_file, tmp_path):
    folder, errors, _ = together
    assert (folder / f"{name}.0.npz").exists(), errors[0]
    alone = ff.train(linear_cases(alloy_file)[name], output=tmp_path)
    first, second = load(folder, name, 0), load(folder, name, 1)
    n_train = sum(a.info["split"] == "train" for a in alone.evaluation.frames)
    assert first.pop("structures") + second.pop("structures") == n_train  # none is done twice
    state = {k: v.numpy() for k, v in alone.potential.state_dict().items()}
    assert state.keys() == first.keys() == second.keys()
    for key, value in state.items():
        assert first[key].tobytes() == second[key].tobytes(), key
        scale = np.abs(value).max(initial=0.0)
        np.testing.assert_allclose(first[key], value, rtol=1e-10, atol=1e-10 * scale, err_msg=key)
    assert sorted(p.name for p in (folder / name).iterdir()) == sorted(p.name for p in tmp_path.iterdir())
    assert ff.load(folder / name / "potential.ff").state_dict().keys() == state.keys()


def test_one_process_writes_a_folder_like_that_of_one(together, alloy_file, tmp_path):
    folder, _, _ = together
    run = ff.train(cases(alloy_file)["adam"], output=tmp_path)
    assert sorted(p.name for p in (folder / "run").iterdir()) == sorted(p.name for p in tmp_path.iterdir())
    written = ff.load(folder / "run" / "potential.ff")
    for key, value in run.potential.state_dict().items():
        np.testing.assert_allclose(written.state_dict()[key].numpy(), value.numpy(), rtol=1e-10, atol=1e-10)


def test_resumed_on_two_processes_equals_uninterrupted(together):
    folder, _, _ = together
    uninterrupted, resumed = ((folder / n / "potential.ff").read_bytes() for n in ("run", "resumed"))
    assert resumed == uninterrupted


def test_when_one_process_stops_the_others_stop_with_a_message(together):
    _, errors, codes = together
    assert codes[1] == 1
    assert "stops on purpose" in errors[1]
    assert codes[0] == 1
    assert "another process of this run has stopped" in errors[0]


def test_alone_without_a_launcher(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert distributed.join() == Processes()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ConfigError, match="WORLD_SIZE"):
        distributed.join()
