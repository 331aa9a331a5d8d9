"""The covariance of the Kalman filter: refused where it cannot fit, changed and multiplied rightly, stored as half of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from test_optimisers import make_trainer, run  # type: ignore[import-not-found]

from forgefield.errors import ConfigError
from forgefield.training.optimisers import covariance, kalman, memory
from forgefield.training.optimisers.covariance import Covariance, covariance_bytes


def make(size: int, n_vectors: int) -> tuple[Covariance, np.ndarray, np.ndarray]:
    """Return a covariance changed twice, the same as a matrix, and vectors."""
    rng = np.random.default_rng(size)
    p, matrix = Covariance(size, 2.0), 2.0 * np.eye(size)
    for scale in (1.1, 1.01):
        change = rng.normal(size=(n_vectors, size)) / size
        p.shrink(change, scale)
        matrix = scale * matrix - change.T @ change
    return p, matrix, rng.normal(size=(n_vectors, size))


@pytest.mark.parametrize("n_vectors", [1, 3, 5, 6, 11])
@pytest.mark.parametrize("size", [1, 2, 8, 33, 203])
def test_products_with_what_few_vectors_have_changed(size: int, n_vectors: int) -> None:
    p, matrix, vectors = make(size, n_vectors)
    assert np.allclose(p.product(vectors), vectors @ matrix, rtol=0, atol=1e-12)
    assert np.allclose(p.product(vectors[:1]), vectors[:1] @ matrix, rtol=0, atol=1e-12)


def test_threads_give_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    p, matrix, vectors = make(301, 5)
    monkeypatch.setattr(covariance, "get_num_threads", lambda: 3)
    assert np.allclose(p.product(vectors), vectors @ matrix, rtol=0, atol=1e-12)
    assert np.allclose(p.product(vectors), vectors @ matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 8, 33, 203])
def test_packing_keeps_every_bit(size: int) -> None:
    p, matrix, vectors = make(size, 3)
    again = Covariance(size, 1.0)
    again.unpack(p.packed())
    again.waiting, again.scale = p.waiting.copy(), p.scale
    for _ in range(3):
        assert np.array_equal(again.product(vectors), p.product(vectors))
        again.shrink(vectors / size**2, 1.0)
        p.shrink(vectors / size**2, 1.0)
    p.product(vectors)
    upper = p.packed()
    assert upper.shape == (size * (size + 1) // 2,)
    assert np.allclose(
        upper, (matrix - 3 * (vectors.T @ vectors) / size**4)[np.triu_indices(size)], atol=1e-12
    )


def test_what_cannot_fit_is_refused_with_a_block_size_that_can(
    frames: list[Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    n = len(make_trainer(frames, "kalman").flat)
    monkeypatch.setattr(kalman, "physical_memory", lambda: 8 * n * n)  # less than the copies of one block
    with pytest.raises(
        ConfigError, match=r"`training.kind: kalman`.*training.block_size to at most (\d+)"
    ) as caught:
        make_trainer(frames, "kalman", blocks="all")
    words = str(caught.value)
    assert f"{n} parameters" in words
    fits = int(words.rsplit("at most ", 1)[1].split(",", maxsplit=1)[0])
    run(make_trainer(frames, "kalman", blocks="all", block_size=fits, epochs=1))
    monkeypatch.setattr(kalman, "physical_memory", lambda: None)  # a system that does not say
    make_trainer(frames, "kalman", blocks="all")


def test_bytes_are_those_allocated(frames: list[Atoms]) -> None:
    optimiser = make_trainer(frames, "kalman", blocks="neuron", block_size=20).optimiser
    sizes = [len(b) for b in optimiser.blocks]
    assert optimiser.n_bytes == covariance_bytes(sizes) == sum(p.matrix.nbytes for p in optimiser.covariance)


@pytest.mark.parametrize(("limit", "expected"), [("1000", 1000), ("max", None), (None, None)])
def test_memory_of_a_container(
    limit: str | None, expected: int | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = memory.physical_memory()
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit + "\n")
    monkeypatch.setattr(memory, "CGROUP", file)
    found = memory.physical_memory()
    if whole is not None:
        assert found is not None
        assert found == expected if expected is not None else found >= whole
