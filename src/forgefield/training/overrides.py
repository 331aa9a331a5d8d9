"""``--set key=value`` on the settings of a run, where a new ``kind`` takes only what means the same to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from forgefield.config import apply_overrides
from forgefield.descriptors import DESCRIPTORS
from forgefield.models import MODELS
from forgefield.training.settings import TRAINERS
from forgefield.training.weighting import WEIGHTINGS

__all__ = ["override"]


def _kinds() -> dict[str, Mapping[str, type[BaseModel]]]:
    return {
        "descriptor": {k: v.Settings for k, v in DESCRIPTORS.items()},
        "model": {k: v.Settings for k, v in MODELS.items()},
        "training": TRAINERS,
        "weights": {k: v.Settings for k, v in WEIGHTINGS.items()},
    }


def override(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply overrides to the settings of a run.

    Where a section gets another ``kind``, its other settings stay only if the new kind has them with the same default,
    that is with the same meaning: Adam's learning rate says nothing to a Kalman filter.

    Parameters
    ----------
    values : mapping
        As read from YAML; unchanged.
    overrides : iterable of str
        ``section.setting=value``; see `config.apply_overrides`.

    Raises
    ------
    ConfigError
        An override is malformed.
    """
    items = list(overrides)
    chosen = [text for text in items if text.partition("=")[0].strip().endswith(".kind")]
    result = apply_overrides(dict(values), chosen)
    for name, kinds in _kinds().items():
        before, after = values.get(name), result.get(name)
        if not isinstance(before, Mapping) or not isinstance(after, dict):
            continue
        old, new = kinds.get(str(before.get("kind"))), kinds.get(str(after.get("kind")))
        if old is not None and new is not None and old is not new:
            result[name] = {k: v for k, v in after.items() if k == "kind" or _same(old, new, k)}
    return apply_overrides(result, items)


def _same(old: type[BaseModel], new: type[BaseModel], key: str) -> bool:
    """Whether a setting stays: what the old kind does not know either stays too, to be refused."""
    if key not in old.model_fields:
        return True
    if key not in new.model_fields:
        return False
    one, other = (s.model_fields[key].get_default(call_default_factory=True) for s in (old, new))
    return bool(one == other)
