"""Outputs of electronic-structure codes against ASE's own readers, and when they break off."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read

from forgefield.data import ReadOptions, get_energy, get_forces, get_stress, read
from forgefield.errors import DataError

SAMPLES = Path(__file__).parent / "samples"


@pytest.mark.parametrize("name", ["si_vc_relax.pwo", "si_md.pwo.xz"])
def test_espresso_agrees_with_ase(name, tmp_path):
    path = SAMPLES / name
    plain = path
    if name.endswith(".xz"):
        plain = tmp_path / "md.pwo"
        plain.write_bytes(lzma.decompress(path.read_bytes()))
    ours, theirs = read(path), ase_read(plain, ":", format="espresso-out")
    assert len(ours) == len(theirs) == 3
    for mine, other in zip(ours, theirs, strict=True):
        # ASE converts with an older set of constants: relative differences of 1e-8 to 1e-7.
        np.testing.assert_allclose(mine.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(mine.cell.array, other.cell.array, atol=1e-7)
        assert get_energy(mine) == pytest.approx(other.get_potential_energy(), rel=2e-7)
        np.testing.assert_allclose(get_forces(mine), other.get_forces(), atol=1e-7)
        np.testing.assert_allclose(get_stress(mine), other.get_stress(), atol=1e-8)


def test_espresso_pressure_has_the_right_sign_and_unit():
    frames = read(SAMPLES / "si_vc_relax.pwo")
    # The output prints P = 34.61, 14.96 and 0.43 kbar; a positive pressure is a negative stress.
    pressures = [-get_stress(a)[:3].mean() * 1602.1766 for a in frames]
    np.testing.assert_allclose(pressures, [34.61, 14.96, 0.43], atol=0.01)


def test_espresso_energy_choice():
    path = SAMPLES / "si_vc_relax.pwo"
    free, zero = read(path)[0], read(path, options=ReadOptions(energy_choice="extrapolated"))[0]
    # -TS = -0.00544160 Ry is printed; E(sigma -> 0) = F + TS / 2.
    assert get_energy(zero) - get_energy(free) == pytest.approx(0.5 * 0.00544160 * 13.605693, abs=1e-6)


def test_outcar_takes_the_free_energy(shared_data):
    path = shared_data / "formats" / "vasp_metal" / "OUTCAR"
    frames = read(path)
    theirs = ase_read(path, ":", format="vasp-out")
    for mine, other in zip(frames, theirs, strict=True):
        assert get_energy(mine) == pytest.approx(other.calc.results["free_energy"], abs=1e-8)
        np.testing.assert_allclose(mine.positions, other.positions, atol=1e-6)
        np.testing.assert_allclose(get_forces(mine), other.get_forces(), atol=1e-6)
        np.testing.assert_allclose(get_stress(mine), other.get_stress(), atol=1e-8)


def test_outcar_and_vasprun_agree(shared_data):
    folder = shared_data / "formats" / "vasp"
    for mine, other in zip(read(folder / "OUTCAR"), read(folder / "vasprun.xml"), strict=True):
        assert get_energy(mine) == pytest.approx(get_energy(other), abs=1e-6)
        np.testing.assert_allclose(get_forces(mine), get_forces(other), atol=1e-6)
        np.testing.assert_allclose(get_stress(mine), get_stress(other), atol=1e-7)
        gap = mine.get_scaled_positions() - other.get_scaled_positions()
        np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=2e-6)


def read_or_explain(path, options):
    """Return the frames, or none where the reader refuses with the name of the file."""
    try:
        return read(path, options=options)
    except DataError as error:
        assert path.name in str(error)  # noqa: PT017  (either outcome is right)
        return []


@pytest.mark.parametrize("share", [0.05, 0.3, 0.55, 0.8, 0.97])
@pytest.mark.parametrize("name", ["vasp/OUTCAR", "vasp/vasprun.xml", "si_vc_relax.pwo"])
def test_truncated_outputs_give_whole_frames_or_an_error(shared_data, tmp_path, name, share):
    path = SAMPLES / name if name.endswith("pwo") else shared_data / "formats" / name
    whole = read(path)
    content = path.read_bytes()
    cut = tmp_path / path.name
    cut.write_bytes(content[: int(share * len(content))])
    for options in (ReadOptions(), ReadOptions(allow_incomplete=True)):
        frames = read_or_explain(cut, options)
        assert len(frames) <= len(whole)
        for mine, other in zip(frames, whole, strict=False):
            assert get_energy(mine) == get_energy(other)
            if get_forces(mine) is not None:
                np.testing.assert_array_equal(get_forces(mine), get_forces(other))
            np.testing.assert_array_equal(mine.positions, other.positions)


def test_stars_instead_of_numbers(shared_data, tmp_path):
    text = (shared_data / "formats" / "vasp" / "OUTCAR").read_text()
    damaged = tmp_path / "OUTCAR"
    damaged.write_text(text.replace("-0.141986", "*********", 1))
    with pytest.raises(DataError, match="frame 0, line 1594: expected 6 numbers"):
        read(damaged)
