"""The certificate passes what is sound and fails, for the right reason, what is broken on purpose."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forgefield.errors import DataError, StructureError
from forgefield.properties import md_checks
from forgefield.properties.md_checks import (
    Watch,
    check_cold_curve,
    check_derivative,
    check_dimers,
    check_grades,
)
from forgefield.properties.registry import find_property

SHORT = {"steps": 40, "length": 4.0, "phonon_length": 4.0, "hot_temperature": 300.0}


class Wrong(Calculator):
    """Effective medium theory with forces too large by a factor."""

    implemented_properties: ClassVar = ["energy", "forces", "stress"]

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.inner = factor, EMT()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        copy = self.atoms.copy()
        copy.calc = self.inner
        self.results = {
            "energy": copy.get_potential_energy(),
            "forces": self.factor * copy.get_forces(),
            "stress": copy.get_stress(),
        }


def test_sound_potential_is_ready(tmp_path):
    result = find_property("md-certificate")(bulk("Cu", "fcc", a=3.6), EMT(), folder=tmp_path, **SHORT)
    assert result["failed"] == 0, result.warnings
    assert result.conditions["ready"]
    status = {c["name"]: c["status"] for c in result.conditions["checks"]}
    assert status["atoms stay within the training set"] == "not available"
    assert len(status) == 10
    content = json.loads((tmp_path / "md-certificate.json").read_text())
    assert content["conditions"]["ready"]
    html = (tmp_path / "md-certificate.html").read_text()
    assert "two atoms repel each other" in html
    assert "<script" not in html
    assert "data:image/png;base64," in html


def test_forces_that_are_no_derivative_fail():
    atoms = bulk("Cu", "fcc", a=3.6).repeat(2)
    assert check_derivative(atoms, Wrong(1.0), 0).status == "passed"
    found = check_derivative(atoms, Wrong(1.02), 0)
    assert found.status == "failed"
    assert found.values["energy_change_eV"] * 1.02 == pytest.approx(found.values["work_eV"], rel=1e-3)


class Hole(Calculator):
    """A pair potential with a hole under its repulsion: a Gaussian well at short distance."""

    implemented_properties: ClassVar = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        copy = self.atoms.copy()
        copy.calc = LennardJones(sigma=2.2, epsilon=0.4, rc=4.0)
        from forgefield.graph import neighbour_pairs

        _, _, _, r = neighbour_pairs(copy, 2.3)
        d = np.linalg.norm(r, axis=1)
        lost = -0.5 * 2e5 * np.exp(-(((d - 1.0) / 0.25) ** 2)).sum()
        self.results = {
            "energy": copy.get_potential_energy() + lost,
            "forces": copy.get_forces(),
            "stress": copy.get_stress(),
        }


def test_hole_at_short_range_fails_and_is_located():
    found = check_dimers(["Cu"], Hole(), 20.0)
    assert found.status == "failed"
    assert "Cu-Cu collapses below" in found.reason
    assert 1.2 < found.values["Cu-Cu"]["repulsive_down_to_A"] < 2.2
    assert check_dimers(["Cu"], LennardJones(sigma=2.2, epsilon=0.4, rc=4.0), 20.0).status == "passed"


def test_compression_without_resistance_fails():
    assert check_cold_curve(bulk("Cu", "fcc", a=3.6), EMT(), 0.75).status == "passed"
    assert check_cold_curve(bulk("Cu", "fcc", a=3.6), Hole(), 0.45).status == "failed"


def test_breakdown_is_caught_with_its_reason(tmp_path):
    result = find_property("md-certificate")(
        bulk("Cu", "fcc", a=3.6),
        EMT(),
        folder=tmp_path,
        **(SHORT | {"timestep": 10.0, "hot_temperature": 2e5}),
    )
    assert not result.conditions["ready"]
    hot = next(c for c in result.conditions["checks"] if "hot" in c["name"])
    assert hot["status"] == "failed"
    assert "broke down" in hot["reason"]


def test_grades_name_the_worst_atoms(monkeypatch):
    class Graded(Calculator):
        def get_property(self, name, *_):
            assert name == "extrapolation"
            return np.array([0.5, 23.0, 11.0, 1.0])

    monkeypatch.setattr(md_checks, "ForgefieldCalculator", Graded)
    watch = Watch(Graded())
    watch(bulk("Cu", cubic=True), "hot", 40, 10.0)
    found = check_grades(watch, 10.0)
    assert found.status == "failed"
    assert "Cu 1 (hot, step 40: 23)" in found.reason
    assert [row["atom"] for row in found.values["atoms"]] == [1, 2]
    assert check_grades(Watch(EMT()), 10.0).status == "not available"


def test_bad_input():
    with pytest.raises(StructureError, match="periodic in three directions"):
        find_property("md-certificate")(Atoms("Cu"), EMT())
    with pytest.raises(StructureError, match="Unrelaxed structure"):
        find_property("md-certificate")(bulk("Cu", a=3.3), EMT(), relax=False)
    with pytest.raises(DataError, match=r"cannot read nothing\.cif"):
        find_property("md-certificate")(bulk("Cu", a=3.6), EMT(), phases=("nothing.cif",))
