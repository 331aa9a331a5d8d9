"""A start at the right mean energy: the output layer of a network fitted to energies before training.

Where the reference energies are those of free atoms, every structure is bound by several eV per atom, which a network
with quiet random weights does not know. Gradients would spend most of a short training on that one number; the output
layer is linear, so least squares gives it at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.models.network import Network
from forgefield.models.potential import Potential

__all__ = ["FAR", "fit_output_layer"]

FloatArray = NDArray[np.float64]

FAR = 2.0
"""Mean energies of so many energy units (root mean square force times 1 Å) are fitted; smaller ones training learns."""
PRIOR = 0.1
"""Square root of the ridge, in units of the root mean square row of least squares."""


def fit_output_layer(
    potential: Potential, blocks: Iterable[tuple[int, int, Tensor]], energies: dict[int, tuple[float, int]]
) -> bool:
    """Fit the output layer to energies, as close to its random weights as they allow.

    Parameters
    ----------
    potential : Potential
        With scaler and energy unit set. Models other than networks, and labels near zero, are left alone.
    blocks : iterable of (structure, species, features)
        Unscaled features of the atoms of one element of a structure.
    energies : dict of structure to (energy [eV], n_atoms)
        What the model has to give.

    Returns
    -------
    bool
        Whether the layer was changed.

    Notes
    -----
    Minimises ``|G w - e|^2 + (PRIOR g)^2 |w - w_0|^2`` over the output weights w, with random start w_0, energies per atom
    e, hidden neurons averaged over the atoms of a structure as rows of G, and g the root mean square norm of a row. Of
    potentials with exact free atoms the neurons of a free atom are subtracted; otherwise the bias is a further column.
    """
    model, unit = potential.model, float(potential.energy_scale)
    means = np.array([e / n for e, n in energies.values()]) / unit
    if not isinstance(model, Network) or not len(means) or abs(means.mean()) < FAR:
        return False
    places = {structure: row for row, structure in enumerate(energies)}
    exact = bool(potential.exact_free_atom)
    weight, bias = model.weights[-1], model.biases[-1]
    n_species, width = model.n_species, weight.shape[1] + 1
    rows = np.zeros((len(places), n_species, width))
    with torch.no_grad():
        origins = [_hidden(potential, _nothing(potential, s), s)[0] for s in range(n_species)]
        for structure, species, features in blocks:
            if structure not in places:
                continue
            found = _hidden(potential, features, species)
            if exact:
                found = found - origins[species]
            rows[places[structure], species] += found.sum(0).cpu().numpy() / energies[structure][1]
    shared = len(weight) < n_species
    if shared:  # neurons of all atoms, whatever their element
        g = np.concatenate([rows[:, :, :-1].sum(axis=1), rows[:, :, -1]], axis=1)
        own = torch.cat([weight[0, :, 0], bias[:, 0]])
    else:
        g, own = rows.reshape(len(places), -1), torch.cat([weight[:, :, 0], bias], dim=1)
    old = own.detach().to(torch.float64).cpu().numpy().ravel()
    new = torch.from_numpy(old + _least_change(g, means - g @ old)).to(weight)
    with torch.no_grad():
        values = (new[: width - 1], new[width - 1 :]) if shared else _columns(new.reshape(n_species, width))
        weight[:, :, 0], bias[:, 0] = values
    return True


def _columns(of_elements: Tensor) -> tuple[Tensor, Tensor]:
    return of_elements[:, :-1], of_elements[:, -1]


def _least_change(g: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return the change of the weights: ridge regression whose penalty is relative to the size of the rows."""
    kernel = g @ g.T
    ridge = PRIOR**2 * max(float(np.trace(kernel)) / len(kernel), 1e-300)
    return np.asarray(g.T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), wanted), dtype=np.float64)


def _hidden(potential: Potential, features: Tensor, species: int) -> Tensor:
    """Return the last hidden neurons (n_atoms, n + 1) of atoms of one element, with a column of ones for the bias."""
    model = potential.model
    if not isinstance(model, Network):
        raise TypeError(f"only networks have hidden neurons, got {type(model).__name__}")
    x = model.last_hidden(potential.scaler(features), species).to(torch.float64)
    return torch.cat([x, x.new_ones((len(x), 1))], dim=1)


def _nothing(potential: Potential, species: int) -> Tensor:
    """Return the features of an atom without neighbours."""
    zeros = [
        torch.zeros((1, *e.shape), dtype=potential.dtype, device=potential.device)
        for e in potential.descriptor.expansions
    ]
    return potential.descriptor.invariants(zeros, species)
