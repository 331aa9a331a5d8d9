"""A potential as a model of metatomic: a TorchScript file that its engines load without this package.

Expansions, invariants and network of each element are recorded as plain tensor operations, so that the engine's
automatic differentiation gives forces and virial; around them is a script that puts metatomic's list of pairs into rows.
"""

import copy
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Dict, List, Optional  # noqa: UP035 - TorchScript reads annotations and knows these

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from forgefield.deployment.engines import Answer, EngineMissingError
from forgefield.errors import ConfigError
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.torch_backend import KINDS
from forgefield.keys import voigt_to_matrix
from forgefield.models.potential import Potential

try:
    from metatensor.torch import Labels, TensorBlock, TensorMap
    from metatomic.torch import (
        AtomisticModel,
        ModelCapabilities,
        ModelMetadata,
        ModelOutput,
        NeighborListOptions,
        System,
    )
except ImportError as _error:
    raise EngineMissingError(
        f"metatomic cannot be imported ({_error}); install it: pip install metatomic-torch metatomic-ase"
    ) from None

__all__ = ["check_recordable", "export_metatomic", "run_metatomic"]


class _Element(nn.Module):
    """Energies of atoms of one element from the rows of their neighbours; recorded, never run as it is."""

    def __init__(self, potential: Potential, index: int) -> None:
        super().__init__()
        self.potential, self.index = potential, index

    def forward(self, vectors: Tensor, neighbours: Tensor) -> Tensor:
        """Return energies (n_atoms,) [eV], without references.

        Parameters
        ----------
        vectors : (n_atoms, width, 3) [Å]
        neighbours : (n_atoms, width) int
            Species.
        """
        p = self.potential
        centres = torch.full_like(neighbours[:, 0], self.index)
        distances2 = (vectors * vectors).sum(dim=2, keepdim=True)

        def within(cutoff: float) -> Tensor:
            far = torch.tensor([2.0 * cutoff, 0.0, 0.0], dtype=vectors.dtype)
            return torch.where(distances2 < cutoff * cutoff, vectors, far)

        a = []
        for expansion in p.descriptor.expansions:
            kind = KINDS[type(expansion)]
            g = kind.geometry(expansion, within(expansion.cutoff), neighbours, centres)
            a.append(kind.forward(expansion, g))
        features = p.scaler(p.descriptor.invariants(a, self.index))
        energies: Tensor = p.model(features, self.index) * p.energy_scale.to(vectors.dtype)
        if p.zbl is not None:
            energies = energies + p.zbl(within(p.zbl.cutoff), centres, neighbours)[0]
        return energies


class _Model(nn.Module):
    """What metatomic calls; compiled by TorchScript, whose Python this is."""

    offsets: Tensor
    lookup: Tensor

    def __init__(self, elements: List[nn.Module], offsets: Tensor, lookup: Tensor, cutoff: float) -> None:  # noqa: UP006
        super().__init__()
        self.elements = nn.ModuleList(elements)
        self.register_buffer("offsets", offsets)
        self.register_buffer("lookup", lookup)
        self.cutoff = cutoff

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """Ask for all pairs, both ways."""
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def energies(self, system: System) -> Tensor:
        """Return atomic energies, references included."""
        pairs = system.get_neighbor_list(self.requested_neighbor_lists()[0])
        species = self.lookup[system.types.to(torch.int64)]
        n = species.shape[0]
        i = pairs.samples.column("first_atom").to(torch.int64)
        j = pairs.samples.column("second_atom").to(torch.int64)
        order = torch.argsort(i, stable=True)
        i, j = i[order], j[order]
        counts = torch.bincount(i, minlength=n)
        width = max(int(counts.max()), 1)
        column = torch.arange(i.shape[0], device=i.device) - (torch.cumsum(counts, 0) - counts)[i]
        far = torch.tensor([2.0 * self.cutoff, 0.0, 0.0], dtype=system.positions.dtype, device=i.device)
        vectors = far.repeat(n, width, 1)
        vectors = vectors.index_put([i, column], pairs.values[:, :, 0][order])
        neighbours = torch.zeros((n, width), dtype=torch.int64, device=i.device)
        neighbours = neighbours.index_put([i, column], species[j])
        energies = self.offsets[species].to(system.positions.dtype)
        for index, element in enumerate(self.elements):
            rows = torch.nonzero(species == index).flatten()
            if rows.shape[0] > 0:
                energies = energies.index_add(0, rows, element(vectors[rows], neighbours[rows]))
        return energies

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels] = None,  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """Return the energy of systems or of their atoms; see metatomic."""
        result: Dict[str, TensorMap] = {}  # noqa: UP006
        if "energy" not in outputs:
            return result
        per_atom = outputs["energy"].sample_kind == "atom"
        values: List[Tensor] = []  # noqa: UP006
        samples: List[Tensor] = []  # noqa: UP006
        for k, system in enumerate(systems):
            energies = self.energies(system)
            atoms = torch.arange(energies.shape[0], device=energies.device)
            if selected_atoms is not None:
                chosen = selected_atoms.column("system") == k
                atoms = selected_atoms.column("atom")[chosen].to(torch.int64)
                energies = energies[atoms]
            if per_atom:
                values.append(energies[:, None])
                samples.append(torch.stack([torch.full_like(atoms, k), atoms], dim=1))
            else:
                values.append(energies.sum()[None, None])
                samples.append(torch.tensor([[k]], device=energies.device))
        components: List[Labels] = []  # noqa: UP006
        block = TensorBlock(
            values=torch.cat(values),
            samples=Labels(
                ["system", "atom"] if per_atom else ["system"], torch.cat(samples).to(torch.int32)
            ),
            components=components,
            properties=Labels(["energy"], torch.tensor([[0]], device=values[0].device)),
        )
        result["energy"] = TensorMap(Labels(["_"], torch.tensor([[0]], device=values[0].device)), [block])
        return result


def check_recordable(potential: Potential) -> None:
    """Raise a `ConfigError` for a potential whose operations automatic differentiation cannot follow."""
    if any(isinstance(e, HypersphericalExpansion) for e in potential.descriptor.expansions):
        raise ConfigError(
            f"metatomic's engines differentiate what is recorded, and the recursion of Wigner functions of descriptor "
            f"{potential.descriptor.settings.kind!r} overwrites the numbers that needs; use nep, so3, pod, ace, acsf or "
            "chebyshev for metatomic"
        )


def export_metatomic(potential: Potential, path: str | Path) -> Path:
    """Write a potential as a model file of metatomic, for one of its engines on a processor.

    Parameters
    ----------
    potential : Potential
        Its number type becomes that of the model.
    path : str or Path
        Ends in ``.pt``.

    Raises
    ------
    ConfigError
        The file name ends in something else, or the expansion overwrites its own numbers (snap).
    """
    target = Path(path)
    check_recordable(potential)
    if target.suffix != ".pt":
        raise ConfigError(f"a model of metatomic ends in .pt, got {target.name}")
    own = copy.deepcopy(potential).to("cpu").eval().requires_grad_(requires_grad=False)
    offsets = own.references.clone()
    if bool(own.exact_free_atom):
        offsets -= torch.from_numpy(own.model_offsets())
    lookup = torch.full((130,), -1, dtype=torch.int64)
    lookup[list(own.species)] = torch.arange(len(own.species))
    elements = [_recorded(own, index) for index in range(len(own.species))]
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="atom")},
        atomic_types=list(own.species),
        interaction_range=own.cutoff,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype=str(own.dtype).removeprefix("torch."),
    )
    model = _Model(elements, offsets, lookup, own.cutoff).eval()
    metadata = ModelMetadata(name=str(own.provenance.notes.get("title") or "Forgefield potential"))
    AtomisticModel(model, metadata, capabilities).save(str(target))
    return target


def _recorded(potential: Potential, index: int) -> nn.Module:
    """Record what one element does, for any number of atoms and neighbours."""
    rng = np.random.default_rng(0)
    vectors = rng.uniform(-0.5, 0.5, (3, 5, 3)) * potential.cutoff
    neighbours = rng.integers(0, len(potential.species), (3, 5))
    inputs = torch.from_numpy(vectors).to(potential.dtype), torch.from_numpy(neighbours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are fixed, which the rows are not
        recorded: nn.Module = torch.jit.trace(_Element(potential, index), inputs, check_trace=False)  # type: ignore[no-untyped-call]
    return recorded


def run_metatomic(path: str | Path, structures: Sequence[Atoms]) -> tuple[list[Answer], str]:
    """Return what metatomic's ASE calculator says of structures with a model file, and the version of metatomic.

    Parameters
    ----------
    path : str or Path
    structures : sequence of ase.Atoms
        Periodic in three directions.

    Raises
    ------
    EngineMissingError
        metatomic-ase is not installed.
    """
    try:
        from metatomic_ase import MetatomicCalculator
    except ImportError as error:
        raise EngineMissingError(
            f"metatomic's calculator cannot be imported ({error}); install it: pip install metatomic-ase"
        ) from None
    calculator = MetatomicCalculator(str(path), device="cpu")
    answers = []
    for structure in structures:
        atoms = structure.copy()
        calculator.calculate(atoms, ["energy", "energies", "forces", "stress"], ["positions"])
        found = calculator.results
        virial = -voigt_to_matrix(np.asarray(found["stress"])) * atoms.get_volume()
        energies = np.asarray(found["energies"], dtype=np.float64)
        forces = np.asarray(found["forces"], dtype=np.float64)
        answers.append(Answer(float(found["energy"]), energies, forces, None, virial))
    return answers, version("metatomic-torch")
