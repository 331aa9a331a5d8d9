"""The proof that files exported to a program make it say what the potential says.

Energies, forces, atomic virials and stress of several structures are computed here, in double precision, and by the
program itself with the files; the certificate holds both, their largest differences and whether they are within the
tolerance.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield import __version__
from forgefield.deployment.certificate_structures import certificate_structures
from forgefield.deployment.engines import Answer
from forgefield.errors import PotentialFileError
from forgefield.files import write_json
from forgefield.keys import matrix_to_voigt
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.models.results import Prediction, VirialKind

__all__ = [
    "FILE_NAME",
    "FLOORS",
    "Certificate",
    "CertificateError",
    "Difference",
    "Exported",
    "certify",
    "write_certificate",
]

FloatArray = NDArray[np.float64]

FILE_NAME = "certificate.json"
FORMAT = "forgefield-certificate"
VERSION = 1

UNITS = {"energies": "eV", "energy": "eV", "forces": "eV/Å", "virials": "eV", "stress": "eV/Å^3"}
FLOORS = {"energies": 1e-3, "energy": 1e-3, "forces": 1e-3, "virials": 1e-3, "stress": 1e-5}
"""Size below which differences count as absolute, in `UNITS`."""

OF_REFERENCES = 1e-3
"""As much of the largest reference energy is the floor of energies where it is more: their sums are rounded."""


class CertificateError(PotentialFileError):
    """Exported files do not make the program say what the potential says."""


@dataclass(frozen=True)
class Exported:
    """Files of a potential and how to ask the program they are for.

    Attributes
    ----------
    files : list of Path
        All in one folder.
    engine : str
        Name of the program.
    ask : callable
        From the structures to the answers and the version of the program.
    virials : {'I', 'II', 'III'}
        Which atomic virial the program gives.
    tolerance : float
        Largest difference relative to the largest component.
    finish : callable
        Writes an input script for a structure beside the files and returns what it wrote.
    left_out : mapping of str to str
        Structures that cannot be compared, and why.
    """

    files: list[Path]
    engine: str
    ask: Callable[[Sequence[Atoms]], tuple[list[Answer], str]]
    virials: VirialKind
    tolerance: float
    finish: Callable[[Atoms], list[Path]]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """The largest differences of a quantity.

    Attributes
    ----------
    absolute : float
        In the unit of the quantity.
    relative : float
        To the largest component in the same structure; energies count without reference energies.
    structure : str
        Where the relative difference is.
    """

    absolute: float
    relative: float
    structure: str


@dataclass(frozen=True)
class Certificate:
    """What two programs say of the same structures.

    Attributes
    ----------
    target, engine, engine_version : str
    tolerance : float
    differences : dict of str to Difference
        Of ``energies``, ``energy`` (per atom), ``forces``, ``virials`` and ``stress``.
    structures : list of dict
        Each structure with both answers, as plain numbers.
    left_out : mapping of str to str
        Structures that were not compared, and why.
    """

    target: str
    engine: str
    engine_version: str
    tolerance: float
    differences: Mapping[str, Difference]
    structures: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether every difference is within the tolerance."""
        return all(d.relative <= self.tolerance for d in self.differences.values())

    def summary(self) -> str:
        """Return one line with the largest differences."""
        parts = [f"{k} {d.absolute:.1e} {UNITS[k]} ({d.relative:.1e})" for k, d in self.differences.items()]
        return f"largest differences on {len(self.structures)} structures: {', '.join(parts)}"


def certify(potential: Potential | Committee, target: str, exported: Exported) -> Certificate:
    """Compare a potential with the program its exported files are for.

    Parameters
    ----------
    potential : Potential or Committee
        In double precision.
    target : str
        Name of the export.
    exported : Exported

    Raises
    ------
    EngineError
        The program is not installed, or refuses the files.
    """
    structures = {k: v for k, v in certificate_structures(potential).items() if k not in exported.left_out}
    answers, version = exported.ask(list(structures.values()))
    references = potential.references.cpu().numpy()
    rows, pairs = [], []
    for (name, atoms), answer in zip(structures.items(), answers, strict=True):
        ours = potential.predict(atoms, virials=exported.virials)
        index = np.searchsorted(np.array(potential.species), atoms.numbers)
        volume = abs(float(atoms.cell.volume))
        pairs.append((name, _quantities(ours, answer, references[index], volume)))
        rows.append(_row(name, atoms, ours, answer, volume))
    shift = OF_REFERENCES * float(np.abs(references).max())
    floors = {k: max(v, shift) if k in ("energies", "energy") else v for k, v in FLOORS.items()}
    differences = {
        key: _largest([(name, found[key]) for name, found in pairs], floors[key]) for key in pairs[0][1]
    }
    return Certificate(
        target, exported.engine, version, exported.tolerance, differences, rows, exported.left_out
    )


def _quantities(
    ours: Prediction, theirs: Answer, references: FloatArray, volume: float
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return pairs of arrays to compare: ours, without reference energies, and theirs."""
    n = len(references)
    virial = -ours.virials.sum(axis=0) / volume
    found = {
        "energies": (ours.energies - references, theirs.energies - references),
        "energy": (
            np.array([(ours.energy - references.sum()) / n]),
            np.array([(theirs.energy - references.sum()) / n]),
        ),
        "forces": (ours.forces, theirs.forces),
        "stress": (matrix_to_voigt(0.5 * (virial + virial.T)), matrix_to_voigt(-theirs.virial / volume)),
    }
    if theirs.virials is not None:
        given = ~np.isnan(theirs.virials[0]) if n else np.zeros((3, 3), dtype=bool)
        found["virials"] = (ours.virials[:, given], theirs.virials[:, given])
    return found


def _largest(pairs: Sequence[tuple[str, tuple[FloatArray, FloatArray]]], floor: float) -> Difference:
    absolute, relative, where = 0.0, 0.0, ""
    for name, (ours, theirs) in pairs:
        difference = float(np.abs(ours - theirs).max())
        if not np.isfinite(difference):
            return Difference(np.inf, np.inf, name)
        ratio = difference / max(floor, float(np.abs(ours).max()))
        absolute = max(absolute, difference)
        if ratio >= relative:
            relative, where = ratio, name
    return Difference(absolute, relative, where)


def _row(name: str, atoms: Atoms, ours: Prediction, theirs: Answer, volume: float) -> dict[str, Any]:
    virial = -ours.virials.sum(axis=0) / volume
    found: dict[str, Any] = {
        "name": name,
        "symbols": atoms.get_chemical_symbols(),
        "cell": atoms.cell.array,
        "positions": atoms.positions,
        "forgefield": {
            "energy": ours.energy,
            "energies": ours.energies,
            "forces": ours.forces,
            "stress": matrix_to_voigt(0.5 * (virial + virial.T)),
            "virials": ours.virials,
        },
        "engine": {
            "energy": theirs.energy,
            "energies": theirs.energies,
            "forces": theirs.forces,
            "stress": matrix_to_voigt(-theirs.virial / volume),
            "virials": theirs.virials,
        },
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    """Return the value as JSON knows it; what is not finite becomes null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_certificate(
    certificate: Certificate, potential: Potential | Committee, files: Sequence[Path], folder: Path
) -> Path:
    """Write ``certificate.json``, with the checksums of the files it is about."""
    first = potential.members[0] if isinstance(potential, Committee) else potential
    content = {
        "format": FORMAT,
        "version": VERSION,
        "passed": certificate.passed,
        "target": certificate.target,
        "engine": {"name": certificate.engine, "version": certificate.engine_version},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": {
            "forgefield": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "machine": platform.platform(),
        },
        "potential": {
            "elements": potential.elements,
            "members": len(potential) if isinstance(potential, Committee) else 1,
            "descriptor": first.descriptor.settings.model_dump(mode="json"),
            "model": first.model.settings.model_dump(mode="json"),
            "zbl": None if first.zbl is None else first.zbl.settings.model_dump(mode="json"),
            "data_hash": potential.provenance.data_hash,
        },
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
        "units": {**UNITS, "cell": "Å", "positions": "Å"},
        "tolerance": certificate.tolerance,
        "tolerance_is": "largest difference relative to the largest component in the same structure, or to the floor where that is "
        "larger; energies without reference energies, `energy` per atom",
        "floors": {**FLOORS, "of_reference_energies": OF_REFERENCES},
        "largest_differences": {
            k: _plain({**asdict(d), "unit": UNITS[k]}) for k, d in certificate.differences.items()
        },
        "left_out": dict(certificate.left_out),
        "structures": list(certificate.structures),
    }
    return write_json(folder / FILE_NAME, content)
