"""The cache of compiled kernels: found again, damaged, bounded, shared by processes, absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forgefield import kernel_cache as cache
from forgefield.errors import ForgefieldError
from forgefield.kernel_cache import cache_folder, cached_files, clear_cache, foreign_sources
from forgefield.tracer import trace
from forgefield.tracer.cache import aligned, host, native

SIGNATURE = {"n": "int", "x": "rows", "y": "rows"}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Builds ``y = factor x`` and counts how often."""

    def __init__(self, factor=2.0):
        self.factor, self.built = factor, 0

    def __call__(self):
        self.built += 1

        def kernel(k, n, x, y):
            with k.range(n) as i:
                y[i] = self.factor * x[i]

        return trace("scale", SIGNATURE, 64, kernel)


def check(builder, key="key"):
    """Get the kernel and see that it works."""
    kernel = native("scale", SIGNATURE, 64, key, builder)
    x, y = (aligned((3, kernel.lanes), np.float64) for _ in range(2))
    x[...] = np.arange(x.size).reshape(x.shape)
    kernel(3, x, y)
    assert np.array_equal(y, builder.factor * x)
    return kernel


def test_a_kernel_is_built_once(folder):
    builder = Builder()
    check(builder)
    assert check(builder).lanes == host().lanes(64)
    assert builder.built == 1
    assert [p.name for p in folder.iterdir()] == [path.name for *_, path in cached_files()]


def test_what_the_kernel_depends_on_is_the_key(folder):
    one, two = Builder(2.0), Builder(3.0)
    check(one, ("shape", 2))
    check(two, ("shape", 3))
    assert (one.built, two.built, len(cached_files())) == (1, 1, 2)


def test_changed_sources_change_the_key(monkeypatch, tmp_path):
    before = cache._sources()
    assert before == cache._sources()
    copy = tmp_path / "package"
    for name in ("formulas", "tracer", "expansions"):
        shutil.copytree(cache._PACKAGE / name, copy / name)
    monkeypatch.setattr(cache, "_PACKAGE", copy)
    seen = set()
    for change in ("", "# changed\n"):
        with (copy / "formulas" / "radial.py").open("a") as file:
            file.write(change)
        cache._sources.cache_clear()
        seen.add(cache._sources())
    monkeypatch.undo()
    cache._sources.cache_clear()
    assert len(seen) == 2
    assert cache._sources() == before


def damaged(content):
    head, _, code = content.partition(b"\n")
    return {
        "empty": b"",
        "cut": content[:-1],
        "flipped bit": content[:-1] + bytes([content[-1] ^ 1]),
        "no header": code,
        "header of another kind": b"[]\n" + code,
        "header without workspace": json.dumps({"sha256": json.loads(head)["sha256"]}).encode()
        + b"\n"
        + code,
        "other bytes": b"\x00\xff" * 100,
    }


@pytest.mark.parametrize("damage", list(damaged(b'{"sha256": 0}\n ')))
def test_a_damaged_file_is_built_anew(damage, folder):
    builder = Builder()
    check(builder)
    ((*_, path),) = cached_files()
    whole = path.read_bytes()
    path.write_bytes(damaged(whole)[damage])
    check(builder)
    assert builder.built == 2
    assert path.read_bytes() == whole
    check(builder)
    assert builder.built == 2


def test_a_folder_in_place_of_a_file(folder):
    builder = Builder()
    check(builder)
    ((*_, path),) = cached_files()
    path.unlink()
    path.mkdir()
    check(builder)
    assert builder.built == 2


def test_the_size_is_bounded_and_what_was_used_last_stays(folder, monkeypatch):
    for key in range(4):
        check(Builder(), key)
    files = {path: n for n, (*_, path) in enumerate(cached_files())}
    for path, n in files.items():
        os.utime(path, (1000 + n, 1000 + n))
    size = next(iter(files)).stat().st_size
    monkeypatch.setattr(cache, "LARGEST_CACHE", 3 * size + 10)
    oldest, used, *_ = files
    os.utime(used)
    check(Builder(), "new")
    left = [path for *_, path in cached_files()]
    assert len(left) == 3
    assert oldest not in left
    assert used in left


def test_using_a_kernel_makes_it_recent(folder):
    check(Builder())
    ((*_, path),) = cached_files()
    os.utime(path, (1000, 1000))
    check(Builder())
    assert cached_files()[0][0] > 1000


def test_clearing(folder):
    assert clear_cache() == 0
    for key in range(3):
        check(Builder(), key)
    (folder / "notes.txt").write_text("not a kernel")
    assert clear_cache() == 3
    assert cached_files() == []
    assert (folder / "notes.txt").exists()


def test_where_the_cache_lives(monkeypatch, tmp_path):
    monkeypatch.delenv("FORGEFIELD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "forgefield"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "forgefield"
    assert cache_folder().is_dir()


def test_without_a_place_every_process_builds(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path / "file" / "below"))
    builder = Builder()
    check(builder)
    check(builder)
    assert builder.built == 2
    assert cache_folder() is None
    assert cached_files() == []
    assert clear_cache() == 0


def test_without_a_home(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    for name in ("FORGEFIELD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder() is None


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    def refused(path, content):
        raise ForgefieldError(f"cannot write {path}")

    monkeypatch.setattr(cache, "write_bytes", refused)
    builder = Builder()
    check(builder)
    check(builder)
    assert builder.built == 2


def test_a_folder_that_can_only_be_read(folder, monkeypatch):
    def refused(path):
        raise PermissionError(path)

    check(Builder())
    monkeypatch.setattr(os, "utime", refused)
    second = Builder()
    check(second)
    assert second.built == 0


def test_processes_may_build_the_same_kernel_at_the_same_time(folder):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_cache import Builder, check\n"
        "[check(Builder(), key) for key in range(5)]\n"
        "print('right')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [p.communicate(timeout=60)[0].strip() for p in processes] == ["right"] * 3
    assert len(cached_files()) == 5
    assert len(list(folder.iterdir())) == 5, "no temporary file is left"


def test_memory_is_aligned_and_zero():
    for shape, dtype in ((5, np.float32), ((3, 7), np.float64), ((0, 4), np.int32)):
        x = aligned(shape, dtype)
        assert x.size == 0 or x.ctypes.data % 64 == 0
        assert x.dtype == dtype
        assert x.shape == (shape if isinstance(shape, tuple) else (shape,))
        assert not x.any()


def test_what_comes_from_outside_counts_with_its_file(tmp_path, monkeypatch):
    file = tmp_path / "own_formulas.py"
    file.write_text("class Own:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import own_formulas

    first = foreign_sources(own_formulas.Own(), 1.0, ("text",))
    assert first == foreign_sources(own_formulas.Own())
    assert foreign_sources() == foreign_sources(trace, 1.0, None) != first
    file.write_text("class Own:\n    changed = True\n")
    assert foreign_sources(own_formulas.Own()) != first
    monkeypatch.delattr(own_formulas, "__file__")
    assert foreign_sources(own_formulas.Own()) != foreign_sources(own_formulas.Own()), "typed at a prompt"
    monkeypatch.delitem(sys.modules, "own_formulas")
