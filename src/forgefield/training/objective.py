"""What the trainer asks of a batch: loss terms, residuals, gradient. Two ways to compute them, one interface."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from forgefield.engine.kernel import NotCompiledError
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.compiled import CompiledObjective
from forgefield.training.loss import Loss, Terms
from forgefield.training.loss_arrays import ArrayTerms

__all__ = ["Backend", "Objective", "TorchObjective", "make_objective"]

Backend = Literal["auto", "compiled", "torch", "cuda"]

_log = logging.getLogger(__name__)
_said: set[str] = set()


class Objective(Protocol):
    """Loss of batches of one labelled set."""

    backend: str

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """Return the terms of a batch, and write the gradient of their weighted sum to the parameters' ``.grad``."""
        ...

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """Return the terms of a batch."""
        ...


class TorchObjective:
    """The plain path: tensors and autograd, on any device. The reference of the compiled one."""

    backend = "torch"

    def __init__(self, potential: Potential, data: LabelledSet, loss: Loss) -> None:
        self.potential, self.data, self.loss = potential, data, loss

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `Objective.gradient`."""
        batch = self.data.batch(list(index), self.potential.dtype, self.potential.device)
        parts = self.loss.terms(self.potential.evaluate(batch.graph, training=True), batch)
        for p in self.potential.parameters():
            if p.grad is not None:
                p.grad.zero_()
        active = [weights[name] * value for name, value in parts.values.items() if weights.get(name)]
        total = torch.stack(active).sum() if active else torch.zeros(())
        if active:
            total.backward()  # type: ignore[no-untyped-call]
        return _arrays(parts, float(total.detach()))

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `Objective.terms`."""
        batch = self.data.batch(list(index), self.potential.dtype, self.potential.device)
        return _arrays(self.loss.terms(self.potential.evaluate(batch.graph), batch), 0.0)


def _arrays(parts: Terms, total: float) -> ArrayTerms:
    def array(x: Tensor) -> np.ndarray:
        return x.detach().to(torch.float64).cpu().numpy()

    r, none = parts.residuals, np.zeros(0)
    values = {k: float(v.detach()) for k, v in parts.values.items()}
    return ArrayTerms(values, total, array(r.energy), array(r.forces), array(r.stress), none, none, none)


def make_objective(
    potential: Potential,
    data: LabelledSet,
    loss: Loss,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Objective:
    """Return the objective of a set.

    Parameters
    ----------
    potential : Potential
    data : LabelledSet
    loss : Loss
    backend : {'auto', 'compiled', 'torch', 'cuda'}
        ``auto``: compiled on a processor wherever all parts of the potential have kernels; says once where not.
        ``cuda``: compiled on a GPU; the potential stays on the processor.
    threads : int, optional
        Of compiled kernels.

    Raises
    ------
    NotCompiledError
        ``compiled`` or ``cuda`` was asked for and a part of the potential has no kernel.
    ConfigError
        ``cuda`` was asked for and there is no GPU.
    """
    if backend == "cuda":
        from forgefield.training.gpu import GPUObjective

        return GPUObjective(potential, data, loss)
    if backend == "torch" or (backend == "auto" and potential.device.type != "cpu"):
        return TorchObjective(potential, data, loss)
    try:
        return CompiledObjective(potential, data, loss, threads)
    except NotCompiledError as error:
        if backend == "compiled":
            raise
        if str(error) not in _said:
            _said.add(str(error))
            _log.warning("%s; training runs on plain tensors, slower", error)
        return TorchObjective(potential, data, loss)
