"""What the complexity study concludes: split by split, on validation structures, the paper's rows apart from our own."""

import pytest
from complexity_cells import LIMITS, cases, result

from forgefield.studies import find_study
from forgefield.studies.complexity_choice import recommend
from forgefield.studies.complexity_figures import saturated


def test_saturation_is_compared_split_by_split():
    """Splits differ more than models: only the same test structures tell that one is better."""
    old = [
        result("A", "linear", ratio, forces=f + 10.0 * (ratio == 0.1), split=s)
        for ratio in (0.1, 1.0)
        for s, f in enumerate((80.0, 120.0, 50.0))
    ]
    new = [result("A", "NN", forces=f, split=s) for s, f in enumerate((72.0, 107.0))]
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz"})
    said = next(iter(study.page(settings, [*old, *new]).own))[1:]
    assert said[0].endswith("meV/Å on the same splits: -10 % (-16 to -5.0)")
    assert said[1] == "yes"
    page = study.page(settings, [*old[2:3], *old[5:], *new])
    assert not any("saturates" in claim for claim, *_ in (*page.claims, *page.own))


def test_ratios_are_chosen_on_validation_and_reported_on_test():
    """The ratio that is best on test structures is not the one that may be taken."""
    results = []
    for ratio, valid, test in ((0.1, 80.0, 90.0), (1.0, 85.0, 70.0)):
        own = result("A", "linear", ratio, forces=test)
        own.values["errors"]["valid"] = {"energy": 5.0, "forces": valid, "stress": None}
        results.append(own)
    found = cases(*results)
    (chosen,) = saturated(results, "forces")
    assert chosen.cell.parameters["ratio"] == 0.1
    assert recommend(found, {}, LIMITS | {"forces": 84.0}) == "A, linear, 0.1"
    assert recommend(found, {}, LIMITS | {"forces": 75.0}) is None


def test_paper_and_our_own_descriptors_are_kept_apart():
    kinds = [(d, m) for d in ("SNAP 2J=6", "SNAP 2J=8", "SO3") for m in ("linear", "quadratic", "NN 32x32")]
    results = [
        result(d, m, forces=100.0 - 7.0 * n + s, us=1.0 + 0.01 * n, split=s)
        for n, (d, m) in enumerate(kinds)
        for s in range(3)
    ]
    page = find_study("complexity").page(
        find_study("complexity").Settings.parse({"data": "other.xyz"}), results
    )
    papers, own = {c: v for c, _, v in page.claims}, {c: v for c, _, v in page.own}
    assert papers["SNAP 2J=6, quadratic saturates at a lower force error than the linear model"] == "agrees"
    assert own["SO3, quadratic saturates at a lower force error than the linear model"] == "yes"
    assert papers["SNAP 2J=8, linear saturates at a lower force error than SNAP 2J=6, linear"] == "agrees"
    near = "SNAP 2J=6: network and quadratic model saturate at the same error (within 10 %)"
    assert papers[near] == "agrees"
    cost = "SNAP 2J=6: most of the cost is that of the descriptor; a quadratic model adds 25 % at most"
    assert papers[cost] == "agrees"
    assert sum(v == "not run" for v in papers.values()) == 4


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        ((60.0, 60.0, 60.0, 60.0, 60.0), ("rank correlation 1.00", "agrees")),
        ((60.0, 50.0, 40.0, 30.0, 20.0), ("rank correlation -1.00", "disagrees")),
        ((60.0, 50.0, 49.0, 30.0, 30.0), ("rank correlation -0.60", "undecided")),
    ],
)
def test_gains_and_the_linear_model(networks, said):
    """A network that ends where it will gains less the better the linear model is."""
    linear = {"A": 100.0, "B": 90.0, "C": 80.0, "D": 70.0, "E": 60.5}
    results = [result(d, "linear", forces=f) for d, f in linear.items()]
    results += [result(d, "NN", forces=f) for d, f in zip(linear, networks, strict=True)]
    study = find_study("complexity")
    settings = study.Settings.parse({"data": "other.xyz"})
    claims = {claim: rest for claim, *rest in study.page(settings, results).claims}
    found, verdict = claims["NN gains less on descriptors whose linear model is better"]
    assert (found.split(" of ")[0], verdict) == said
    fewer = study.page(settings, results[:3] + results[5:8]).claims
    assert not any("gains less" in claim for claim, *_ in fewer)
