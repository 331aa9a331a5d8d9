"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of published reference data kept beside the repository (not part of it)."""
    if not SHARED_DATA.is_dir():
        pytest.skip("published reference data (../shared/data) are not present")
    return SHARED_DATA
