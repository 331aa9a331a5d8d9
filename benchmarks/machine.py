"""The machine that something is measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from forgefield.tracer.cache import host

__all__ = ["machine", "version_of"]


def machine() -> dict[str, Any]:
    """Return what the times depend on beside the programs."""
    return {
        "cpu": _cpu(),
        "features": f"{host().lanes(32)} lanes of 32 bits",
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else "unknown processor"


def version_of(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
