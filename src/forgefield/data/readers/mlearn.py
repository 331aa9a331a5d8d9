"""JSON of pymatgen structures with outputs, as in the mlearn and snap repositories (VASP).

Their stress is in kbar and positive in compression, but its order differs from group to group; the most
frequent one (xx yy zz xy xz yz) is assumed and the convention detector corrects the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forgefield.data.frames import RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format, load_json, require
from forgefield.data.sources import Candidate
from forgefield.data.stress import CONVENTIONS
from forgefield.errors import DataError

__all__ = ["FORMAT"]


def _sniff(file: Candidate) -> bool:
    text = file.text.lstrip()
    return not file.is_folder and text.startswith(("[", "{")) and '"structure"' in text and '"sites"' in text


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    del options
    document = load_json(path)
    entries = document if isinstance(document, list) else [document]
    for index, entry in enumerate(entries):
        yield _frame(entry, Where(str(path), index))


def _species(site: Any, where: Where) -> int:
    species = require(site, "species", where)
    if not isinstance(species, list) or len(species) != 1:
        raise DataError(
            f"{where}: a site with several species (partial occupation) cannot be used: {species!r}"
        )
    return atomic_number(require(species[0], "element", where), where)


def _frame(entry: Any, where: Where) -> RawFrame:
    structure = require(entry, "structure", where)
    cell = number_array(require(require(structure, "lattice", where), "matrix", where), "cell", where, (3, 3))
    sites = require(structure, "sites", where)
    if not isinstance(sites, list) or not sites:
        raise DataError(f"{where}: `sites` must be a list of atoms")
    n_atoms = len(sites)
    numbers = np.array([_species(site, where) for site in sites], dtype=np.int64)
    if all("xyz" in site for site in sites):
        positions = number_array([site["xyz"] for site in sites], "xyz", where, (n_atoms, 3))
    else:
        scaled = number_array([require(site, "abc", where) for site in sites], "abc", where, (n_atoms, 3))
        positions = scaled @ cell
    outputs = entry.get("outputs", entry.get("data", {}))
    if not isinstance(outputs, dict):
        raise DataError(f"{where}: `outputs` must be an object with energy and forces")
    info = {new: str(entry[old]) for old, new in _INFO.items() if entry.get(old) is not None}
    return RawFrame(
        numbers=numbers,
        positions=positions,
        cell=cell,
        energy=_energy(outputs, n_atoms, where),
        forces=_optional(outputs, ("forces",), where),
        stress=_optional(outputs, ("virial_stress", "stress"), where),
        convention=CONVENTIONS["mlearn"],
        info=info,
    )


_INFO = {"group": "config_type", "tag": "split", "description": "description"}


def _optional(outputs: dict[str, Any], names: tuple[str, ...], where: Where) -> Any:
    for name in names:
        if outputs.get(name) is not None:
            return number_array(outputs[name], name, where)
    return None


def _energy(outputs: dict[str, Any], n_atoms: int, where: Where) -> float | None:
    for name in ("energy", "potential_energy", "energy_per_atom"):
        if outputs.get(name) is not None:
            value = float(number_array(outputs[name], name, where, ()))
            return value * n_atoms if name == "energy_per_atom" else value
    return None


FORMAT = Format("mlearn", "JSON of pymatgen structures (mlearn, snap)", _sniff, _read, aliases=("pymatgen",))
