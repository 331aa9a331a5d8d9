"""A training step as it is usually written: autograd through tensors of all edges, forces kept differentiable.

The same potential, loss and formulas as ours; only the way to the gradient differs. Edges are listed once, before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from forgefield.descriptors.nep import NEP
from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.invariants import nep_invariants
from forgefield.formulas.radial import nep_radial
from forgefield.keys import VOIGT
from forgefield.models.network import Network
from forgefield.models.potential import Potential
from forgefield.models.results import Evaluation
from forgefield.training.batches import LabelledBatch, LabelledSet
from forgefield.training.loss import Loss

__all__ = ["PlainObjective"]


@dataclass(frozen=True)
class Edges:
    """All pairs of a structure: centre and neighbour (n,), vectors (n, 3) [Å]."""

    centre: Tensor
    neighbour: Tensor
    vectors: Tensor


class PlainObjective:
    """Loss and gradient of a NEP with a network of one hidden layer, for a single element.

    Parameters
    ----------
    potential : Potential
    data : LabelledSet
    loss : Loss
    """

    def __init__(self, potential: Potential, data: LabelledSet, loss: Loss) -> None:
        self.potential, self.data, self.loss = potential, data, loss
        self.descriptor = cast("NEP", potential.descriptor)
        self.model = cast("Network", potential.model)
        self.edges = [self._edges(k) for k in range(len(data))]
        # Labels without the padded graph, which this path does not use, would be made at every step: once is enough.
        self.batches: dict[tuple[int, ...], LabelledBatch] = {}

    def _edges(self, k: int) -> Edges:
        graph = self.data.graphs[k]
        pairs = graph.pairs[0]
        real = torch.arange(pairs.width) < torch.from_numpy(pairs.counts)[:, None]
        centre = torch.arange(graph.n_atoms)[:, None].expand(-1, pairs.width)
        vectors = torch.from_numpy(pairs.vectors).to(self.potential.dtype)
        return Edges(centre[real], torch.from_numpy(pairs.neighbours)[real], vectors[real])

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> float:
        """Return the loss of a batch and write its gradient to the parameters' ``.grad``."""
        key = tuple(index)
        if key not in self.batches:
            self.batches[key] = self.data.batch(index, self.potential.dtype)
        batch = self.batches[key]
        terms = self.loss.terms(self._evaluate(key, batch), batch)
        self.potential.zero_grad()
        total = torch.stack([weights[k] * v for k, v in terms.values.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    def _evaluate(self, index: Sequence[int], batch: LabelledBatch) -> Evaluation:
        sizes = [self.data.graphs[k].n_atoms for k in index]
        starts = torch.tensor([0, *sizes]).cumsum(0)[:-1].tolist()
        parts = [self.edges[k] for k in index]
        i = torch.cat([p.centre + s for p, s in zip(parts, starts, strict=True)])
        j = torch.cat([p.neighbour + s for p, s in zip(parts, starts, strict=True)])
        r = torch.cat([p.vectors for p in parts]).requires_grad_()
        n, n_structures, structure = sum(sizes), len(sizes), batch.graph.structure
        energies = self._energies(r, i, n)
        (g,) = torch.autograd.grad(energies.sum(), r, create_graph=True)
        forces = r.new_zeros(n, 3).index_add(0, i, g).index_add(0, j, -g)
        outer = torch.stack([0.5 * (r[:, a] * g[:, b] + r[:, b] * g[:, a]) for a, b in VOIGT], dim=1)
        strain = r.new_zeros(n_structures, 6).index_add(0, structure[i], outer)
        total = torch.zeros(n_structures, dtype=torch.float64).index_add(0, structure, energies.double())
        return Evaluation(energies, total, forces, strain)

    def _energies(self, r: Tensor, i: Tensor, n: int) -> Tensor:
        """Return the energies of n atoms from the vectors of all edges."""
        p, c = self.descriptor.settings, self.descriptor
        distance = (r * r).sum(1).sqrt()
        unit = r / distance[:, None]
        y = torch.stack(harmonics(*unit.unbind(1), p.l_max)[1:], dim=1)
        radial = torch.stack(nep_radial(distance, p.cutoff_radial, p.basis_size_radial + 1), dim=1)
        angular = torch.stack(nep_radial(distance, p.cutoff_angular, p.basis_size_angular + 1), dim=1)
        q_radial = r.new_zeros(n, radial.shape[1]).index_add(0, i, radial) @ c.c_radial[0]
        products = (angular @ c.c_angular[0])[:, :, None] * y[:, None, :]
        s = r.new_zeros(n, *products.shape[1:]).index_add(0, i, products)
        q_angular = nep_invariants(s.movedim(2, 0), p.l_max, four_body=p.four_body, five_body=p.five_body)
        q = self.potential.scaler(torch.cat([q_radial, *q_angular], dim=1))
        w, b = self.model.weights, self.model.biases
        hidden = torch.tanh(q @ w[0][0] + b[0][0])
        output: Tensor = (hidden @ w[1][0] + b[1][0])[:, 0]
        return output * self.potential.energy_scale.to(output.dtype)
