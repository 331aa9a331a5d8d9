"""Checks of how numbers are computed: backends, derivatives, precision, files."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield.expansions import Expansion, numpy_backend, torch_backend
from forgefield.models import file
from forgefield.models.potential import Potential
from forgefield.testing import tolerances as tol
from forgefield.testing.numerics import deviation
from forgefield.testing.results import Measurement, Measurements

__all__ = [
    "backends",
    "derivatives",
    "file_round_trip",
    "measure_backend",
    "measure_derivatives",
    "single_precision",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@contextlib.contextmanager
def chosen_backend(name: str) -> Iterator[None]:
    """Let one backend evaluate expansions on tensors; ``compiled`` where it has a kernel."""
    before = os.environ.get("FORGEFIELD_BACKEND")
    os.environ["FORGEFIELD_BACKEND"] = name
    try:
        yield
    finally:
        del os.environ["FORGEFIELD_BACKEND"]
        if before is not None:
            os.environ["FORGEFIELD_BACKEND"] = before


def random_pairs(
    expansion: Expansion, n_atoms: int, width: int, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """Return vectors (n_atoms, width, 3) [Å] around, inside and beyond the cutoff, and species (n_atoms, width)."""
    directions = rng.standard_normal((n_atoms, width, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = expansion.cutoff * rng.uniform(0.25, 0.95, (n_atoms, width, 1))
    vectors = directions * lengths
    vectors[-1, -1] = [2.0 * expansion.cutoff, 0.0, 0.0]  # what padding looks like
    return vectors, rng.integers(0, expansion.n_species, (n_atoms, width))


def measure_backend(expansion: Expansion, n_atoms: int = 3, width: int = 5) -> Measurements:
    """Compare a backend on tensors with NumPy: values, transpose and directional derivative.

    ``FORGEFIELD_BACKEND`` chooses which one; the measurements say which one ran.
    """
    rng = np.random.default_rng(5)
    vectors, species = random_pairs(expansion, n_atoms, width, rng)
    a_bar = rng.standard_normal((n_atoms, *expansion.shape))
    tangent = rng.standard_normal(vectors.shape)
    centres = np.arange(n_atoms) % expansion.n_species
    x, s, c = (torch.from_numpy(v) for v in (vectors, species, centres))
    g = torch_backend.geometry(expansion, x, s, c)
    backend = torch_backend.backend_of(expansion, x)
    pairs = {
        "values": (
            torch_backend.forward(expansion, g),
            numpy_backend.forward(expansion, vectors, species, centres),
        ),
        "VJP": (
            torch_backend.vjp(expansion, g, torch.from_numpy(a_bar)),
            numpy_backend.vjp(expansion, vectors, species, a_bar, centres),
        ),
        "JVP": (
            torch_backend.jvp(expansion, g, torch.from_numpy(tangent)),
            numpy_backend.jvp(expansion, vectors, species, tangent, centres),
        ),
    }
    for name, (got, expected) in pairs.items():
        yield Measurement(
            f"{backend}: {name} of the expansion", deviation(got.numpy(), expected), tol.BACKEND
        )
    forward, backward = pairs["JVP"][1], pairs["VJP"][1]
    adjoint = deviation(float((forward * a_bar).sum()), float((backward * tangent).sum()))
    yield Measurement(f"{backend}: VJP as the transpose of the JVP", adjoint, 1e3 * tol.BACKEND)


def measure_derivatives(expansion: Expansion) -> Measurements:
    """Compare first and second derivatives of a backend on tensors with finite differences."""
    rng = np.random.default_rng(6)
    vectors, species = random_pairs(expansion, 2, 3, rng)
    x = torch.from_numpy(vectors).requires_grad_()
    s, centres = torch.from_numpy(species), torch.arange(2) % expansion.n_species
    a_bar = torch.from_numpy(rng.standard_normal((2, *expansion.shape))).requires_grad_()
    wrong = f"{torch_backend.backend_of(expansion, x)}: {{}} derivative of the expansion (0: right, 1: wrong)"

    def values(v: torch.Tensor) -> torch.Tensor:
        return torch_backend.expand(expansion, v, s, centres)

    def gradients(v: torch.Tensor, bar: torch.Tensor) -> torch.Tensor:
        return torch_backend.pull_back(expansion, v, s, bar, centre_species=centres)

    settings: dict[str, Any] = {
        "eps": 1e-5,
        "atol": 1e-6,
        "rtol": 1e-5,
        "raise_exception": False,
        "fast_mode": True,
    }
    first = torch.autograd.gradcheck(values, (x,), **settings)
    yield Measurement(wrong.format("first"), float(not first), tol.EXACT)
    second = torch.autograd.gradcheck(gradients, (x, a_bar), **settings)
    yield Measurement(wrong.format("second"), float(not second), tol.EXACT)


def backends(potential: Potential, structures: Sequence[Atoms]) -> Measurements:  # noqa: ARG001
    """Check that the expansion on tensors, plain and compiled, equals the NumPy one: values and both derivatives."""
    for backend in ("torch", "compiled"):
        with chosen_backend(backend):
            for expansion in potential.descriptor.expansions:
                yield from measure_backend(expansion)


def derivatives(potential: Potential, structures: Sequence[Atoms]) -> Measurements:  # noqa: ARG001
    """Check first and second derivatives of the expansion against differences; force training needs both."""
    for expansion in potential.descriptor.expansions:
        yield from measure_derivatives(expansion)


def single_precision(potential: Potential, structures: Sequence[Atoms]) -> Measurements:
    """Check that single precision gives the same energies, forces and stress up to its rounding."""
    single = copy.deepcopy(potential).to_dtype(torch.float32)
    references = potential.references.cpu().numpy()
    for n, atoms in enumerate(structures):
        lone = references[potential.graph(atoms).species]
        got, expected = single.predict(atoms), potential.predict(atoms)
        yield Measurement(
            f"energies of structure {n + 1}",
            deviation(got.energies - lone, expected.energies - lone, 1e-3),
            tol.FLOAT32,
        )
        yield Measurement(
            f"forces of structure {n + 1}", deviation(got.forces, expected.forces, 1e-3), tol.FLOAT32
        )
        if expected.stress is not None and got.stress is not None:
            yield Measurement(
                f"stress of structure {n + 1}", deviation(got.stress, expected.stress, 1e-5), tol.FLOAT32
            )


def file_round_trip(potential: Potential, structures: Sequence[Atoms]) -> Measurements:
    """Check that a saved and loaded potential predicts the same bits, and saves to the same bytes."""
    content = file.to_bytes(potential)
    loaded = file.from_bytes(content, verify=False)
    yield Measurement("bytes of the file (0: same, 1: changed)", float(file.to_bytes(loaded) != content), 0.0)
    for n, atoms in enumerate(structures):
        got, expected = loaded.predict(atoms), potential.predict(atoms)
        same = np.array_equal(got.forces, expected.forces) and got.energy == expected.energy
        yield Measurement(
            f"prediction of structure {n + 1} (0: same bits, 1: not)", float(not same), tol.EXACT
        )
