"""VASP vasprun.xml: every complete ionic step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import IncompleteError, RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.sources import Candidate, read_bytes
from forgefield.data.stress import CONVENTIONS
from forgefield.errors import DataError

__all__ = ["FORMAT"]


def _sniff(file: Candidate) -> bool:
    return not file.is_folder and "<modeling>" in file.text[:4096]


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    numbers: NDArray[np.int64] | None = None
    index = 0
    # Read in pieces, so that the steps before a cut are seen; the standard parser bounds entity expansion.
    events = ET.iterparse(io.BytesIO(read_bytes(path)), events=("end",))  # noqa: S314
    while True:
        where = Where(str(path), index)
        try:
            element = next(events)[1]
        except StopIteration:
            return
        except ET.ParseError as error:
            line = error.position[0]
            raise IncompleteError(
                f"{where}, line {line}: not valid XML, the file is cut off or damaged; let the run finish, or read "
                "with allow_incomplete=true to use the structures before"
            ) from None
        if element.tag == "atominfo":
            symbols = [
                row[0].text or "" for row in element.iterfind("array[@name='atoms']/set/rc") if len(row)
            ]
            numbers = np.array([atomic_number(symbol, where) for symbol in symbols], dtype=np.int64)
        elif element.tag == "calculation":
            if numbers is None:
                raise DataError(f"{where}: a calculation before <atominfo>; the file is damaged")
            yield _frame(element, numbers, options, where)
            element.clear()
            index += 1


def _vectors(parent: ET.Element, path: str, where: Where) -> NDArray[np.float64] | None:
    array = parent.find(path)
    if array is None:
        return None
    return number_array([(row.text or "").split() for row in array.iterfind("v")], path, where, (-1, 3))


def _energy(step: ET.Element, options: ReadOptions, where: Where) -> float | None:
    """Return the energy of an ionic step.

    The block after the electronic loop has a wrong ``e_0_energy`` in several versions of VASP, so the
    extrapolated energy is taken from the last electronic step.
    """
    if options.energy_choice == "free":
        blocks, name = [step.find("energy"), *step.findall("scstep/energy")[::-1]], "e_fr_energy"
    else:
        blocks, name = [*step.findall("scstep/energy")[::-1], step.find("energy")], "e_0_energy"
    for block in blocks:
        item = None if block is None else block.find(f"i[@name='{name}']")
        if item is not None and item.text:
            return float(number_array(item.text.strip(), name, where))
    return None


def _frame(step: ET.Element, numbers: NDArray[np.int64], options: ReadOptions, where: Where) -> RawFrame:
    cell = _vectors(step, "structure/crystal/varray[@name='basis']", where)
    scaled = _vectors(step, "structure/varray[@name='positions']", where)
    if cell is None or scaled is None or cell.shape != (3, 3):
        raise DataError(f"{where}: a calculation without a structure; the file is damaged")
    return RawFrame(
        numbers=numbers,
        positions=scaled @ cell,
        cell=cell,
        energy=_energy(step, options, where),
        forces=_vectors(step, "varray[@name='forces']", where),
        stress=_vectors(step, "varray[@name='stress']", where),
        convention=CONVENTIONS["vasp"],
    )


FORMAT = Format("vasprun", "VASP vasprun.xml", _sniff, _read, aliases=("vasprun.xml", "vasp-xml"))
