"""Put the tests together: a verdict per group, a check of the claims, a correction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from forgefield.data.conventions.report import ConventionReport, GroupVerdict
from forgefield.data.conventions.surrogate import SurrogateTest, surrogate_test
from forgefield.data.conventions.symmetry import symmetry_test
from forgefield.data.conventions.work import WorkTest, offset_in_gpa, unit_of_slope, work_test
from forgefield.data.frames import get_stress, group_of, with_labels
from forgefield.data.stress import ORDERS, StressConvention, parse_convention
from forgefield.errors import LabelError

__all__ = ["apply_convention", "check_claims", "detect_conventions"]

_MIN_VOLUMES = 6
_MIN_VOLUME_SPREAD = 0.02
_MIN_PRESSURE_CORRELATION = 0.85
_SURROGATE_SIGN = 0.8
_SURROGATE_STRUCTURES = 16
_SURROGATE_PRECISION = 2.0


def detect_conventions(frames: Sequence[Atoms], *, surrogate: bool = True) -> ConventionReport:
    """Infer sign, unit and component order of the stress labels from the data.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With labels; groups are judged one by one, since sources mix conventions.
    surrogate : bool
        Fit a small potential where neither strained pairs nor symmetry decide the order (seconds a group).

    Returns
    -------
    ConventionReport
        One verdict per group that has stress labels.
    """
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        if get_stress(atoms) is not None and abs(atoms.cell.volume) > 0:
            groups.setdefault(group_of(atoms), []).append(atoms)
    verdicts = {name: _judge(name, members, surrogate=surrogate) for name, members in groups.items()}
    return ConventionReport(_share(verdicts))


def _judge(group: str, frames: list[Atoms], *, surrogate: bool) -> GroupVerdict:
    claims = Counter(str(a.info.get("stress_claim", "ase")) for a in frames)
    verdict = GroupVerdict(group, len(frames), claim=claims.most_common(1)[0][0])
    volume = float(np.median([abs(a.cell.volume) for a in frames]))
    verdict = _from_work(verdict, work_test(frames), volume)
    verdict = _from_pressure(verdict, frames)
    symmetry = symmetry_test(frames)
    if symmetry.n_structures:
        best = min(symmetry.residuals, key=lambda order: symmetry.residuals[order])
        listed = ", ".join(f"{o} {r:.2g}" for o, r in sorted(symmetry.residuals.items(), key=lambda x: x[1]))
        text = f"symmetry of {symmetry.n_structures} structures: rms violation {listed}; best {best}"
        verdict = _narrow(verdict, symmetry.orders, "symmetry", text)
    if surrogate and verdict.order is None:
        verdict = _from_surrogate(verdict, surrogate_test(frames), volume)
    return verdict


def _narrow(verdict: GroupVerdict, orders: tuple[str, ...], source: str, text: str) -> GroupVerdict:
    """Keep the orders that a further test allows as well."""
    common = tuple(order for order in verdict.orders if order in orders)
    if not common:
        text += f"; this contradicts the tests before ({', '.join(verdict.orders)}), which are kept"
        return replace(verdict, evidence=(*verdict.evidence, text))
    sources = verdict.order_source
    if len(common) < len(verdict.orders):
        sources = f"{sources}, {source}" if sources else source
    return replace(verdict, orders=common, order_source=sources, evidence=(*verdict.evidence, text))


def _from_work(verdict: GroupVerdict, test: WorkTest, volume: float) -> GroupVerdict:
    counts = replace(verdict, n_pairs=test.n_pairs, n_sheared=test.n_sheared)
    if test.best is None:
        return counts
    fit = test.best
    text = (
        f"work test over {test.n_pairs} pairs ({test.n_sheared} sheared): slope {fit.slope:+.4g}, R2 {fit.r2:.4f} "
        f"with {fit.order}"
    )
    if len(test.sheared) > 1:
        listed = ", ".join(f"{f.order} {f.r2:.4f}" for f in test.sheared)
        text += f"; R2 over the sheared pairs: {listed}"
    counts = replace(counts, slope=fit.slope, r2=fit.r2, evidence=(*verdict.evidence, text))
    if not test.conclusive:
        return counts
    unit, ratio = unit_of_slope(fit.slope, volume)
    narrowed = len(test.orders) < len(ORDERS)
    return replace(
        counts,
        sign="tension" if fit.slope > 0 else "compression",
        unit=unit,
        offset=offset_in_gpa(fit) if 0.0 < ratio < np.inf else None,
        sign_source="work",
        orders=test.orders,
        order_source="work" if narrowed else "",
    )


def _from_pressure(verdict: GroupVerdict, frames: list[Atoms]) -> GroupVerdict:
    """Use that compressed cells push outwards, where there is no work test."""
    if verdict.sign is not None:
        return verdict
    volumes, traces = [], []
    classes: dict[bytes, list[Atoms]] = {}
    for atoms in frames:
        classes.setdefault(np.sort(atoms.numbers).astype(np.int64).tobytes(), []).append(atoms)
    for members in classes.values():
        logs = np.array([np.log(abs(a.cell.volume)) for a in members])
        stress = np.array([s[:3].mean() for a in members if (s := get_stress(a)) is not None])
        volumes.extend(logs - logs.mean())
        traces.extend(stress - stress.mean())
    x, y = np.array(volumes), np.array(traces)
    if len(x) < _MIN_VOLUMES or np.ptp(x) < _MIN_VOLUME_SPREAD or not y.any():
        return verdict
    correlation = float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
    text = f"mean stress against volume over {len(x)} structures: correlation {correlation:+.2f}"
    if abs(correlation) < _MIN_PRESSURE_CORRELATION:
        return replace(verdict, evidence=(*verdict.evidence, text))
    sign = "tension" if correlation > 0 else "compression"
    return replace(verdict, sign=sign, sign_source="pressure", evidence=(*verdict.evidence, text))


def _from_surrogate(verdict: GroupVerdict, test: SurrogateTest, volume: float) -> GroupVerdict:
    if not test.correlations:
        return verdict
    listed = ", ".join(
        f"{o} {c:+.2f}" for o, c in sorted(test.correlations.items(), key=lambda item: -abs(item[1]))
    )
    text = f"potential fitted to energies and forces of {test.n_structures} structures: correlation {listed}"
    narrowed = len(test.orders) < len(ORDERS)
    strength = max(abs(c) for c in test.correlations.values())
    enough = test.n_structures >= _SURROGATE_STRUCTURES and strength >= _SURROGATE_SIGN
    verdict = _narrow(verdict, test.orders, "surrogate", text)
    if narrowed and enough and verdict.sign is None:
        unit, _ = unit_of_slope(test.slope, volume, precision=_SURROGATE_PRECISION)
        sign = "tension" if test.slope > 0 else "compression"
        verdict = replace(verdict, sign=sign, unit=verdict.unit or unit, sign_source="surrogate")
    return verdict


def _share(verdicts: Mapping[str, GroupVerdict]) -> dict[str, GroupVerdict]:
    """Give groups without a sign the one that all work tests agree on; the order is never shared."""
    known = {(v.sign, v.unit) for v in verdicts.values() if v.sign_source == "work" and v.unit}
    if len(known) != 1:
        return dict(verdicts)
    sign, unit = next(iter(known))
    shared = {}
    for name, verdict in verdicts.items():
        new = verdict
        if verdict.sign is None or (
            verdict.sign_source in ("surrogate", "pressure") and verdict.unit is None
        ):
            text = "sign and unit as in the groups with a work test"
            new = replace(
                verdict, sign=sign, unit=unit, sign_source="other groups", evidence=(*verdict.evidence, text)
            )
        shared[name] = new
    return shared


def check_claims(frames: Sequence[Atoms], report: ConventionReport | None = None) -> ConventionReport:
    """Refuse labels whose data contradict what the file claims.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    report : ConventionReport or None
        None: `detect_conventions` is run.

    Returns
    -------
    ConventionReport
        Where nothing contradicts.

    Raises
    ------
    LabelError
        With the evidence for each group, and how to override or correct.
    """
    report = detect_conventions(frames) if report is None else report
    wrong = report.contradictions
    if not wrong:
        return report
    lines = [
        f"group {v.group!r} (read as {v.claim}): {'; '.join(v.contradictions)}. Evidence: {'. '.join(v.evidence)}"
        for v in wrong
    ]
    suggestions = {v.suggestion for v in wrong}
    if len(suggestions) == 1 and len(wrong) == len(report.groups):
        fix = f"set data.stress_convention='{next(iter(suggestions))}' (--set data.stress_convention=...)"
    else:
        fix = "set data.stress_convention=detect to correct each group as detected"
    raise LabelError(
        "the stress labels contradict the energies, forces or symmetry of their own structures:\n"
        + "\n".join(lines)
        + f"\nFix: {fix}, or data.stress_convention=trust to use the labels as they are"
    )


def apply_convention(
    frames: Sequence[Atoms],
    convention: ConventionReport | StressConvention | str | Mapping[str, StressConvention | str],
) -> list[Atoms]:
    """Return copies whose stresses are in ASE's convention.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Left unchanged; frames without stress and groups without a convention are passed on as they are.
    convention : ConventionReport, StressConvention, str or mapping
        The convention the *stored* labels are in: as detected per group, one for all, or group -> convention.
        What a report leaves undecided is not changed; where it shows that the order is wrong but not which one
        is right, the stress labels are removed.
    """
    unusable: set[str] = set()
    if isinstance(convention, ConventionReport):
        known = {name: verdict.stored for name, verdict in convention.groups.items()}
        unusable = {name for name, verdict in convention.groups.items() if not verdict.correctable}
    elif isinstance(convention, Mapping):
        known = {name: parse_convention(value) for name, value in convention.items()}
    else:
        known = dict.fromkeys({group_of(a) for a in frames}, parse_convention(convention))
    result = []
    for atoms in frames:
        stress, target = get_stress(atoms), known.get(group_of(atoms))
        if stress is not None and group_of(atoms) in unusable:
            removed = with_labels(atoms, stress=None)
            removed.info["stress_corrected"] = (
                "removed: its order or scale is wrong and what is right is not decidable"
            )
            result.append(removed)
            continue
        if stress is None or target is None or target.label == "ase":
            result.append(atoms)
            continue
        corrected = with_labels(atoms, stress=target.to_ase(stress, abs(atoms.cell.volume)))
        corrected.info["stress_corrected"] = f"stored labels were {target.label}"
        corrected.info["stress_claim"] = "ase"
        result.append(corrected)
    return result
