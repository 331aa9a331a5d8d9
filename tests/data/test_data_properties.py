"""Random structures survive the readers; random damage gives a clear error or the right frames."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgefield.data import FORMATS, ReadOptions, StressConvention, get_energy, get_forces, get_stress, read
from forgefield.data.stress import ORDERS, STRESS_UNITS
from forgefield.errors import DataError

FAST = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(FAST, max_examples=12)
SAMPLES = Path(__file__).parent / "samples"


@st.composite
def structures(draw):
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    atoms = Atoms(
        numbers=rng.integers(1, 93, n),
        positions=rng.normal(scale=10.0 ** draw(st.integers(-3, 3)), size=(n, 3)),
        cell=rng.normal(size=(3, 3)) + 5.0 * np.eye(3),
        pbc=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )
    atoms.info["config_type"] = draw(st.sampled_from(["a", "b c", "3", "T", 'say "hi"', "x=y", "[1]"]))
    labels = {}
    if draw(st.booleans()):
        labels["energy"] = float(rng.normal(scale=1e4))
    if draw(st.booleans()):
        labels["forces"] = rng.normal(size=(n, 3))
    if draw(st.booleans()):
        labels["stress"] = rng.normal(size=6)
    if labels:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def same(first, second, tolerance=1e-7):
    np.testing.assert_array_equal(first.numbers, second.numbers)
    np.testing.assert_array_equal(first.pbc, second.pbc)
    np.testing.assert_allclose(first.positions, second.positions, atol=tolerance)
    np.testing.assert_allclose(first.cell.array, second.cell.array, atol=tolerance)
    for getter in (get_energy, get_forces, get_stress):
        a, b = getter(first), getter(second)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, atol=tolerance)


@FAST
@given(st.lists(structures(), min_size=1, max_size=4))
def test_extended_xyz_round_trip(frames):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xyz"
        write(path, frames, format="extxyz")
        found = read(path)
    assert len(found) == len(frames)
    for mine, theirs in zip(found, frames, strict=True):
        same(mine, theirs, 1e-7)
        assert mine.info["config_type"] == theirs.info["config_type"]


@FEW
@given(structures())
def test_database_round_trip(atoms):
    from ase.db import connect

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        with connect(path) as database:
            database.write(atoms, config_type="group_a", data={"matrix": np.arange(6.0), "force_weight": 2.0})
        found = read(path)
    same(found[0], atoms, 1e-12)
    assert found[0].info["config_type"] == "group_a"
    assert found[0].info["forces_weight"] == 2.0


@FAST
@given(structures())
def test_fitsnap_round_trip(atoms):
    entry = {
        "Positions": atoms.positions.tolist(),
        "Lattice": atoms.cell.array.tolist(),
        "AtomTypes": atoms.get_chemical_symbols(),
        "NumAtoms": len(atoms),
    }
    stress = get_stress(atoms)
    if get_energy(atoms) is not None:
        entry["Energy"] = get_energy(atoms)
    if get_forces(atoms) is not None:
        entry["Forces"] = get_forces(atoms).tolist()
    if stress is not None:
        full = -1602176.6208 * stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
        entry["Stress"] = full.tolist()
    with tempfile.TemporaryDirectory() as folder:
        group = Path(folder) / "Group_1"
        group.mkdir()
        (group / "x.json").write_text(
            "# comment\n" + json.dumps({"Dataset": {"Data": [entry], "StressStyle": "bar"}})
        )
        found = read(folder)
    atoms.pbc = True
    same(found[0], atoms, 1e-9)
    assert found[0].info["config_type"] == "Group_1"


@FAST
@given(
    st.sampled_from(["tension", "compression"]),
    st.sampled_from(sorted(STRESS_UNITS)),
    st.sampled_from(ORDERS),
    st.lists(st.floats(-10, 10), min_size=6, max_size=6),
    st.floats(1, 1e4),
)
def test_a_convention_treats_vectors_and_tensors_alike(sign, unit, order, components, volume):
    convention = StressConvention(sign=sign, unit=unit, order=order)
    written = np.array(components)
    places = {"yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}
    tensor = np.diag(written[:3])
    for value, word in zip(written[3:], order.split(), strict=True):
        tensor[places[word]] = tensor[places[word][::-1]] = value
    np.testing.assert_allclose(
        convention.to_ase(written, volume), convention.to_ase(tensor, volume), rtol=1e-12
    )


def readable(path, **keywords):
    """Return the frames, or none where the reader refuses cleanly; anything else fails the test."""
    try:
        return read(path, **keywords)
    except DataError:
        return []


def xyz_text():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3):
        atoms = Atoms("SiGe", positions=rng.normal(size=(2, 3)), cell=4 * np.eye(3), pbc=True)
        atoms.calc = SinglePointCalculator(
            atoms, energy=-9.5, forces=rng.normal(size=(2, 3)), stress=rng.normal(size=6)
        )
        frames.append(atoms)
    buffer = io.StringIO()
    write(buffer, frames, format="extxyz")
    return buffer.getvalue()


XYZ = xyz_text()


@FAST
@given(st.integers(0, len(XYZ) - 1), st.booleans())
def test_truncated_extended_xyz(length, allow):
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole.xyz", Path(folder) / "cut.xyz"
        whole.write_text(XYZ)
        cut.write_text(XYZ[:length])
        frames = readable(cut, options=ReadOptions(allow_incomplete=allow))
        for mine, theirs in zip(frames, read(whole), strict=False):
            same(mine, theirs, 1e-12)


@FAST
@given(st.data())
def test_damaged_files_of_every_format(shared_data, data):
    samples = {
        "extxyz": XYZ.encode(),
        "n2p2": (shared_data / "formats/n2p2/input.data").read_bytes()[:9000],
        "espresso": (SAMPLES / "si_vc_relax.pwo").read_bytes(),
        "mlearn": (shared_data / "formats/mlearn_json/Mo_test.json").read_bytes(),
        "fitsnap": (shared_data / "formats/fitsnap_json/Elastic_BCC/BCC_deformed_0.json").read_bytes(),
        "pyxtal": (shared_data / "formats/pyxtal_ff_json/Si_first15.json").read_bytes(),
        "vasprun": (shared_data / "formats/vasp/vasprun.xml").read_bytes(),
        "ase_db": (shared_data / "formats/ase_db/Si20.db").read_bytes(),
    }
    name = data.draw(st.sampled_from(sorted(samples)))
    content = bytearray(samples[name])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        junk = data.draw(st.binary(min_size=0, max_size=8))
        content[place : place + data.draw(st.integers(0, 8))] = junk
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(bytes(content))
        readable(path, format=name)
        readable(path)


@FAST
@given(st.binary(max_size=300), st.sampled_from(sorted(FORMATS)))
def test_arbitrary_bytes(content, form):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.xyz"
        path.write_bytes(content)
        readable(path, format=form)
        readable(path)


@FEW
@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda x: st.lists(x, max_size=4),
        max_leaves=8,
    ),
    st.data(),
)
def test_json_of_the_wrong_types(value, data):
    documents = {
        "mlearn": [
            {
                "structure": {
                    "lattice": {"matrix": np.eye(3).tolist()},
                    "sites": [{"species": [{"element": "Si"}], "xyz": [0, 0, 0]}],
                },
                "outputs": {"energy": 1, "forces": [[0, 0, 0]], "virial_stress": [1, 2, 3, 4, 5, 6]},
            }
        ],
        "fitsnap": {
            "Dataset": {
                "Data": [
                    {
                        "Positions": [[0, 0, 0]],
                        "Lattice": np.eye(3).tolist(),
                        "AtomTypes": ["Si"],
                        "Energy": 1.0,
                        "Forces": [[0, 0, 0]],
                    }
                ]
            }
        },
        "pyxtal": [
            {
                "coords": [[0, 0, 0]],
                "lattice": np.eye(3).tolist(),
                "elements": ["Si"],
                "energy": 1,
                "force": [[0, 0, 0]],
            }
        ],
    }
    name = data.draw(st.sampled_from(sorted(documents)))
    document = json.loads(json.dumps(documents[name]))
    place = document
    while isinstance(place, dict | list) and place:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place))))
        )
        inner = place[key]
        if not isinstance(inner, dict | list) or data.draw(st.booleans()):
            place[key] = value
            break
        place = inner
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(document))
        readable(path, format=name)


def test_deepmd_folders_that_are_damaged(shared_data, tmp_path):
    import shutil

    source = shared_data / "formats" / "deepmd"
    for name in ("type_map.raw", "set.000/box.npy", "set.000/coord.npy", "set.000/force.npy"):
        folder = tmp_path / name.replace("/", "_")
        shutil.copytree(source, folder)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / name).write_bytes(b"\x93NUMPY nonsense")
        with pytest.raises(DataError):
            read(folder, format="deepmd")
