"""The detector of sign, unit and order, on consistent labels that were spoiled on purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from labelled_copper import label

from forgefield.data import (
    StressConvention,
    apply_convention,
    check_claims,
    detect_conventions,
    get_stress,
    group_of,
    read,
    with_labels,
)
from forgefield.data.conventions.linear_model import LinearPotential
from forgefield.data.conventions.pairs import find_pairs
from forgefield.data.conventions.surrogate import surrogate_test
from forgefield.data.conventions.symmetry import point_group, symmetry_test
from forgefield.data.conventions.work import work_test
from forgefield.data.stress import ORDERS, order_indices
from forgefield.errors import LabelError
from forgefield.units import EV_PER_A3_TO_GPA, EV_PER_A3_TO_KBAR


def spoiled(frames, order="yz xz xy", factor=1.0, offset=0.0):
    """Return frames whose stresses are written in another convention and stored as if they were ASE's."""
    result = []
    for atoms in frames:
        stress = get_stress(atoms).copy()
        stress[:3] += offset
        written = stress.copy()
        written[3:][order_indices(order)] = stress[3:]
        result.append(with_labels(atoms, stress=factor * written))
    return result


def one(frames, **keywords):
    report = detect_conventions(frames, **keywords)
    assert len(report.groups) == 1
    return next(iter(report.groups.values()))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_found(copper, order):
    verdict = one(spoiled(copper, order))
    assert verdict.order == order
    assert (verdict.sign, verdict.unit, verdict.confidence) == ("tension", "eV/A3", "proven")
    assert bool(verdict.contradictions) == (order != "yz xz xy")


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("eV/A3", 1.0), ("GPa", EV_PER_A3_TO_GPA), ("kbar", EV_PER_A3_TO_KBAR), ("bar", 1602176.6)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_sign_and_unit_are_found(copper, unit, factor, sign):
    verdict = one(spoiled(copper, factor=sign * factor))
    assert verdict.unit == unit
    assert verdict.sign == ("tension" if sign > 0 else "compression")
    assert verdict.slope * sign * factor == pytest.approx(1.0, abs=0.02)


def test_a_virial_per_cell_is_told_from_a_stress(copper):
    frames = [with_labels(a, stress=-get_stress(a) * a.get_volume()) for a in copper]
    verdict = one(frames)
    assert (verdict.sign, verdict.unit) == ("compression", "eV")
    repaired = apply_convention(frames, detect_conventions(frames))
    np.testing.assert_allclose([get_stress(a) for a in repaired], [get_stress(a) for a in copper], atol=1e-12)


def test_a_constant_offset_is_measured_and_does_not_mislead(copper):
    verdict = one(spoiled(copper, order="xy yz xz", offset=1.5 / EV_PER_A3_TO_GPA))
    assert verdict.order == "xy yz xz"
    shift = verdict.offset - one(copper).offset
    assert shift == pytest.approx(1.5, abs=0.02)
    assert one(copper).offset == pytest.approx(0.0, abs=0.3)


def test_all_at_once_and_back(copper):
    frames = spoiled(copper, "xy yz xz", -EV_PER_A3_TO_KBAR)
    report = detect_conventions(frames)
    assert report.groups["Elastic"].stored.label == "vasp"
    repaired = apply_convention(frames, report)
    np.testing.assert_allclose([get_stress(a) for a in repaired], [get_stress(a) for a in copper], rtol=1e-12)
    assert not detect_conventions(repaired).contradictions
    # Those that were right are passed on untouched.
    assert apply_convention(copper, detect_conventions(copper))[0] is copper[0]


def test_a_claim_that_the_data_contradict_is_refused(copper):
    assert not check_claims(copper).contradictions
    with pytest.raises(LabelError) as error:
        check_claims(spoiled(copper, "xy yz xz", -EV_PER_A3_TO_KBAR))
    message = str(error.value)
    for part in (
        "the sign is opposite",
        "kbar instead of eV/A3",
        "data.stress_convention='vasp'",
        "work test",
    ):
        assert part in message


def test_the_suggestion_undoes_the_wrong_reading(copper, tmp_path):
    # Numbers in kbar and VASP's order, read as if they were LAMMPS's: what would have been right?
    lammps, vasp = (
        StressConvention(sign="compression", unit=u, order=o)
        for u, o in (("bar", "xy xz yz"), ("kbar", "xy yz xz"))
    )
    frames = []
    for atoms in copper:
        written = -get_stress(atoms)[[0, 1, 2, 5, 3, 4]] * EV_PER_A3_TO_KBAR
        np.testing.assert_allclose(vasp.to_ase(written, 1.0), get_stress(atoms), rtol=1e-12, atol=1e-15)
        frame = with_labels(atoms, stress=lammps.to_ase(written, 1.0))
        frame.info["stress_claim"] = lammps.label
        frames.append(frame)
    verdict = one(frames)
    assert verdict.claim == "lammps"
    assert verdict.suggestion == "vasp"


def test_unsheared_series_leave_the_order_open():
    frames = []
    for scale in np.linspace(0.97, 1.03, 13):
        atoms = bulk("Cu", "fcc", a=3.6 * scale, cubic=True)
        atoms.calc = EMT()
        frames.append(
            with_labels(
                atoms,
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces(),
                stress=atoms.get_stress(),
            )
        )
    verdict = one(frames)
    assert (verdict.sign, verdict.unit) == ("tension", "eV/A3")
    assert verdict.order is None
    assert verdict.confidence == "partial"
    assert not verdict.contradictions


def test_pairs_give_the_energy_difference():
    rng = np.random.default_rng(8)
    first = bulk("Cu", "fcc", a=3.6, cubic=True)
    first.rattle(0.1, rng=rng)
    second = first.copy()
    second.set_cell(second.cell.array @ (np.eye(3) + 2e-3 * rng.normal(size=(3, 3))), scale_atoms=True)
    second.rattle(0.005, rng=rng)
    second.translate([0.3, 0.2, 0.1])
    pairs = find_pairs([label(first), label(second)])
    assert len(pairs) == 1
    work = pairs.volume * (pairs.stress * pairs.strain * [1, 1, 1, 2, 2, 2]).sum(axis=1)
    assert abs(work[0]) > 5e-3
    assert abs(pairs.force_work[0]) > 1e-3
    assert pairs.energy[0] == pytest.approx(work[0] + pairs.force_work[0], rel=1e-3)


def test_rotated_cells_are_no_pairs():
    first = bulk("Cu", "fcc", a=3.6, cubic=True)
    first.set_cell(first.cell.array @ np.diag([1.0, 1.01, 1.03]), scale_atoms=True)
    second = first.copy()
    second.rotate(20, "z", rotate_cell=True)
    frames = [with_labels(a, energy=0.0, forces=np.zeros((4, 3)), stress=np.ones(6)) for a in (first, second)]
    assert len(find_pairs(frames)) == 0


def test_point_groups_of_known_structures():
    assert len(point_group(bulk("Si", "diamond", a=5.43))) == 48
    assert len(point_group(bulk("Cu", "fcc", a=3.6, cubic=True))) == 48
    assert len(point_group(bulk("Mg", "hcp", a=3.2, c=5.2))) == 24
    assert len(point_group(bulk("GaAs", "zincblende", a=5.65))) == 24
    tetragonal = bulk("Cu", "fcc", a=3.6, cubic=True)
    tetragonal.set_cell([3.6, 3.6, 3.9], scale_atoms=True)
    assert len(point_group(tetragonal)) == 16
    rattled = bulk("Cu", "fcc", a=3.6, cubic=True) * 2
    rattled.rattle(0.05, seed=1)
    assert len(point_group(rattled)) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_point_group_agrees_with_spglib(shared_data):
    spglib = pytest.importorskip("spglib")
    frames = read(shared_data / "mlearn_Si" / "train.xyz")
    elastic = [a for a in frames if group_of(a) in ("Elastic", "Surface")][::6]
    for atoms in elastic:
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        rotations = {tuple(r.ravel()) for r in spglib.get_symmetry(cell, symprec=3e-3)["rotations"]}
        # A group of identity and inversion counts as one.
        assert len(point_group(atoms)) in {len(rotations), 1 if len(rotations) == 2 else len(rotations)}


def test_symmetry_decides_the_order_of_a_monoclinic_crystal():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        strain = np.eye(3) + np.diag(rng.uniform(-0.02, 0.02, 3))
        strain[0, 2] = strain[2, 0] = 0.03
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.calc = EMT()
        frames.append(with_labels(atoms, energy=0.0, forces=np.zeros((4, 3)), stress=atoms.get_stress()))
    assert set(symmetry_test(frames).orders) == {"yz xz xy", "xy xz yz"}
    assert set(symmetry_test(spoiled(frames, "xz yz xy")).orders) == {"xz yz xy", "xz xy yz"}


def test_the_linear_model_is_the_derivative_of_its_energy():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.numbers[1] = 13
    atoms.rattle(0.1, seed=2)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + 0.05 * np.random.default_rng(1).normal(size=(3, 3))), scale_atoms=True
    )
    model = LinearPotential([13, 29], 4.0)
    _, forces, stress = model.design(atoms)
    step = 1e-5

    def energy(shift=0.0, shear=0.0):
        moved = atoms.copy()
        moved.positions[2, 1] += shift
        strain = np.eye(3)
        strain[0, 2] = strain[2, 0] = shear / 2
        moved.set_cell(moved.cell.array @ strain, scale_atoms=True)
        return model.design(moved)[0]

    slope = (energy(shift=step) - energy(shift=-step)) / (2 * step)
    np.testing.assert_allclose(-slope, forces[2, 1], atol=1e-6 * np.abs(forces[2, 1]).max())
    slope = (energy(shear=step) - energy(shear=-step)) / (2 * step * atoms.get_volume())
    np.testing.assert_allclose(slope, stress[4], atol=1e-6 * np.abs(stress[4]).max())


def test_the_surrogate_finds_the_order_of_thermal_snapshots(alloy):
    for order in ("yz xz xy", "xy xz yz"):
        test = surrogate_test(spoiled(alloy, order))
        assert max(test.correlations, key=test.correlations.get) == order
        assert order in test.orders
        assert len(test.orders) < 6


def test_slabs_and_molecules_do_not_stop_the_detector():
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    frames = [with_labels(slab, energy=1.0, forces=np.zeros((3, 3)), stress=np.arange(6.0))] * 3
    verdict = one(frames)
    assert verdict.confidence == "undecidable"
    assert detect_conventions([bulk("Cu")]).groups == {}


def test_elements_that_never_meet_do_not_stop_the_surrogate(copper):
    """A folder with data of several substances: some functions of the surrogate are zero in all of them."""
    others = []
    for atoms in copper:
        other = label(bulk("Al", cubic=True))
        other.set_cell(
            other.cell.array @ (np.eye(3) + 0.01 * np.arange(9.0).reshape(3, 3) / 8), scale_atoms=True
        )
        others += [
            atoms,
            with_labels(other, **{**atoms.calc.results, "forces": np.full((len(other), 3), 0.1)}),
        ]
    assert np.isfinite(list(surrogate_test(others).correlations.values())).all()


def test_reports_are_json_and_print(copper):
    report = detect_conventions(spoiled(copper, "xy xz yz"))
    assert json.loads(json.dumps(report.to_dict()))["Elastic"]["order"] == "xy xz yz"
    assert report.table().row_count == 1


def test_tests_without_enough_data_conclude_nothing(copper):
    assert work_test(copper[:2]).best is None
    assert not surrogate_test(copper[:3]).correlations
