"""What the result of a cell depends on: whole configurations, the content of files, the code of studies of one's own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from forgefield.errors import ConfigError
from forgefield.training.settings import RunSettings

__all__ = ["CONFIG", "content_of", "source_of"]

CONFIG = "config"
"""Parameter that holds the configuration of a training."""
PACKAGE = "forgefield"
"""Studies in here are told apart by their version, so that tidying their code does not repeat hours of work."""


def content_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a cell as they enter its key.

    The configuration of a training, under ``config``, is there with every default. Names of files that exist, given by
    their whole path, are replaced by the hash of what is in them, so that results survive a move of the files.
    """
    found = {key: _by_content(value) for key, value in parameters.items() if key != CONFIG}
    if CONFIG in parameters:
        found[CONFIG] = _by_content(_resolved(parameters[CONFIG]))
    return found


def _resolved(config: Any) -> Any:
    """Return a configuration with its defaults; as it is if it is no configuration of a training."""
    if not isinstance(config, Mapping):
        return config
    try:
        return RunSettings.parse(config).model_dump(mode="json")
    except ConfigError:
        return config


def _by_content(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _by_content(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_by_content(one) for one in value]
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file():
        known = Path(value).stat()
        return _hash_of(value, known.st_mtime_ns, known.st_size)
    return value


@lru_cache(maxsize=256)
def _hash_of(path: str, changed: int, size: int) -> str:
    """Return the hash of a file; time and size are there to notice that it was changed."""
    del changed, size
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def source_of(study: object) -> str:
    """Return the hash of the file in which the class of a study is defined; empty for those of this package."""
    module = type(study).__module__
    if module.split(".")[0] == PACKAGE:
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:20] if file else ""
