"""What pages conclude from cells: ratios with intervals, exponents, what a page takes as its answer."""

import math

import numpy as np
import pytest
from scipy import stats

from forgefield.errors import ConfigError
from forgefield.studies.base import Cell, CellResult
from forgefield.studies.data_efficiency import DataEfficiency, DataEfficiencySettings
from forgefield.studies.descriptors import Descriptors, DescriptorsSettings
from forgefield.studies.loss_weighting import LossWeighting, LossWeightingSettings
from forgefield.studies.summary import Ratio, paired, score_of, unpaired


def run(seed, value, **parameters):
    """A result whose three errors are `value` on every set."""
    errors = {
        split: dict.fromkeys(("energy", "forces", "stress"), value) for split in ("train", "valid", "test")
    }
    cell = Cell(f"{parameters}{seed}", {"config": {"seed": seed}, "seed": seed, **parameters})
    weights = {"epoch": [1, 2], **{f"weight_{k}": [0.3, 0.4] for k in ("energy", "forces", "stress")}}
    return CellResult(cell, {"errors": errors, "weights": weights}, 1.0)


def value_of(result):
    return result.values["errors"]["test"]["forces"]


def test_paired_ratio_takes_the_seed_out():
    old = [run(seed, 10.0 * 2.0**seed) for seed in range(4)]
    new = [run(seed, 11.0 * 2.0**seed) for seed in (3, 1, 0, 2)]
    ratio = paired(new, old, value_of)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((10.0, 10.0, 10.0))
    assert ratio.lower == "disagrees"
    assert paired(old, new, value_of).lower == "agrees"
    assert unpaired(new, old, value_of).lower == "undecided"


@pytest.mark.parametrize("n", [2, 3, 5])
def test_intervals_are_those_of_students_and_welchs_t(n):
    rng = np.random.default_rng(n)
    a, b = np.exp(rng.normal(0.1, 0.05, n)), np.exp(rng.normal(0.0, 0.15, n))
    new, old = ([run(k, float(v)) for k, v in enumerate(x)] for x in (a, b))
    logs = np.log(a), np.log(b)
    for found, expected in (
        (paired(new, old, value_of), stats.ttest_rel(*logs)),
        (unpaired(new, old, value_of), stats.ttest_ind(*logs, equal_var=False)),
    ):
        interval = expected.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(
            tuple(100.0 * math.expm1(x) for x in (interval.low, interval.high)), rel=1e-10
        )
        assert (found.lower == "undecided") == (expected.pvalue > 0.05)


def test_one_run_decides_nothing():
    for ratio in (
        paired([run(0, 1.0)], [run(0, 2.0)], value_of),
        unpaired([run(0, 1.0)], [run(1, 2.0)], value_of),
    ):
        assert ratio.mean == pytest.approx(-50.0)
        assert ratio.lower == ratio.within(10.0) == "undecided"
        assert str(ratio) == "-50 %"
    assert str(paired([run(0, 1.0)], [run(1, 2.0)], value_of)) == "-"


def test_what_counts_as_the_same():
    assert [Ratio(0.0, low, high).within(10.0) for low, high in ((-9, 9), (-9, 11), (11, 12))] == [
        "agrees",
        "undecided",
        "disagrees",
    ]
    assert str(Ratio(12.3, -0.44, 25.0)) == "+12 % (-0.4 to +25)"


def test_the_whole_set_is_trained_on_once_a_seed_and_ends_every_curve():
    settings = DataEfficiencySettings(fractions=(0.1, 1.0), seeds=2)
    cells = DataEfficiency().cells(settings)
    picks = [(c.parameters["how"], c.parameters["n"], c.parameters["seed"]) for c in cells]
    largest = max(n for _, n, _ in picks)
    assert [p for p in picks if p[1] == largest] == [("all", largest, 0), ("all", largest, 1)]
    assert len(cells) == 6


def test_exponent_and_worth_of_a_power_law():
    results = []
    for seed in range(3):
        for n in (10, 20, 40):
            results.append(run(seed, 100.0 * n**-0.5, how="random", n=n))
            results.append(run(seed, 100.0 * (2 * n) ** -0.5, how="selected", n=n))
        results.append(run(seed, 100.0 * 80**-0.5, how="all", n=80))
    page = DataEfficiency().page(DataEfficiencySettings(seeds=3), results)
    exponents, worth, _ = page.sections[0].tables
    assert exponents.rows[0][0] == "random"
    assert [float(cell.split(" ±")[0]) for cell in exponents.rows[0][1:]] == [-0.5] * 4
    assert [row[-1] for row in worth.rows] == ["20", "40", "80"]
    assert page.claims == ()
    assert [verdict for _, _, verdict in page.own] == ["yes"] * 4
    assert page.own[-1][1] == f"score {Ratio(*[100 * (0.5**0.5 - 1)] * 3)}"


def test_the_best_of_a_family_is_chosen_on_validation_and_compared_on_test():
    settings = LossWeightingSettings(seeds=2, betas=(0.1, 1.0), rivals=("balanced", "config"))
    study = LossWeighting()
    results = []
    for cell in study.cells(settings):
        seed, case = cell.parameters["config"]["seed"], cell.parameters["case"]
        own = run(seed, 10.0 + seed, **{k: v for k, v in cell.parameters.items() if k != "config"})
        if case == "relative 0.3:1:0.1":  # best where one may look, not best in the end
            own.values["errors"]["valid"] = dict.fromkeys(("energy", "forces", "stress"), 1.0)
            own.values["errors"]["test"] = dict.fromkeys(("energy", "forces", "stress"), 20.0 + seed)
        results.append(own)
    page = study.page(settings, results)
    chosen = {row[0]: row[2] for row in page.sections[0].tables[0].rows}
    assert chosen["fixed, relative loss"] == "relative 0.3:1:0.1"
    tried = {row[0]: row[1] for row in page.sections[0].tables[0].rows}
    assert tried["fixed, relative loss"] == tried["SoftAdapt, relative loss"] == "2"
    against = [claim for claim in page.own if "relative 0.3:1:0.1" in claim[1]]
    assert len(against) == 3
    assert {verdict for _, _, verdict in against} == {"yes"}
    assert sum(verdict == "not run" for _, _, verdict in page.claims) == 2


@pytest.mark.parametrize(("second", "verdict"), [(11.0, "yes"), (40.0, "undecided")])
def test_of_a_larger_family_all_ways_to_take_as_many_are_asked(second, verdict):
    """Of three rivals against two fixed weightings the best is left out in one of three ways."""
    settings = LossWeightingSettings(
        seeds=3, betas=(0.1, 1.0), rivals=("balanced", "uncertainty", "config"), starts=False
    )
    scores = {"balanced": 10.0, "uncertainty": second, "config": 50.0}
    results = []
    for cell in LossWeighting().cells(settings):
        seed, case = cell.parameters["config"]["seed"], cell.parameters["case"]
        value = scores.get(case, 20.0 if case == "relative 1:1:1" else 30.0) * 1.3**seed
        results.append(run(seed, value, **{k: v for k, v in cell.parameters.items() if k != "config"}))
    rows = {claim: rest for claim, *rest in LossWeighting().page(settings, results).own}
    said, found = rows[
        "the best of the other adaptive rules beats tuned fixed weights, chosen from 2 of each"
    ]
    assert "(balanced; relative 1:1:1) in 2 of 3 ways to take 2 of each" in said
    assert "(uncertainty; relative 1:1:1) in 1 of 3 ways to take 2 of each" in said
    assert found == verdict


def test_longer_runs_are_named_by_their_case():
    settings = LossWeightingSettings(seeds=1, longer=("balanced",), longer_epochs=(7, 9), longer_seeds=2)
    cells = [c for c in LossWeighting().cells(settings) if c.parameters["family"] == "longer"]
    assert [c.name for c in cells] == [
        f"balanced, {n} epochs, seed {seed}" for seed in (0, 1) for n in (7, 9)
    ]
    assert [c.parameters["config"]["training"]["epochs"] for c in cells] == [7, 9, 7, 9]
    assert {c.parameters["of"] for c in cells} == {"balanced"}
    with pytest.raises(ConfigError, match="balanced"):
        LossWeighting().cells(LossWeightingSettings(longer=("balancd",)))
    with pytest.raises(ConfigError, match="longer_epochs"):
        LossWeightingSettings.parse({"longer_epochs": [1]})


SETTINGS = LossWeightingSettings(
    seeds=4,
    epochs=10,
    betas=(0.1,),
    rivals=("balanced",),
    starts=False,
    longer=("relative 1:1:1", "relative softadapt β 0.1", "balanced"),
    longer_epochs=(40, 20),
    longer_seeds=4,
)


def longer_page(score):
    """The page for scores by case and epochs, with a different level for each seed and a little noise."""
    results, rng = [], np.random.default_rng(0)
    for cell in LossWeighting().cells(SETTINGS):
        own = cell.parameters
        seed, epochs = own["config"]["seed"], own["config"]["training"]["epochs"]
        value = score(own.get("of", own["case"]), epochs) * 1.5**seed * math.exp(rng.normal(scale=0.002))
        kept = {key: v for key, v in own.items() if key != "config"}
        made = run(seed, value, **kept)
        made.cell.parameters["config"]["training"] = {"epochs": epochs}
        results.append(made)
    return LossWeighting().page(SETTINGS, results)


def of_longer(page):
    """What it says about longer training: the claims, and the rows of the table."""
    claims = {claim: (said, verdict) for claim, said, verdict in page.own if "after 40" in claim}
    section = next(s for s in page.sections if s.title == "Longer training")
    heads = [column.text for column in section.tables[0].columns]
    return claims, heads, {row[0]: row[1:] for row in section.tables[0].rows}, section


def test_a_ranking_that_lasts():
    scores = {"relative 1:1:1": 20.0, "relative softadapt β 0.1": 40.0, "balanced": 10.0}
    page = longer_page(lambda case, epochs: scores.get(case, 100.0) / epochs)
    claims, heads, rows, section = of_longer(page)
    assert claims["the ranking holds after 40 epochs"] == (
        "of 3 pairs decided after 10 epochs 3 are still, 0 the other way, 0 undecided",
        "yes",
    )
    verdicts = {
        claim.split(": ", 1)[1].split(" (")[0].split(",")[0]: v
        for claim, (_, v) in claims.items()
        if ": " in claim
    }
    assert verdicts == {
        "SoftAdapt in the relative loss beats tuned fixed weights": "no",
        "SoftAdapt in the relative loss beats equal fixed weights": "no",
        "the best of the other adaptive rules beats tuned fixed weights": "yes",
    }
    assert [heads[k] for k in (0, 1, 3, 5, 7)] == [
        "case",
        "10 epochs",
        "20 epochs",
        "40 epochs",
        "40 against 10 epochs",
    ]
    assert heads[2] == "against relative 1:1:1"
    assert rows["relative 1:1:1"][1::2] == ["", "", ""]
    assert all(rows["balanced"][k].startswith("-50 %") for k in (1, 3, 5))
    assert all(row[-1].startswith("-75 %") for row in rows.values())
    assert [list(s.x) for s in section.charts[0].series] == [[10, 20, 40]] * 3
    assert "RMSE after 40 epochs" in {t.caption for t in section.tables}


def test_a_ranking_that_turns_or_is_lost():
    before = {"relative 1:1:1": 20.0, "relative softadapt β 0.1": 40.0, "balanced": 10.0}
    turned = before | {"balanced": 30.0}
    claims, *_ = of_longer(longer_page(lambda c, n: (before if n < 40 else turned).get(c, 100.0)))
    assert claims["the ranking holds after 40 epochs"] == (
        "of 3 pairs decided after 10 epochs 2 are still, 1 the other way, 0 undecided",
        "no",
    )
    assert {v for c, (_, v) in claims.items() if "other adaptive" in c} == {"no"}
    level = before | {"balanced": 20.02}
    claims, *_ = of_longer(longer_page(lambda c, n: (before if n < 40 else level).get(c, 100.0)))
    assert claims["the ranking holds after 40 epochs"][1] == "undecided"


def test_without_longer_runs_nothing_is_said_of_them():
    settings = SETTINGS.model_copy(update={"longer": ()})
    results = [
        run(c.parameters["config"]["seed"], 1.0, **{k: v for k, v in c.parameters.items() if k != "config"})
        for c in LossWeighting().cells(settings)
    ]
    page = LossWeighting().page(settings, results)
    assert "Longer training" not in {s.title for s in page.sections}
    assert not any("after" in claim for claim, *_ in (*page.claims, *page.own))


def test_further_seeds_do_not_choose():
    settings = LossWeightingSettings(seeds=1, more=("relative 1:1:1", "relative 0.1:1:1"), more_seeds=2)
    cells = LossWeighting().cells(settings)
    assert sum(c.parameters["case"] == "relative 1:1:1" for c in cells) == 3
    assert sum(c.parameters["case"] == "balanced" for c in cells) == 1
    results = []
    for cell in cells:
        seed, case = cell.parameters["config"]["seed"], cell.parameters["case"]
        value = 5.0 if case == "relative 1:1:1" and seed == 0 else 50.0 if case == "relative 1:1:1" else 10.0
        results.append(run(seed, value, **{k: v for k, v in cell.parameters.items() if k != "config"}))
    rows = {row[0]: row for row in LossWeighting().page(settings, results).sections[0].tables[0].rows}
    assert rows["fixed, relative loss"][2:5] == ["relative 1:1:1", "5", "3"]


def test_variants_of_a_descriptor_have_names_of_their_own():
    data = {"descriptors": ("NEP",), "variants": {"NEP, short": {"kind": "nep", "n_max_radial": 3}}}
    settings = DescriptorsSettings(data=(data,), seeds=1, cutoff=4.5)
    configs = {c.parameters["descriptor"]: c.parameters["config"] for c in Descriptors().cells(settings)}
    assert list(configs) == ["NEP", "NEP, short"]
    assert configs["NEP, short"]["descriptor"] == {
        "kind": "nep",
        "n_max_radial": 3,
        "cutoff_radial": 4.5,
        "cutoff_angular": 4.5,
    }


def test_score_is_the_geometric_mean_of_what_is_labelled():
    result = run(0, 1.0)
    result.values["errors"]["test"] = {"energy": 2.0, "forces": 8.0, "stress": None}
    assert score_of(result, "test") == pytest.approx(4.0)
