"""The stress study: melting against the reference, conductivities of one simulation, the page."""

import math

import numpy as np
import pytest
import torch

from forgefield.descriptors import NEP
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.studies import Cell, CellResult, find_study
from forgefield.studies.stress_training_cells import Conditions, conduction, fixed_volume, melting
from forgefield.studies.stress_training_numbers import Heat, melting_errors
from forgefield.studies.truths import LennardJones

SHORT = Conditions(
    size=2,
    length=0.6,
    replicas=2,
    read_at=0.2,
    structures=2,
    melt_steps=300,
    melting_steps=80,
    melting_interval=180.0,
)


def sweep(factor=1.0, **changes):
    lengths = {"heating": [5.2, 5.4], "cooling": [5.5, 5.3]}
    return {
        "temperatures": {"heating": [100.0, 280.0], "cooling": [280.0, 100.0]},
        "lengths": {way: [factor * v for v in values] for way, values in lengths.items()},
        "r": [1.0, 2.0],
        "g": {"heating 100 K": [0.0, 2.0], "cooling 100 K": [0.0, 1.8]},
        **changes,
    }


def test_melting_is_compared_temperature_by_temperature():
    assert melting_errors(sweep(), [sweep(), sweep()]) == {"length": 0.0, "g": 0.0}
    found = melting_errors(sweep(1.02), [sweep(1.01), sweep(0.99)])
    assert found["length"] == pytest.approx(2.0)
    moved = sweep(g={"heating 100 K": [0.1, 2.0], "cooling 100 K": [0.0, 1.5]})
    assert melting_errors(moved, [sweep()])["g"] == pytest.approx(0.1)
    assert math.isnan(melting_errors({"failed": "it boiled"}, [sweep()])["length"])
    assert math.isnan(melting_errors(sweep(), [])["g"])


def result(fit, seed, *, kappa, stress=0.01, pressure=0.1, melt=1.0):
    errors = {s: {"energy": 0.1, "forces": 1.0, "stress": stress} for s in ("train", "valid")}
    kinds = ("I",) if fit == "reference" else ("I", "II", "III")
    values = {
        "pressure_error": pressure,
        "eos": {"a0": 5.3, "bulk_modulus": 3.0, "volumes": [35.0, 40.0], "energies": [-0.1, -0.08]},
        "length_at_rest": {"value": 5.4, "error": 0.01},
        "melting": sweep(melt, melts=235.0, freezes=175.0),
        "conductivity": {k: {"value": kappa - 0.05 * n, "error": 0.02} for n, k in enumerate(kinds)},
        "conductivity_crystal": {k: {"value": kappa, "error": 0.02} for k in kinds},
    }
    if fit != "reference":
        values["errors"] = errors
    conditions = Conditions(size=2).model_dump(mode="json")
    return CellResult(Cell(f"{fit} {seed}", {"fit": fit, "seed": seed, **conditions}), values, 1.0)


def results():
    found = [result("reference", n, kappa=k, melt=1.0 + 0.001 * n) for n, k in enumerate((0.24, 0.26))]
    for n in range(5):
        found.append(
            result("EF", n, kappa=0.35 + 0.01 * n, stress=0.2, pressure=0.3 + 0.01 * n, melt=1.03 + 0.002 * n)
        )
        found.append(
            result("EFP", n, kappa=0.25 + 0.002 * (n - 2), melt=1.0 + 0.001 * n, pressure=0.1 + 0.01 * n)
        )
    return found


def test_page_says_what_the_numbers_say():
    study = find_study("stress-training")
    page = study.page(study.Settings.parse({"size": 2}), results())
    verdicts = {claim: verdict for claim, _, verdict in page.claims if verdict != "not run"}
    assert verdicts == {
        "Stress labels lower the error of the stress of strained crystals": "agrees",
        "Stress labels lower the error of the stress of validation structures": "agrees",
        "Stress labels bring the structure in heating and cooling nearer to the reference": "undecided",
        "Stress labels lower the error of the conductivity of the liquid": "agrees",
        "EFP-fits with virial I have the conductivity of the liquid right (within 10 %)": "undecided",
        "EFP-fit, liquid: virial II gives another conductivity than virial I": "agrees",
        "In the liquid virial I is nearer to the reference than virial II": "undecided",
        "EFP-fit, liquid: virial III gives another conductivity than virial I": "agrees",
        "In the liquid virial I is nearer to the reference than virial III": "agrees",
        "Stress labels lower the error of the conductivity of the crystal": "agrees",
        "EFP-fits with virial I have the conductivity of the crystal right (within 10 %)": "undecided",
        "EFP-fit, crystal: virial II gives another conductivity than virial I": "undecided",
        "In the crystal virial I is nearer to the reference than virial II": "undecided",
        "EFP-fit, crystal: virial III gives another conductivity than virial I": "undecided",
        "In the crystal virial I is nearer to the reference than virial III": "undecided",
    }
    assert sum(verdict == "not run" for _, _, verdict in page.claims) == 3
    volume = "Stress labels bring the volume in heating and cooling nearer to the reference"
    assert {claim: verdict for claim, _, verdict in page.own}[volume] == "yes"
    tables = {t.caption: t for section in page.sections for t in section.tables}
    rows = {
        (r[0], r[1]): r for r in tables["Conductivity of the liquid; ± is one standard error over seeds"].rows
    }
    assert rows["EFP", "II"][4].startswith("-0.05")
    assert rows["reference", "I"][2] == "0.250 ± 0.014"
    melts = {r[0]: r for r in tables["Heating and cooling; ± is one standard error over seeds"].rows}
    assert melts["EFP"][3] == "5 and 5 of 5"
    assert melts["reference"][4] == "0.099950 ± 0.000050"
    runs = tables["Every run"].rows
    assert len(runs) == 12
    assert runs[5][:2] == ["EFP", "0"]
    assert runs[5][-2:] == ["5.2 to 5.4", "5.3 to 5.5"]
    titles = [c.title for section in page.sections for c in section.charts]
    assert titles[:3] == ["Equation of state", "Hysteresis", "g(r), heating 100 K"]


def test_fits_that_break_down_are_counted():
    found = results()
    study = find_study("stress-training")
    claim = "Stress labels bring the volume in heating and cooling nearer to the reference"
    for broken, verdict in ((1, "yes"), (5, "yes")):
        for one in [r for r in found if r.cell.parameters["fit"] == "EF"][:broken]:
            one.values["melting"] = {"failed": "it boiled"}
        page = study.page(study.Settings.parse({"size": 2}), found)
        said, given = next((s, v) for c, s, v in page.own if c == claim)
        assert said.endswith(f"broke down: 0 against {broken} of 5")
        assert given == verdict


def test_a_fit_without_a_minimum_is_counted_and_one_simulation_has_its_own_error():
    """A mean over four of five must say so, and two runs that are one simulation have no spread."""
    found = results()
    lost = next(r for r in found if r.cell.parameters["fit"] == "EFP")
    lost.values["eos"] = {"failed": "no minimum"}
    for r in found:
        if r.cell.parameters["fit"] == "reference":
            r.values["length_at_rest"] = {"value": 5.4, "error": 0.0075}
    study = find_study("stress-training")
    page = study.page(study.Settings.parse({"size": 2}), found)
    view = page.sections[0].tables[0]
    column = [c.text for c in view.columns].index("with a minimum of energy")
    rows = {row[0]: row for row in view.rows}
    assert [rows[name][column] for name in ("EF", "EFP", "reference")] == ["5 of 5", "4 of 5", "2 of 2"]
    assert rows["reference"][5] == "5.4000 ± 0.0075"


def test_page_of_what_broke_down():
    broken = results()
    for one in broken:
        one.values["melting"] = {"failed": "it boiled"}
        for phase in ("conductivity", "conductivity_crystal"):
            one.values[phase] = {k: {"failed": "it boiled"} for k in ("I", "II", "III")}
    study = find_study("stress-training")
    page = study.page(study.Settings.parse({"size": 2}), broken)
    tables = {t.caption: t for section in page.sections for t in section.tables}
    assert {r[-1] for r in tables["Heating and cooling; ± is one standard error over seeds"].rows} == {
        "5",
        "2",
    }
    assert all("nan" not in cell for t in tables.values() for row in t.rows for cell in row)


def test_differences_of_conductivities_carry_the_error_of_the_reference():
    fits = {"EFP": [r for r in results() if r.cell.parameters["fit"] == "EFP"]}
    truths = [r for r in results() if r.cell.parameters["fit"] == "reference"]
    heat = Heat(fits, truths)
    assert (heat.value, heat.error) == (pytest.approx(0.25), pytest.approx(0.02 / math.sqrt(2.0)))
    mean, spread = heat.difference("EFP", "I")
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert spread == pytest.approx(
        math.hypot(heat.error, np.std([0.002 * k for k in range(5)], ddof=1) / math.sqrt(5))
    )
    assert heat.change("EFP", "III") == (pytest.approx(-0.1), pytest.approx(0.0, abs=1e-12))


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(2)
    descriptor = NEP(["Ar"], cutoff_radial=6.0, cutoff_angular=5.0, n_max_radial=2, n_max_angular=2, l_max=2)
    model = make_model({"kind": "network", "hidden": [4]}, descriptor.n_features, 1)
    return Potential(descriptor, model, {18: 0.0}, 1e-3).to_dtype(torch.float64)


def test_all_virials_come_from_one_simulation(potential, tmp_path):
    calculator = potential.calculator(dtype="float64", threads=1)
    alone = conduction(SHORT, calculator, LennardJones(), tmp_path, ("I",))
    whole = conduction(SHORT, calculator, LennardJones(), tmp_path, ("I", "II", "III"))
    other = conduction(SHORT, calculator, LennardJones(), tmp_path, ("II",))
    assert alone["I"]["value"] == pytest.approx(whole["I"]["value"], rel=1e-12)
    assert other["II"]["value"] == pytest.approx(whole["II"]["value"], rel=1e-6)
    values = [whole[kind]["value"] for kind in ("I", "II", "III")]
    assert len({round(v, 12) for v in values}) == 3
    assert all(whole[k]["error"] > 0 for k in whole)


def test_reference_conducts_melts_and_labels(tmp_path):
    truth = LennardJones()
    heat = conduction(SHORT, truth, truth, tmp_path, ("I",), pairwise=True, replicas=2)
    assert 0.02 < heat["I"]["value"] < 1.0
    found = melting(SHORT, truth, 0)
    assert found["temperatures"] == {"heating": [100.0, 280.0], "cooling": [280.0, 100.0]}
    assert {way: len(lengths) for way, lengths in found["lengths"].items()} == {"heating": 2, "cooling": 2}
    assert all(5.0 < v < 6.0 for way in found["lengths"].values() for v in way)
    path = fixed_volume(SHORT, truth, tmp_path)
    assert path.exists()
    from ase.io import read

    frames = read(path, ":")
    assert [a.info["config_type"] for a in frames] == [
        f"{t} K" for t in (20, 20, 50, 50, 80, 80, 250, 250, 500, 500)
    ]
    assert len({round(a.get_volume(), 6) for a in frames}) == 1
    crystal = SHORT.crystal().positions
    moved = [np.abs(a.positions - crystal).max() for a in frames]
    assert max(moved[:6]) < 1.0 < min(moved[6:])
