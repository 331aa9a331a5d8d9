"""Every property's name, shape, unit and sign, written once.

=================  ==============  =========  ==========================================================
property           shape           unit       sign and order
=================  ==============  =========  ==========================================================
``energy``         ()              eV         total, reference energies included
``energies``       (n_atoms,)      eV         per atom; they sum to ``energy``
``forces``         (n_atoms, 3)    eV/Å       ``-dE/dr``
``stress``         (6,)            eV/Å^3     ``dE/dstrain / |V|``, positive in tension; Voigt order below
``virial``         (6,)            eV         ``-stress * |V|``, positive when compressed (GPUMD)
``virials``        (n_atoms, 3, 3) eV         per atom; they sum to ``-stress * |V|``
``stresses``       (n_atoms, 6)    eV/Å^3     ``-virials / |V|`` symmetrised; they sum to ``stress``
=================  ==============  =========  ==========================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROPERTIES", "VOIGT", "matrix_to_voigt", "voigt_to_matrix"]

VOIGT: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Index pairs of the six components in ASE's order: xx, yy, zz, yz, xz, xy."""

PROPERTIES: tuple[str, ...] = ("energy", "forces", "stress")
"""The labels a potential is trained on."""


def matrix_to_voigt(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetrise (..., 3, 3) and return the six components (..., 6) in ASE's order."""
    symmetric = 0.5 * (matrix + np.swapaxes(matrix, -1, -2))
    return np.stack([symmetric[..., a, b] for a, b in VOIGT], axis=-1)


def voigt_to_matrix(voigt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric (..., 3, 3) matrix of (..., 6) components in ASE's order."""
    matrix = np.empty((*voigt.shape[:-1], 3, 3), dtype=voigt.dtype)
    for n, (a, b) in enumerate(VOIGT):
        matrix[..., a, b] = voigt[..., n]
        matrix[..., b, a] = voigt[..., n]
    return matrix
