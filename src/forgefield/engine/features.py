"""Features of atoms from compiled kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor
from forgefield.engine.blocks import Block
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.kernel import Plan, list_signature, make_stage, plane_of, setup
from forgefield.engine.neighbours import SkinnedList, list_neighbours
from forgefield.engine.points import Listing, Points
from forgefield.models import Linear
from forgefield.models.potential import Potential
from forgefield.parallel import run_parts
from forgefield.tracer.cache import Native, native
from forgefield.tracer.trace import Int, Kernel, trace

__all__ = ["FeatureEngine", "feature_kernel"]


def feature_kernel(plan: Plan) -> Callable[..., None]:
    """Return the kernel of the features: ``n_features`` rows per block in the argument ``features``."""

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            _, traced, arrays = setup(k, plan, block, arguments, stage, saved=False)
            for t, x in zip(traced, arrays, strict=True):
                t.forward(*plane_of(x, 0))
            features = plan.potential.descriptor.features(stage, arrays)
            n = features.shape[0]
            with k.range(n) as i:
                arguments["features"][block * n + i] = features.value(0, i, 0)

    return kernel


class FeatureEngine:
    """A descriptor compiled for the processor at hand; the same features as `Descriptor.compute`.

    Parameters
    ----------
    descriptor : Descriptor
    dtype : {'float32', 'float64'}
    threads : int, optional
        Default: `parallel.get_num_threads`.
    skin : float [Å], >= 0
        Keep the neighbour list of a structure that moves until it might miss a pair; 0 lists anew at every call.

    Raises
    ------
    NotCompiledError
        A part of the descriptor has no kernel.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        dtype: Precision = "float64",
        threads: int | None = None,
        skin: float = 0.0,
    ) -> None:
        self.descriptor = descriptor
        self.n_features = descriptor.n_features
        model = Linear(self.n_features, len(descriptor.species))
        potential = Potential(descriptor, model, dict.fromkeys(descriptor.species, 0.0), 1.0)
        self.engine = Engine(potential, dtype, threads, repulsion=False)
        self._kernel: Native | None = None
        self._kept = SkinnedList(descriptor.species, descriptor.cutoffs, skin)
        self._blocks: tuple[tuple[Listing, ...], Block] | None = None

    def _listed(self, atoms: Atoms) -> tuple[Points, tuple[Listing, ...], Block]:
        """Return points, lists and blocks, those of the last call where the skin allows."""
        if not self._kept.skin:
            points, lists = list_neighbours(atoms, self.descriptor.species, self.descriptor.cutoffs)
            return points, lists, self.engine.blocks(points, lists)
        points, lists = self._kept.update(atoms)
        if self._blocks is None or self._blocks[0] is not lists:
            self._blocks = lists, self.engine.blocks(points, lists)
        return points, lists, self._blocks[1]

    def compute(self, atoms: Atoms) -> NDArray[np.float64]:
        """Return the features of every atom, (n_atoms, n_features).

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements that the descriptor does not know; overlapping atoms, no atoms, flat cell.
        """
        engine, kernel = self.engine, self._native()
        points, lists, block = self._listed(atoms)
        lanes, n = engine.lanes, self.n_features
        rows = engine.memory("features", block.n_blocks * n * lanes)

        def part(thread: int, first: int, last: int) -> None:
            *arguments, scratch = engine.list_arguments(block, lists, 1)
            kernel(
                first,
                last,
                points.positions,
                block.centres,
                block.species,
                *arguments,
                engine.memory(("work", thread), kernel.workspace * lanes),
                engine.memory(("scratch", thread), scratch),
                rows,
                rows,
            )

        run_parts(block.n_blocks, engine.threads_for(block), part)
        block.is_picked = True
        return block.layout.by_atom(rows, n)

    def _native(self) -> Native:
        if self._kernel is None:
            engine = self.engine
            signature = list_signature(engine.plan) | {"features": "rows"}
            self._kernel = native(
                "features",
                signature,
                engine.bits,
                engine.describe(),
                lambda: trace("features", signature, engine.bits, feature_kernel(engine.plan)),
            )
        return self._kernel
