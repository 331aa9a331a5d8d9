"""Every sample of another program's format against values that were derived independently."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forgefield.data import ReadOptions, get_energy, get_forces, get_stress, read

SAMPLES = (
    "vasp/OUTCAR",
    "vasp/vasprun.xml",
    "vasp_metal/OUTCAR",
    "nep/NEP-dataset.xyz",
    "pyxtal_ff_db/Si.db",
    "ase_db/Si20.db",
    "mlearn_json/Mo_test.json",
    "fitsnap_json",
    "pyxtal_ff_json/Si_first15.json",
    "n2p2/input.data",
    "deepmd",
)


def test_the_list_of_samples_is_complete(shared_data):
    expected = json.loads((shared_data / "formats" / "expected.json").read_text())
    assert set(expected) == set(SAMPLES)


@pytest.mark.parametrize("sample", SAMPLES)
def test_sample_gives_the_expected_frames(shared_data, sample):
    expected = json.loads((shared_data / "formats" / "expected.json").read_text())[sample]
    # The expected values of the OUTCAR were made with the energy extrapolated to zero smearing.
    path = shared_data / "formats" / sample
    frames = read(path, options=ReadOptions(energy_choice="extrapolated"))
    assert len(frames) == expected["n_frames"]
    for truth in expected["frames"]:
        atoms = frames[truth["index"]]
        if sample == "pyxtal_ff_db/Si.db" and atoms.info["config_type"] == "Elastic":
            # This group was written in another order than the rest of the same file.
            swapped = ReadOptions(stress_convention="compression, GPa, xy xz yz")
            atoms = read(path, options=swapped)[truth["index"]]
        assert atoms.get_chemical_formula() == truth["formula"]
        assert atoms.get_volume() == pytest.approx(truth["volume"], abs=1e-5)
        assert get_energy(atoms) == pytest.approx(truth["energy"], abs=1e-6)
        np.testing.assert_allclose(get_forces(atoms)[0], truth["force_atom0"], atol=1e-7)
        if truth["stress"] is None:
            assert get_stress(atoms) is None
        else:
            np.testing.assert_allclose(get_stress(atoms), truth["stress"], atol=5e-9)
