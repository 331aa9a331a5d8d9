"""The potential: reference energies + nuclear repulsion + descriptor + scaler + model.

This is the one place where edge gradients ``g_ij = dE_i/dr_ij`` become forces, stress, atomic virials and heat flux.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor, nn

from forgefield.descriptors import Descriptor
from forgefield.errors import ConfigError
from forgefield.expansions import torch_backend as backend
from forgefield.graph import Graph, batch, build_graph
from forgefield.keys import VOIGT, matrix_to_voigt
from forgefield.models.base import Model
from forgefield.models.results import Evaluation, Extrapolation, LastLayer, Prediction, Provenance, VirialKind
from forgefield.models.scaler import FeatureScaler
from forgefield.models.tensors import TensorGraph, to_tensors
from forgefield.models.zbl import ZBL

if TYPE_CHECKING:
    from forgefield.deployment.ase import ForgefieldCalculator

__all__ = ["Evaluation", "Potential", "Prediction", "Provenance", "VirialKind"]

FloatArray = NDArray[np.float64]

ROWS_PER_CHUNK = 60_000
"""Padded pairs evaluated at a time in prediction: bounds the memory of large systems."""


class Potential(nn.Module):
    """Energies, forces, stress and virials of structures.

    Parameters
    ----------
    descriptor : Descriptor
    model : Model
    references : mapping of atomic number to energy [eV], optional
        Energy of each element that is subtracted before training; zero where absent.
    energy_scale : float [eV]
        Unit of the model's output.
    exact_free_atom : bool
        Subtract what the model says of an atom without neighbours, so that a free atom has exactly its reference
        energy. Right where the references are energies of isolated atoms; a fitted offset needs the freedom.
    zbl : ZBL, optional
        Repulsion of nuclei that is added to what is learned; fixed in training.
    """

    references: Tensor
    energy_scale: Tensor
    exact_free_atom: Tensor

    def __init__(
        self,
        descriptor: Descriptor,
        model: Model,
        references: Mapping[int, float] | None = None,
        energy_scale: float = 1.0,
        *,
        exact_free_atom: bool = False,
        zbl: ZBL | None = None,
    ) -> None:
        super().__init__()
        if zbl is not None and zbl.species != descriptor.species:
            raise ConfigError(
                f"`zbl` is for the elements {zbl.species}, the descriptor for {descriptor.species}"
            )
        self.descriptor = descriptor
        self.model = model
        self.zbl = zbl
        self.scaler = FeatureScaler(descriptor.n_features)
        values = [float((references or {}).get(z, 0.0)) for z in descriptor.species]
        self.register_buffer("references", torch.tensor(values, dtype=torch.float64))
        self.register_buffer("energy_scale", torch.tensor(float(energy_scale), dtype=torch.float64))
        self.register_buffer("exact_free_atom", torch.tensor(exact_free_atom))
        self.provenance = Provenance()
        self.extrapolation: Extrapolation | None = None
        self.last_layer: LastLayer | None = None

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers known, ascending."""
        return self.descriptor.species

    @property
    def elements(self) -> list[str]:
        """Element symbols known, by ascending atomic number."""
        return [chemical_symbols[z] for z in self.species]

    @property
    def cutoff(self) -> float:
        """Largest cutoff [Å]."""
        return max(self.cutoffs)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff [Å] of each list of pairs: those of the expansions, then that of the nuclear repulsion."""
        return self.descriptor.cutoffs + (() if self.zbl is None else (self.zbl.cutoff,))

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the parameters, in which expansions and networks are evaluated."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.model.parameters()).device

    @property
    def n_parameters(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters())

    def to_dtype(self, dtype: torch.dtype) -> Potential:
        """Convert parameters and scaling; reference energies stay float64."""
        for module in (self.descriptor, self.model, self.scaler):
            module.to(dtype)
        return self

    # ---- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write this potential to one file; see `models.file.save`."""
        from forgefield.models import file

        return file.save(self, path)

    @staticmethod
    def load(
        path: str | Path, *, verify: bool = True, dtype: Literal["float32", "float64"] | None = None
    ) -> Potential:
        """Read a potential from its file; see `models.file.load`."""
        from forgefield.models import file

        return file.load(path, verify=verify, dtype=dtype)

    def export(
        self, to: str, folder: str | Path, *, verify: bool = True, structure: Atoms | None = None
    ) -> list[Path]:
        """Write the files another program needs, such as "gpumd"; see `deployment.export.export`."""
        from forgefield.deployment.export import export

        return export(self, to, folder, verify=verify, structure=structure)

    def calculator(
        self,
        dtype: Literal["float32", "float64"] | None = None,
        threads: int | None = None,
        skin: float = 1.0,
        backend: Literal["auto", "compiled", "torch", "cuda"] = "auto",
    ) -> ForgefieldCalculator:
        """Return an ASE calculator; see `deployment.ase.ForgefieldCalculator`."""
        from forgefield.deployment.ase import ForgefieldCalculator

        return ForgefieldCalculator(self, dtype=dtype, threads=threads, skin=skin, backend=backend)

    # ---- tensors ---------------------------------------------------------------------------------------------

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of a structure with this potential's elements and cutoffs."""
        return build_graph(atoms, self.species, self.cutoffs)

    def tensors(self, graph: Graph) -> TensorGraph:
        """Return a graph on this potential's device and in its number type."""
        return to_tensors(graph, self.dtype, self.device)

    def features(self, a: Sequence[Tensor], graph: TensorGraph) -> Iterator[tuple[int, Tensor]]:
        """Yield (species, features) of each block of atoms of one element."""
        for species, block in self._blocks(a, graph):
            yield species, self.descriptor.invariants(block, species)

    def _blocks(self, a: Sequence[Tensor], graph: TensorGraph) -> Iterator[tuple[int, list[Tensor]]]:
        single = len(graph.blocks) == 1
        for species, rows in graph.blocks:
            yield species, list(a) if single else [x[rows] for x in a]

    def model_energies(self, a: Sequence[Tensor], graph: TensorGraph) -> Tensor:
        """Return the atomic energies (n_atoms,) [eV] without references, from expansion coefficients."""
        exact = bool(self.exact_free_atom)
        blocks = []
        for species, block in self._blocks(a, graph):
            rows = [torch.cat([x, x.new_zeros((1, *x.shape[1:]))]) for x in block] if exact else block
            energies = self.model(self.scaler(self.descriptor.invariants(rows, species)), species)
            blocks.append(energies[:-1] - energies[-1] if exact else energies)
        joined = blocks[0] if len(blocks) == 1 else torch.cat(blocks)[graph.restore]
        return joined * self.energy_scale.to(joined.dtype)

    def free_atom_energies(self) -> dict[int, float]:
        """Return the energy [eV] of an atom without neighbours, by atomic number.

        Equal to the reference energies where `exact_free_atom` is set.
        """
        offsets = np.zeros(len(self.species)) if bool(self.exact_free_atom) else self.model_offsets()
        values = self.references.cpu().numpy() + offsets
        return dict(zip(self.species, values.tolist(), strict=True))

    def model_offsets(self) -> FloatArray:
        """Return what the model says of an atom of each element without neighbours, (n_species,) [eV]."""
        values = []
        for index in range(len(self.species)):
            zeros = [
                torch.zeros((1, *e.shape), dtype=self.dtype, device=self.device)
                for e in self.descriptor.expansions
            ]
            with torch.no_grad():
                features = self.scaler(self.descriptor.invariants(zeros, index))
                values.append(float(self.model(features, index)[0]) * float(self.energy_scale))
        return np.array(values)

    def evaluate(self, graph: TensorGraph, *, training: bool = False) -> Evaluation:
        """Return energies, forces and strain gradients of a batch.

        Parameters
        ----------
        graph : TensorGraph
        training : bool
            Keep what a gradient with respect to the parameters needs.
        """
        return _collect(*self.edge_gradients(graph, training=training), graph)

    def edge_gradients(self, graph: TensorGraph, *, training: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return atomic energies (n_atoms,) and ``g_ij`` (n_atoms, width, 3) of each list of pairs."""
        lists = list(zip(self.descriptor.expansions, graph.pairs, strict=False))
        with torch.no_grad():
            bases = [backend.geometry(e, p.vectors, p.species, graph.species) for e, p in lists]
            a = [backend.forward(e, b) for (e, _), b in zip(lists, bases, strict=True)]
        with torch.enable_grad():
            for x in a:
                x.requires_grad_()
            energies = self.model_energies(a, graph)
            a_bars = torch.autograd.grad(energies.sum(), a, create_graph=training)
        gradients = [
            backend.pull_back(e, p.vectors, p.species, a_bar, b, graph.species)
            for (e, p), a_bar, b in zip(lists, a_bars, bases, strict=True)
        ]
        if self.zbl is not None:
            repulsion, g = self.repulsion(graph)
            energies = energies + repulsion
            gradients.append(g)
        return (energies if training else energies.detach()), gradients

    def repulsion(self, graph: TensorGraph) -> tuple[Tensor, Tensor]:
        """Return the energies (n_atoms,) and ``g_ij`` (n_atoms, width, 3) of the nuclear repulsion."""
        if self.zbl is None:
            raise ConfigError("this potential has no nuclear repulsion; give it one with `zbl`")
        pairs = graph.pairs[-1]
        with torch.no_grad():
            energies, gradients = self.zbl(pairs.vectors, graph.species, pairs.species)
        return energies, gradients

    def baseline(self, graph: TensorGraph) -> Evaluation | None:
        """Return what of a prediction is fixed in training, without references; None where nothing is."""
        if self.zbl is None:
            return None
        energies, gradients = self.repulsion(graph)
        none = [torch.zeros_like(p.vectors) for p in graph.pairs[:-1]]
        return _collect(energies, [*none, gradients], graph)

    # ---- structures ------------------------------------------------------------------------------------------

    def predict(
        self, atoms: Atoms, properties: Collection[str] | None = None, *, virials: VirialKind = "I"
    ) -> Prediction:
        """Return energy, forces, stress and virials of a structure.

        Parameters
        ----------
        atoms : ase.Atoms
        properties : collection of str, optional
            Accepted for symmetry with calculators; everything is computed together anyway, except that asking for
            ``stress`` of a structure without a volume is an error.
        virials : {'I', 'II', 'III'}
            Definition of the atomic virial (paper 5, eqs. 12-14); only I gives the right heat flux.

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements the potential does not know; overlapping atoms, no atoms, flat cell.
        """
        result = self.predict_graph(self.graph(atoms), virials=virials)
        result.check_asked(properties, atoms.pbc)
        return result

    def predict_graph(self, graph: Graph, *, virials: VirialKind = "I") -> Prediction:
        """Return the prediction for the graph of one structure; large ones are evaluated in pieces."""
        if virials not in ("I", "II", "III"):
            raise ConfigError(f"`virials` must be 'I', 'II' or 'III', got {virials!r}")
        n = graph.n_atoms
        energies, forces = np.empty(n), np.zeros((n, 3))
        centre, neighbour = np.zeros((n, 3, 3)), np.zeros((n, 3, 3))
        step = max(1, ROWS_PER_CHUNK // max(p.width for p in graph.pairs))
        for lo in range(0, n, step):
            rows = slice(lo, min(lo + step, n))
            e, gradients = self.edge_gradients(to_tensors(graph, self.dtype, self.device, rows))
            energies[rows] = e.double().cpu().numpy()
            for g, pairs in zip(gradients, graph.pairs, strict=True):
                edge = g.double().cpu().numpy()
                outer = pairs.vectors[rows, :, :, None] * edge[:, :, None, :]
                forces[rows] += edge.sum(axis=1)
                centre[rows] -= outer.sum(axis=1)
                index = pairs.neighbours[rows].ravel()
                if virials != "II":
                    neighbour -= _scatter(index, outer.reshape(-1, 9), n).reshape(n, 3, 3)
                forces -= _scatter(index, edge.reshape(-1, 3), n)
        atomic = {"I": neighbour, "II": centre, "III": 0.5 * (neighbour + centre)}[virials]
        energies += self.references.cpu().numpy()[graph.species]
        volume = float(graph.volumes[0])
        stress = None if np.isnan(volume) else -matrix_to_voigt(centre.sum(axis=0)) / volume
        return Prediction(float(energies.sum()), energies, forces, stress, atomic)

    def predict_many(self, frames: Sequence[Atoms], *, batch_size: int = 16) -> list[Prediction]:
        """Return the predictions for many structures, batched (virials of kind II sum to the same total)."""
        results = []
        for start in range(0, len(frames), batch_size):
            graphs = [self.graph(atoms) for atoms in frames[start : start + batch_size]]
            joined = batch(graphs)
            out = self.evaluate(self.tensors(joined))
            results += self._split(out, joined)
        return results

    def _split(self, out: Evaluation, graph: Graph) -> list[Prediction]:
        energies = out.energies.double().cpu().numpy() + self.references.cpu().numpy()[graph.species]
        forces = out.forces.double().cpu().numpy()
        strain = out.strain_gradient.double().cpu().numpy()
        ends = np.cumsum(graph.n_atoms_per_structure)
        results = []
        for k, (end, n) in enumerate(zip(ends, graph.n_atoms_per_structure, strict=True)):
            rows = slice(end - n, end)
            volume = graph.volumes[k]
            stress = None if np.isnan(volume) else strain[k] / volume
            e = energies[rows]
            results.append(Prediction(float(e.sum()), e, forces[rows], stress, np.empty((0, 3, 3))))
        return results

    def heat_flux(self, atoms: Atoms, *, virials: VirialKind = "I", convective: bool = True) -> FloatArray:
        """Return the heat flux vector (3,) in eV Å^-2 per ASE time unit.

        ``J = (1/V) (sum_i (t_i + E_i) v_i + sum_i W_i v_i)`` with kinetic energies t and atomic virials W;
        the first sum is the convective part.

        Parameters
        ----------
        atoms : ase.Atoms
            With velocities, periodic in three directions.
        virials : {'I', 'II', 'III'}
        convective : bool
            Include the first sum.

        Notes
        -----
        Source: Shimamura et al. (paper 5), eqs. 11-14.
        """
        if not atoms.pbc.all():
            raise ConfigError(
                "the heat flux needs a cell periodic in three directions; set pbc=True and a cell"
            )
        result = self.predict(atoms, virials=virials)
        velocities = atoms.get_velocities()
        flux = np.einsum("iab,ib->a", result.virials, velocities)
        if convective:
            kinetic = 0.5 * atoms.get_masses() * (velocities**2).sum(axis=1)
            flux = flux + ((kinetic + result.energies)[:, None] * velocities).sum(axis=0)
        return np.asarray(flux / abs(atoms.get_volume()), dtype=np.float64)


def _collect(energies: Tensor, gradients: Sequence[Tensor], graph: TensorGraph) -> Evaluation:
    """Add up the atoms and edges of each structure."""
    forces = torch.zeros_like(gradients[0][:, 0])
    strain = torch.zeros((graph.n_structures, 9), dtype=forces.dtype, device=forces.device)
    for g, pairs in zip(gradients, graph.pairs, strict=True):
        forces = forces + g.sum(dim=1)
        forces = forces.index_add(0, pairs.neighbours.flatten(), g.flatten(0, 1), alpha=-1)
        atomic = torch.bmm(pairs.vectors.transpose(1, 2), g).flatten(1)
        strain = strain.index_add(0, graph.structure, atomic)
    total = torch.zeros(graph.n_structures, dtype=torch.float64, device=energies.device)
    total = total.index_add(0, graph.structure, energies.double())
    components = [0.5 * (strain[:, 3 * a + b] + strain[:, 3 * b + a]) for a, b in VOIGT]
    return Evaluation(energies, total, forces, torch.stack(components, dim=1))


def _scatter(index: NDArray[np.int64], values: FloatArray, n: int) -> FloatArray:
    """Sum rows of `values` (n_pairs, c) that share an index, into (n, c)."""
    return np.stack(
        [np.bincount(index, weights=values[:, c], minlength=n) for c in range(values.shape[1])], axis=1
    )
