"""A small linear potential of moments, fitted to energies and forces alone, that predicts stresses.

It serves one purpose: to tell which order of the off-diagonal components a set of stress labels has where no
strained pairs and no symmetry decide. Features of atom i with moments
``A_n,mu = sum_j R_n(r_ij) T_mu(r_ij / |r_ij|)`` of Cartesian tensors T of rank l = 0 to 3 are the pair sums per
neighbour species and the contractions ``sum_mu A_n,mu A_m,mu``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.sparse import csr_array

from forgefield.data.fingerprint import neighbour_pairs
from forgefield.keys import matrix_to_voigt

__all__ = ["LinearPotential", "suggest_cutoff"]

FloatArray = NDArray[np.float64]

_N_PAIR = 8
_N_ANGULAR = 3
_RANKS = (0, 1, 2, 3)
_NEIGHBOURS = 32.0
_ENERGY_NOISE = 0.005
_FORCE_NOISE = 0.1
_RIDGE = 1e-9
_SMALLEST = 1e-100


def suggest_cutoff(frames: Sequence[Atoms]) -> float:
    """Return a cutoff [Å] that holds about thirty neighbours in the densest half of the structures."""
    volumes = sorted(abs(a.cell.volume) / len(a) for a in frames)
    return float((3.0 * _NEIGHBOURS * volumes[len(volumes) // 4] / (4.0 * np.pi)) ** (1.0 / 3.0))


class LinearPotential:
    """Least-squares potential on moments.

    Parameters
    ----------
    species : sequence of int
        Atomic numbers.
    cutoff : float [Å]
    """

    def __init__(self, species: Sequence[int], cutoff: float) -> None:
        self.species = sorted(species)
        self.cutoff = cutoff
        n_products = len(_RANKS) * _N_ANGULAR * (_N_ANGULAR + 1) // 2
        self.n_own = _N_PAIR * len(self.species) + n_products
        self.n_features = self.n_own * len(self.species)
        self._normal = np.zeros((self.n_features, self.n_features))
        self._right = np.zeros(self.n_features)
        self._energy_rows: list[tuple[bytes, FloatArray, float, int]] = []
        self.coefficients = np.zeros(self.n_features)

    def design(self, atoms: Atoms) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what one structure's energy, forces and stress are linear in.

        Returns
        -------
        energy : (n_features,)
        forces : (n_atoms, 3, n_features) [1/Å]
        stress : (6, n_features) [1/Å^3]
        """
        i, j, vectors = neighbour_pairs(atoms, self.cutoff, "ijD")
        centre, neighbour = i.astype(np.intp), j.astype(np.intp)
        kinds = np.searchsorted(self.species, atoms.numbers)
        n_atoms = len(atoms)
        values, slopes = self._edge_features(vectors, centre, kinds[neighbour], n_atoms)
        energy = np.zeros(self.n_features)
        forces = np.zeros((n_atoms, 3, self.n_features))
        stress = np.zeros((6, self.n_features))
        for k in range(len(self.species)):
            block = slice(k * self.n_own, (k + 1) * self.n_own)
            mine = kinds[centre] == k
            energy[block] = values[kinds == k].sum(axis=0)
            slope = slopes[mine].reshape(-1, 3 * self.n_own)
            incidence = _incidence(centre[mine], n_atoms) - _incidence(neighbour[mine], n_atoms)
            forces[:, :, block] = (incidence @ slope).reshape(n_atoms, 3, self.n_own)
            tensor = (vectors[mine].T @ slope).reshape(3, 3, self.n_own).transpose(2, 0, 1)
            stress[:, block] = matrix_to_voigt(tensor).T / max(abs(atoms.cell.volume), 1e-12)
        return energy, forces, stress

    def _edge_features(
        self, vectors: FloatArray, centre: NDArray[np.intp], kinds: NDArray[np.intp], n_atoms: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return atomic features (n_atoms, n_own) and their edge gradients (n_edges, 3, n_own)."""
        length = np.linalg.norm(vectors, axis=1)
        unit = vectors / length[:, None]
        radial, slope = _radial(length, self.cutoff)
        values = np.zeros((n_atoms, self.n_own))
        slopes = np.zeros((len(vectors), 3, self.n_own))
        for k in range(len(self.species)):
            columns = slice(k * _N_PAIR, (k + 1) * _N_PAIR)
            mine = kinds == k
            values[:, columns] = _incidence(centre[mine], n_atoms) @ radial[mine]
            slopes[mine, :, columns] = unit[mine][:, :, None] * slope[mine][:, None, :]
        column = _N_PAIR * len(self.species)
        chosen = np.linspace(0, _N_PAIR - 1, _N_ANGULAR).round().astype(int)
        for rank in _RANKS:
            # R_n(r) T(r / |r|) = S_n(r) T(r) with S_n = R_n / r^l: T is then a polynomial of the vector.
            scaled = radial[:, chosen] / length[:, None] ** rank
            scaled_slope = slope[:, chosen] / length[:, None] ** rank - rank * scaled / length[:, None]
            tensors = _tensors(vectors, rank)
            terms = (scaled[:, :, None] * tensors[:, None, :]).reshape(len(vectors), -1)
            moments = (_incidence(centre, n_atoms) @ terms).reshape(n_atoms, _N_ANGULAR, -1)
            along, gradient = _contract(moments[centre], vectors, tensors, rank)
            # d(S_n T . A_m)/dr = S_n' r^ (T . A_m) + S_n grad(T . A_m)
            products = np.einsum("inm,ipm->inp", moments, moments)
            for n in range(_N_ANGULAR):
                for m in range(n, _N_ANGULAR):
                    values[:, column] = products[:, n, m]
                    radially = scaled_slope[:, n] * along[:, m] + scaled_slope[:, m] * along[:, n]
                    slopes[:, :, column] = radially[:, None] * unit
                    slopes[:, :, column] += scaled[:, n, None] * gradient[:, :, m]
                    slopes[:, :, column] += scaled[:, m, None] * gradient[:, :, n]
                    column += 1
        return values, slopes

    def add(self, atoms: Atoms, energy: float | None, forces: FloatArray | None) -> FloatArray:
        """Take the labels of a structure into the fit; return the design of its stress (6, n_features)."""
        energy_row, force_rows, stress_rows = self.design(atoms)
        if forces is not None:
            rows = force_rows.reshape(-1, self.n_features) / _FORCE_NOISE
            self._normal += rows.T @ rows
            self._right += rows.T @ (forces.ravel() / _FORCE_NOISE)
        if energy is not None:
            key = np.sort(atoms.numbers).astype(np.int64).tobytes()
            self._energy_rows.append((key, energy_row, energy, len(atoms)))
        return stress_rows

    def fit(self) -> None:
        """Solve; energies count as differences among structures of the same composition."""
        normal, right = self._normal.copy(), self._right.copy()
        for key in {row[0] for row in self._energy_rows}:
            same = [row for row in self._energy_rows if row[0] == key]
            weight = 1.0 / (_ENERGY_NOISE * same[0][3])
            rows = np.array([row[1] for row in same]) * weight
            target = np.array([row[2] for row in same]) * weight
            rows, target = rows - rows.mean(axis=0), target - target.mean()
            normal += rows.T @ rows
            right += rows.T @ target
        scale = np.sqrt(np.diag(normal))
        scale[scale < _SMALLEST] = 1.0  # of elements that never meet, for example
        system = normal / np.outer(scale, scale) + _RIDGE * np.eye(self.n_features)
        self.coefficients = np.linalg.lstsq(system, right / scale, rcond=1e-12)[0] / scale


def _incidence(index: NDArray[np.intp], n_atoms: int) -> csr_array:
    """Return the matrix (n_atoms, n_edges) that sums edges over the atoms they belong to."""
    edges = np.arange(len(index))
    return csr_array((np.ones(len(index)), (index, edges)), shape=(n_atoms, len(index)))


def _radial(length: FloatArray, cutoff: float) -> tuple[FloatArray, FloatArray]:
    """Return Chebyshev polynomials times a smooth cutoff and their derivatives, (n_edges, n)."""
    x = 2.0 * length / cutoff - 1.0
    smooth = (1.0 - (length / cutoff) ** 2) ** 2
    smooth_slope = -4.0 * length / cutoff**2 * (1.0 - (length / cutoff) ** 2)
    identity = np.eye(_N_PAIR)
    values = np.stack([np.polynomial.chebyshev.chebval(x, row) for row in identity], axis=1)
    slopes = np.stack(
        [np.polynomial.chebyshev.chebval(x, np.polynomial.chebyshev.chebder(row)) for row in identity], axis=1
    )
    return (
        values * smooth[:, None],
        slopes * (2.0 / cutoff) * smooth[:, None] + values * smooth_slope[:, None],
    )


def _tensors(vectors: FloatArray, rank: int) -> FloatArray:
    """Return the outer power of the vectors, flattened, (n_edges, 3^rank)."""
    result = np.ones((len(vectors), 1))
    for _ in range(rank):
        result = (result[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
    return result


def _contract(
    moments: FloatArray, vectors: FloatArray, tensors: FloatArray, rank: int
) -> tuple[FloatArray, FloatArray]:
    """Return ``T(r) . A`` (n_edges, n) and its gradient (n_edges, 3, n); A is symmetric in its indices."""
    along = np.einsum("enm,em->en", moments, tensors)
    if rank == 0:
        return along, np.zeros((len(vectors), 3, moments.shape[1]))
    lower = _tensors(vectors, rank - 1)
    folded = moments.reshape(*moments.shape[:2], 3, -1)
    return along, rank * np.einsum("enam,em->ean", folded, lower, optimize=True)
