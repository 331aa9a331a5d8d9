"""The detector on published sets, whose conventions were proven independently, and on their known defects."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.data import apply_convention, detect_conventions, get_stress, group_of, read, with_labels
from forgefield.data.stress import order_indices
from forgefield.units import EV_PER_A3_TO_GPA, EV_PER_A3_TO_KBAR


def groups(path, *names):
    return [a for a in read(path) if group_of(a) in names]


def as_written(frames, order, factor=1.0):
    """Return frames as a reader would hold them that took numbers in `order` for ASE's."""
    result = []
    for atoms in frames:
        stress = get_stress(atoms)
        written = stress.copy()
        written[3:][order_indices(order)] = stress[3:]
        result.append(with_labels(atoms, stress=factor * written))
    return result


@pytest.mark.parametrize(
    ("path", "group", "offset"),
    [
        ("mlearn_Si/*.xyz", "Elastic", -0.13),
        ("mlearn_Mo/*.xyz", "Elastic", -0.45),
        ("fitsnap_Ta/Ta.xyz", "Elastic_BCC", 1.12),
        ("fitsnap_Ta/Ta.xyz", "Elastic_FCC", 0.70),
    ],
)
def test_corrected_sets_are_found_right_with_their_offset(shared_data, path, group, offset):
    report = detect_conventions(groups(f"{shared_data}/{path}", group), surrogate=False)
    verdict = report.groups[group]
    assert (verdict.sign, verdict.unit, verdict.order) == ("tension", "eV/A3", "yz xz xy")
    assert verdict.slope == pytest.approx(1.0, abs=0.03)
    assert verdict.r2 > 0.998
    # Published from other pairs of the same structures.
    assert verdict.offset == pytest.approx(offset, abs=0.2)


def test_mlearn_silicon_as_it_was_written(shared_data):
    """Kbar, positive in compression; xy yz xz in Elastic, xy xz yz in the other groups."""
    frames = read(f"{shared_data}/mlearn_Si/*.xyz")
    elastic = [a for a in frames if group_of(a) == "Elastic"]
    others = [a for a in frames if group_of(a) in ("Surface", "AIMD-NVT")]
    others = [a for a in others if group_of(a) == "Surface"] + [
        a for a in others if group_of(a) == "AIMD-NVT"
    ][::3]
    spoiled = as_written(elastic, "xy yz xz", -EV_PER_A3_TO_KBAR) + as_written(
        others, "xy xz yz", -EV_PER_A3_TO_KBAR
    )
    report = detect_conventions(spoiled)
    assert report.groups["Elastic"].order == "xy yz xz"
    assert report.groups["Surface"].order == "xy xz yz"
    assert report.groups["AIMD-NVT"].order == "xy xz yz"
    assert {v.sign for v in report.groups.values()} == {"compression"}
    assert {v.unit for v in report.groups.values()} == {"kbar"}
    repaired = apply_convention(spoiled, report)
    np.testing.assert_allclose(
        [get_stress(a) for a in repaired], [get_stress(a) for a in elastic + others], rtol=1e-10, atol=1e-12
    )


def test_the_database_that_was_written_with_swapped_components(shared_data):
    frames = groups(shared_data / "formats" / "pyxtal_ff_db" / "Si.db", "Elastic", "NoElastic")
    elastic = [a for a in frames if group_of(a) == "Elastic"]
    report = detect_conventions(elastic, surrogate=False)
    # Read as xy yz xz, written as xy xz yz.
    assert report.groups["Elastic"].suggestion == "compression, GPa, xy xz yz"
    truth = {key(a): get_stress(a) for a in groups(f"{shared_data}/mlearn_Si/*.xyz", "Elastic")}
    for atoms in apply_convention(elastic, report):
        np.testing.assert_allclose(get_stress(atoms), truth[key(atoms)], atol=1e-6)


def key(atoms):
    return (*np.round(atoms.cell.array.ravel(), 3), round(atoms.get_potential_energy(), 5))


def test_groups_without_strain_or_shear_are_undecidable(shared_data):
    report = detect_conventions(groups(shared_data / "fitsnap_Ta" / "Ta.xyz", "Volume_BCC", "Liquid"))
    assert report.groups["Volume_BCC"].order is None
    assert report.groups["Volume_BCC"].sign == "tension"
    assert report.groups["Liquid"].order is None
    assert report.groups["Liquid"].sign_source == "other groups"


def test_indium_phosphide_in_gpa_with_the_sign_flipped(shared_data):
    frames = groups(shared_data / "fitsnap_InP" / "InP.xyz.xz", "Shear")[::3]
    report = detect_conventions(as_written(frames, "xy yz xz", -EV_PER_A3_TO_GPA), surrogate=False)
    verdict = report.groups["Shear"]
    assert (verdict.sign, verdict.unit, verdict.order) == ("compression", "GPa", "xy yz xz")


@pytest.mark.slow
def test_alloys_and_a_group_that_was_published_in_another_order(shared_data):
    frames = groups(shared_data / "NbMoTaW" / "train.xyz.xz", "Mo_Elastic", "W_Elastic", "Mo_Surface")
    report = detect_conventions(frames, surrogate=False)
    for name in ("Mo_Elastic", "W_Elastic"):
        assert (report.groups[name].order, report.groups[name].contradictions) == ("yz xz xy", ())
    # The same slabs with the same numbers, but in another order, are in the Mo set.
    assert "yz xz xy" not in report.groups["Mo_Surface"].orders
    assert "xz xy yz" in report.groups["Mo_Surface"].orders
    twins = {key(a): get_stress(a) for a in groups(f"{shared_data}/mlearn_Mo/*.xyz", "Surface")}
    for atoms in frames:
        if group_of(atoms) == "Mo_Surface":
            stress = get_stress(atoms).copy()
            stress[3:] = stress[3:][order_indices("xz xy yz")]
            np.testing.assert_allclose(stress, twins[key(atoms)], atol=1e-5)
