"""Overrides of a complete configuration."""

from __future__ import annotations

from typing import Any

import pytest

from forgefield.errors import ConfigError
from forgefield.training.optimisers import OPTIMISERS
from forgefield.training.overrides import override
from forgefield.training.settings import RunSettings
from forgefield.training.weighting import WEIGHTINGS


@pytest.fixture
def written() -> dict[str, Any]:
    """Every setting in the file, as `forgefield init` writes it."""
    values = RunSettings.parse({"data": {"train": ["x.xyz"]}}).model_dump(mode="json")
    values["training"] |= {"epochs": 77, "batch_size": 3, "clip": 1.0}
    values["training"]["schedule"]["start"] = 0.004
    return values


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_another_optimiser_on_a_complete_file(kind: str, written: dict[str, Any]) -> None:
    settings = RunSettings.parse(override(written, ["training.patience=5", f"training.kind={kind}"])).training
    assert (settings.kind, settings.patience) == (kind, 5)


@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_another_rule_on_a_complete_file(kind: str, written: dict[str, Any]) -> None:
    assert RunSettings.parse(override(written, [f"weights.kind={kind}"])).weights.kind == kind


def test_what_means_the_same_stays(written: dict[str, Any]) -> None:
    relative = RunSettings.parse(override(written, ["training.kind=adamw"])).training
    assert (relative.epochs, relative.batch_size, relative.clip, relative.schedule.start) == (
        77,
        3,
        1.0,
        0.004,
    )
    stranger = RunSettings.parse(override(written, ["training.kind=kalman"])).training
    assert (stranger.batch_size, stranger.epochs, stranger.schedule.start) == (3, 16, 1.0)
    assert written["training"]["kind"] == "adam"


def test_typing_errors_stay_errors(written: dict[str, Any]) -> None:
    written["training"]["epoch"] = 3
    with pytest.raises(ConfigError, match=r"training\.epoch`"):
        RunSettings.parse(override(written, ["training.kind=kalman"]))
    with pytest.raises(ConfigError, match="kalman"):
        RunSettings.parse(override(written, ["training.kind=kalmann"]))
