"""The example scripts for other programs do what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import write

from forgefield.deployment.export import TARGETS
from forgefield.descriptors import NEP
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "engines"
CERTIFICATES = ROOT / "docs" / "certificates"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def potential():
    torch.manual_seed(3)
    d = NEP(["Si"], n_max_radial=3, n_max_angular=2, basis_size_radial=5, basis_size_angular=4, l_max=2)
    return Potential(d, Network(d.n_features, 1, NetworkSettings(hidden=(8,))), {14: -3.0}).to_dtype(
        torch.float64
    )


def test_phonon_bands(shared_data):
    pytest.importorskip("phonopy")
    nep = next(iter(shared_data.rglob("Si_2022_NEP4_3body.txt")), None)
    if nep is None:
        pytest.skip("published silicon potential is not present")
    import forgefield as ff

    result = example("phonons").phonons(ff.load(nep).calculator(threads=1), repeat=2)
    bands = result.band_structure.frequencies
    assert np.abs(bands[0][-1][:3]).max() < 0.1  # acoustic at Gamma
    assert 13.0 < bands[0][-1].max() < 17.0  # Raman mode of silicon: 15.5 THz
    assert min(b.min() for b in bands) > -0.1


def test_force_constants(potential):
    pytest.importorskip("phono3py")
    calculator = potential.calculator(threads=1)
    result = example("force_constants").force_constants(calculator, repeat=1, cutoff=1.0)
    assert result.fc2.shape[-2:] == (3, 3)
    assert result.fc3.shape[-3:] == (3, 3, 3)
    drift = result.fc2.sum(axis=1)
    assert np.abs(drift).max() < 1e-3 * np.abs(result.fc2).max() + 1e-6


def test_many_structures(potential, tmp_path):
    pytest.importorskip("torch_sim")
    module = example("many_structures")
    frames = module.strained(2)
    with pytest.warns(UserWarning, match="max steps"):
        energies = module.relaxed(str(potential.save(tmp_path / "a.ff")), frames, steps=5)
    for energy, atoms in zip(energies, frames, strict=True):
        assert energy < potential.predict(atoms).energy / len(atoms)


def test_ring_polymer(potential, tmp_path, monkeypatch):
    pytest.importorskip("ipi")
    monkeypatch.chdir(tmp_path)
    write("start.xyz", bulk("Si", cubic=True))
    potential.save("a.ff")
    ring = example("ring_polymer").simulation("a.ff", "start.xyz", beads=4, temperature=300.0)
    ring.run(2, write_outputs=False)
    assert len(ring.get_structures()) == 4
    assert 30.0 < ring.properties("temperature") < 1500.0


@pytest.mark.parametrize("target", ["gpumd", "lammps-snap", "lammps-mliap", "lammps-pod"])
def test_certificates_of_the_bundled_data(target):
    text = (CERTIFICATES / target / "certificate.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert target in TARGETS
    assert target in example("certificates").POTENTIALS
    assert content["target"] == target
    assert content["passed"] is True
    assert len(content["structures"]) >= 6
    assert "machine" not in content["software"]
    assert "/" not in "".join(content["files"])
    for row in content["structures"]:
        ours, theirs = (np.array(row[k]["forces"]) for k in ("forgefield", "engine"))
        scale = max(np.abs(ours).max(), content["floors"]["forces"])
        assert np.abs(ours - theirs).max() <= content["tolerance"] * scale
