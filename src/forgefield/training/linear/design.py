"""Design rows: derivatives of the predictions of a structure with respect to the parameters.

The features (energy) and, feature by feature, the transpose of the expansion applied to ``dq/dA`` (forces, stress):
descriptor derivatives exist for some features and some atoms at a time only. Rows of products of features,
``d(q_a q_b) = q_a dq_b + q_b dq_a``, are one matrix product of features and derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.errors import ConfigError
from forgefield.expansions import torch_backend as backend
from forgefield.keys import VOIGT
from forgefield.models import Linear, Quadratic
from forgefield.models.base import Model
from forgefield.models.potential import Potential
from forgefield.models.tensors import TensorGraph

__all__ = ["Columns", "DesignRows", "design_batch", "design_rows", "energy_row", "free_atom"]

FloatArray = NDArray[np.float64]

CHUNK = 8_000_000
"""Numbers in the derivatives of the atoms treated at a time: 64 MB."""


@dataclass(frozen=True)
class Columns:
    """The order of the parameters: weights element by element, products element by element, biases.

    Products of an element are the pairs a <= b of features, those of the first feature first; the column of a pair
    belongs to ``matrix[a, b]`` (and its mirror image) of the quadratic model.
    """

    n_species: int
    n_features: int
    quadratic: bool

    @staticmethod
    def of(potential: Potential) -> Columns:
        """Return the columns of a potential.

        Raises
        ------
        ConfigError
            Its model is not linear in its parameters.
        """
        model = potential.model
        if not isinstance(model, Linear | Quadratic):
            raise ConfigError(
                f"least squares needs `model.kind: linear` or `quadratic`, got {type(model).__name__}"
            )
        return Columns(model.n_species, model.n_features, isinstance(model, Quadratic))

    @property
    def n_products(self) -> int:
        """Products of features of an element."""
        return self.n_features * (self.n_features + 1) // 2 if self.quadratic else 0

    def __len__(self) -> int:
        return self.n_species * (self.n_features + self.n_products + 1)

    def weights(self, species: int) -> slice:
        """Columns of the weights of an element."""
        return slice(species * self.n_features, (species + 1) * self.n_features)

    def products(self, species: int) -> slice:
        """Columns of the products of an element."""
        start = self.n_species * self.n_features + species * self.n_products
        return slice(start, start + self.n_products)

    def bias(self, species: int) -> int:
        """Column of the bias of an element."""
        return len(self) - self.n_species + species

    def read(self, model: Model) -> FloatArray:
        """Return the parameters of a model in this order."""
        values = np.zeros(len(self))
        state = {k: v.detach().double().cpu().numpy() for k, v in model.state_dict().items()}
        a, b = np.triu_indices(self.n_features)
        for s in range(self.n_species):
            values[self.weights(s)] = state["weight"][s]
            values[self.bias(s)] = state["bias"][s]
            if self.quadratic:
                values[self.products(s)] = 0.5 * (state["matrix"][s][a, b] + state["matrix"][s][b, a])
        return values

    def write(self, model: Model, values: FloatArray) -> None:
        """Set the parameters of a model."""
        parameters = dict(model.named_parameters())
        a, b = np.triu_indices(self.n_features)
        with torch.no_grad():
            for s in range(self.n_species):
                parameters["weight"][s] = torch.from_numpy(values[self.weights(s)])
                parameters["bias"][s] = float(values[self.bias(s)])
                if self.quadratic:
                    matrix = np.zeros((self.n_features, self.n_features))
                    matrix[a, b] = matrix[b, a] = values[self.products(s)]
                    parameters["matrix"][s] = torch.from_numpy(matrix)


@dataclass(frozen=True)
class DesignRows:
    """Derivatives of the predictions of one structure with respect to the parameters, in the order of `Columns`.

    Attributes
    ----------
    energy : (n_parameters,) [eV]
    forces : (n_atoms, 3, n_parameters) [eV/Å]
    strain_gradient : (6, n_parameters) [eV]
    """

    energy: FloatArray
    forces: FloatArray
    strain_gradient: FloatArray


def energy_row(potential: Potential, graph: TensorGraph) -> FloatArray:
    """Return the row of the energy of one structure alone, (n_parameters,) [eV]: no derivatives are needed."""
    columns = Columns.of(potential)
    energy = np.zeros((1, len(columns)))
    for species, rows in graph.blocks:
        q = _block(potential, graph, species, rows).features
        _add_energies(energy, columns, potential, species, q, graph.structure[rows])
    row: FloatArray = energy[0]
    return row


def design_rows(potential: Potential, graph: TensorGraph) -> DesignRows:
    """Return the design rows of one structure for a potential with a linear or quadratic model."""
    return design_batch(potential, graph)[0]


def design_batch(potential: Potential, graph: TensorGraph) -> list[DesignRows]:
    """Return the design rows of every structure of a batch."""
    columns = Columns.of(potential)
    scale = float(potential.energy_scale)
    sizes = graph.n_atoms_per_structure.cpu().numpy()
    energy = np.zeros((graph.n_structures, len(columns)))
    forces = np.zeros((graph.n_atoms, 3, len(columns)))
    strain = np.zeros((graph.n_structures, 3, 3, len(columns)))
    mix = scale * potential.scaler.scale.double()[:, None] * potential.scaler.mix.double()
    width = max([p.vectors.shape[1] for p in graph.pairs] + [sizes.max() if columns.quadratic else 1])
    step = max(1, CHUNK // (3 * int(width) * columns.n_features))
    for species, atoms in graph.blocks:
        weights = columns.weights(species)
        for rows in torch.split(atoms, step):
            block = _block(potential, graph, species, rows)
            _add_energies(energy, columns, potential, species, block.features, graph.structure[rows])
            if columns.quadratic:
                _add_quadratic(forces, strain, potential, graph, species, block, mix)
                continue
            f, w = _summed(block, graph)
            forces[:, :, weights] += (f @ mix).cpu().numpy()
            strain[:, :, :, weights] += (w @ mix).cpu().numpy()
    ends = np.cumsum(sizes)
    symmetric = np.stack([0.5 * (strain[:, x, y] + strain[:, y, x]) for x, y in VOIGT], axis=1)
    return [
        DesignRows(energy[k], forces[end - n : end], symmetric[k])
        for k, (end, n) in enumerate(zip(ends, sizes, strict=True))
    ]


def _add_energies(
    energy: FloatArray,
    columns: Columns,
    potential: Potential,
    species: int,
    features: Tensor,
    structure: Tensor,
) -> None:
    scale, exact = float(potential.energy_scale), bool(potential.exact_free_atom)
    scaled = potential.scaler(features).detach().double()
    free = free_atom(potential, species) if exact else torch.zeros_like(scaled[:1])
    a, b = np.triu_indices(columns.n_features)
    for k in torch.unique(structure).tolist():
        q = scaled[structure == k]
        energy[k, columns.weights(species)] += scale * (q - free).sum(dim=0).cpu().numpy()
        energy[k, columns.bias(species)] += 0.0 if exact else scale * len(q)
        if columns.quadratic:
            squares = (q.T @ q - len(q) * free.T @ free).cpu().numpy()[a, b]
            energy[k, columns.products(species)] += scale * np.where(a == b, 0.5, 1.0) * squares


def _add_quadratic(
    forces: FloatArray,
    strain: FloatArray,
    potential: Potential,
    graph: TensorGraph,
    species: int,
    block: _Block,
    mix: Tensor,
) -> None:
    """Add the derivatives of features and of their products, structure by structure."""
    columns = Columns.of(potential)
    weights, products = columns.weights(species), columns.products(species)
    ends = torch.cumsum(graph.n_atoms_per_structure, dim=0)
    sizes = graph.n_atoms_per_structure.tolist()
    structure = graph.structure[block.rows]
    f, w = _by_centre(block, (ends - graph.n_atoms_per_structure)[structure], max(sizes))
    f, w = f @ mix, w @ mix
    q = potential.scaler(block.features).detach().double()
    for k in torch.unique(structure).tolist():
        own, last = structure == k, int(ends[k])
        atoms = slice(last - sizes[k], last)
        of_atoms, of_strain = f[own, : sizes[k]], w[own]
        forces[atoms, :, weights] += of_atoms.sum(dim=0).cpu().numpy()
        strain[k, :, :, weights] += of_strain.sum(dim=0).cpu().numpy()
        forces[atoms, :, products] += _products(q[own], of_atoms)
        strain[k, :, :, products] += _products(q[own], of_strain)


def free_atom(potential: Potential, species: int, *, mixed: bool = True) -> Tensor:
    """Return the scaled features of an atom without neighbours, (1, n_features); before they are mixed, if so asked."""
    zeros = [
        torch.zeros((1, *e.shape), dtype=potential.dtype, device=potential.device)
        for e in potential.descriptor.expansions
    ]
    with torch.no_grad():
        bare, scaler = potential.descriptor.invariants(zeros, species), potential.scaler
        free: Tensor = scaler(bare) if mixed else (bare - scaler.shift) * scaler.scale
    return free.double()


@dataclass(frozen=True)
class _Block:
    """Some atoms of one element.

    Attributes
    ----------
    rows : (n,) int
        Which atoms.
    features : (n, n_features)
        Unscaled.
    gradients : iterator of (features, vectors, neighbours, g)
        Slice of features and, for one list of pairs, (n, width, 3) vectors, (n, width) neighbours and
        (n, width, 3, n_some) derivatives of those features of the centre with respect to the vectors, float64.
    """

    rows: Tensor
    features: Tensor
    gradients: Iterator[tuple[slice, Tensor, Tensor, Tensor]]


def _block(potential: Potential, graph: TensorGraph, species: int, rows: Tensor) -> _Block:
    descriptor, centres = potential.descriptor, graph.species[rows]
    lists = [
        (e, p.vectors[rows], p.species[rows], p.neighbours[rows])
        for e, p in zip(descriptor.expansions, graph.pairs, strict=False)
    ]
    with torch.no_grad():
        bases = [backend.geometry(e, vectors, s, centres) for e, vectors, s, _ in lists]
        a = [backend.forward(e, b) for (e, *_), b in zip(lists, bases, strict=True)]
        features = descriptor.invariants(a, species)

    def gradients() -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        for some, a_bars in descriptor.gradients(a, species):
            for (e, vectors, _, neighbours), basis, bars in zip(lists, bases, a_bars, strict=True):
                with torch.no_grad():
                    g = backend.vjp_many(e, basis, bars).double().permute(1, 2, 3, 0)
                yield some, vectors.double(), neighbours, g

    return _Block(rows, features, gradients())


def _summed(block: _Block, graph: TensorGraph) -> tuple[Tensor, Tensor]:
    """Return forces (n_atoms, 3, n_features) and strain gradients (n_structures, 3, 3, n_features) of the features."""
    n, device = block.features.shape[1], block.rows.device
    forces = torch.zeros((graph.n_atoms, 3, n), dtype=torch.float64, device=device)
    strain = torch.zeros((graph.n_structures, 3, 3, n), dtype=torch.float64, device=device)
    for some, vectors, neighbours, g in block.gradients:
        forces[:, :, some].index_add_(0, block.rows, g.sum(dim=1))
        forces[:, :, some].index_add_(0, neighbours.flatten(), g.flatten(0, 1), alpha=-1)
        strain[:, :, :, some] += _strain(vectors, g, graph.structure[block.rows], graph.n_structures)
    return forces, strain


def _strain(vectors: Tensor, g: Tensor, index: Tensor, n: int) -> Tensor:
    """Return ``sum r_a g_b`` over the pairs of all centres with the same index, (n, 3, 3, n_features)."""
    atomic = torch.bmm(vectors.transpose(1, 2), g.flatten(2))
    result = torch.zeros((n, 3, g.shape[2] * g.shape[3]), dtype=torch.float64, device=g.device)
    return result.index_add_(0, index, atomic).reshape(n, 3, 3, -1)


def _by_centre(block: _Block, first: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Return forces (n, n_atoms, 3, n_features) and strain gradients (n, 3, 3, n_features) of every atom's features.

    `first` (n,) is the first atom of the structure of each, `n_atoms` the size of the largest structure.
    """
    (n, n_features), device = block.features.shape, block.rows.device
    forces = torch.zeros((n * n_atoms, 3, n_features), dtype=torch.float64, device=device)
    strain = torch.zeros((n, 3, 3, n_features), dtype=torch.float64, device=device)
    each = torch.arange(n, device=device)
    start = each * n_atoms - first
    for some, vectors, neighbours, g in block.gradients:
        forces[:, :, some].index_add_(0, start + block.rows, g.sum(dim=1))
        forces[:, :, some].index_add_(0, (start[:, None] + neighbours).flatten(), g.flatten(0, 1), alpha=-1)
        strain[:, :, :, some] += _strain(vectors, g, each, n)
    return forces.reshape(n, n_atoms, 3, n_features), strain


def _products(q: Tensor, derivatives: Tensor) -> FloatArray:
    """Return ``sum_i d(q_ia q_ib)`` for a < b and half of it for a = b, (n_1, 3, n_products), from (n, n_1, 3, n)."""
    n = q.shape[1]
    a, b = (torch.from_numpy(x).to(q.device) for x in np.triu_indices(n))
    halves = torch.where(a == b, 0.5, 1.0).double()
    parts = []
    for d in torch.split(derivatives, max(1, CHUNK // (3 * n * n)), dim=1):
        x = (q.T @ d.reshape(len(q), -1)).reshape(n, d.shape[1], 3, n).permute(1, 2, 0, 3)
        parts.append((halves * (x[:, :, a, b] + x[:, :, b, a])).cpu())
    return np.concatenate([np.asarray(p) for p in parts])
