"""Extended XYZ: dialects, weights, and errors that name the place."""

from __future__ import annotations

import time

import numpy as np
import pytest

from forgefield.data import ReadOptions, get_energy, get_forces, get_stress, read
from forgefield.errors import DataError, LabelError

CELL = 'Lattice="4 0 0 0 4 0 0 0 4"'
ATOMS = "Si 0 0 0 0.1 0.2 0.3\nSi 1 1 1 -0.1 -0.2 -0.3\n"
PROPERTIES = "Properties=species:S:1:pos:R:3:forces:R:3"


def write(folder, comment, atoms=ATOMS, name="a.xyz", n=2):
    path = folder / name
    path.write_text(f"{n}\n{comment}\n{atoms}")
    return path


@pytest.mark.parametrize("key", ["energy", "Energy", "REF_energy", "dft_energy", "free_energy"])
def test_energy_keys(tmp_path, key):
    frames = read(write(tmp_path, f"{CELL} {PROPERTIES} {key}=-10.5"))
    assert get_energy(frames[0]) == -10.5


@pytest.mark.parametrize("key", ["forces", "force", "REF_forces", "dft_force", "Forces"])
def test_forces_keys(tmp_path, key):
    frames = read(write(tmp_path, f"{CELL} {PROPERTIES.replace('forces', key)} energy=1"))
    np.testing.assert_array_equal(get_forces(frames[0])[0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("key", ["virial", "Virial", "virials", "REF_virial"])
@pytest.mark.parametrize("value", ["64 6 5 6 128 4 5 4 192", "64 128 192 4 5 6"])
def test_virial_is_minus_volume_times_stress(tmp_path, key, value):
    frames = read(write(tmp_path, f'{CELL} {PROPERTIES} {key}="{value}"'))
    np.testing.assert_allclose(get_stress(frames[0]), [-1, -2, -3, -4 / 64, -5 / 64, -6 / 64])
    assert frames[0].info["stress_claim"] == "virial"


@pytest.mark.parametrize(
    "value", ["1 6 5 6 2 4 5 4 3", "1 2 3 4 5 6", "[[1,6,5],[6,2,4],[5,4,3]]", "{1 2 3 4 5 6}"]
)
def test_stress_is_taken_as_ase_writes_it(tmp_path, value):
    quoted = value if value[0] in "[{" else f'"{value}"'
    frames = read(write(tmp_path, f"{CELL} {PROPERTIES} stress={quoted}"))
    np.testing.assert_array_equal(get_stress(frames[0]), [1, 2, 3, 4, 5, 6])
    assert frames[0].info["stress_claim"] == "ase"


def test_the_virial_wins_and_a_contradiction_is_noted(tmp_path):
    frames = read(write(tmp_path, f'{CELL} {PROPERTIES} virial="64 64 64 0 0 0" stress="1 1 1 0 0 0"'))
    np.testing.assert_allclose(get_stress(frames[0])[:3], -1.0)
    assert "contradict" in frames[0].info["read_notes"][0]
    agree = read(write(tmp_path, f'{CELL} {PROPERTIES} virial="64 64 64 0 0 0" stress="-1 -1 -1 0 0 0"'))
    assert "read_notes" not in agree[0].info


def test_the_convention_of_the_stress_can_be_overridden(tmp_path):
    path = write(tmp_path, f'{CELL} {PROPERTIES} stress="1 2 3 4 5 6"')
    stress = get_stress(read(path, options=ReadOptions(stress_convention="vasp"))[0])
    np.testing.assert_allclose(stress * 1602.1766208, [-1, -2, -3, -5, -6, -4])


def test_weights_groups_and_other_info(tmp_path):
    comment = f"{CELL} {PROPERTIES} Config_type=3 config_weight=2 config_energy_weight=0.5 config_virial_weight=0 note=hi"
    info = read(write(tmp_path, comment))[0].info
    assert info["config_type"] == "3"
    assert (info["weight"], info["energy_weight"], info["stress_weight"]) == (2.0, 0.5, 0.0)
    assert info["note"] == "hi"
    assert info["name"] == "a.xyz#0"


@pytest.mark.parametrize(("word", "role"), [("val", "valid"), ("training", "train"), ("TEST", "test")])
def test_split_words(tmp_path, word, role):
    assert read(write(tmp_path, f"{CELL} {PROPERTIES} split={word}"))[0].info["split"] == role


def test_missing_labels_are_absent_not_zero(tmp_path):
    atoms = read(write(tmp_path, f"{CELL} Properties=species:S:1:pos:R:3", "Si 0 0 0\nSi 1 1 1\n"))[0]
    assert get_energy(atoms) is None
    assert get_forces(atoms) is None
    assert get_stress(atoms) is None
    assert atoms.calc is None


def test_plain_xyz_is_not_periodic(tmp_path):
    atoms = read(write(tmp_path, "a molecule", "O 0 0 0\nH 0 0 1\n"))[0]
    assert not atoms.pbc.any()
    assert atoms.get_chemical_formula() == "HO"


def test_units(tmp_path):
    path = write(tmp_path, f"{CELL} {PROPERTIES} energy=-1")
    options = ReadOptions(energy_unit="Hartree", length_unit="Bohr")
    atoms = read(path, options=options)[0]
    assert get_energy(atoms) == pytest.approx(-27.211386, abs=1e-6)
    assert atoms.positions[1, 0] == pytest.approx(0.5291772, abs=1e-7)
    assert get_forces(atoms)[0, 0] == pytest.approx(0.1 * 27.211386 / 0.5291772, rel=1e-6)
    assert atoms.get_volume() == pytest.approx(64 * 0.5291772**3, rel=1e-6)


def test_custom_keys(tmp_path):
    path = write(tmp_path, f"{CELL} {PROPERTIES.replace('forces', 'mine')} etot=-3 energy=0")
    atoms = read(path, options=ReadOptions(energy_key="etot", forces_key="mine"))[0]
    assert get_energy(atoms) == -3.0
    assert get_forces(atoms) is not None
    with pytest.raises(DataError, match="no label 'wrong'"):
        read(path, options=ReadOptions(energy_key="wrong"))


def test_free_energy_beside_the_energy_is_noted(tmp_path):
    atoms = read(write(tmp_path, f"{CELL} {PROPERTIES} energy=-3 free_energy=-3.1"))[0]
    assert get_energy(atoms) == -3.0
    assert "free_energy" in atoms.info["read_notes"][0]


BAD = {
    "announced": (f"{CELL} {PROPERTIES} energy=1", "Si 0 0 0 0 0 0\n", "breaks off"),
    "columns": (f"{CELL} {PROPERTIES}", "Si 0 0 0 0 0 0\nSi 0 0 0\n", "line 4.*4 columns"),
    "word": (f"{CELL} {PROPERTIES}", "Si 0 0 0 0 0 0\nSi 0 0 zero 0 0 0\n", "line 4.*'zero'"),
    "element": (f"{CELL} {PROPERTIES}", "Qq 0 0 0 0 0 0\nSi 0 0 0 0 0 0\n", "not a chemical element"),
    "energy": (f"{CELL} {PROPERTIES} energy=low", ATOMS, "`energy` must be numbers"),
    "two energies": (f'{CELL} {PROPERTIES} energy="1 2"', ATOMS, "must be one number"),
    "lattice": (f'Lattice="1 2 3 4" {PROPERTIES}', ATOMS, "9 numbers"),
    "flat lattice": (f'Lattice="1 0 0 1 0 0 0 0 1" {PROPERTIES}', ATOMS, "no volume"),
    "pbc": (f'{CELL} pbc="yes no no" {PROPERTIES}', ATOMS, "pbc must be three"),
    "quote": (f'{CELL} {PROPERTIES} note="open', ATOMS, "quote"),
    "bracket": (f"{CELL} {PROPERTIES} stress=[1 2", ATOMS, "not closed"),
    "properties": (f"{CELL} Properties=species:S", ATOMS, "triplets|triples"),
    "no positions": (f"{CELL} Properties=species:S:1:x:R:6", ATOMS, "species and pos"),
    "stress": (f'{CELL} {PROPERTIES} stress="1 2 3"', ATOMS, "6 or 9 components"),
    "weight": (f"{CELL} {PROPERTIES} weight=-1", ATOMS, "`weight` must be a number >= 0"),
    "nan": (f"{CELL} {PROPERTIES} energy=nan", ATOMS, "energy is NaN"),
    "inf force": (f"{CELL} {PROPERTIES}", ATOMS.replace("0.1 ", "inf "), "force is NaN or infinite"),
    "nan position": (f"{CELL} {PROPERTIES}", ATOMS.replace("Si 1", "Si nan"), "positions or cell are NaN"),
    "no cell": (f'{PROPERTIES} stress="1 2 3 4 5 6"', ATOMS, "no volume"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_name_the_place_and_the_problem(tmp_path, case):
    comment, atoms, match = BAD[case]
    with pytest.raises(DataError, match=f"(?s)a.xyz, frame 0.*({match})"):
        read(write(tmp_path, comment, atoms))


def test_nan_can_mean_unlabelled(tmp_path):
    path = write(tmp_path, f"{CELL} {PROPERTIES} energy=nan")
    atoms = read(path, options=ReadOptions(on_nan="unlabelled"))[0]
    assert get_energy(atoms) is None
    assert get_forces(atoms) is not None
    with pytest.raises(LabelError):
        read(path)


def test_the_second_frame_is_named(tmp_path):
    text = f"2\n{CELL} {PROPERTIES}\n{ATOMS}"
    (tmp_path / "b.xyz").write_text(text + "two\n")
    with pytest.raises(DataError, match=r"b.xyz, frame 1, line 5: expected the number of atoms, got 'two'"):
        read(tmp_path / "b.xyz")


def test_whole_frames_of_a_truncated_file_can_be_used(tmp_path):
    text = f"2\n{CELL} {PROPERTIES}\n{ATOMS}"
    path = tmp_path / "b.xyz"
    path.write_text(text + text[:-40])
    with pytest.raises(DataError, match="frame 1, line 5: the file breaks off"):
        read(path)
    frames = read(path, options=ReadOptions(allow_incomplete=True))
    assert len(frames) == 1
    assert "breaks off" in frames[0].info["read_notes"][0]


def test_a_cut_within_the_last_number_is_noticed(tmp_path):
    atoms = "Si 0.0 0.0 0.0 0.1000 0.2000 0.3000\nSi 1.0 1.0 1.0 0.1000 0.2000 0.3456\n"
    path = write(tmp_path, f"{CELL} {PROPERTIES}", atoms.rstrip("\n"))
    assert get_forces(read(path)[0])[1, 2] == 0.3456
    path.write_text(path.read_text()[:-2])
    with pytest.raises(DataError, match="breaks off"):
        read(path)


def test_two_hundred_structures_take_less_than_a_second(shared_data):
    start = time.process_time()
    frames = read(shared_data / "mlearn_Si" / "train.xyz")
    assert len(frames) == 214
    assert time.process_time() - start < 1.0
