"""What the study of optimisers concludes from runs: pairs of seeds, processor time, what was not reached."""

import math

import pytest

from forgefield.studies import Cell, CellResult
from forgefield.studies.optimisers_page import optimisers_page

ADAM, OWN = "Adam (paper 3)", "our default"


def result(case, seed, rmse, cpu, *, family="method", **training):
    """Return a run whose validation forces fall to `rmse` by factors of two while `cpu` seconds pass, energies a tenth."""
    steps = len(cpu)
    forces = [rmse * 2.0 ** (steps - 1 - n) for n in range(steps)]
    log = {
        "epoch": list(range(1, steps + 1)),
        "seconds": [5.0 * t for t in cpu],
        "cpu_seconds": list(cpu),
        "energy_rmse_valid": [0.1 * f for f in forces],
        "forces_rmse_valid": forces,
        "stress_rmse_valid": [None] * steps,
    }
    errors = {"energy": 0.1 * rmse, "forces": rmse, "stress": math.nan}
    parameters = {
        "set": "X",
        "family": family,
        "case": case,
        "crystal": None,
        "liquid": None,
        "config": {"seed": seed, "training": {"epochs": steps, "batch_size": 1, **training}},
    }
    values = {
        "errors": dict.fromkeys(("train", "valid", "test"), errors),
        "structures": {"train": 8, "valid": 1, "test": 2},
        "log": log,
    }
    return CellResult(Cell(f"{case}, {seed}, {training}", parameters), values, 1.0)


def claims(*results):
    return {claim: (said, verdict) for claim, said, verdict in optimisers_page(["X"], results).claims}


def test_methods_are_compared_seed_by_seed_and_by_processor_time():
    runs = [result(ADAM, s, 50.0 * f, (1.0, 2.0, 4.0)) for s, f in enumerate((1.0, 1.5))]
    runs += [result("SNES", s, 200.0 * f, (10.0, 20.0)) for s, f in enumerate((1.0, 1.5))]
    said, verdict = claims(*runs)["X: Adam reaches lower errors than SNES"]
    # Seeds differ by a factor of 1.5, both methods alike: the ratio is 1/4 for both.
    assert said.endswith("-75 % (-75 to -75)")
    assert "after 4 s; SNES" in said
    assert verdict == "agrees"
    alone = claims(runs[0], runs[2])["X: Adam reaches lower errors than SNES"]
    assert alone == ("test score 15.8 after 4 s; SNES 63.2 after 20 s: -75 %", "undecided")


@pytest.mark.parametrize(
    ("cpu", "rmse", "expected"),
    [
        ((0.5, 1.0, 3.0), 25.0, ("1.0 s of 4.0 s", "agrees")),
        ((1.0, 2.0, 3.0), 25.0, ("2.0 s of 4.0 s", "disagrees")),
        ((0.1, 0.2, 0.3), 51.0, ("not reached in every run", "disagrees")),
    ],
)
def test_time_of_the_default_to_the_error_of_adam(cpu, rmse, expected):
    found = claims(result(ADAM, 0, 50.0, (1.0, 2.0, 4.0)), result(OWN, 0, rmse, cpu))
    assert found["X: our default reaches Adam's final validation error in a third of its time"] == expected


def test_scan_of_batch_size_and_labels_that_are_missing():
    runs = [result(ADAM, 0, 50.0, (1.0, 2.0))]
    runs += [
        result(f"Adam, {n}", 0, 10.0 * n, (1.0, 2.0), family="batch", batch_size=n, epochs=2) for n in (1, 4)
    ]
    page = optimisers_page(["X"], runs)
    tables = {t.caption: t.rows for section in page.sections for t in section.tables}
    assert [row[0] for row in tables["Adam (paper 3), 2 epochs each, one seed"]] == ["1", "4"]
    row = tables["RMSE at the end of each run"][0]
    assert row[:4] == [ADAM, "5", "50", "-"]
    assert page.answer.startswith("X: best on validation is Adam (paper 3), test score 15.8.")
