"""A configuration and a finished run."""

from __future__ import annotations

import pytest
from commands import SMALL, call


@pytest.fixture(scope="session")
def config(alloy_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "train.yaml"
    call("init", alloy_file, "-o", path)
    return path


@pytest.fixture(scope="session")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    call("train", config, "-o", folder, "--set", "training.epochs=3", *SMALL)
    return folder
