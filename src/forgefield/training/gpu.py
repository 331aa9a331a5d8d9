"""Loss and gradient of a batch on a GPU: kernels there, the few numbers per atom between them here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.engine.gpu import DeviceBlock, GPUEngine, Load
from forgefield.errors import ForgefieldError
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.compiled import Batch, CompiledObjective
from forgefield.training.loss import Loss

__all__ = ["GPUObjective"]

FloatArray = NDArray[np.float64]


class GPUObjective(CompiledObjective):
    """`CompiledObjective` with its kernels on a GPU.

    Parameters
    ----------
    potential : Potential
        On the processor, where the optimiser works on its parameters; they are uploaded at every call.
    data : LabelledSet
        Positions and lists of neighbours stay on the device.
    loss : Loss
    device, load
        See `engine.gpu.GPUEngine`.
    """

    backend = "cuda"

    def __init__(
        self,
        potential: Potential,
        data: LabelledSet,
        loss: Loss,
        *,
        device: torch.device | str = "cuda",
        load: Load | None = None,
    ) -> None:
        super().__init__(potential, data, loss, threads=1)
        single = potential.dtype == torch.float32
        engine = GPUEngine(
            potential, "float32" if single else "float64", repulsion=False, device=device, load=load
        )
        self.engine = self._gpu = engine
        self.parameters = engine.parameters
        self._positions = torch.from_numpy(self.points.positions).to(engine.device)
        self._device_bars = torch.zeros((len(self._positions), 4), dtype=engine.kind, device=engine.device)
        self._kept: tuple[Batch, DeviceBlock, Tensor] | None = None

    def _evaluate(
        self, batch: Batch, saved: NDArray[Any] | None
    ) -> tuple[FloatArray, FloatArray, NDArray[Any], NDArray[Any]]:
        block = self._gpu.upload(batch.block, self.points.lists)
        result = self._gpu.run(self._positions, block)
        self._kept = None if saved is None else (batch, block, result.coefficients)
        on_atoms, on_images = (
            result.forces[torch.from_numpy(x).to(self._gpu.device)].cpu().numpy()
            for x in (batch.points, batch.images)
        )
        energies, strain = (x.double().cpu().numpy() for x in (result.energies, result.strain))
        return energies, strain, on_atoms, on_images

    def _run_gradient(
        self, batch: Batch, energy_bars: NDArray[Any], strain_bars: NDArray[Any], saved: NDArray[Any]
    ) -> NDArray[np.floating]:
        del saved  # stays on the device
        if self._kept is None or self._kept[0] is not batch:
            raise ForgefieldError("the gradient of a batch is asked for before its values; call `gradient`")
        _, block, coefficients = self._kept
        size, device = block.n_blocks * self._gpu.lanes, self._gpu.device
        touched = np.concatenate([batch.points, batch.images])
        rows = torch.from_numpy(self._force_bars[touched]).to(device)
        self._device_bars[torch.from_numpy(touched).to(device)] = rows
        flat = self._gpu.parameter_gradients(
            self._positions,
            block,
            coefficients,
            energy_bars=torch.from_numpy(energy_bars[:size]).to(device),
            force_bars=self._device_bars,
            strain_bars=torch.from_numpy(strain_bars[: 6 * size]).to(device),
        )
        result: NDArray[np.floating] = flat.cpu().numpy().astype(self._gpu.dtype)
        return result
