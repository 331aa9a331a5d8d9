"""What paper 4 states, row by row, and what the complexity study found; and the same questions asked of more descriptors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy.stats import fisher_exact

from forgefield.studies.base import CellResult
from forgefield.studies.complexity_figures import (
    PHONONS,
    Errors,
    family_of,
    first_force_error,
    force_correlation,
    on_common_splits,
    ranked,
    saturated,
)
from forgefield.studies.complexity_loop import TRANSPORT
from forgefield.studies.complexity_shapes import derivative_intervals
from forgefield.studies.diamond import NUMBERS
from forgefield.studies.summary import Groups, Ratio, error, number, paired, ratio_of, text
from forgefield.studies.verdicts import Claim, Ranks, not_run, permutation

__all__ = [
    "cost_claims",
    "missing_claims",
    "own_property_claims",
    "property_claims",
    "saturation_claims",
    "shape_claims",
]

SMALL, LARGE = "SNAP 2J=6", "SNAP 2J=8"
PAPERS = {("SNAP", "quadratic"), ("SNAP", "NN"), ("ACE", "NN")}
"""Descriptors and models of the paper."""
CLOSE = 10.0
"""What counts as near [%]."""
AT_ONCE = {PHONONS: 1.0, "rdf": 1.0, "conductivity": 10.0}
"""Errors [%] that the paper's best potentials of silicon stay below, all at once."""
RELIABLE_RDF = 120.0
"""Force error [meV/Å] up to which the paper's potentials have the g(r) of the liquid within `AT_ONCE`."""

Pair = tuple[str, str]


def _forces(result: CellResult) -> float:
    return number(result.values["errors"]["test"]["forces"])


def _lowest(families: Groups, new: str, old: str) -> tuple[str, Ratio] | None:
    """Return lowest force errors of two families on the same splits, in words, and their ratio; None where one is missing."""
    if new not in families or old not in families:
        return None
    both = on_common_splits({"new": families[new], "old": families[old]})
    if not all(both.values()):
        return None
    a, b = (saturated(own, "forces") for own in both.values())
    gain = paired(a, b, _forces)
    said = f"{text(error(a, 'test', 'forces'))} against {text(error(b, 'test', 'forces'))} meV/Å on the same splits: {gain}"
    return said, gain


def _model_of(name: str) -> Pair:
    descriptor, _, model = name.rpartition(", ")
    return descriptor, model


def saturation_claims(families: Groups) -> tuple[list[Claim], list[Claim]]:
    """Return rows about the lowest force errors (figures 2a and 4, table 1): those of the paper and our own."""
    papers: list[Claim] = []
    own: list[Claim] = []
    gains: dict[str, list[tuple[float, float]]] = {}
    for name in families:
        descriptor, model = _model_of(name)
        found = None if model == "linear" else _lowest(families, name, f"{descriptor}, linear")
        if found is None:
            continue
        said, gain = found
        kind = descriptor.split()[0], model.split()[0]
        claim = (f"{name} saturates at a lower force error than the linear model", said, gain.lower)
        (papers if kind in PAPERS else own).append(claim)
        both = on_common_splits({"new": families[name], "old": families[f"{descriptor}, linear"]})
        linear = error(saturated(both["old"], "forces"), "test", "forces")[0]
        gains.setdefault(model, []).append((linear, -gain.mean))
    papers += _between(families)
    papers += _gain_claims(gains)
    return papers, own


def _between(families: Groups) -> Iterator[Claim]:
    """Yield comparisons of descriptors, of quadratic models with networks, and of networks of two sizes."""
    models = list(dict.fromkeys(_model_of(name)[1] for name in families))
    lower = [(f"{LARGE}, {m}", f"{SMALL}, {m}") for m in models]
    lower += [(f"{d}, linear", f"{LARGE}, linear") for d in ("ACE", "POD")]
    for new, old in lower:
        if (found := _lowest(families, new, old)) is not None:
            yield f"{new} saturates at a lower force error than {old}", found[0], found[1].lower
    for descriptor in (SMALL, LARGE):
        found = _lowest(families, f"{descriptor}, NN 32x32", f"{descriptor}, quadratic")
        if found is not None:
            near = _within(found[1])
            yield (
                f"{descriptor}: network and quadratic model saturate at the same error (within {CLOSE:g} %)",
                found[0],
                near,
            )
    for descriptor in dict.fromkeys(_model_of(name)[0] for name in families):
        found = _lowest(families, f"{descriptor}, NN 250x250", f"{descriptor}, NN 32x32")
        if found is not None:
            statement = f"{descriptor}: the larger network changes the force error by {CLOSE:g} % at most"
            yield statement, found[0], _within(found[1])
    found = _lowest(families, "ACE, linear", f"{LARGE}, NN 32x32")
    if found is not None:
        statement = f"a linear model on enough features (ACE) is on par with a network on few ({LARGE}): {CLOSE:g} % more at most"
        yield statement, found[0], found[1].within(CLOSE)


def _within(ratio: Ratio) -> str:
    if ratio.low >= -CLOSE and ratio.high <= CLOSE:
        return "agrees"
    return "disagrees" if ratio.low > CLOSE or ratio.high < -CLOSE else "undecided"


def _gain_claims(gains: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[Claim]:
    """Yield whether each model gains less on descriptors that serve the linear one better, as ACE in figure 4.

    Parameters
    ----------
    gains : mapping of model to pairs
        Lowest force error of the linear model [meV/Å] and the gain over it [%], one pair for each descriptor.
    """
    for model, pairs in gains.items():
        if len(pairs) < 4:
            continue
        r, p = permutation(*zip(*pairs, strict=True))
        if math.isnan(r):
            continue
        claim = f"{model} gains less on descriptors whose linear model is better"
        said = f"rank correlation {r:.2f} of the linear model's error and the gain, {len(pairs)} descriptors, p = {p:.2g}"
        yield claim, said, "undecided" if p > 0.05 else "agrees" if r > 0 else "disagrees"


# ---- properties ----------------------------------------------------------------------------------------------


def property_claims(
    data: tuple[Groups, Errors], loop: tuple[Groups, Errors], noise: Mapping[str, float]
) -> Iterator[Claim]:
    """Yield whether property errors follow the force error (figures 2b-d and 5), and who has all of them right.

    Parameters
    ----------
    data, loop : cases and their errors [%]
        Against DFT, and in the closed loop.
    noise : mapping of property to error [%]
        How uncertain the truth of the closed loop is.
    """
    subjects = [("Phonon errors follow the force error (DFT data)", data, PHONONS)]
    subjects += [
        (f"Closed loop: errors of {label} follow the force error", loop, key)
        for key, label in {PHONONS: "phonons", **TRANSPORT}.items()
    ]
    for claim, (cases, errors), key in subjects:
        if sum(math.isfinite(e[key]) for e in errors.values()) > 3:
            r, failed = force_correlation(cases, errors, key)
            if math.isnan(r.value):
                continue
            families = len({family_of(n) for n in errors})
            lost = f", {failed} that failed ranked as worst" if failed else ""
            said = f"rank correlation {r} over {len(errors)} potentials of {families} families{lost}"
            yield claim, said, r.above()
    if loop[1]:
        yield from _of_the_loop(*loop, noise)


def own_property_claims(cases: Groups, errors: Errors) -> Iterator[Claim]:
    """Yield whether properties that the paper does not look at follow the force error."""
    for key, label in NUMBERS.items():
        if sum(math.isfinite(e[key]) for e in errors.values()) > 3:
            r, failed = force_correlation(cases, errors, key)
            lost = f", {failed} that failed ranked as worst" if failed else ""
            name = label.split(" [")[0]
            yield (
                f"Errors of the {name} follow the force error (DFT data)",
                f"rank correlation {r}{lost}",
                r.above(),
            )


def _of_the_loop(cases: Groups, errors: Errors, noise: Mapping[str, float]) -> Iterator[Claim]:
    forces = [first_force_error(cases[n]) for n in errors]
    ranks = Ranks([family_of(n) for n in errors])
    less = ranks.difference(forces, ranked(errors, PHONONS), ranked(errors, "conductivity"))
    if math.isfinite(less.value):
        said = f"difference of the rank correlations {less}"
        yield "Closed loop: conductivity follows the force error less than phonons do", said, less.above()
    good = [n for n, f in zip(errors, forces, strict=True) if f <= RELIABLE_RDF]
    close = [n for n in good if errors[n]["rdf"] <= AT_ONCE["rdf"]]
    known = (
        f"; two runs of the truth differ by {noise['rdf']:.2g} %, so that 1 % cannot be told"
        if "rdf" in noise
        else ""
    )
    said = f"{len(close)} of {len(good)} potentials with such forces, one simulation each{known}"
    statement = (
        f"force errors up to {RELIABLE_RDF:g} meV/Å give g(r) within {AT_ONCE['rdf']:g} % of an ideal gas"
    )
    yield statement, said, "undecided"
    every = [n for n, e in errors.items() if all(e[key] <= most for key, most in AT_ONCE.items())]
    two = [n for n, e in errors.items() if all(e[key] <= AT_ONCE[key] for key in (PHONONS, "conductivity"))]
    said = (
        f"{_some(every)} within all three; {_some(two)} within phonons and conductivity. One split and one simulation each: no "
        "interval"
    )
    statement = f"only quadratic models and networks on {LARGE} have g(r) and phonons within 1 % and conductivity within 10 %"
    yield statement, said, "undecided"
    yield from _stable(errors)


def _some(names: Sequence[str]) -> str:
    families = sorted({family_of(n) for n in names})
    return f"{len(names)} potentials ({', '.join(families)})" if names else "none"


def _stable(errors: Errors) -> Iterator[Claim]:
    """Yield whether models that are not linear survive simulations as linear ones do, by Fisher's exact test."""
    failed = {n: not math.isfinite(e["rdf"]) for n, e in errors.items()}
    kinds = {"linear": [], "network": [], "quadratic": []}  # type: dict[str, list[bool]]
    for name, broke in failed.items():
        model = _model_of(family_of(name))[1]
        kinds["network" if model.startswith("NN") else model if model in kinds else "linear"].append(broke)
    for kind in ("network", "quadratic"):
        own, linear = kinds[kind], kinds["linear"]
        if not own or not linear:
            continue
        rows = [[sum(v), len(v) - sum(v)] for v in (own, linear)]
        p = float(fisher_exact(rows).pvalue)
        worse = sum(own) / len(own) > sum(linear) / len(linear)
        said = f"{sum(own)} of {len(own)} break down in the liquid, of linear models {sum(linear)} of {len(linear)}: p = {p:.2g}"
        statement = f"lower force errors of a {kind if kind == 'network' else 'quadratic model'} do not cost the stability of simulations"
        yield statement, said, "undecided" if p > 0.05 else "disagrees" if worse else "agrees"


# ---- surface, cost -------------------------------------------------------------------------------------------


def shape_claims(
    results: Sequence[CellResult], shapes: Mapping[tuple[str, str, str, str], float]
) -> tuple[list[Claim], list[Claim]]:
    """Return whether two models agree in first derivatives and not in second ones (figure 3): the paper's rows and our own."""
    papers: list[Claim] = []
    own: list[Claim] = []
    for d, a, b, order in shapes:
        if order != "second":
            continue
        first, more = derivative_intervals(results, d, a, b)
        rows = papers if d.split()[0] == "SNAP" else own
        rows.append(
            (f"{d}: mean first derivatives of {a} and {b} correlate", f"correlation {first}", first.above())
        )
        said = f"correlation of first derivatives above that of second ones by {more}"
        rows.append(
            (f"{d}: {a} and {b} agree in first derivatives more than in second ones", said, more.above())
        )
    return papers, own


def cost_claims(results: Sequence[CellResult]) -> Iterator[Claim]:
    """Yield whether a quadratic model costs more than the linear one on SNAP, from what every trained potential took."""
    times: dict[tuple[str, str], dict[Any, float]] = {}
    for r in results:
        p = r.cell.parameters
        if "microseconds" in r.values:
            times.setdefault((p["descriptor"], p["model"]), {})[p["ratio"], p["split"]] = float(
                r.values["microseconds"]
            )
    for descriptor in (SMALL, LARGE):
        new, old = times.get((descriptor, "quadratic"), {}), times.get((descriptor, "linear"), {})
        logs = [math.log(new[key] / old[key]) for key in new if key in old]
        if logs:
            ratio = ratio_of(logs)
            statement = f"{descriptor}: most of the cost is that of the descriptor; a quadratic model adds 25 % at most"
            yield statement, f"{ratio} of the linear model's time, {len(logs)} pairs", ratio.within(25.0)


def missing_claims(families: Groups) -> Iterator[Claim]:
    """Yield what the paper states and no committed cell can say."""
    if not any(name.endswith("NN 250x250") for name in families):
        yield not_run(
            "larger networks (250 x 250, 500 x 2000) gain 5 meV/Å at most over 32 x 32 (figure 2a)",
            "no larger network was trained",
        )
    yield not_run(
        "GaN: quadratic models and networks halve the force error of SNAP, networks on ACE gain a quarter (figure 4)",
        "no such data here; silicon above",
    )
    yield not_run("GaN: phonons and conductivity against the force error (figure 5)", "no such data here")
    yield not_run(
        "LGPS and LiPS: force errors, g(r) and diffusion of lithium by linear SNAP, networks and POD (table 1, figures 6 and 7)",
        "no such data here",
    )
