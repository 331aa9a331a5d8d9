"""The descriptor of docs/extend.md: only formulas, and it runs on NumPy, torch and compiled kernels."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

import forgefield as ff
from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.engine.inference import Engine
from forgefield.engine.neighbours import list_neighbours
from forgefield.errors import ConfigError
from forgefield.expansions import numpy_backend, torch_backend
from forgefield.formulas.harmonics import harmonics
from forgefield.graph import build_graph
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.stages import TorchArray, TorchStage
from forgefield.testing import CHECKS
from forgefield.testing.computation import measure_backend

ROOT = Path(__file__).resolve().parents[1]


def code_of(page):
    return "\n".join(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The code of the page as a module in a file of its own."""
    file = tmp_path_factory.mktemp("docs") / "code_of_extending.py"
    file.write_text("from __future__ import annotations\n" + code_of("extend.md"))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    torch.manual_seed(0)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[file.stem]


@pytest.fixture(scope="module")
def potential(page):
    """In float64, with features of order one."""
    return page.potential.to_dtype(torch.float64)


def crystal():
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.numbers[::3] = 6
    atoms.rattle(0.1, seed=1)
    return atoms


def test_the_page_defines_what_it_talks_about(page):
    assert page.descriptor.n_features == len(set(page.descriptor.feature_names)) == 4 * 2 * 3
    assert "tracer" not in code_of("extend.md"), "only formulas"


def test_radial_functions_are_spherical_bessel_functions(page):
    r = np.linspace(0.5, 3.9, 30)
    radial = page.BesselRadial(4.0, 5)(r)
    cut = 0.5 * (1 + np.cos(np.pi * r / 4.0))
    for n, got in enumerate(radial, start=1):
        assert np.allclose(got, np.sin(n * np.pi * r / 4.0) / r * cut, rtol=1e-12, atol=1e-14)
    assert all((np.asarray(v) == 0).all() for v in page.BesselRadial(4.0, 5)(np.array([4.0, 7.0])))


def test_the_invariant_is_a_double_sum_over_neighbours(page):
    """Of neighbours at u_j it is ``sum_jkl (3 (u_j . u_l) (u_k . u_l) - u_j . u_k)`` up to a factor."""
    u = np.random.default_rng(0).standard_normal((4, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    a = [np.sum(y) for y in harmonics(*u.T, 2)]
    cosines = u @ u.T
    expected = (3 * np.einsum("jl,kl->", cosines, cosines) - len(u) * cosines.sum()) / 3
    factor = (3 / (4 * np.pi)) * np.sqrt(15 / (4 * np.pi)) / 2
    assert page.vector_tensor_vector(a) == pytest.approx(factor * expected, rel=1e-12)


def test_numpy_and_torch_agree(page, potential):
    atoms, d = crystal(), page.descriptor
    graph = build_graph(atoms, d.species, d.cutoffs)
    pairs = graph.pairs[0]
    a = numpy_backend.forward(d.expansions[0], pairs.vectors, graph.species[pairs.neighbours], graph.species)
    rows = a.reshape(len(atoms), -1, 9)
    invariants = np.stack(d._invariants(np.moveaxis(rows, -1, 0)))
    expected = invariants.transpose(1, 0, 2).reshape(len(atoms), -1)
    stage = d.features(TorchStage(0), [TorchArray.of_coefficients(torch.from_numpy(a))]).features()
    assert np.allclose(stage.numpy(), expected, rtol=1e-12)
    assert np.allclose(np.asarray(d.compute(atoms)), expected, rtol=1e-10, atol=1e-12)


def test_the_compiled_expansion_agrees(page, monkeypatch):
    monkeypatch.setenv("FORGEFIELD_BACKEND", "compiled")
    e = page.descriptor.expansions[0]
    assert torch_backend.backend_of(e, torch.zeros((1, 1, 3))) == "compiled"
    measured = list(measure_backend(e, 9, 7))
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_compiled_potential_agrees(potential, dtype, tolerance):
    atoms = crystal()
    engine = Engine(potential, dtype, 1)
    points, lists = list_neighbours(atoms, potential.species, potential.descriptor.cutoffs)
    result = engine.evaluate(points, lists, engine.blocks(points, lists))
    expected = potential.predict(atoms)
    forces = points.fold(result.forces)
    assert np.abs(expected.forces).max() > 1e-3
    assert np.abs(forces - expected.forces).max() < tolerance * np.abs(expected.forces).max()
    energies = result.energies + potential.references.numpy()[potential.graph(atoms).species]
    assert np.abs(energies - expected.energies).max() < tolerance * max(1, np.abs(expected.energies).max())


def test_one_registry_line_makes_it_a_setting(page, monkeypatch, tmp_path):
    assert '"bessel": Bessel,' in (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    monkeypatch.setitem(DESCRIPTORS, "bessel", page.Bessel)
    d = make_descriptor({"kind": "bessel", "n_max": 2}, ["C", "Si"])
    assert type(d) is page.Bessel
    with pytest.raises(ConfigError, match=r"unknown setting `descriptor\.n_mx`.*did you mean 'n_max'"):
        make_descriptor({"kind": "bessel", "n_mx": 2}, ["C", "Si"])
    p = Potential(d, make_model({"kind": "linear"}, d.n_features, 2)).to_dtype(torch.float64)
    loaded = ff.load(p.save(tmp_path / "bessel.ff"))
    assert type(loaded.descriptor) is page.Bessel
    assert np.array_equal(loaded.predict(crystal()).forces, p.predict(crystal()).forces)


@pytest.mark.parametrize("name", ["forces", "stress", "rotation", "reflection", "permutation", "cutoff"])
def test_physics(name, potential):
    assert CHECKS[name](potential, [crystal()]).passed
