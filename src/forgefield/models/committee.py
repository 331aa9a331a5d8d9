"""Several potentials as one: their mean predicts, their spread says how far the prediction can be trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ConfigError
from forgefield.graph import Graph
from forgefield.models.potential import Potential
from forgefield.models.results import Prediction, Provenance, VirialKind

if TYPE_CHECKING:
    from forgefield.deployment.ase import ForgefieldCalculator

__all__ = ["Committee", "CommitteePrediction", "combine"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CommitteePrediction(Prediction):
    """Means over the members of a committee, and standard deviations over them (divided by their number).

    Attributes
    ----------
    energy_spread : float [eV]
        Of the total energy.
    energies_spread : (n_atoms,) [eV]
        Of the atomic energies.
    forces_spread : (n_atoms,) [eV/Å]
        ``sqrt(<|F_i - <F_i>|^2>)``: of the force vector of each atom.
    stress_spread : (6,) [eV/Å^3] or None
        Of each component.
    """

    energy_spread: float
    energies_spread: FloatArray
    forces_spread: FloatArray
    stress_spread: FloatArray | None


def combine(results: Sequence[Prediction]) -> CommitteePrediction:
    """Return means and spreads of what the members say of one structure.

    Notes
    -----
    Source of the spread of forces: Zhang et al., Phys. Rev. Materials 3, 023804 (2019), eq. 2.
    """
    energy = np.array([r.energy for r in results])
    energies, forces, virials = (
        np.stack([getattr(r, name) for r in results]) for name in ("energies", "forces", "virials")
    )
    stresses = [r.stress for r in results if r.stress is not None]
    mean = forces.mean(axis=0)
    deviation = np.square(forces - mean).sum(axis=2).mean(axis=0)
    return CommitteePrediction(
        energy=float(energy.mean()),
        energies=energies.mean(axis=0),
        forces=mean,
        stress=np.mean(stresses, axis=0) if stresses else None,
        virials=virials.mean(axis=0),
        energy_spread=float(energy.std()),
        energies_spread=energies.std(axis=0),
        forces_spread=np.sqrt(deviation),
        stress_spread=np.std(stresses, axis=0) if stresses else None,
    )


class Committee:
    """Potentials for the same elements, evaluated together.

    Parameters
    ----------
    members : iterable of Potential
        At least two, of the same elements; descriptors and models may differ.
    provenance : Provenance, optional
        Of the committee as a whole.

    Raises
    ------
    ConfigError
        Fewer than two members, or different elements.
    """

    def __init__(self, members: Iterable[Potential], provenance: Provenance | None = None) -> None:
        self.members = tuple(members)
        if len(self.members) < 2:
            raise ConfigError(f"a committee needs at least 2 members, got {len(self.members)}")
        for n, member in enumerate(self.members, start=1):
            if member.species != self.species:
                raise ConfigError(
                    f"the members of a committee must know the same elements: the first knows {self.elements}, "
                    f"number {n} knows {member.elements}"
                )
        self.provenance = provenance or Provenance()

    def __len__(self) -> int:
        return len(self.members)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers known, ascending."""
        return self.members[0].species

    @property
    def elements(self) -> list[str]:
        """Element symbols known, by ascending atomic number."""
        return self.members[0].elements

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Every cutoff [Å] of any member, the largest first."""
        return tuple(sorted({c for m in self.members for c in m.cutoffs}, reverse=True))

    @property
    def cutoff(self) -> float:
        """Largest cutoff [Å]."""
        return self.cutoffs[0]

    @property
    def references(self) -> torch.Tensor:
        """Mean reference energies (n_species,) [eV]."""
        return torch.stack([m.references for m in self.members]).mean(dim=0)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the members; the widest."""
        return max((m.dtype for m in self.members), key=lambda dtype: torch.finfo(dtype).bits)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.members[0].device

    @property
    def n_parameters(self) -> int:
        """Trainable parameters of all members."""
        return sum(m.n_parameters for m in self.members)

    def to_dtype(self, dtype: torch.dtype) -> Committee:
        """Convert the parameters of every member."""
        for member in self.members:
            member.to_dtype(dtype)
        return self

    def to(self, device: torch.device | str) -> Committee:
        """Move every member."""
        for member in self.members:
            member.to(device)
        return self

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of a structure for the first member; raises for what no member can be applied to."""
        return self.members[0].graph(atoms)

    def predict(
        self, atoms: Atoms, properties: Collection[str] | None = None, *, virials: VirialKind = "I"
    ) -> CommitteePrediction:
        """Return means and spreads of energy, forces, stress and virials of a structure; see `Potential.predict`.

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements the potentials do not know; overlapping atoms, no atoms, flat cell.
        """
        graphs: dict[tuple[float, ...], Graph] = {}
        results = []
        for member in self.members:
            if member.cutoffs not in graphs:
                graphs[member.cutoffs] = member.graph(atoms)
            results.append(member.predict_graph(graphs[member.cutoffs], virials=virials))
        result = combine(results)
        result.check_asked(properties, atoms.pbc)
        return result

    def predict_many(self, frames: Sequence[Atoms]) -> list[CommitteePrediction]:
        """Return the predictions for many structures."""
        by_member = [member.predict_many(frames) for member in self.members]
        return [combine(results) for results in zip(*by_member, strict=True)]

    def save(self, path: str | Path) -> Path:
        """Write all members to one file; see `models.committee_file.save`."""
        from forgefield.models import committee_file

        return committee_file.save(self, path)

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

    def export(
        self, to: str, folder: str | Path, *, verify: bool = True, structure: Atoms | None = None
    ) -> list[Path]:
        """Write the mean for another program, where it can be had there; see `deployment.export.export`."""
        from forgefield.deployment.export import export

        return export(self, to, folder, verify=verify, structure=structure)
