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
    page = optimisers_page(["X"], results)
    return {claim: (said, verdict) for claim, said, verdict in (*page.claims, *page.own)}


LOWER = "X: Adam ends at lower errors than SNES (figure 1)"
SOONER = "X: our default reaches Adam's last validation error in less time"
THIRD = "X: our default reaches Adam's last validation error in a third of its time"


def test_methods_are_compared_seed_by_seed_and_by_processor_time():
    runs = [result(ADAM, s, 50.0 * f, (1.0, 2.0, 4.0)) for s, f in enumerate((1.0, 1.5))]
    runs += [result("SNES", s, 200.0 * f, (10.0, 20.0)) for s, f in enumerate((1.0, 1.5))]
    said, verdict = claims(*runs)[LOWER]
    # Seeds differ by a factor of 1.5, both methods alike: the ratio is 1/4 for both.
    assert said.endswith("-75 % (-75 to -75)")
    assert "after 4 s; SNES" in said
    assert verdict == "agrees"
    # Adam is where SNES ends at its first look, a second of twenty.
    said, verdict = claims(*runs)["X: Adam reaches SNES's last validation error in less time (figure 1a)"]
    assert (said, verdict) == ("5 % of SNES's whole processor time (5 to 5)", "agrees")
    assert claims(runs[0], runs[2])[LOWER] == (
        "test score 15.8 after 4 s; SNES 63.2 after 20 s: -75 %",
        "undecided",
    )


@pytest.mark.parametrize(
    ("cpu", "rmse", "verdicts"),
    [
        ((0.5, 1.0, 3.0), 25.0, ("yes", "yes")),
        ((1.0, 2.0, 3.0), 25.0, ("yes", "no")),
        ((3.0, 5.0, 6.0), 25.0, ("no", "no")),
        # Not reached: the whole time is a lower bound, which can say no and never yes.
        ((0.1, 0.2, 0.3), 51.0, ("undecided", "undecided")),
        ((4.0, 8.0, 9.0), 51.0, ("no", "no")),
    ],
)
def test_time_of_the_default_to_the_error_of_adam(cpu, rmse, verdicts):
    runs = [result(ADAM, s, 50.0 * f, (1.0, 2.0, 4.0)) for s, f in enumerate((1.0, 1.5))]
    runs += [result(OWN, s, rmse * f, cpu) for s, f in enumerate((1.0, 1.5))]
    found = claims(*runs)
    assert tuple(found[name][1] for name in (SOONER, THIRD)) == verdicts
    if rmse > 50.0:
        assert found[SOONER][0].startswith("not reached in 2 run(s)")
    one = claims(runs[0], runs[2])
    assert {one[name][1] for name in (SOONER, THIRD)} == {"undecided"}


@pytest.mark.parametrize(("last", "verdict"), [(0.95, "agrees"), (0.5, "disagrees")])
def test_a_longer_training_gains_little_or_much(last, verdict):
    runs = [result(ADAM, s, 50.0, (1.0, 2.0)) for s in (0, 1)]
    for seed in (0, 1, 2):
        for n, size in ((25, 4.0), (100, 1.0), (1000, last)):
            rmse = 50.0 * size * (1.0 + 0.01 * seed)
            runs.append(result(f"{n} epochs", seed, rmse, (1.0, 2.0), family="length", epochs=n))
    statement = "X: from 100 to 1000 epochs Adam's error falls marginally (by 20 % at most, figure 3)"
    assert claims(*runs)[statement][1] == verdict


def test_what_the_paper_did_on_other_data_is_not_run():
    rows = claims(result(ADAM, 0, 50.0, (1.0, 2.0)))
    assert sum(verdict == "not run" for _, verdict in rows.values()) == 6
    assert rows["X: 100 to 1271 epochs differ marginally (figure 3)"][1] == "not run"


def test_scan_of_batch_size_and_labels_that_are_missing():
    runs = [result(ADAM, 0, 50.0, (1.0, 2.0))]
    runs += [
        result(f"Adam, {n}", 0, 10.0 * n, (1.0, 2.0), family="batch", batch_size=n, epochs=2) for n in (1, 4)
    ]
    page = optimisers_page(["X"], runs)
    tables = {t.caption: t.rows for section in page.sections for t in section.tables}
    assert [row[:2] for row in tables["Adam (paper 3), 2 epochs each"]] == [["1", "1"], ["4", "1"]]
    row = tables["RMSE at the end of each run"][0]
    assert row[:4] == [ADAM, "5", "50", "-"]
    assert page.answer.startswith("X: best on validation is Adam (paper 3), test score 15.8.")
