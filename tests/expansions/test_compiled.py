"""The compiled expansion against the NumPy truth: values, both derivatives, number types, odd shapes, choice."""

from __future__ import annotations

import importlib.util
import logging
import sys

import numpy as np
import pytest
import torch
from test_backends import EXPANSIONS

from forgefield.descriptors.nep import NEPRadial
from forgefield.errors import ConfigError
from forgefield.expansions import (
    HypersphericalExpansion,
    SphericalExpansion,
    compiled_spherical,
    numpy_backend,
    torch_backend,
)
from forgefield.expansions.spherical import identity_channels
from forgefield.testing.computation import measure_backend, measure_derivatives, random_pairs
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace
from forgefield.tracer.cache import host

STRETCHED = SphericalExpansion(
    NEPRadial(4.0, 3), 4.0, 0, 2, identity_channels(2), unit_l0=True, stretch=((1.0, 1.3), (1.2, 1.1))
)
CASES = EXPANSIONS | {"cutoffs of pairs of elements": STRETCHED}


@pytest.fixture
def compiled(monkeypatch):
    """Let the compiled expansion do everything it can."""
    monkeypatch.setenv("FORGEFIELD_BACKEND", "compiled")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("n_atoms", "width"), [(1, 1), (3, 5), (19, 17)])
def test_compiled_is_numpy(name, n_atoms, width, compiled):
    measured = list(measure_backend(CASES[name], n_atoms, width))
    assert {m.what.partition(":")[0] for m in measured} == {"compiled"}
    assert len(measured) == 4
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize("name", ["one element", "own functions for each l", "cutoffs of pairs of elements"])
def test_derivatives_twice(name, compiled):
    measured = list(measure_derivatives(CASES[name]))
    assert {m.what.partition(":")[0] for m in measured} == {"compiled"}
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize("name", ["one element", "weighted elements", "cutoffs of pairs of elements"])
def test_single_precision(name, compiled):
    e = CASES[name]
    vectors, species = random_pairs(e, 21, 6, np.random.default_rng(1))
    centres = np.arange(21) % e.n_species
    a_bar = np.random.default_rng(2).standard_normal((21, *e.shape))
    x, s, c = torch.from_numpy(vectors).float(), torch.from_numpy(species), torch.from_numpy(centres)
    g = torch_backend.geometry(e, x, s, c)
    assert isinstance(g, compiled_spherical.Packed)
    results = {
        "forward": (torch_backend.forward(e, g), numpy_backend.forward(e, vectors, species, centres)),
        "vjp": (
            torch_backend.vjp(e, g, torch.from_numpy(a_bar).float()),
            numpy_backend.vjp(e, vectors, species, a_bar, centres),
        ),
        "jvp": (
            torch_backend.jvp(e, g, torch.from_numpy(vectors).float()),
            numpy_backend.jvp(e, vectors, species, vectors, centres),
        ),
    }
    for got, exact in results.values():
        assert got.dtype == torch.float32
        assert np.abs(got.numpy() - exact).max() < 5e-6 * np.abs(exact).max()


def test_padding_and_far_neighbours_add_exactly_nothing(compiled):
    e = CASES["weighted elements"]
    x = torch.zeros((20, 3, 3), dtype=torch.float64)
    x[..., 0] = 2.0 * e.cutoff
    x[0, 0, 0] = e.cutoff
    species = torch.zeros((20, 3), dtype=torch.int64)
    g = torch_backend.geometry(e, x, species)
    assert len(g.vectors) == 0
    for got, shape in (
        (torch_backend.forward(e, g), (20, *e.shape)),
        (torch_backend.vjp(e, g, torch.ones((20, *e.shape), dtype=torch.float64)), x.shape),
        (torch_backend.jvp(e, g, torch.ones_like(x)), (20, *e.shape)),
    ):
        assert tuple(got.shape) == tuple(shape)
        assert (got == 0).all()


def test_memory_order_of_the_input_does_not_matter(compiled):
    e = CASES["own functions for each l"]
    vectors, species = random_pairs(e, 4, 6, np.random.default_rng(3))
    s = torch.from_numpy(species)[::2, ::3]
    strided = torch.from_numpy(np.asfortranarray(vectors))[::2, ::3]
    assert not strided.is_contiguous()
    bar = torch.ones((2, *e.shape), dtype=torch.float64).transpose(2, 3).contiguous().transpose(2, 3)
    results = []
    for x, b in ((strided, bar), (strided.contiguous(), bar.contiguous())):
        g = torch_backend.geometry(e, x, s.contiguous() if x.is_contiguous() else s)
        results.append([torch_backend.forward(e, g), torch_backend.vjp(e, g, b), torch_backend.jvp(e, g, x)])
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


def test_no_atoms_at_all(compiled):
    e = CASES["without l = 0"]
    x, s = torch.zeros((0, 1, 3), dtype=torch.float64), torch.zeros((0, 1), dtype=torch.int64)
    assert torch_backend.backend_of(e, x) == "compiled"
    g = torch_backend.geometry(e, x, s)
    assert torch_backend.forward(e, g).shape == (0, *e.shape)
    assert torch_backend.vjp(e, g, torch.zeros((0, *e.shape), dtype=torch.float64)).shape == (0, 1, 3)


def test_blocks_are_independent_of_what_else_is_in_the_batch(compiled):
    e = CASES["weighted elements"]
    vectors, species = random_pairs(e, 25, 9, np.random.default_rng(6))
    x, s = torch.from_numpy(vectors), torch.from_numpy(species)
    whole = torch_backend.expand(e, x, s)
    parts = torch.cat([torch_backend.expand(e, x[i : i + 7], s[i : i + 7]) for i in range(0, 25, 7)])
    assert torch.allclose(whole, parts, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("asked", "pairs", "expected"),
    [
        ("torch", 10_000, "torch"),
        ("compiled", 1, "compiled"),
        ("auto", 1, "torch"),
        ("", torch_backend.FEW_PAIRS, "compiled"),
        ("AUTO", torch_backend.FEW_PAIRS - 1, "torch"),
    ],
)
def test_the_environment_chooses(asked, pairs, expected, monkeypatch):
    monkeypatch.setenv("FORGEFIELD_BACKEND", asked)
    assert torch_backend.backend_of(CASES["one element"], torch.zeros((pairs, 1, 3))) == expected


def test_what_has_no_kernel_runs_on_torch(compiled):
    e = CASES["one element"]
    assert torch_backend.backend_of(e, torch.zeros((1, 1, 3), dtype=torch.float16)) == "torch"
    assert torch_backend.backend_of(e, torch.zeros((1, 1, 3), device="meta")) == "torch"
    other = HypersphericalExpansion.__new__(HypersphericalExpansion)
    assert torch_backend.backend_of(other, torch.zeros((1, 1, 3))) == "torch"


def test_an_unknown_backend_is_refused(monkeypatch):
    monkeypatch.setenv("FORGEFIELD_BACKEND", "fast")
    with pytest.raises(ConfigError, match="FORGEFIELD_BACKEND is 'fast'; allowed: auto, compiled, torch"):
        torch_backend.backend_of(CASES["one element"], torch.zeros((1, 1, 3)))


def test_without_a_compiler_torch_takes_over_and_says_so_once(compiled, monkeypatch, caplog):
    def no_target():
        raise RuntimeError("No available targets are compatible")

    monkeypatch.setattr("forgefield.tracer.cache.host", no_target)
    torch_backend._compiled.cache_clear()
    e = CASES["one element"]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch_backend.backend_of(e, torch.zeros((1, 1, 3))) == "torch"
    torch_backend._compiled.cache_clear()
    assert len(caplog.records) == 1
    assert "No available targets" in caplog.text


def test_a_changed_formula_of_ones_own_is_compiled_anew(compiled, tmp_path, monkeypatch):
    """Its file is part of the key, as nothing else tells two classes of one name and one shape apart."""
    source = (
        "from dataclasses import dataclass\nfrom forgefield.formulas.cutoffs import cosine_cutoff\n"
        "@dataclass(frozen=True)\nclass OwnRadial:\n    n_radial: int = 1\n    per_l: bool = False\n"
        "    def __call__(self, r):\n        return [{factor} * cosine_cutoff(r, 4.0)]\n"
    )
    file = tmp_path / "own_radial_functions.py"
    vectors, species = random_pairs(CASES["one element"], 3, 4, np.random.default_rng(0))
    values = []
    for factor in (1.0, 2.0):
        file.write_text(source.format(factor=factor))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        exec(compile(file.read_text(), file, "exec"), module.__dict__)  # noqa: S102 - not what Python cached
        e = SphericalExpansion(module.OwnRadial(), 4.0, 0, 1, identity_channels(1))
        values.append(torch_backend.expand(e, torch.from_numpy(vectors), torch.from_numpy(species)))
    assert torch.allclose(values[1], 2.0 * values[0], rtol=1e-14)


class Interpreted:
    """A kernel run by the interpreter in place of machine code."""

    def __init__(self, expansion, name, bits):
        signature = compiled_spherical._SIGNATURE
        self.program = trace(name, signature, bits, compiled_spherical._kernel(expansion, name))
        self.workspace, self.bits = self.program.workspace, bits

    def __call__(self, *arguments):
        named = dict(zip(self.program.signature, arguments, strict=True))
        interpret(self.program, host().lanes(self.bits), named)


@pytest.mark.parametrize(
    "name", ["own functions for each l", "weighted elements", "cutoffs of pairs of elements"]
)
def test_the_kernels_do_the_same_when_interpreted(name, compiled, monkeypatch):
    """Independent of LLVM: what is wrong here is wrong in the kernel, not in its compilation."""
    monkeypatch.setattr(compiled_spherical, "_native", Interpreted)
    measured = list(measure_backend(CASES[name], 3, 4))
    assert {m.what.partition(":")[0] for m in measured} == {"compiled"}
    assert [m for m in measured if not m.passed] == []
