"""The dense second half of a potential: from expansion coefficients to features to atomic energies.

Descriptors and models are written once, in terms of the few operations of `Stage`; `TorchStage` runs them on tensors
and `KernelStage` emits them, with their derivatives, into a compiled kernel.
"""

from __future__ import annotations

from forgefield.stages.base import Array, Stage
from forgefield.stages.products import ProductTable
from forgefield.stages.torch_stage import TorchArray, TorchStage

__all__ = ["Array", "ProductTable", "Stage", "TorchArray", "TorchStage"]
