"""Repulsion of nuclei at short distance: a fixed part of a potential that knows nothing of its descriptor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from forgefield.config import Schema
from forgefield.errors import ConfigError
from forgefield.formulas.dual import Dual
from forgefield.formulas.zbl import (
    COULOMB,
    COVALENT_RADII,
    UNIVERSAL_SCREENING,
    polynomial_switch,
    screened_repulsion,
    screening_rate,
)

__all__ = ["ZBL", "ZBLSettings"]

FloatArray = NDArray[np.float64]
PairParameters = Annotated[tuple[float, ...], Field(min_length=10, max_length=10)]


class ZBLSettings(Schema):
    """Repulsion of Ziegler, Biersack and Littmark, switched off between two distances."""

    form: Literal["gpumd", "lammps"] = Field(
        "gpumd",
        description="digits of the constants and kind of the switch: a factor, half a period of a cosine (gpumd), or "
        "an added polynomial (lammps)",
    )
    outer: float = Field(2.0, gt=0, le=10, description="the repulsion vanishes from here on [Å]")
    inner: float | None = Field(
        None, ge=0, le=10, description="below, the repulsion is whole [Å]; null: half of outer"
    )
    typewise_factor: float | None = Field(
        None,
        gt=0,
        le=10,
        description="end the repulsion of two elements at this factor times the sum of their covalent radii where that "
        "is less than outer, and switch it off from 0 on; 0.7 is usual",
    )
    pairs: dict[str, PairParameters] | None = Field(
        None,
        description="parameters of every pair of elements in place of the universal ones, {Si-O: [inner, outer, a1, a2, "
        "..., a8]}, as in GPUMD's zbl.in",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.inner is not None and self.inner >= self.outer:
            raise ValueError(f"`inner` must be less than `outer`, {self.outer} Å, got {self.inner}")
        if self.form == "lammps":
            for name in ("pairs", "typewise_factor"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`form: lammps` has no `{name}`; leave it out or use `form: gpumd`")
            if self.inner == 0:
                raise ValueError("`form: lammps` needs `inner` > 0 Å, got 0")
        if self.pairs is not None and self.typewise_factor is not None:
            raise ValueError("`pairs` gives every pair its cutoffs; leave out `typewise_factor`")
        for key, values in (self.pairs or {}).items():
            _elements_of(key)
            if not 0 <= values[0] < values[1] <= 10:
                raise ValueError(
                    f"`pairs.{key}` needs 0 <= inner < outer <= 10 Å, got {values[0]}, {values[1]}"
                )
        return self


def _elements_of(key: str) -> tuple[int, int]:
    symbols = key.split("-")
    numbers = [atomic_numbers.get(s, 0) for s in symbols]
    if len(numbers) != 2 or min(numbers) < 1:
        raise ValueError(f"`pairs` needs keys such as Si-O, got {key!r}")
    return min(numbers), max(numbers)


class ZBL(nn.Module):
    """``E_i = 1/2 sum_j V_IJ(r_ij)`` with a screened Coulomb repulsion V.

    Parameters
    ----------
    species : sequence of int
        Atomic numbers of the potential, ascending.
    settings : ZBLSettings

    Attributes
    ----------
    cutoff : float [Å]
        Largest distance at which any pair repels.
    tables : dict of str to (n_species, n_species) array
        ``charge`` [eV Å], ``rate`` [1/Å], ``inner``, ``outer`` [Å], ``cosine``, ``cubic`` [eV/Å^3], ``quartic``
        [eV/Å^4] and ``shift`` [eV] of every pair of elements, in the order of `formulas.zbl.screened_repulsion`.
    screening : (4, 2, n_species, n_species) array
        Amplitudes and exponents.

    Notes
    -----
    Nothing here is trained. Source: see `formulas.zbl`.
    """

    def __init__(self, species: Sequence[int], settings: ZBLSettings | None = None) -> None:
        super().__init__()
        self.species = tuple(species)
        self.settings = settings or ZBLSettings()
        numbers = np.array(self.species, dtype=np.float64)
        outer, inner, self.screening = _pair_parameters(self.species, self.settings)
        charge = COULOMB * np.outer(numbers, numbers)
        rate = np.asarray(screening_rate(numbers[:, None], numbers, self.settings.form))
        ends = np.ones_like(outer), np.zeros_like(outer), np.zeros_like(outer), np.zeros_like(outer)
        if self.settings.form == "lammps":
            screening = [(a, b) for a, b in self.screening]
            ends = np.zeros_like(outer), *polynomial_switch(charge, rate, inner, outer, screening)
        names = ("charge", "rate", "inner", "outer", "cosine", "cubic", "quartic", "shift")
        self.tables: dict[str, FloatArray] = dict(
            zip(names, (charge, rate, inner, outer, *ends), strict=True)
        )
        self.cutoff = float(outer.max())

    def forward(self, vectors: Tensor, centres: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """Return the repulsive energy of every atom and its gradients.

        Parameters
        ----------
        vectors : (n_atoms, width, 3) tensor [Å]
            Padded rows of ``r_ij``; padding is longer than the cutoff.
        centres : (n_atoms,) int tensor
        neighbours : (n_atoms, width) int tensor
            Species.

        Returns
        -------
        energies : (n_atoms,) tensor [eV]
        gradients : (n_atoms, width, 3) tensor [eV/Å]
            ``dE_i/dr_ij``.
        """
        r = vectors.norm(dim=2)
        pair = centres[:, None] * len(self.species) + neighbours

        def of_pairs(table: FloatArray) -> Tensor:
            return torch.as_tensor(table, dtype=r.dtype, device=r.device).flatten()[pair]

        table = {name: of_pairs(values) for name, values in self.tables.items()}
        screening = [(of_pairs(a), of_pairs(b)) for a, b in self.screening]
        half = screened_repulsion(Dual(r, torch.full_like(r, 0.5)), **table, screening=screening)
        return 0.5 * half.value.sum(dim=1), (half.tangent / r)[:, :, None] * vectors

    def pair_parameters(self, one: str, other: str) -> list[float]:
        """Return inner, outer and the eight screening numbers of two elements, as in GPUMD's zbl.in."""
        i, j = (self.species.index(atomic_numbers[symbol]) for symbol in (one, other))
        ends = [float(self.tables[name][i, j]) for name in ("inner", "outer")]
        return ends + [float(v) for v in self.screening[:, :, i, j].ravel()]


def _pair_parameters(
    species: Sequence[int], settings: ZBLSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return outer and inner cutoffs and the screening functions of all pairs of elements."""
    n = len(species)
    screening = np.broadcast_to(np.array(UNIVERSAL_SCREENING)[:, :, None, None], (4, 2, n, n)).copy()
    if settings.pairs is not None:
        return _flexible(species, settings.pairs, screening)
    outer = np.full((n, n), settings.outer)
    inner = np.full((n, n), 0.5 * settings.outer if settings.inner is None else settings.inner)
    if settings.typewise_factor is not None:
        unknown = [chemical_symbols[z] for z in species if z > len(COVALENT_RADII)]
        if unknown:
            raise ConfigError(
                f"`zbl.typewise_factor` knows covalent radii up to Pu, not of {', '.join(unknown)}; leave it out"
            )
        radii = np.array([COVALENT_RADII[z - 1] for z in species])
        outer = np.minimum((radii[:, None] + radii) * settings.typewise_factor, outer)
        inner = np.zeros_like(outer)
    return outer, inner, screening


def _flexible(
    species: Sequence[int], pairs: Mapping[str, tuple[float, ...]], screening: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    given = {_elements_of(key): np.array(values) for key, values in pairs.items()}
    outer, inner = np.empty((2, len(species), len(species)))
    for i, zi in enumerate(species):
        for j, zj in enumerate(species):
            values = given.get((min(zi, zj), max(zi, zj)))
            if values is None:
                raise ConfigError(
                    f"`zbl.pairs` lacks {chemical_symbols[zi]}-{chemical_symbols[zj]}; every pair of elements needs "
                    "inner, outer and eight numbers"
                )
            inner[i, j], outer[i, j] = values[:2]
            screening[:, :, i, j] = values[2:].reshape(4, 2)
    return outer, inner, screening
