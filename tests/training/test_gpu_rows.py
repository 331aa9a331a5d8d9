"""Rows of residuals on the CUDA path, as the Kalman filter and Levenberg-Marquardt use them: run on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forgefield.descriptors import SO3
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.testing.host_cuda import host_compiler, host_module
from forgefield.training.batches import LabelledSet
from forgefield.training.flat import flatten
from forgefield.training.gpu import GPUObjective
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective
from forgefield.training.rows import LinearRows


@pytest.mark.skipif(
    host_compiler() is None, reason="running CUDA C on the processor needs g++, which is not installed"
)
def test_rows_can_be_pulled_back_more_than_once(frames):
    pulled = []
    for kind in ("torch", "cuda"):
        descriptor = SO3(["Cu", "Au"], cutoff=3.5, n_max=2, l_max=2)
        model = Network(descriptor.n_features, 2, NetworkSettings(hidden=(3,)))
        generator = torch.Generator().manual_seed(3)
        model.reset_parameters(generator)
        potential = Potential(descriptor, model, {29: -1.0, 79: -2.0})
        potential.scaler.fit(torch.randn(50, descriptor.n_features, generator=generator), "whitened")
        potential.to_dtype(torch.float64)
        flat = flatten(potential)
        data = LabelledSet(potential, frames[:4])
        loss = Loss(LossSettings(), data.scales())
        objective = (
            TorchObjective(potential, data, loss)
            if kind == "torch"
            else GPUObjective(potential, data, loss, device="cpu", load=host_module)
        )
        rows = LinearRows(objective, [1, 3], {"energy": 1.0, "forces": 1.0, "stress": 0.5})
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(2, len(rows)))
        found = [rows.residuals]
        for u in (*signs, rows.residuals, signs[0]):
            rows.pull_back(u)
            found.append(flat.grad.numpy().copy())
        pulled.append(found)
    for truth, own in zip(*pulled, strict=True):
        np.testing.assert_allclose(own, truth, rtol=1e-9, atol=1e-11 * np.abs(truth).max())
    assert pulled[1][1].tobytes() == pulled[1][4].tobytes()
