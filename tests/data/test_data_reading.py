"""Finding files: compression, folders, patterns, names, slices, unknown formats."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil

import numpy as np
import pytest
from ase.io import write

from forgefield.data import FORMATS, ReadOptions, get_energy, read
from forgefield.errors import ConfigError, DataError


@pytest.fixture
def xyz(tmp_path, alloy):
    path = tmp_path / "a.xyz"
    write(path, alloy[:5], format="extxyz")
    return path


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_files(xyz, suffix, opener, alloy):
    packed = xyz.with_name(xyz.name + suffix)
    packed.write_bytes(opener.compress(xyz.read_bytes()))
    assert [get_energy(a) for a in read(packed)] == [get_energy(a) for a in alloy[:5]]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or cut off"):
        read(packed)


def test_compressed_json_and_database(shared_data, tmp_path):
    formats = shared_data / "formats"
    for name in ("mlearn_json/Mo_test.json", "ase_db/Si20.db"):
        packed = tmp_path / (name.rpartition("/")[2] + ".xz")
        packed.write_bytes(lzma.compress((formats / name).read_bytes(), preset=0))
        assert len(read(packed)) == len(read(formats / name))


def test_names_are_unique_and_stable(tmp_path, xyz):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(xyz, tmp_path / folder / "a.xyz")
    frames = read([tmp_path / "one" / "a.xyz", tmp_path / "two" / "a.xyz"])
    names = [a.info["name"] for a in frames]
    assert len(set(names)) == 10
    assert names[0] == "one/a.xyz#0"
    assert [a.info["name"] for a in read(xyz)] == [f"a.xyz#{k}" for k in range(5)]


def test_folders_and_patterns(tmp_path, xyz, monkeypatch):
    deep = tmp_path / "data" / "deep"
    deep.mkdir(parents=True)
    shutil.copy(xyz, deep / "b.xyz")
    (deep / "notes.txt").write_text("not data")
    (deep / "empty.xyz").write_text("")
    frames = read(tmp_path / "data")
    assert len(frames) == 5
    assert frames[0].info["name"] == "data/deep/b.xyz#0"
    monkeypatch.chdir(tmp_path)
    assert len(read("data/*/b.xyz")) == 5
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no data of any known format"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match="matches no file"):
        read("data/*.foo")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:3", [1, 2]), ("::2", [0, 2, 4]), ("-1", [4]), ("2", [2]), (":", [0, 1, 2, 3, 4])],
)
def test_index(xyz, text, expected):
    frames = read(xyz, options=ReadOptions(index=text))
    assert [a.info["name"] for a in frames] == [f"a.xyz#{k}" for k in expected]


@pytest.mark.parametrize("text", ["a:b", "1:2:3:4", "::0", "first"])
def test_bad_index(text):
    with pytest.raises(ConfigError, match="index"):
        ReadOptions.parse({"index": text})


def test_files_that_are_not_data(tmp_path):
    cases = {
        "missing.xyz": None,
        "empty.xyz": b"",
        "blank.xyz": b"\n \n",
        "garbage.bin": bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)),
        "prose.txt": b"It was a dark and stormy night.\n",
    }
    matches = {"missing.xyz": "does not exist", "empty.xyz": "is empty", "blank.xyz": "is empty"}
    for name, content in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=matches.get(name, "format is not recognised")):
            read(path)
        if content:
            for form in FORMATS:
                with pytest.raises(DataError):
                    read(path, format=form)


def test_unknown_format_lists_the_formats(xyz):
    with pytest.raises(DataError, match=r"unknown format 'extxzy'.*did you mean 'extxyz'"):
        read(xyz, format="extxzy")
    with pytest.raises(DataError, match="no data files"):
        read([])


def test_format_by_alias(xyz):
    assert len(read(xyz, format="gpumd")) == 5


def test_a_file_of_another_format_is_refused(xyz):
    for form in FORMATS:
        if form != "extxyz":
            with pytest.raises(DataError):
                read(xyz, format=form)
