"""The audit of labels, the checks and the fingerprints behind them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from labelled_copper import label, strained_series

from forgefield.data import (
    CHECKS,
    audit,
    check_frames,
    get_energy,
    get_forces,
    get_stress,
    read,
    twin_clusters,
    with_labels,
)
from forgefield.data.fingerprint import fingerprint, twin_links
from forgefield.errors import LabelError


def codes(frames):
    return {finding.code: finding for finding in check_frames(frames)}


def test_audit_counts_per_group(alloy):
    frames = [with_labels(a, stress=None) if k < 3 else a for k, a in enumerate(alloy)]
    frames[5].info["forces_weight"] = 0.0
    result = audit(frames)
    frames[5].info.pop("forces_weight")
    assert (result.total.structures, result.total.atoms) == (24, 192)
    assert result.total.found == {"energy": 24, "forces": 24, "stress": 21}
    assert result.total.used["forces"] == 23
    assert result.total.missing == {"energy": 0, "forces": 0, "stress": 3}
    assert result.groups["cold"].missing["stress"] == 2
    assert any("stress: missing in 3 structures, masked" in remark for remark in result.remarks)
    assert json.loads(json.dumps(result.to_dict()))["total"]["found"]["stress"] == 21
    assert result.table().row_count == 3


def test_a_weight_without_labels_is_an_error(alloy):
    frames = [with_labels(a, stress=None) for a in alloy]
    with pytest.raises(LabelError, match=r"weight 0.1 on stress, but none of the 24 structures.*to 0"):
        audit(frames)
    assert audit(frames, {"energy": 1, "forces": 1}).total.missing["stress"] == 0


def test_labels_without_weight_are_reported(alloy):
    result = audit(alloy, {"energy": 1.0, "forces": 1.0, "stress": 0.0})
    assert "stress: found in 24 structures but not used (weight 0)" in result.remarks
    assert result.total.used["stress"] == 0


def test_bad_weights(alloy):
    with pytest.raises(LabelError, match=r"unknown property 'force'.*'forces'"):
        audit(alloy, {"force": 1.0})
    with pytest.raises(LabelError, match="must be >= 0, got -1"):
        audit(alloy, {"energy": -1.0})


def test_clean_data_give_no_findings(copper):
    assert not [f for f in check_frames(copper) if f.severity != "note"]


@pytest.mark.parametrize("change", ["same", "permuted", "rotated", "translated", "wrapped"])
def test_copies_are_found_however_they_are_written(alloy, change):
    rng = np.random.default_rng(0)
    copy = alloy[3].copy()
    if change == "permuted":
        copy = copy[rng.permutation(len(copy))]
    elif change == "rotated":
        copy.rotate(73, [1, 2, 3], rotate_cell=True)
    elif change == "translated":
        copy.translate([0.3, 0.1, 2.0])
    elif change == "wrapped":
        copy.translate([5.0, 0, 0])
        copy.wrap()
    copy = with_labels(copy, energy=get_energy(alloy[3]))
    copy.info["name"] = "copy"
    found = codes([*alloy, copy])
    assert found["duplicate"].structures == ("copy",)
    assert found["duplicate"].indices == (24,)
    assert "conflicting-duplicate" not in found


def test_a_copy_with_another_energy_is_a_conflict(alloy):
    copy = with_labels(alloy[3], energy=get_energy(alloy[3]) + 0.1)
    assert set(codes([*alloy, copy])["conflicting-duplicate"].indices) == {3, 24}


def test_twins_are_within_the_tolerance(alloy):
    near = alloy[0].copy()
    near.positions[2] += [0.01, 0.0, 0.0]
    links = twin_links([alloy[0], near, alloy[1]], 0.05)
    assert [(a, b) for a, b, _ in links] == [(0, 1)]
    assert links[0][2] == pytest.approx(0.01, abs=3e-3)
    assert not twin_links([alloy[0], near], 0.005)
    assert list(twin_clusters([alloy[1], alloy[0], near], 0.05)) == [0, 1, 1]


def test_the_fingerprint_moves_no_more_than_the_atoms(alloy):
    rng = np.random.default_rng(1)
    for size in (0.001, 0.02, 0.1):
        moved = alloy[2].copy()
        step = rng.normal(size=(8, 3))
        moved.positions += size * step / np.linalg.norm(step, axis=1)[:, None]
        assert np.abs(fingerprint(moved) - fingerprint(alloy[2])).max() <= 2 * size


def test_published_twins(shared_data):
    frames = read(f"{shared_data}/mlearn_Si/*.xyz")
    across = codes(frames)["twin-across-split"]
    # Three test structures are known to be symmetry-equivalent to a training structure.
    assert len(across.indices) >= 3
    assert {frames[k].info["split"] for k in across.indices} == {"test"}


def test_overlap_and_isolated_atoms():
    close = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1.0]], cell=[9, 9, 9], pbc=True)
    fine = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1.2]], cell=[9, 9, 9], pbc=True)
    alone = Atoms("Si", cell=[9, 9, 9], pbc=True)
    frames = [with_labels(a, energy=-1.0) for a in (close, fine, alone)]
    found = codes(frames)
    assert found["overlap"].indices == (0,)
    assert found["isolated-atom"].indices == (2,)


def test_broken_structures_do_not_stop_the_checks(copper):
    flat = bulk("Cu").copy()
    flat.cell[2] = flat.cell[1]
    blind = bulk("Cu")
    infinite = with_labels(copper[0], forces=np.full((4, 3), np.nan))
    infinite.calc.results["forces"] = np.full((4, 3), np.nan)
    found = codes([*copper, flat, blind, infinite])
    assert found["no-volume"].indices == (40,)
    assert found["unlabelled"].indices == (41,)
    assert found["not-finite"].indices == (42,)
    assert found["not-finite"].severity == "error"


def test_outliers(copper):
    high = with_labels(copper[0], energy=get_energy(copper[0]) + 40.0)
    strong = with_labels(
        copper[1], forces=get_forces(copper[1]) + 50.0 * np.array([[1, 0, 0], [-1, 0, 0], [0] * 3, [0] * 3])
    )
    found = codes([*copper[2:], high, strong])
    assert found["energy-outlier"].indices == (38,)
    assert found["force-outlier"].indices == (39,)


def test_forces_that_do_not_sum_to_zero(alloy):
    pushed = with_labels(alloy[0], forces=get_forces(alloy[0]) + np.array([0.1, 0.0, 0.0]))
    assert codes([pushed, *alloy[1:]])["net-force"].indices == (0,)


@pytest.mark.parametrize(
    ("factor", "text"), [(27.211386, "Hartree"), (13.605693, "Rydberg"), (1 / 96.485, "kJ/mol")]
)
def test_energies_in_another_unit_are_found_from_the_forces(factor, text):
    rng = np.random.default_rng(2)
    base = bulk("Cu", "fcc", a=3.6, cubic=True)
    frames = []
    for _ in range(20):
        atoms = base.copy()
        atoms.rattle(0.02, rng=rng)
        frames.append(label(atoms))
    assert "energy-unit" not in codes(frames)
    wrong = [with_labels(a, energy=get_energy(a) / factor) for a in frames]
    finding = codes(wrong)["energy-unit"]
    assert finding.severity == "error"
    assert f"energies in {text}" in finding.message


def test_lengths_in_bohr(copper):
    frames = []
    for atoms in copper:
        wide = atoms.copy()
        wide.set_cell(atoms.cell.array / 0.529177, scale_atoms=True)
        frames.append(with_labels(wide, energy=-1.0))
    assert "length_unit=Bohr" in codes(frames)["length-unit"].message
    assert "length-unit" not in codes(copper)


def test_mixed_references():
    frames = strained_series(30)
    shifted = [with_labels(a, energy=get_energy(a) - 4 * 100.0) if k < 8 else a for k, a in enumerate(frames)]
    finding = codes(shifted)["mixed-references"]
    assert set(finding.indices) == set(range(8))
    assert "sets 99.9" in finding.message
    assert "mixed-references" not in codes(frames)


def test_notes_of_the_reader_are_passed_on(copper):
    frame = with_labels(copper[0], stress=get_stress(copper[0]))
    frame.info["read_notes"] = ("the electronic loop did not converge",)
    assert "did not converge" in codes([frame])["reader-note"].message


def test_every_finding_has_a_code_and_serialises(alloy):
    findings = check_frames([*alloy, alloy[0]])
    assert findings
    assert {f.code for f in findings} <= set(CHECKS)
    assert json.loads(json.dumps([f.to_dict() for f in findings]))
