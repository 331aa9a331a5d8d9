"""SNAP potentials for LAMMPS (`pair_style snap`) and from it: linear, quadratic and chemical.

=========================================  ===================================================================
in the files                               here
=========================================  ===================================================================
``NAME.snapparam``                         settings of the descriptor `snap`; LAMMPS's names are in its schema
``quadraticflag 1``                        model `quadratic` (or `quadratic` of the descriptor, when written)
``NAME.snapcoeff``: element, R_i, w_i      `radii`, `weights`
first coefficient of an element            its reference energy
further ones                               weights of the model, features in the order of the file
=========================================  ===================================================================

With several elements and `chemical`, the order of the features is that of the elements on LAMMPS's command pair_coeff;
it is taken to be the order of the blocks in the file where nothing else says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forgefield.config import parse
from forgefield.deployment.folding import Polynomial, polynomial, potential_of
from forgefield.deployment.lammps_files import (
    UNITS,
    as_dtype,
    check_elements,
    flag,
    integer,
    number,
    partner,
    read_keywords,
    words_of,
    words_of_content,
)
from forgefield.deployment.lammps_script import check_zbl
from forgefield.deployment.lammps_symmetry import shared_equally
from forgefield.descriptors.bispectrum import triples
from forgefield.descriptors.snap import DEFAULT_RADIUS, SNAP, SNAPSettings
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.files import make_folder, write_text
from forgefield.models.file import DtypeName, read_content
from forgefield.models.linear import Linear
from forgefield.models.potential import Potential
from forgefield.models.quadratic import Quadratic

__all__ = [
    "export_snap",
    "feature_order",
    "is_snap_coefficients",
    "is_snap_parameters",
    "load_snap",
    "polynomial_degree",
    "read_snap",
    "snap_keywords",
    "snap_settings",
]

FloatArray = NDArray[np.float64]

REALS = {"rcutfac": "cutoff", "rfac0": "rfac0", "rmin0": "rmin0"}
FLAGS = {
    "switchflag": "switch",
    "bzeroflag": "bzero",
    "chemflag": "chemical",
    "bnormflag": "bnorm",
    "wselfallflag": "wself_all",
}
INNER = {"sinner": "inner_middle", "dinner": "inner_width"}
WITHOUT_EFFECT = ("chunksize", "parallelthresh")
KEYWORDS = ("twojmax", *REALS, *FLAGS, "quadraticflag", "switchinnerflag", *INNER, *WITHOUT_EFFECT)


@dataclass(frozen=True)
class _Coefficients:
    """A .snapcoeff: elements in its order, their radii and weights, and (n_elements, n) coefficients."""

    elements: tuple[str, ...]
    radii: list[float]
    weights: list[float]
    values: FloatArray


# ---- recognising ---------------------------------------------------------------------------------------------


def is_snap_coefficients(content: bytes) -> bool:
    """Return whether a file with this content looks like a .snapcoeff."""
    lines = words_of_content(content)
    return (
        len(lines) > 1
        and len(lines[0]) == 2
        and all(w.isdigit() for w in lines[0])
        and len(lines[1]) == 3
        and lines[1][0].isalpha()
    )


def is_snap_parameters(content: bytes) -> bool:
    """Return whether a file with this content looks like a .snapparam."""
    first = {words[0] for words in words_of_content(content)}
    return {"rcutfac", "twojmax"} <= first <= set(KEYWORDS)


# ---- reading -------------------------------------------------------------------------------------------------


def load_snap(path: str | Path, dtype: DtypeName | None = None) -> Potential:
    """Read a SNAP potential from the path of one of its two files; the other lies beside it.

    Parameters
    ----------
    path : str or Path
        ``NAME.snapcoeff`` or ``NAME.snapparam``.
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default float64.
    """
    path = Path(path)
    if is_snap_parameters(read_content(path)):
        coefficients, parameters = partner(path, ".snapparam", ".snapcoeff", is_snap_coefficients), path
    else:
        coefficients, parameters = path, partner(path, ".snapcoeff", ".snapparam", is_snap_parameters)
    return as_dtype(read_snap(coefficients, parameters), dtype)


def read_snap(
    coefficients: str | Path, parameters: str | Path, *, elements: Sequence[str] | None = None
) -> Potential:
    """Read the two files of a SNAP potential.

    Parameters
    ----------
    coefficients, parameters : str or Path
        ``NAME.snapcoeff`` and ``NAME.snapparam``.
    elements : sequence of str, optional
        Elements on the command pair_coeff; default: those of the file, in its order.

    Returns
    -------
    Potential
        In float64; the first coefficient of an element is its reference energy.

    Raises
    ------
    PotentialFileError
        A file is missing or damaged, does not fit the other, or asks for something that is not supported.
    """
    found = read_keywords(words_of(parameters), dict.fromkeys(KEYWORDS), parameters)
    table = _only(_read_coefficients(Path(coefficients)), elements, coefficients)
    quadratic = flag(found.pop("quadraticflag", ["0"])[0], parameters, "`quadraticflag`")
    try:
        settings = snap_settings(found, table.elements, table.radii, table.weights, parameters)
        descriptor = SNAP(table.elements, settings)
    except ConfigError as error:
        raise PotentialFileError(f"{parameters}: {error}") from None
    n = descriptor.n_features
    expected = 1 + n + quadratic * (n * (n + 1) // 2)
    if table.values.shape[1] != expected:
        raise PotentialFileError(
            f"{coefficients} has {table.values.shape[1]} coefficients for each element, but twojmax "
            f"{settings.two_j_max}, quadraticflag {int(quadratic)}, chemflag {int(settings.chemical)} of "
            f"{parameters} need {expected}; the two files do not belong together"
        )
    rows = [table.elements.index(chemical_symbols[z]) for z in descriptor.species]
    order = feature_order(descriptor, table.elements)
    return potential_of(descriptor, Polynomial.of_table(table.values, n).taken(rows, order, np.ones(n)))


def _read_coefficients(path: Path) -> _Coefficients:
    lines = words_of(path)
    if not lines or len(lines[0]) != 2:
        raise PotentialFileError(
            f"{path}: the first line must hold the numbers of elements and of coefficients, got "
            f"`{' '.join(lines[0]) if lines else ''}`"
        )
    n_elements, n = (integer(w, path, "a number of the first line") for w in lines[0])
    if len(lines) != 1 + n_elements * (n + 1) or n_elements < 1 or n < 1:
        raise PotentialFileError(
            f"{path} has {len(lines) - 1} lines after `{n_elements} {n}`, expected {n_elements * (n + 1)}; copy it again"
        )
    names, radii, weights = [], [], []
    values = np.empty((n_elements, n))
    for k in range(n_elements):
        head, *block = lines[1 + k * (n + 1) : 1 + (k + 1) * (n + 1)]
        if len(head) != 3 or any(len(words) != 1 for words in block):
            raise PotentialFileError(
                f"{path}: block {k + 1} must be a line `element radius weight` and {n} lines with one number each, "
                f"got `{' '.join(head)}`"
            )
        names.append(head[0])
        radii.append(number(head[1], path, f"the radius of {head[0]}"))
        weights.append(number(head[2], path, f"the weight of {head[0]}"))
        values[k] = [number(w[0], path, f"a coefficient of {head[0]}") for w in block]
    return _Coefficients(check_elements(names, path), radii, weights, values)


def _only(table: _Coefficients, elements: Sequence[str] | None, path: str | Path) -> _Coefficients:
    """Return the blocks of some elements, in their order."""
    if elements is None:
        return table
    missing = [e for e in elements if e not in table.elements]
    if missing:
        raise PotentialFileError(
            f"{path} has no coefficients for {', '.join(missing)}, only {table.elements}"
        )
    keep = [table.elements.index(e) for e in elements]
    return _Coefficients(
        check_elements(elements, path),
        [table.radii[k] for k in keep],
        [table.weights[k] for k in keep],
        table.values[keep],
    )


def snap_settings(
    found: Mapping[str, Sequence[str]],
    elements: Sequence[str],
    radii: Sequence[float],
    weights: Sequence[float],
    path: str | Path,
) -> SNAPSettings:
    """Return the settings of the descriptor for LAMMPS's keywords and elements."""
    missing = [k for k in ("rcutfac", "twojmax") if k not in found]
    if missing:
        raise PotentialFileError(f"{path}: the keyword `{missing[0]}` is missing")
    values: dict[str, Any] = {"two_j_max": integer(found["twojmax"][0], path, "`twojmax`")}
    values |= {ours: number(found[k][0], path, f"`{k}`") for k, ours in REALS.items() if k in found}
    values |= {ours: flag(found[k][0], path, f"`{k}`") for k, ours in FLAGS.items() if k in found}
    values["radii"] = dict(zip(elements, radii, strict=True))
    values["weights"] = dict(zip(elements, weights, strict=True))
    inner = flag(found.get("switchinnerflag", ["0"])[0], path, "`switchinnerflag`")
    for keyword, ours in INNER.items():
        if inner != (keyword in found):
            raise PotentialFileError(f"{path}: `{keyword}` is needed with `switchinnerflag 1` and only then")
        if inner:
            if len(found[keyword]) != len(elements):
                raise PotentialFileError(
                    f"{path}: `{keyword}` needs {len(elements)} values, one for each element"
                )
            values[ours] = {
                e: number(w, path, f"`{keyword}`") for e, w in zip(elements, found[keyword], strict=True)
            }
    return parse(SNAPSettings, values, where=str(path))


def feature_order(descriptor: SNAP, elements: Sequence[str]) -> NDArray[np.int64]:
    """Return the position, in files for `elements` in this order, of each feature that is no product."""
    p, n = descriptor.settings, descriptor.n_density
    place = [elements.index(chemical_symbols[z]) for z in descriptor.species] if p.chemical else [0]
    per_triple = len(triples(p.two_j_max))
    return np.array(
        [
            ((place[a] * n + place[b]) * n + place[c]) * per_triple + t
            for a, b, c, t in itertools.product(range(n), range(n), range(n), range(per_triple))
        ]
    )


# ---- writing -------------------------------------------------------------------------------------------------


def snap_keywords(descriptor: SNAP) -> list[str]:
    """Return the lines of keywords and values that LAMMPS's pair styles and descriptors share.

    Raises
    ------
    ConfigError
        LAMMPS has no such descriptor.
    """
    p = descriptor.settings
    if p.wself != 1.0:
        raise ConfigError(
            f"LAMMPS's SNAP has `descriptor.wself: 1` fixed, this potential has {p.wself}; train another"
        )
    lines = [f"twojmax {p.two_j_max}", *(f"{k} {getattr(p, ours)!r}" for k, ours in REALS.items())]
    return lines + [f"{k} {int(getattr(p, ours))}" for k, ours in FLAGS.items()]


def export_snap(potential: Potential, folder: str | Path, name: str = "potential") -> list[Path]:
    """Write ``NAME.snapcoeff`` and ``NAME.snapparam`` for LAMMPS.

    In LAMMPS: ``pair_style snap``, ``pair_coeff * * NAME.snapcoeff NAME.snapparam Ta W ...`` (units metal) with the
    elements in the order of the file.

    Parameters
    ----------
    potential : Potential
        SNAP descriptor, linear or quadratic model; a repulsion of nuclei, in LAMMPS's form, is no part of the files.
    folder : str or Path
        Made if it does not exist.
    name : str
        How the files begin.

    Raises
    ------
    ConfigError
        The potential is of another kind.
    """
    descriptor = potential.descriptor
    if not isinstance(descriptor, SNAP) or polynomial_degree(potential) not in (1, 2):
        raise ConfigError(_refusal(potential))
    check_zbl(potential.zbl)
    p, elements = descriptor.settings, potential.elements
    keywords = [*snap_keywords(descriptor), f"quadraticflag {polynomial_degree(potential) - 1}"]
    if p.inner_middle:
        keywords.append("switchinnerflag 1")
        keywords += [
            " ".join([k, *(repr(getattr(p, ours)[e]) for e in elements)]) for k, ours in INNER.items()
        ]
    table = shared_equally(descriptor, polynomial(potential)).table()
    if not np.isfinite(table).all():
        raise ConfigError("this potential has parameters that are not finite; nothing was written")
    names = ["constant", *_names(descriptor, table.shape[1] - 1)]
    lines = [f"{len(elements)} {len(names)}"]
    for k, element in enumerate(elements):
        radius, weight = p.radii.get(element, DEFAULT_RADIUS), p.weights.get(element, 1.0)
        lines.append(f"{element} {radius!r} {weight!r}")
        lines += [f"{float(v)!r} # {label}" for v, label in zip(table[k], names, strict=True)]
    target = make_folder(folder)
    return [
        write_text(target / f"{name}.snapcoeff", UNITS + "\n".join(lines) + "\n"),
        write_text(target / f"{name}.snapparam", UNITS + "\n".join(keywords) + "\n"),
    ]


def polynomial_degree(potential: Potential) -> int:
    """Return the degree of the energy in the features that are no products; 0 where it is no polynomial."""
    descriptor, model = potential.descriptor, potential.model
    products = isinstance(descriptor, SNAP) and descriptor.settings.quadratic
    degree = 1 if isinstance(model, Linear) else 2 if isinstance(model, Quadratic) else 0
    return degree * (2 if products else 1)


def _names(descriptor: SNAP, count: int) -> list[str]:
    """Return the names of features and their products."""
    own = descriptor.feature_names
    return own if len(own) == count else [*own, *(f"{a} * {b}" for n, a in enumerate(own) for b in own[n:])]


def _refusal(potential: Potential) -> str:
    descriptor, model = potential.descriptor.settings.kind, potential.model.settings.kind
    advice = "train such a potential"
    if descriptor in ("snap", "so3"):
        advice = "export it with `lammps-mliap`, which knows networks and the descriptor so3, or " + advice
    return (
        "LAMMPS's pair_style snap needs `descriptor.kind: snap` and `model.kind: linear` or `quadratic` (one of "
        f"`descriptor.quadratic` and the quadratic model), got {descriptor} with {model}; {advice}"
    )
