"""Potential files: identical bits, clear refusals, old files keep loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from ase.build import bulk

from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.models import MODELS, file, make_model
from forgefield.models.potential import Potential
from forgefield.models.self_test import self_test_structures

SAMPLES = sorted((Path(__file__).parent / "data").glob("potential_v*.ff"))


def make(descriptor="nep", model="network", species=("Si", "O"), dtype=torch.float64, **settings):
    torch.manual_seed(1)
    d = make_descriptor({"kind": descriptor, **settings}, species)
    m = make_model({"kind": model}, d.n_features, d.n_species)
    m.reset_parameters()
    potential = Potential(d, m, {14: -101.25, 8: -432.1}, energy_scale=0.37).to_dtype(dtype)
    potential.scaler.scale.fill_(0.1)
    potential.provenance.metrics = {"test": {"forces_rmse": np.float64(0.0123), "stress_rmse": float("nan")}}
    potential.provenance.data_hash = "abc"
    potential.provenance.notes = {"seed": np.int64(7), "sizes": np.arange(3)}
    return potential


@pytest.fixture
def path(tmp_path):
    return make(n_max_radial=2, n_max_angular=2).save(tmp_path / "x.ff")


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_identical(descriptor, model, dtype, tmp_path):
    potential = make(descriptor, model, dtype=dtype)
    path = potential.save(tmp_path / "x.ff")
    loaded = Potential.load(path)
    assert loaded.dtype == dtype
    assert loaded.elements == ["O", "Si"]
    before, after = potential.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    for name, value in before.items():
        assert after[name].dtype == value.dtype, name
        assert torch.equal(after[name], value), name
    assert all(p.requires_grad for p in loaded.parameters())
    atoms = self_test_structures(potential)[0]
    assert np.array_equal(potential.predict(atoms).forces, loaded.predict(atoms).forces)
    loaded.save(tmp_path / "y.ff")
    assert path.read_bytes() == (tmp_path / "y.ff").read_bytes()


def test_provenance_survives_as_json_knows_it(path):
    provenance = Potential.load(path).provenance
    assert provenance.metrics == {"test": {"forces_rmse": 0.0123, "stress_rmse": None}}
    assert provenance.notes == {"seed": 7, "sizes": [0, 1, 2]}


def test_describe_reads_no_tensors(path):
    header = file.describe(path)
    assert header["version"] == file.VERSION
    assert header["species"] == ["O", "Si"]
    assert header["references"] == {"O": -432.1, "Si": -101.25}
    assert header["descriptor"]["kind"] == "nep"
    assert header["dtype"] == "float64"
    assert header["bytes"] == path.stat().st_size
    assert header["n_parameters"] == make(n_max_radial=2, n_max_angular=2).n_parameters


def test_dtype_can_be_chosen(path):
    assert Potential.load(path, dtype="float32").dtype == torch.float32
    with pytest.raises(ConfigError, match="'float16'"):
        Potential.load(path, dtype="float16")


def test_self_test_structures_have_all_elements_at_sane_distances():
    for species in (["Si"], ["H"], ["Si", "O", "H"], list(range(20, 37))):
        potential = make("so3", "linear", species=species, n_max=1, l_max=1)
        structures = self_test_structures(potential)
        assert len(structures) == 3
        for atoms in structures:
            assert set(atoms.numbers) == set(potential.species)
            distances = atoms.get_all_distances(mic=True)
            assert distances[distances > 0].min() > 0.3
            assert potential.graph(atoms).pairs[0].counts.min() > 0
        assert np.array_equal(structures[0].positions, self_test_structures(potential)[0].positions)


def test_cut_and_foreign_files_are_told_apart(path, tmp_path):
    content = path.read_bytes()
    other = tmp_path / "other.ff"
    for size in (9, 100, len(content) // 2, len(content) - 1):
        other.write_bytes(content[:size])
        with pytest.raises(PotentialFileError, match="truncated"):
            file.load(other)
    for text in (b"hello", b"nep4 1 Si\ncutoff 5 5", b"PK\x03\x04" + bytes(100), content[8:]):
        other.write_bytes(text)
        with pytest.raises(PotentialFileError, match="not a forgefield potential"):
            file.load(other)
    other.write_bytes(safetensors.torch.save({"a": torch.zeros(3)}))
    with pytest.raises(PotentialFileError, match="not a forgefield potential"):
        file.describe(other)
    other.write_bytes(b"")
    with pytest.raises(PotentialFileError, match="empty"):
        file.load(other)
    with pytest.raises(PotentialFileError, match=r"cannot read .*No such file"):
        file.load(tmp_path / "absent.ff")
    with pytest.raises(PotentialFileError, match="cannot read"):
        file.load(tmp_path)


def test_a_flipped_bit_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PotentialFileError, match="checksum"):
        file.load(path, verify=False)


def rewritten(path, *, header=None, tensors=None):
    """Write the file again with changed content and a valid checksum."""
    content = path.read_bytes()
    values = dict(safetensors.torch.load(content))
    if tensors:
        tensors(values)
    size = int.from_bytes(content[:8], "little")
    info = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["forgefield"])
    if header:
        header(info)
    info["checksum"] = file._checksum(values)
    path.write_bytes(safetensors.torch.save(values, metadata={"forgefield": json.dumps(info)}))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(version=99, package_version="9.9"), "version 99, written by forgefield 9.9"),
        (lambda h: h.update(version="one"), "format version is 'one'"),
        (lambda h: h["descriptor"].update(kind="magic"), "'magic': choose from"),
        (lambda h: h["descriptor"].update(l_maxx=3), "unknown setting `descriptor.l_maxx`"),
        (lambda h: h["model"].update(kind="oracle"), "'oracle': choose from"),
        (lambda h: h.pop("descriptor"), "KeyError 'descriptor'"),
        (lambda h: h.update(dtype="float8"), "float8"),
        (lambda h: h["descriptor"].update(n_max_radial=3), "does not fit its own header: .* shape"),
        (lambda h: h.update(species=["Si", "O"]), "not by atomic number"),
    ],
)
def test_headers_that_make_no_sense(path, change, message):
    with pytest.raises(PotentialFileError, match=message):
        file.load(rewritten(path, header=change))


def test_missing_and_unknown_tensors(path):
    def change(tensors):
        tensors["state.extra"] = tensors.pop("state.model.biases.0")

    with pytest.raises(PotentialFileError, match=r"missing model.biases.0; unknown extra"):
        file.load(rewritten(path, tensors=change))
    with pytest.raises(PotentialFileError):
        file.load(path, verify=False)


@pytest.mark.parametrize(
    "name", ["state.model.weights.0", "state.descriptor.c_angular", "state.references", "state.scaler.shift"]
)
def test_a_changed_parameter_fails_the_self_test(path, name):
    def change(tensors):
        value = tensors[name].flatten()
        value[value.abs().argmax()] += 1e-4

    rewritten(path, tensors=change)
    with pytest.raises(PotentialFileError, match="fails its self-test"):
        file.load(path)
    assert file.load(path, verify=False).elements == ["O", "Si"]


def test_missing_self_test(path):
    rewritten(path, tensors=lambda t: t.pop("self_test.1.forces"))
    with pytest.raises(PotentialFileError, match="lacks forces of its self-test structure 2"):
        file.load(path)


def test_a_potential_that_diverged_is_not_written(tmp_path):
    potential = make()
    path = potential.save(tmp_path / "x.ff")
    before = path.read_bytes()
    with torch.no_grad():
        potential.model.weights[0][0, 0, 0] = torch.nan
    with pytest.raises(PotentialFileError, match="diverged"):
        potential.save(path)
    assert path.read_bytes() == before
    copy = file.from_bytes(file.to_bytes(potential, self_test=False), verify=False)
    assert torch.isnan(copy.model.weights[0][0, 0, 0])


def test_old_versions_are_upgraded(path, monkeypatch):
    def to_version_2(header, tensors):
        header["descriptor"]["n_max_radial"] = header["descriptor"].pop("n_old")
        tensors["state.references"] = tensors.pop("state.old_references")
        return header, tensors

    def age(header):
        header["descriptor"]["n_old"] = header["descriptor"].pop("n_max_radial")

    expected = Potential.load(path).predict(bulk("Si")).energy
    rewritten(
        path,
        header=age,
        tensors=lambda t: t.update({"state.old_references": t.pop("state.references")}),
    )
    monkeypatch.setattr(file, "VERSION", 2)
    monkeypatch.setitem(file.UPGRADES, 1, to_version_2)
    assert Potential.load(path).predict(bulk("Si")).energy == expected


def test_every_old_version_has_its_upgrade_and_sample():
    assert set(file.UPGRADES) == set(range(1, file.VERSION))
    assert {int(p.stem.removeprefix("potential_v")) for p in SAMPLES} == set(range(1, file.VERSION + 1))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: p.name)
def test_old_files_keep_loading(sample):
    potential = Potential.load(sample)
    assert potential.elements == ["O", "Si"]
    result = potential.predict(bulk("Si", a=5.4))
    # [eV]; what this potential gave when the file was written, as in the file's own self-test.
    assert result.energy == pytest.approx(-202.62461594277383, rel=1e-12)
    assert np.abs(result.forces).max() < 1e-8
