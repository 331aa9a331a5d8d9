"""What the trainer asks of a batch: loss terms, residuals, gradient. Two ways to compute them, one interface."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.engine.kernel import NotCompiledError
from forgefield.errors import ConfigError, ForgefieldError
from forgefield.models.potential import Evaluation, Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.compiled import CompiledObjective
from forgefield.training.loss import Loss, Terms
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms
from forgefield.training.stored import StoredObjective
from forgefield.training.streaming import StreamedObjective, StreamedSet

__all__ = ["Backend", "Cache", "Objective", "TorchObjective", "make_objective"]

Backend = Literal["auto", "compiled", "torch", "cuda"]
Cache = Literal["auto", "none", "derivatives"]
FloatArray = NDArray[np.float64]
Differences = tuple[FloatArray, FloatArray, FloatArray]

_log = logging.getLogger(__name__)
_said: set[str] = set()


class Objective(Protocol):
    """Loss of batches of one labelled set."""

    backend: str
    loss: Loss

    @property
    def stored_bytes(self) -> int:
        """Memory of stored features and derivatives; 0 where they are computed anew."""
        ...

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """Hear which batches are about to be asked for; what can be prepared for all at once may be."""
        ...

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """Return the terms of a batch, and write the gradient of their weighted sum to the parameters' ``.grad``."""
        ...

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """Return the terms of a batch."""
        ...

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, Differences]:
        """Return the terms and the differences from the labels, and keep what `pull_back` needs.

        Differences are prediction minus label: energies (n_structures,) [eV], forces (n_atoms, 3) [eV/Å] and strain
        gradients (n_structures, 6) [eV].
        """
        ...

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """Write the gradient of ``sum bar * prediction`` at the batch linearised last, to the parameters' ``.grad``."""
        ...

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """Return the labels of some structures."""
        ...


class TorchObjective:
    """The plain path: tensors and autograd, on any device. The reference of the compiled one."""

    backend = "torch"
    stored_bytes = 0

    def __init__(self, potential: Potential, data: LabelledSet, loss: Loss) -> None:
        self.potential, self.data, self.loss = potential, data, loss
        self._labels: ArrayLabels | None = None
        self._held: Evaluation | None = None

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """See `Objective.expect`."""

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `Objective.gradient`."""
        batch = self.data.batch(list(index), self.potential.dtype, self.potential.device)
        parts = self.loss.terms(self.potential.evaluate(batch.graph, training=True), batch)
        self._clear()
        active = [weights[name] * value for name, value in parts.values.items() if weights.get(name)]
        total = torch.stack(active).sum() if active else torch.zeros(())
        if active:
            total.backward()  # type: ignore[no-untyped-call]
        return _arrays(parts, float(total.detach()))

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `Objective.terms`."""
        batch = self.data.batch(list(index), self.potential.dtype, self.potential.device)
        return _arrays(self.loss.terms(self.potential.evaluate(batch.graph), batch), 0.0)

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, Differences]:
        """See `Objective.linearise`."""
        batch = self.data.batch(list(index), self.potential.dtype, self.potential.device)
        self._held = out = self.potential.evaluate(batch.graph, training=True)
        labels = (batch.energy, batch.forces, batch.strain_gradient)
        predictions = (out.energy, out.forces, out.strain_gradient)
        energy, forces, strain = (
            (x - y).detach().to(torch.float64).cpu().numpy() for x, y in zip(predictions, labels, strict=True)
        )
        return _arrays(self.loss.terms(out, batch), 0.0), (energy, forces, strain)

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """See `Objective.pull_back`."""
        out = self._held
        if out is None:
            raise ForgefieldError("`pull_back` follows `linearise`, with no other evaluation in between")
        self._clear()
        predictions = (out.energy, out.forces, out.strain_gradient)
        bars = [
            torch.as_tensor(b).to(x)
            for x, b in zip(predictions, (energy_bar, forces_bar, strain_bar), strict=True)
        ]
        torch.autograd.backward(predictions, bars, retain_graph=True)

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """See `Objective.labels_of`."""
        if isinstance(self.data, StreamedSet):
            return ArrayLabels.of(self.data.pick(index))
        if self._labels is None:
            self._labels = ArrayLabels.of(self.data)
        sizes = [len(self.data.frames[k]) for k in index]
        starts = np.cumsum([0] + [len(a) for a in self.data.frames])
        atoms = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in index])
        return self._labels.batch(index, atoms, np.repeat(np.arange(len(sizes)), sizes))

    def _clear(self) -> None:
        for p in self.potential.parameters():
            if p.grad is not None:
                p.grad.zero_()


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
    *,
    stored: bool = False,
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
    stored : bool
        Store features and derivatives, if compiled; see `caching.stores_derivatives`.

    Raises
    ------
    NotCompiledError
        ``compiled`` or ``cuda`` was asked for and a part of the potential has no kernel.
    ConfigError
        ``cuda`` was asked for and there is no GPU.
    """
    if backend == "cuda":
        if isinstance(data, StreamedSet):
            raise ConfigError(
                "`training.backend: cuda` keeps all structures on the device and cannot read them from shards; name the "
                "data files themselves in `data.train`, or use backend: auto"
            )
        from forgefield.training.gpu import GPUObjective

        return GPUObjective(potential, data, loss)
    if backend == "torch" or (backend == "auto" and potential.device.type != "cpu"):
        return TorchObjective(potential, data, loss)
    try:
        if isinstance(data, StreamedSet):
            return StreamedObjective(potential, data, loss, threads)
        if stored:
            return StoredObjective(potential, data, loss, threads)
        return CompiledObjective(potential, data, loss, threads)
    except NotCompiledError as error:
        if backend == "compiled":
            raise
        if str(error) not in _said:
            _said.add(str(error))
            _log.warning("%s; training runs on plain tensors, slower", error)
        return TorchObjective(potential, data, loss)
