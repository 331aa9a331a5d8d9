"""Things in a data set that a person should look at before training on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from forgefield.data.conventions.pairs import find_pairs
from forgefield.data.fingerprint import neighbour_pairs, twin_links
from forgefield.data.frames import get_energy, get_forces, get_stress, group_of
from forgefield.data.references import is_isolated_atom, reference_fit, relative_energies
from forgefield.errors import counted

__all__ = ["CHECKS", "Finding", "check_frames"]

FloatArray = NDArray[np.float64]

CHECKS: dict[str, str] = {
    "not-finite": "a label, position or cell vector is NaN or infinite",
    "no-volume": "a periodic structure, or one with a stress, without volume",
    "unlabelled": "no energy, forces or stress at all",
    "overlap": "atoms closer than half the sum of their covalent radii",
    "isolated-atom": "a single atom far from its images",
    "duplicate": "the same structure again (the first is not listed)",
    "conflicting-duplicate": "the same structure with another energy",
    "twin": "a neighbour distance apart by less than 0.05 Å from another structure",
    "twin-across-split": "a test or validation structure that has a twin in training",
    "energy-outlier": "energy per atom far from the rest of its composition",
    "force-outlier": "a force far above the rest of its group",
    "net-force": "forces do not sum to zero",
    "energy-unit": "energies and forces do not fit together: another unit",
    "length-unit": "all atoms too far apart: positions in Bohr?",
    "mixed-references": "two sets of energies apart by a constant: different codes or pseudopotentials?",
    "reader-note": "a remark of the reader",
}
"""Every code and what it means."""

_DUPLICATE = 1e-3
_TWIN = 0.05
_ENERGY_CONFLICT = 1e-3
_OUTLIER_Z = 12.0
_MIN_GROUP = 20
_ENERGY_FLOOR = 0.5
_FORCE_FACTOR = 20.0
_FORCE_FLOOR = 30.0
_NET_FORCE = 5e-3
_NET_FORCE_SHARE = 0.02
_UNIT_FACTORS = {
    "energies in Hartree, forces in eV/Å": 27.2114,
    "energies in Rydberg, forces in eV/Å": 13.6057,
    "energies in kJ/mol, forces in eV/Å": 1.0 / 96.4853,
    "energies in kcal/mol, forces in eV/Å": 1.0 / 23.0605,
    "forces per Bohr (Hartree/Bohr with Hartree, or the like)": 0.529177,
    "energies in eV, forces in Hartree/Bohr": 1.0 / 51.4221,
    "energies in eV, forces in Rydberg/Bohr": 1.0 / 25.7110,
}
_REFERENCE_GAP = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Parameters
    ----------
    severity : "error", "warning" or "note"
        error: do not train on this; warning: look at it; note: good to know.
    code : str
        Key of `CHECKS`; data.drop removes the structures of a code.
    message : str
        What it is, with numbers, and what to do.
    structures : tuple of str
        Names of the structures.
    indices : tuple of int
        Their places in the list that was checked.
    """

    severity: Literal["error", "warning", "note"]
    code: str
    message: str
    structures: tuple[str, ...] = ()
    indices: tuple[int, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "structures": list(self.structures),
        }


def check_frames(frames: Sequence[Atoms]) -> list[Finding]:
    """Look for what spoils a fit.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labelled structures.

    Returns
    -------
    list of Finding
        Errors first, then warnings and notes.
    """
    sound: list[int] = []
    findings = list(_broken(frames, sound))
    usable = [frames[k] for k in sound]
    for check in (_overlaps, _twins, _energies, _forces, _net_forces, _units, _lengths, _references, _notes):
        for found in check(usable):
            indices = tuple(sound[k] for k in found.indices)
            names = tuple(_name(frames, k) for k in indices)
            findings.append(Finding(found.severity, found.code, found.message, names, indices))
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda finding: rank[finding.severity])


def _name(frames: Sequence[Atoms], k: int) -> str:
    return str(frames[k].info.get("name", f"#{k}"))


def _of(
    severity: Literal["error", "warning", "note"], code: str, message: str, indices: Sequence[int]
) -> Finding:
    return Finding(severity, code, message, (), tuple(indices))


def _broken(frames: Sequence[Atoms], sound: list[int]) -> Iterator[Finding]:
    """Find what cannot be used at all; append the rest to `sound`."""
    bad: dict[str, list[int]] = {"not-finite": [], "no-volume": [], "unlabelled": [], "isolated-atom": []}
    for k, atoms in enumerate(frames):
        results = getattr(atoms.calc, "results", None) or {}
        labels = [results[name] for name in ("energy", "forces", "stress") if results.get(name) is not None]
        values = [atoms.positions, atoms.cell.array, *labels]
        volume = abs(float(np.linalg.det(atoms.cell.array)))
        if not all(np.all(np.isfinite(value)) for value in values):
            bad["not-finite"].append(k)
        elif volume == 0.0 and (atoms.pbc.all() or get_stress(atoms) is not None):
            bad["no-volume"].append(k)
        else:
            sound.append(k)
            if not labels:
                bad["unlabelled"].append(k)
            if is_isolated_atom(atoms) and group_of(atoms).lower() != "isolatedatom":
                bad["isolated-atom"].append(k)
    texts: dict[str, tuple[Literal["error", "warning", "note"], str]] = {
        "not-finite": ("error", "have NaN or infinite labels, positions or cells; remove them"),
        "no-volume": ("error", "are periodic (or have a stress) but their cell has no volume; give a cell"),
        "unlabelled": ("warning", "have no label at all; they are not used for training"),
        "isolated-atom": ("note", "are isolated atoms; they set reference energies and always train"),
    }
    for code, (severity, text) in texts.items():
        if bad[code]:
            names = tuple(_name(frames, k) for k in bad[code])
            verb, rest = text.split(" ", 1)
            whole = f"{counted(len(names), 'structure', verb)} {rest}"
            yield Finding(severity, code, whole, names, tuple(bad[code]))


def _overlaps(frames: Sequence[Atoms]) -> Iterator[Finding]:
    close, shortest = [], np.inf
    for k, atoms in enumerate(frames):
        radii = covalent_radii[atoms.numbers]
        i, j, d = neighbour_pairs(atoms, float(radii.max()))
        ratio = d / (radii[i.astype(np.intp)] + radii[j.astype(np.intp)])
        if len(ratio) and ratio.min() < 0.5:
            close.append(k)
            shortest = min(shortest, float(d.min()))
    if close:
        text = (
            f"{counted(len(close), 'structure', 'have')} atoms closer than half the sum of their covalent radii (down to "
            f"{shortest:.2f} Å); right if repulsion is to be learned, else drop them (data.drop: [overlap])"
        )
        yield _of("warning", "overlap", text, close)


def _twins(frames: Sequence[Atoms]) -> Iterator[Finding]:
    links = twin_links(frames, _TWIN)
    same = sorted({second for _, second, gap in links if gap <= _DUPLICATE})
    conflicts: set[int] = set()
    across: set[int] = set()
    for first, second, gap in links:
        energies = get_energy(frames[first]), get_energy(frames[second])
        known = energies[0] is not None and energies[1] is not None and gap <= _DUPLICATE
        if known and abs((energies[0] or 0.0) - (energies[1] or 0.0)) > _ENERGY_CONFLICT * len(frames[first]):
            conflicts.update((first, second))
        roles = [str(frames[k].info.get("split", "")) for k in (first, second)]
        if "train" in roles and roles[0] != roles[1] and "" not in roles:
            across.add(first if roles[1] == "train" else second)
    if conflicts:
        text = (
            f"{counted(len(conflicts), 'structure', 'have')} the same neighbour distances as another but an energy that differs "
            f"by more than {1e3 * _ENERGY_CONFLICT:g} meV/atom; the settings of the calculations differ?"
        )
        yield _of("warning", "conflicting-duplicate", text, sorted(conflicts))
    if same:
        text = f"{counted(len(same), 'structure', 'repeat')} another (rotated or renumbered perhaps); data.drop: [duplicate]"
        yield _of("warning", "duplicate", text, same)
    near = sorted({k for first, second, gap in links if gap > _DUPLICATE for k in (first, second)})
    if near:
        text = (
            f"{counted(len(near), 'structure', 'have')} a twin (all neighbour distances within {_TWIN} Å); a random split would "
            "measure the training error: set split.by=cluster"
        )
        yield _of("note", "twin", text, near)
    if across:
        text = f"{len(across)} validation or test structures have a twin in training; their errors say little"
        yield _of("warning", "twin-across-split", text, sorted(across))


def _energies(frames: Sequence[Atoms]) -> Iterator[Finding]:
    groups: dict[tuple[bytes, str], list[int]] = {}
    for k, atoms in enumerate(frames):
        if get_energy(atoms) is not None:
            numbers, counts = np.unique(atoms.numbers, return_counts=True)
            shares = np.round(counts / len(atoms), 6)
            groups.setdefault((numbers.tobytes() + shares.tobytes(), group_of(atoms)), []).append(k)
    odd = []
    for members in groups.values():
        if len(members) < _MIN_GROUP:
            continue
        values = np.array([(get_energy(frames[k]) or 0.0) / len(frames[k]) for k in members])
        centre = np.median(values)
        width = 1.4826 * float(np.median(np.abs(values - centre)))
        far = np.abs(values - centre) > max(_OUTLIER_Z * width, _ENERGY_FLOOR)
        odd.extend(np.array(members)[far].tolist())
    if odd:
        text = f"{len(odd)} energies per atom lie more than {_OUTLIER_Z:g} robust deviations off their group's median"
        yield _of("warning", "energy-outlier", text, sorted(odd))


def _forces(frames: Sequence[Atoms]) -> Iterator[Finding]:
    largest = np.array([np.abs(f).max() if (f := get_forces(a)) is not None else 0.0 for a in frames])
    groups = np.array([group_of(a) for a in frames])
    odd = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        limit = max(_FORCE_FACTOR * float(np.median(largest[members])), _FORCE_FLOOR)
        odd.extend(members[largest[members] > limit].tolist())
    if odd:
        text = (
            f"{counted(len(odd), 'structure', 'have')} forces up to {largest[odd].max():.1f} eV/Å, far above the rest of their "
            "group; set data.max_force to leave them out"
        )
        yield _of("warning", "force-outlier", text, sorted(odd))


def _net_forces(frames: Sequence[Atoms]) -> Iterator[Finding]:
    odd, worst = [], 0.0
    for k, atoms in enumerate(frames):
        forces = get_forces(atoms)
        if forces is None:
            continue
        net = float(np.linalg.norm(forces.mean(axis=0)))
        if net > _NET_FORCE and net > _NET_FORCE_SHARE * float(np.sqrt((forces**2).mean())):
            odd.append(k)
            worst = max(worst, net)
    if odd:
        text = f"{counted(len(odd), 'structure', 'have')} forces that do not sum to zero (up to {worst:.3f} eV/Å per atom)"
        yield _of("warning", "net-force", text, odd)


def _units(frames: Sequence[Atoms]) -> Iterator[Finding]:
    """Compare energy differences with the work of the forces in pairs of like structures."""
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        if get_forces(atoms) is not None:
            groups.setdefault(group_of(atoms), []).append(atoms)
    for name, members in groups.items():
        pairs = find_pairs(members, strained=False)
        moving = np.abs(pairs.force_work) > 0.0
        if moving.sum() < 8:
            continue
        work, energy = pairs.force_work[moving], pairs.energy[moving]
        if not energy.any():
            continue
        ratio = float((work * energy).sum() / (energy * energy).sum())
        r2 = float((work * energy).sum() ** 2 / ((work * work).sum() * (energy * energy).sum()))
        likely = min(_UNIT_FACTORS, key=lambda text: abs(np.log(abs(ratio) / _UNIT_FACTORS[text])))
        known = abs(np.log(abs(ratio) / _UNIT_FACTORS[likely])) < 0.2
        # Noise on small energy differences moves the ratio a little; a unit moves it by a known factor or far.
        if r2 < 0.9 or not (known or ratio < 0.0 or abs(np.log(abs(ratio))) > 1.0):
            continue
        guess = f"; looks like {likely}" if known else ""
        sign = " of opposite sign" if ratio < 0 else ""
        text = (
            f"group {name!r}: the work of the forces is {abs(ratio):.4g} times the energy difference{sign} (R2 "
            f"{r2:.3f} over {int(moving.sum())} pairs){guess}; read with energy_unit and forces_unit"
        )
        yield _of("error", "energy-unit", text, [k for k, a in enumerate(frames) if group_of(a) == name])


def _lengths(frames: Sequence[Atoms]) -> Iterator[Finding]:
    dense = [a for a in frames if len(a) > 1 and a.pbc.all()]
    if len(dense) < 5:
        return
    shortest = []
    for atoms in dense[:: max(1, len(dense) // 50)]:
        radii = covalent_radii[atoms.numbers]
        i, j, d = neighbour_pairs(atoms, 3.2 * float(radii.max()))
        sums = radii[i.astype(np.intp)] + radii[j.astype(np.intp)]
        shortest.append(float((d / sums).min()) if len(d) else np.inf)
    if min(shortest) > 1.5:
        text = (
            f"no two atoms of any structure are closer than {min(shortest):.2f} times the sum of their covalent "
            "radii; are lengths in Bohr? read with length_unit=Bohr"
        )
        yield _of("warning", "length-unit", text, range(len(frames)))


def _references(frames: Sequence[Atoms]) -> Iterator[Finding]:
    """Look for two clouds of energies with a gap that dwarfs both."""
    members = [k for k, a in enumerate(frames) if get_energy(a) is not None and not is_isolated_atom(a)]
    if len(members) < _MIN_GROUP:
        return
    some = [frames[k] for k in members]
    rest = relative_energies(some, reference_fit(some, "least_squares").energies)
    order = np.argsort(rest)
    gaps = np.diff(rest[order])
    place = int(np.argmax(gaps))
    low, high = order[: place + 1], order[place + 1 :]
    small = min(len(low), len(high))
    spread = max(float(np.ptp(rest[low])), float(np.ptp(rest[high])))
    if gaps[place] > max(_REFERENCE_GAP, 2.0 * spread) and small >= max(3, 0.02 * len(members)):
        odd = low if len(low) < len(high) else high
        text = (
            f"{len(low)} and {len(high)} energies form two sets {gaps[place]:.2f} eV/atom apart, each no wider than "
            f"{spread:.2f} eV/atom: different references (code, pseudopotential, isolated-atom energy subtracted?)"
        )
        yield _of("error", "mixed-references", text, sorted(members[k] for k in odd))


def _notes(frames: Sequence[Atoms]) -> Iterator[Finding]:
    notes: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        for note in atoms.info.get("read_notes", ()):
            notes.setdefault(str(note).split(":")[0].split("(")[0].strip(), []).append(k)
    for members in notes.values():
        first = str(frames[members[0]].info["read_notes"][0])
        yield _of("note", "reader-note", f"{counted(len(members), 'structure')}: {first}", members)
