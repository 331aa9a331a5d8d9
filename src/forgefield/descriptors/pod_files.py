"""LAMMPS's files of a POD potential: parameters and coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from forgefield.config import parse
from forgefield.descriptors.pod import POD, PODSettings
from forgefield.errors import DataError, PotentialFileError, did_you_mean
from forgefield.files import read_text, write_text

__all__ = [
    "read_pod_coefficients",
    "read_pod_parameters",
    "write_pod_coefficients",
    "write_pod_parameters",
]

REALS = {"rin": "inner_cutoff", "rcut": "cutoff"}
INTEGERS = {
    "bessel_polynomial_degree": "bessel_degree",
    "inverse_polynomial_degree": "inverse_degree",
    "twobody_number_radial_basis_functions": "n_max_two_body",
    "threebody_number_radial_basis_functions": "n_max_three_body",
    "threebody_angular_degree": "degree_three_body",
    "fourbody_number_radial_basis_functions": "n_max_four_body",
    "fourbody_angular_degree": "degree_four_body",
    "fivebody_number_radial_basis_functions": "n_max_five_body",
    "fivebody_angular_degree": "degree_five_body",
    "sixbody_number_radial_basis_functions": "n_max_six_body",
    "sixbody_angular_degree": "degree_six_body",
    "sevenbody_number_radial_basis_functions": "n_max_seven_body",
    "sevenbody_angular_degree": "degree_seven_body",
}
FIXED = {"onebody": 1, "number_of_environment_clusters": 1}
"""Keywords with the one value that is supported."""

WITHOUT_EFFECT = ("pbc", "number_of_principal_components")
KEYWORDS = ("species", *REALS, *INTEGERS, *FIXED, *WITHOUT_EFFECT)


def _lines(path: Path) -> list[list[str]]:
    """Return the words of every line that has any, without comments and quotes."""
    try:
        text = read_text(path)
    except DataError as error:
        raise PotentialFileError(str(error)) from None
    lines = (line.partition("#")[0].replace('"', " ").replace("'", " ").split() for line in text.splitlines())
    return [words for words in lines if words]


def _number(words: Sequence[str], path: Path, kind: type[Any]) -> Any:
    try:
        if len(words) == 2:
            return kind(words[1])
    except ValueError:
        pass
    raise PotentialFileError(
        f"{path}: `{' '.join(words)}` must be a keyword and one {'integer' if kind is int else 'number'}"
    )


def read_pod_parameters(path: str | Path) -> POD:
    """Return the descriptor of a LAMMPS parameter file (``Ta_param.pod``).

    Raises
    ------
    PotentialFileError
        A keyword is unknown or asks for something that is not supported: environment clusters, no one-body term.
    """
    path = Path(path)
    values: dict[str, Any] = {"kind": "pod"}
    elements: tuple[str, ...] = ()
    for words in _lines(path):
        keyword = words[0]
        if keyword not in KEYWORDS:
            raise PotentialFileError(
                f"{path}: unknown keyword {keyword!r}: {did_you_mean(keyword, KEYWORDS)}"
            )
        if keyword == "species":
            elements = tuple(words[1:])
        elif keyword in REALS:
            values[REALS[keyword]] = _number(words, path, float)
        elif keyword in INTEGERS:
            values[INTEGERS[keyword]] = _number(words, path, int)
        elif keyword in FIXED:
            wanted, found = FIXED[keyword], _number(words, path, int)
            if found != wanted:
                raise PotentialFileError(
                    f"{path}: `{keyword}` is {found}, only {wanted} is supported; fit the potential without it"
                )
    if not elements or any(atomic_numbers.get(e, 0) < 1 for e in elements):
        raise PotentialFileError(
            f"{path}: `species` must name the elements, got {' '.join(elements) or 'nothing'}"
        )
    settings = parse(PODSettings, {**values, "element_order": elements}, where=str(path))
    return POD(elements, settings)


def write_pod_parameters(path: str | Path, descriptor: POD) -> Path:
    """Write the parameter file of a descriptor."""
    settings = descriptor.settings
    lines = [
        f"species {' '.join(descriptor.elements)}",
        "pbc 1 1 1",
        *(f"{keyword} {float(getattr(settings, name))!r}" for keyword, name in REALS.items()),
        *(f"{keyword} {_used(settings, name)}" for keyword, name in INTEGERS.items()),
        *(f"{keyword} {value}" for keyword, value in FIXED.items()),
    ]
    return write_text(path, "\n".join(lines) + "\n")


def _used(settings: PODSettings, name: str) -> int:
    """Return an integer setting; degrees of features that do not exist are 0, LAMMPS compares them all the same."""
    value: int = getattr(settings, name)
    count = name.replace("degree", "n_max")
    return 0 if name.endswith("_body") and getattr(settings, count) == 0 else value


def read_pod_coefficients(path: str | Path, descriptor: POD) -> NDArray[np.float64]:
    """Return the coefficients of a LAMMPS file (``Ta_coeff.pod``).

    Returns
    -------
    (n_species, 1 + n_features) array [eV]
        In the order of `descriptor.species`: energy of the free atom, then one coefficient per feature.
    """
    path = Path(path)
    lines = _lines(path)
    expected = descriptor.n_species * (1 + descriptor.n_features)
    header = lines[0] if lines else []
    if len(header) not in (2, 4) or header[1:] != [str(expected), "0", "0"][: len(header) - 1]:
        raise PotentialFileError(
            f"{path}: the first line is `{' '.join(header)}`, expected `model_coefficients: {expected} 0 0` "
            "for the parameters given"
        )
    try:
        values = np.array([float(words[0]) for words in lines[1:] if len(words) == 1])
    except ValueError as error:
        raise PotentialFileError(f"{path}: a coefficient is not a number: {error}") from None
    if len(values) != expected or len(lines) != expected + 1 or not np.isfinite(values).all():
        raise PotentialFileError(
            f"{path}: {len(lines) - 1} lines of coefficients, expected {expected} numbers"
        )
    table = np.empty((descriptor.n_species, 1 + descriptor.n_features))
    table[list(descriptor.order)] = values.reshape(table.shape)
    return table


def write_pod_coefficients(path: str | Path, descriptor: POD, coefficients: NDArray[np.float64]) -> Path:
    """Write coefficients shaped and ordered as `read_pod_coefficients` returns them."""
    values = np.asarray(coefficients, dtype=np.float64)[list(descriptor.order)].ravel()
    lines = [f"model_coefficients: {len(values)} 0 0", *(repr(float(v)) for v in values)]
    return write_text(path, "\n".join(lines) + "\n")
