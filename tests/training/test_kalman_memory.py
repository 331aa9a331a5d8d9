"""The covariance of the Kalman filter: refused where it cannot fit, stored as half of it, read in both forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from test_optimisers import make_trainer, run  # type: ignore[import-not-found]

from forgefield.errors import ConfigError
from forgefield.training.optimisers import kalman, memory
from forgefield.training.optimisers.kalman import covariance_bytes, pack, unpack


@pytest.mark.parametrize("size", [1, 2, 3, 8, 33])
def test_packing_keeps_every_bit(size: int) -> None:
    full = np.asfortranarray(np.random.default_rng(size).normal(size=(size, size)))
    packed = pack(full)
    assert packed.shape == (size * (size + 1) // 2,)
    again = unpack(packed, size)
    assert again.flags.f_contiguous
    assert np.array_equal(np.triu(again), np.triu(full))


def test_whole_covariances_of_older_checkpoints_are_read(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "kalman", blocks="all")
    trainer.epoch()
    state = {k: v.clone() for k, v in trainer.optimiser.state().items()}
    p = np.triu(trainer.optimiser.covariance[0])
    whole = p + np.triu(p, 1).T
    other = make_trainer(frames, "kalman", blocks="all")
    other.optimiser.load(state | {"covariance.0": type(state["covariance.0"])(whole.T.copy())})
    assert np.allclose(np.triu(other.optimiser.covariance[0]), p)


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
    assert optimiser.n_bytes == covariance_bytes(sizes) == sum(p.nbytes for p in optimiser.covariance)


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
