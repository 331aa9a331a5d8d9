"""Files appear whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import stat

import pytest

from forgefield import files
from forgefield.errors import DataError, ForgefieldError


def test_what_is_written_is_read(tmp_path):
    path = files.write_text(tmp_path / "x.txt", "Å\n")
    assert files.read_text(path) == "Å\n"
    files.write_json(tmp_path / "x.json", {"a": [1, 2.5, None]})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"a": [1, 2.5, None]}
    files.write_csv(tmp_path / "x.csv", [{"a": 1, "b": 2}], ["a", "b"])
    with (tmp_path / "x.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "2"}]


def test_rows_are_appended_whole_or_not_at_all(tmp_path, monkeypatch):
    path = files.write_csv(tmp_path / "x.csv", [{"a": 1, "b": None}], ["a", "b"])
    files.append_csv(path, {"a": "1,5", "b": 0.1}, ["a", "b"])
    assert path.read_text() == 'a,b\n1,\n"1,5",0.1\n'
    whole = path.read_text()
    opened = type(path).open

    class Full:
        """A disk with room for three more bytes."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            return self.file.write(content[:3])

    monkeypatch.setattr(type(path), "open", lambda self, *a, **k: Full(opened(self, *a, **k)))
    with pytest.raises(ForgefieldError, match="No space left"):
        files.append_csv(path, {"a": 123, "b": 456}, ["a", "b"])
    monkeypatch.undo()
    assert path.read_text() == whole


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = files.write_text(tmp_path / "x.txt", "old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail) if step == "fsync" else monkeypatch.setattr(
        type(path), "replace", fail
    )
    with pytest.raises(ForgefieldError, match=r"cannot write .*x.txt: No space left .*nothing was changed"):
        files.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_rights_follow_the_mask(tmp_path):
    before = os.umask(0o027)
    try:
        path = files.write_text(tmp_path / "x.txt", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(ForgefieldError, match="Permission denied"):
        files.write_text(folder / "x.txt", "a")


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        files.read_text(tmp_path / "absent")
    with pytest.raises(DataError, match="directory"):
        files.read_text(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"ab\xff\xfe")
    with pytest.raises(DataError, match="byte 2 is not UTF-8"):
        files.read_text(tmp_path / "x.bin")


def test_folders(tmp_path):
    folder = files.make_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert files.make_folder(folder) == folder
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ForgefieldError, match=r"cannot create the folder .*choose another"):
        files.make_folder(tmp_path / "file")
    with pytest.raises(ForgefieldError, match="cannot write"):
        files.write_text(tmp_path / "absent" / "x.txt", "a")
