"""``forgefield info --cache``."""

from __future__ import annotations

import json

import pytest
from commands import call, fails

from forgefield.kernel_cache import LARGEST_CACHE, cached


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A cache with two kernels of known size."""
    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path / "kernels"))
    for key in range(2):
        cached("kernel", key, lambda: (0, bytes(600_000)))
    return tmp_path / "kernels"


def test_what_is_in_the_cache(folder):
    about = json.loads(call("info", "--cache", "--json"))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert about == {"folder": str(folder), "kernels": 2, "bytes": size, "limit": LARGEST_CACHE}
    text = call("info", "--cache")
    assert "1.2 MB of at most 268 MB" in text
    assert "kernels  2" in text


def test_clearing(folder):
    assert "2 kernels" in call("info", "--clear-cache")
    assert list(folder.iterdir()) == []
    assert json.loads(call("info", "--cache", "--clear-cache", "--json"))["removed"] == 0


def test_where_there_can_be_none(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path / "file" / "below"))
    assert "every process builds" in call("info", "--cache")
    assert json.loads(call("info", "--cache", "--json"))["folder"] is None


def test_a_potential_or_the_cache():
    assert "leave x.ff out" in fails("info", "x.ff", "--cache")
    assert "or ask for --cache" in fails("info")
