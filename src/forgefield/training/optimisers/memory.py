"""Memory of the machine, to refuse what cannot fit before it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["physical_memory"]

CGROUP = Path("/sys/fs/cgroup/memory.max")
"""Limit of a container or batch job, where there is one."""


def physical_memory() -> int | None:
    """Return the memory [bytes] that this process may use at most; None where the system does not say."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    if found <= 0:
        return None
    try:
        limit = CGROUP.read_text(encoding="ascii").strip()
    except OSError:
        return found
    return min(found, int(limit)) if limit.isdigit() else found
