"""The same kernels for lesser and for other processors."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from ase.build import bulk
from run_kernels import build

from forgefield.descriptors import make_descriptor
from forgefield.engine.inference import Engine
from forgefield.engine.kernel import Plan, value_kernel, value_signature
from forgefield.engine.neighbours import list_neighbours
from forgefield.errors import ForgefieldError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.tracer import trace
from forgefield.tracer.cache import Machine, host, object_code

LESSER = ["avx2", "sse2"]


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Pretend to have a processor without the newer instructions."""

    def pretend(level):
        monkeypatch.setenv("FORGEFIELD_SIMD", level)
        host.cache_clear()
        return host()

    monkeypatch.setenv("FORGEFIELD_CACHE", str(tmp_path))
    yield pretend
    monkeypatch.undo()
    host.cache_clear()


def small_nep():
    torch.manual_seed(0)
    settings = {"kind": "nep", "n_max_radial": 2, "n_max_angular": 2, "l_max": 3, "basis_size_angular": 4}
    d = make_descriptor(settings | {"cutoff_angular": 4.0}, ["C", "Si"])
    return Potential(d, make_model({"kind": "network", "hidden": [5]}, d.n_features, 2)).to_dtype(
        torch.float64
    )


def forces(potential, dtype="float64", threads=1):
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.numbers[::3] = 6
    atoms.rattle(0.1, seed=1)
    engine = Engine(potential, dtype, threads)
    points, lists = list_neighbours(
        atoms, potential.species, [e.cutoff for e in potential.descriptor.expansions]
    )
    result = engine.evaluate(points, lists, engine.blocks(points, lists))
    return points.fold(result.forces), potential.predict(atoms).forces


@pytest.mark.parametrize("level", LESSER)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_potential_on_lesser_processors(level, dtype, processor):
    machine = processor(level)
    assert machine.width <= {"avx2": 256, "sse2": 128}[level]
    assert "+avx512f" not in machine.features.split(",")
    assert level == "avx2" or "+avx" not in machine.features.split(",")
    got, expected = forces(small_nep(), dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


PROGRAM = """
import json, numpy as np
from forgefield.formulas.namespace import functions_of
from forgefield.tracer import trace
from forgefield.tracer.cache import Native, aligned, host, object_code
def kernel(k, n, x, y):
    with k.range(n) as i:
        f = functions_of(x[i])
        y[i] = f.where(x[i] < 1.0, f.exp(x[i]) * f.sin(3.0 * x[i]), f.tanh(x[i]) + f.log1p(x[i]))
signature = {"n": "int", "x": "rows", "y": "rows"}
machine = host()
program = trace("kernel", signature, 64, kernel)
x, y = aligned(64, np.float64), aligned(64, np.float64)
x[:] = np.linspace(0, 3, 64)
lanes = machine.lanes(64)
Native("kernel", signature, lanes, 0, object_code(program, machine))(64 // lanes, x, y)
print(json.dumps({"width": machine.width, "y": y.tolist()}))
"""


@pytest.mark.parametrize("level", ["", *LESSER])
def test_the_environment_chooses_the_processor(level):
    environment = os.environ | {"FORGEFIELD_SIMD": level}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    result = json.loads(found.stdout)
    x = np.linspace(0, 3, 64)
    expected = np.where(x < 1, np.exp(x) * np.sin(3 * x), np.tanh(x) + np.log1p(x))
    assert np.abs(np.array(result["y"]) - expected).max() < 1e-14
    assert result["width"] <= {"avx2": 256, "sse2": 128}.get(level, 512)


def test_an_unknown_level_is_refused(processor):
    with pytest.raises(ForgefieldError, match=r"FORGEFIELD_SIMD is 'mmx'; allowed: avx512, avx2, sse2"):
        processor("mmx")


@pytest.mark.parametrize(
    ("triple", "cpu", "magic"),
    [
        pytest.param("aarch64-unknown-linux-gnu", "neoverse-n1", b"\x7fELF", id="linux"),
        pytest.param("arm64-apple-macosx", "apple-m1", struct.pack("<I", 0xFEEDFACF), id="macos"),
    ],
)
@pytest.mark.parametrize("bits", [32, 64])
def test_other_architectures(triple, cpu, magic, bits):
    """The kernel of a NEP potential, energies to forces, compiles for ARM."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    plan = Plan.of(small_nep())
    program = trace(
        "values", value_signature(plan, virials=True), bits, value_kernel(plan, save=True, virials=True)
    )
    machine = Machine(triple, cpu, "", 128)
    assert machine.lanes(bits) == 4
    code = object_code(program, machine)
    assert code[:4] == magic
    if magic == b"\x7fELF":
        assert struct.unpack_from("<H", code, 18)[0] == 183, "EM_AARCH64"
    assert len(code) > 5_000


def test_lanes_are_at_least_four():
    machine = dataclasses.replace(host(), width=128)
    assert [machine.lanes(b) for b in (32, 64)] == [4, 4]
    assert dataclasses.replace(machine, width=512).lanes(32) == 16


def test_the_same_threads_give_the_same_bits_and_others_the_same_numbers():
    potential = small_nep()
    for dtype, tolerance in (("float64", 1e-13), ("float32", 1e-5)):
        one, expected = forces(potential, dtype, 1)
        two = [forces(potential, dtype, 2)[0] for _ in range(3)]
        assert all(np.array_equal(two[0], x) for x in two)
        assert np.array_equal(one, forces(potential, dtype, 1)[0])
        assert np.abs(one - two[0]).max() < tolerance * np.abs(expected).max()


def test_kernels_are_the_same_text_every_time():
    """No order of a set or address of an object enters: the cache and its keys are reproducible."""

    def kernel(k, n, x, y):
        with k.range(n) as i, k.tape() as tape:
            v = x[i] ** 3 / (1.0 + x[i])
            y[i] = k.vjp(tape, [v], [1.0], [x[i]])[0] + v

    signature = {"n": "int", "x": "rows", "y": "rows"}
    assert build(kernel, signature).dump() == build(kernel, signature).dump()
