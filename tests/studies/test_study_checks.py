"""What the studies of descriptors and optimisers compute of a potential, against calculators that are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.errors import DataError
from forgefield.studies import optimisers_checks as checks
from forgefield.studies.base import Cell, CellResult
from forgefield.studies.descriptors import _elastic
from forgefield.studies.descriptors_page import TABLE_2, descriptors_page


def run_by(calculator):
    """Return what the checks need of a training, around a calculator."""
    return SimpleNamespace(potential=SimpleNamespace(calculator=lambda **_: calculator))


def test_elastic_constants_of_copper_agree_with_its_equation_of_state():
    found = _elastic(run_by(EMT()), [{"element": "Cu", "structure": "fcc", "a": 3.65}])["Cu"]
    eos = checks.equation(run_by(EMT()), {"formula": "Cu", "structure": "fcc", "a": 3.65})
    assert found["a"] == pytest.approx(eos["a0"], rel=1e-6)
    assert (found["c11"] + 2 * found["c12"]) / 3 == pytest.approx(eos["bulk_modulus"], rel=0.01)
    assert found["bulk"] == pytest.approx(eos["bulk_modulus"], rel=0.01)
    assert min(eos["energies"]) == 0.0


def test_a_crystal_without_a_minimum_is_a_result():
    found = checks.equation(run_by(EMT()), {"formula": "Cu", "structure": "fcc", "a": 4.6})
    assert "minimum" in found["failed"]


def test_distances_of_snapshots_are_those_of_the_crystal():
    crystal = bulk("Si", "diamond", a=5.43, cubic=True)
    r, g = checks._distribution(checks._snapshots([crystal] * 4))
    nearest = 5.43 * np.sqrt(3) / 4
    assert r[g > 0][0] == pytest.approx(nearest, abs=0.05)
    width = r[1] - r[0]
    neighbours = np.sum(g * 7 / 5.43**3 * 4 * np.pi * r**2 * width, where=r < 3.0)
    assert neighbours == pytest.approx(4.0, rel=0.01)


def test_a_liquid_needs_its_snapshots(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "frames_like", lambda *_: [])
    settings = {"snapshots": "at 99 K", "temperature": 99.0, "length": 1.0}
    with pytest.raises(DataError, match="0 structures have 'at 99 K'"):
        checks.liquid(run_by(EMT()), settings, {"data": {}}, 0)


def test_parity_is_of_test_structures_in_the_units_of_its_axes():
    frames, said = [], []
    for split in ("train", "test"):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.info["split"] = split
        atoms.calc = SinglePointCalculator(
            atoms, energy=-8.0, forces=np.full((4, 3), 0.5), stress=np.full(6, 0.01)
        )
        frames.append(atoms)
        said.append(SimpleNamespace(energy=-4.0, forces=np.zeros((4, 3)), stress=np.zeros(6)))
    found = checks.parity(SimpleNamespace(evaluation=SimpleNamespace(frames=frames, predictions=said)))
    assert found["energy"] == {"label": [-2.0], "predicted": [-1.0]}
    assert found["forces"]["label"] == [0.5] * 12
    assert found["stress"]["label"] == pytest.approx([1.602177] * 6, abs=1e-5)


def result(name, seed, forces, **elastic):
    """Return a finished cell with made-up numbers."""
    errors = {"energy": 10.0, "forces": forces, "stress": None}
    config = {
        "training": {"kind": "adam", "epochs": 3},
        "model": {"hidden": [3]},
        "descriptor": {"cutoff": 5.0},
    }
    parameters = {"set": "alloy", "descriptor": name, "seed": seed, "structures": 7, "draw": "groups"}
    parameters["config"] = config
    values = {
        "errors": dict.fromkeys(("train", "valid", "test"), errors),
        "mae": {"test": errors},
        "groups": {group: {"structures": 2, "energy": 1.0, "forces": forces} for group in ("bulk", "slab")},
        "structures": {"train": 7, "valid": 2, "test": 2},
        "n_features": 40,
        "microseconds": 2.0,
        "training": {"wall": 2.0, "cpu": 1.0},
        "elastic": {"Nb": elastic} if elastic else {},
    }
    return CellResult(Cell(f"{name} {seed}", parameters), values, 1.0)


def test_the_page_sets_what_was_found_beside_what_the_paper_prints():
    good = {"a": 3.3, "c11": 250.0, "c12": 130.0, "c44": -3.0, "bulk": 170.0, "shear": None, "poisson": 0.4}
    results = [result("SO3", seed, 100.0 + seed, **good) for seed in (0, 1)]
    results += [result("SO4", seed, 200.0 + seed, failed="no minimum") for seed in (0, 1)]
    page = descriptors_page({"alloy": "NbMoTaW", "other": None}, results)
    own = {claim: rest for claim, *rest in page.own}
    said, verdict = own["alloy: SO3 beats SO4 in forces (MAE)"]
    assert said.endswith("meV/Å: -50 % (-52 to -48)")
    assert verdict == "yes"
    papers = {claim: verdict for claim, _, verdict in page.claims}
    assert papers["alloy: C44 of niobium is negative with SO3 (table 2)"] == "agrees"
    mean = "alloy: SO3's elastic constants are 10.1 GPa from DFT at most, on average (table 2)"
    assert papers[mean] == "disagrees"
    assert sum(verdict == "not run" for verdict in papers.values()) == 3
    first, _, groups, elastic, distances = page.sections[0].tables
    # DFT has 233, 145 and 11 GPa; SO4 has no minimum and no row.
    assert [row[0] for row in distances.rows] == [*[s for s in TABLE_2["Nb"] if s != "DFT"], "SO3"]
    means = [float(cell.split(" ±")[0]) for cell in distances.rows[-1][1:]]
    assert means == pytest.approx([17.0, 15.0, 14.0, 15.333], abs=0.05)
    assert first.rows[0][-2:] == ["7.57", "170"]
    assert [row[0] for row in groups.rows] == ["bulk", "slab"]
    assert [row[1] for row in elastic.rows] == [*TABLE_2["Nb"], "SO3", "SO4"]
    row = [cell.split(" ±")[0] for cell in elastic.rows[-2][2:]]
    assert row == ["3.3", "250", "130", "-3", "170", "unstable", "0.4"]
    assert elastic.rows[-1][2] == "2 of 2 runs: no minimum"
    assert len(page.sections) == 1
