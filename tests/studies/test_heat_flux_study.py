"""The study of the heat flux: atomic virials of the truth, conductivities of one simulation, verdicts of the page."""

import math

import numpy as np
import pytest
from ase.build import bulk

from forgefield.errors import ConfigError
from forgefield.keys import voigt_to_matrix
from forgefield.properties.conductivity_flux import flux_error
from forgefield.studies import Cell, CellResult, find_study
from forgefield.studies.heat_flux_cells import KINDS, Melt, TruthForces, conductivities, melt_of, structures
from forgefield.studies.stress_training_numbers import Heat
from forgefield.studies.truths import TRUTHS, LennardJones, StillingerWeber

SHORT = Melt(size=1, melt_steps=100, structures=2, gap=5, length=0.4, replicas=2, read_at=0.1)
ARGON = SHORT.model_copy(
    update={"reference": "argon", "element": "Ar", "lattice": "fcc", "volume": 40.0, "temperature": 250.0}
)


def shaken(element="Si", lattice="diamond", a=5.43):
    atoms = bulk(element, lattice, a=a, cubic=True).repeat((2, 1, 1))
    atoms.positions += 0.1 * np.random.default_rng(0).standard_normal((len(atoms), 3))
    return atoms


@pytest.mark.parametrize("kind", KINDS)
def test_atomic_virials_of_the_truth_sum_to_its_stress(kind):
    atoms, truth = shaken(), StillingerWeber()
    found = TruthForces(truth, atoms, virials=kind).evaluate(atoms.positions, atoms.cell.array, atomic=True)
    atoms.calc = truth
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(found.energies.sum(), atoms.get_potential_energy(), rtol=1e-12)
    total = -voigt_to_matrix(atoms.get_stress()) * atoms.get_volume()
    np.testing.assert_allclose(found.virials.sum(axis=0), total, atol=1e-9)


@pytest.mark.parametrize(("kind", "low", "high"), [("I", 0.0, 1e-5), ("II", 0.02, 2.0), ("III", 0.01, 1.0)])
def test_only_kind_one_of_the_truth_is_the_heat_flux(kind, low, high):
    atoms = shaken()
    atoms.pbc = False
    error = flux_error(atoms, TruthForces(StillingerWeber(), atoms, virials=kind), step=0.01)
    assert low <= error < high


def test_kinds_are_one_for_pairs():
    atoms = shaken("Ar", "fcc", 5.4)
    kinds = [
        TruthForces(LennardJones(), atoms, virials=k).evaluate(atoms.positions, atoms.cell.array, atomic=True)
        for k in KINDS
    ]
    np.testing.assert_allclose(kinds[1].virials, kinds[0].virials, atol=1e-12)
    np.testing.assert_allclose(kinds[2].virials, kinds[0].virials, atol=1e-12)


@pytest.mark.parametrize("melt", [SHORT, ARGON], ids=["many bodies", "pairs"])
def test_conductivities_of_one_simulation(melt, tmp_path):
    truth = TRUTHS[melt.reference]()
    start = melt_of(melt, truth, tmp_path)
    assert start.get_volume() == pytest.approx(melt.volume * len(start))
    fields = {kind: TruthForces(truth, start, virials=kind) for kind in ("I", "II")}
    found = conductivities(melt, start, fields, 0)
    assert all(len(found[k]["single"]) == melt.replicas and found[k]["error"] > 0 for k in KINDS)
    changed = abs(found["II"]["value"] / found["I"]["value"] - 1.0)
    assert changed > 1e-3 if melt is SHORT else changed < 1e-8
    # The flux of kind III is the mean, so that its power is at most the larger one.
    assert found["III"]["value"] <= 1.1 * max(found["I"]["value"], found["II"]["value"])


def test_structures_are_the_melt_at_one_volume(tmp_path):
    from ase.io import read

    frames = read(structures(SHORT, StillingerWeber(), tmp_path), ":")
    assert len(frames) == SHORT.structures
    assert {round(a.get_volume() / len(a), 6) for a in frames} == {SHORT.volume}
    crystal = SHORT.crystal()
    assert all(np.abs(a.positions - crystal.positions).max() > 0.3 for a in frames)
    again = frames[0].copy()
    again.calc = StillingerWeber()
    np.testing.assert_allclose(frames[0].get_forces(), again.get_forces(), atol=1e-6)


def result(fit, seed, values, stress=0.1):
    conductivity = {k: {"value": v, "error": 0.01} for k, v in values.items()}
    found = {"conductivity": conductivity}
    if fit != "reference":
        errors = {"energy": 1.0, "forces": 50.0, "stress": stress}
        found["errors"] = {"train": errors, "valid": errors}
    return CellResult(Cell(f"{fit} {seed}", {"fit": fit, "seed": seed, "replicas": 4}), found, 1.0)


def results(shift=0.0):
    wobble = (-0.02, -0.01, 0.0, 0.01, 0.02)
    found = [
        result("reference", n, {"I": 1.0 + w, "II": 0.8 + w, "III": 0.85 + w})
        for n, w in enumerate((-0.01, 0.01))
    ]
    for n, w in enumerate(wobble):
        one = 1.0 + shift + w
        found.append(result("EFP", n, {"I": one, "II": one - 0.2, "III": one - 0.1}))
        found.append(result("EF", n, {"I": 1.5 + w, "II": 1.2 + w, "III": 1.3 + w}, stress=2.0))
    return found


def test_nearer_is_decided_by_the_middle():
    fits = {"EFP": [r for r in results() if r.cell.parameters["fit"] == "EFP"]}
    heat = Heat(fits, [r for r in results() if r.cell.parameters["fit"] == "reference"])
    value, spread = heat.beyond("EFP", "II")
    assert value == pytest.approx(0.1)  # the middle is 0.9, the reference 1.0, virial I is above
    own = np.std((-0.02, -0.01, 0.0, 0.01, 0.02), ddof=1) / math.sqrt(5)
    assert spread == pytest.approx(math.hypot(heat.error, own))
    assert heat.beyond("EFP", "III")[0] == pytest.approx(0.05)
    assert heat.of_truths("II")[1] == pytest.approx((-0.2, 0.0), abs=1e-12)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "agrees"), (0.1, "undecided"), (0.2, "disagrees")])
def test_page_says_which_virial_is_nearer(shift, verdict):
    study = find_study("heat-flux")
    page = study.page(study.Settings(), results(shift))
    verdicts = {claim: verdict for claim, _, verdict in page.claims}
    assert verdicts["In the melt virial I is nearer to the reference than virial II"] == verdict
    assert verdicts["EFP-fit, melt: virial II gives another conductivity than virial I"] == "agrees"
    tables = {t.caption.split(";")[0]: t for s in page.sections for t in s.tables}
    assert len(tables["Every fit"].rows) == 10
    rows = {(r[0], r[1]): r for r in tables["Conductivity of the melt"].rows}
    assert rows["reference", "II"][2].startswith("0.8")
    assert rows["reference", "II"][4].startswith("-0.2")


def test_truth_without_known_virials_is_refused():
    study = find_study("heat-flux")
    with pytest.raises(ConfigError, match="silicon-sw"):
        study.cells(study.Settings.parse({"reference": "ase:emt"}))
