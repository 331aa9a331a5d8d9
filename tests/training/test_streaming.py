"""Training from shards on disk: the same bits as from memory, and never more than a batch in memory."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from killed_run import descend
from test_killed import settings

from forgefield.data import DataSettings, content_hash, load, read
from forgefield.data.sharding import write_shards
from forgefield.data.shards import Shards, ShardWriter
from forgefield.errors import ConfigError, DataError
from forgefield.training.batches import LabelledSet
from forgefield.training.gradient import GradientTrainer


@pytest.fixture(scope="module")
def shards(alloy_file, tmp_path_factory):
    """The alloy data in shards of a few structures."""
    folder = tmp_path_factory.mktemp("shards")
    report = write_shards(DataSettings(train=[str(alloy_file)]), folder, shard_bytes=1500, chunk=10)
    assert (report.structures, report.atoms, report.shards) == (24, 96, 4)
    return folder


def same(a, b):
    assert a.numbers.tolist() == b.numbers.tolist()
    assert a.pbc.tolist() == b.pbc.tolist()
    assert a.positions.tobytes() == b.positions.tobytes()
    assert a.cell.array.tobytes() == b.cell.array.tobytes()
    assert a.calc.results.keys() == b.calc.results.keys()
    for key, value in a.calc.results.items():
        assert np.asarray(value).tobytes() == np.asarray(b.calc.results[key]).tobytes(), key


def test_shards_hold_the_structures_bit_for_bit(alloy_file, shards):
    frames, stored = read(alloy_file), Shards(shards)
    assert len(stored) == len(frames)
    for a, b in zip(frames, stored, strict=True):
        same(a, b)
        assert (a.info["name"], a.info["config_type"]) == (b.info["name"], b.info["config_type"])
    assert content_hash(stored) == content_hash(frames) == stored.facts["hash"]
    some = stored.select([7, 3])[::-1]
    assert [len(some), some.sizes.tolist()] == [2, [4, 4]]
    same(some[0], frames[3])
    assert list(stored.sizes) == [4] * 24


def test_labels_that_are_missing_and_what_belongs_to_them_survive(tmp_path, alloy_frames):
    bare, weighted = alloy_frames[0].copy(), alloy_frames[1].copy()
    weighted.calc = alloy_frames[1].calc
    bare.pbc = (True, False, True)
    weighted.info |= {"weight": 2.0, "forces_weight": 0.5, "split": "test", "name": "Zürich"}
    writer = ShardWriter(tmp_path / "s")
    for atoms in (bare, weighted):
        writer.add(atoms)
    writer.close()
    first, second = Shards(tmp_path / "s")
    assert first.calc is None
    assert first.pbc.tolist() == [True, False, True]
    assert second.info["weight"] == 2.0
    assert second.info["forces_weight"] == 0.5
    assert (second.info["split"], second.info["name"]) == ("test", "Zürich")


def test_the_data_set_is_that_of_the_files(alloy_file, shards):
    memory, disk = (load(DataSettings(train=[str(p)])) for p in (alloy_file, shards))
    assert disk.hash == memory.hash
    assert disk.references == memory.references
    for role in ("train", "valid", "test"):
        assert getattr(disk.split, role).tolist() == getattr(memory.split, role).tolist()
        assert content_hash(disk.view(role)) == content_hash(memory.part(role))
    assert disk.audit.to_dict() == memory.audit.to_dict()


@pytest.mark.parametrize("changes", [{}, {"backend": "torch", "epochs": 2}, {"kind": "kalman", "epochs": 3}])
@pytest.mark.parametrize("zbl", [None, {"outer": 1.8}])
def test_training_from_shards_gives_the_same_file(changes, zbl, alloy_file, shards, tmp_path):
    if zbl and changes:
        pytest.skip("once is enough")
    rest = {"epochs": 4} | changes
    kind = rest.pop("kind", "adam")
    first, second = (
        descend(
            settings(p, kind, **rest)
            | {"zbl": zbl, "group_weights": {"copper": 2.0}, "loss": {"normalisation": "relative"}},
            tmp_path / name,
        )
        for p, name in ((alloy_file, "memory"), (shards, "disk"))
    )
    assert first == second


def test_no_more_structures_in_memory_than_a_batch(shards, tmp_path, monkeypatch):
    alive, most = 0, 0
    made = Shards._read

    def counted(self, i):
        nonlocal alive, most
        atoms = made(self, i)
        weakref.finalize(atoms, gone)
        alive += 1
        most = max(most, alive)
        return atoms

    def gone():
        nonlocal alive
        alive -= 1

    def no_list(*_):
        raise AssertionError("a set in memory")

    epoch = GradientTrainer.epoch
    peaks = []

    def measured(self):
        nonlocal most
        gc.collect()
        most = alive
        row = epoch(self)
        peaks.append(most)
        return row

    monkeypatch.setattr(Shards, "_read", counted)
    monkeypatch.setattr(LabelledSet, "__init__", no_list)
    monkeypatch.setattr(GradientTrainer, "epoch", measured)
    monkeypatch.setattr("forgefield.training.gradient.VALIDATED_AT_A_TIME", 2)
    descend(settings(shards, "adam", epochs=3, batch_size=2), tmp_path)
    assert len(peaks) == 3
    # The batch at work and the one that replaces it, for training and validation, and one structure kept by each view.
    assert max(peaks) <= 2 * (2 + 2) + 4 < 24


def test_what_shards_cannot_do_is_an_error_with_the_way_out(shards, alloy_file, tmp_path):
    with pytest.raises(DataError, match="already holds shards"):
        write_shards(DataSettings(train=[str(alloy_file)]), shards)
    with pytest.raises(ConfigError, match="max_energy"):
        write_shards(DataSettings(train=[str(alloy_file)], max_energy=1.0), tmp_path / "a")
    with pytest.raises(ConfigError, match="forgefield shard"):
        load(DataSettings(train=[str(shards)], max_force=1.0))
    with pytest.raises(ConfigError, match="shards stand alone"):
        load(DataSettings(train=[str(shards), str(alloy_file)]))
    with pytest.raises(ConfigError, match="cannot read them from shards"):
        descend(settings(shards, "adam", backend="cuda"), tmp_path / "b")


def test_damage_is_noticed(alloy_file, tmp_path):
    folder = tmp_path / "s"
    write_shards(DataSettings(train=[str(alloy_file)]), folder)
    shard = folder / "shard_00000.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-2000])
    with pytest.raises(DataError, match="truncated"):
        list(Shards(folder))
    shard.write_bytes(b"nonsense" * 100)
    with pytest.raises(DataError, match="damaged"):
        Shards(folder)
    shard.unlink()
    with pytest.raises(DataError, match="cannot read the shard"):
        Shards(folder)
