"""What every kind of expansion is, whatever it sums over the neighbours."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Expansion"]


class Expansion(Protocol):
    """Coefficients of a neighbourhood that are zero for an atom without neighbours: a frozen, comparable value.

    A kind is a class like this (`spherical.py`) and a module for each backend with the functions listed there
    (`numpy_spherical.py`, `torch_spherical.py`), entered with one line in `numpy_backend.py` and `torch_backend.py`.

    Attributes
    ----------
    cutoff : float [Å]
        Neighbours at this distance and beyond contribute nothing; the largest one where it depends on the species.
    n_species : int
        Species of centres and neighbours are indices below this.
    shape : (n_channels, n_radial, n_harmonics)
        Shape of the coefficients of one atom.
    numbers_per_pair : int
        Numbers held for each pair of a batch while it is evaluated on torch, to estimate memory.
    """

    @property
    def cutoff(self) -> float: ...  # noqa: D102

    @property
    def n_species(self) -> int: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    @property
    def numbers_per_pair(self) -> int: ...  # noqa: D102
