"""The page of the complexity study: trade-offs, correlation of errors, the Pareto front and a recommendation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgefield.studies.base import CellResult
from forgefield.studies.complexity_choice import Attempt, cost, excesses, recommend, with_common_cost
from forgefield.studies.complexity_claims import (
    cost_claims,
    missing_claims,
    own_property_claims,
    property_claims,
    saturation_claims,
    shape_claims,
)
from forgefield.studies.complexity_figures import (
    PHONONS,
    Errors,
    correlation_charts,
    correlation_table,
    front_table,
    liquid_chart,
    pareto,
    property_table,
    ratio_table,
    saturation,
    saturation_table,
    shown,
    trade_off,
)
from forgefield.studies.complexity_loop import TRANSPORT, transport_errors
from forgefield.studies.complexity_scan import each_ratio
from forgefield.studies.complexity_shapes import (
    derivative_charts,
    derivative_correlations,
    derivative_table,
)
from forgefield.studies.diamond import NUMBERS, properties_of_dft, property_errors
from forgefield.studies.page import Page, Section, table
from forgefield.studies.rounding import plain
from forgefield.studies.summary import Groups, error, grouped, text
from forgefield.studies.verdicts import Claim, asked

__all__ = ["Found", "complexity_page", "sort_results", "written"]

METHOD = (
    "Every point is one ratio of the weights of forces and energies; mean over random splits, test structures that "
    "training and selection did not see: where a ratio is chosen, validation structures choose it. Differences are those on "
    "the same splits, with the 95 % interval of Student's t: what includes zero is undecided."
)
COSTS = (
    "Each potential runs as it was trained: linear and quadratic models in double, networks in single precision, which about "
    "halves the time. The front and what is cheapest compare potentials as they are used, not models in one precision."
)
CHOICE = (
    "What is recommended keeps its limits on validation structures; the errors told are those of test structures. Properties "
    "and the closed loop have no second set: what was chosen by them is reported by them."
)
RANKS = (
    "Spearman's rank correlation; its 95 % interval comes from drawing families (descriptor and model) anew 2000 times, for the "
    "potentials of one family at several weights are no independent witnesses."
)
LOOP = (
    "The truth is known here: all structures were simulated and labelled by it, and it answers every question as the "
    "potentials do. Liquid: the same simulation with every potential, from one structure; the error of g(r) is the mean "
    "of |Δg| in percent of an ideal gas. Conductivity: the Boltzmann equation of phonons (relaxation times) of the "
    "relaxed crystal, mean over temperatures. First split only."
)
DFT_KEYS = (PHONONS, *NUMBERS)
LOOP_KEYS = (*TRANSPORT, *DFT_KEYS)


@dataclass(frozen=True)
class Found:
    """Results of the study in the groups that the page is about.

    Attributes
    ----------
    families, cases : dict of str to list of CellResult
        Trained on the data, by descriptor and model, and by ratio as well; cases are those with a potential.
    errors : mapping of case to errors [%]
        Of properties, where there is a reference.
    loop : dict of str to list of CellResult
        Cases trained in the closed loop, under the same names.
    transport : mapping of case to errors [%]
        Of these.
    noise : mapping of property to error [%]
        How uncertain the truth is.
    truth : mapping or None
        Its answers.
    """

    families: Groups
    cases: Groups
    errors: Errors
    loop: Groups
    transport: Errors
    noise: Mapping[str, float]
    truth: Mapping[str, object] | None

    def chosen(self, limits: Mapping[str, float | None]) -> str | None:
        """Return the case to take."""
        return recommend(self.cases, self.errors, limits, self.liquid)

    @property
    def liquid(self) -> Errors:
        """Errors [%] of what only the closed loop has: liquid, diffusion and conduction."""
        return {name: {key: e[key] for key in TRANSPORT} for name, e in self.transport.items()}


def sort_results(results: Sequence[CellResult], *, silicon: bool) -> Found:
    """Return the groups; `silicon` says that properties have a DFT reference."""
    full = [r for r in results if "loop" not in r.cell.parameters and "ratio" in r.cell.parameters]
    full = with_common_cost(full)
    data = [*full, *each_ratio([r for r in results if "scan" in r.values], full)]
    trained = [r for r in results if "loop" in r.cell.parameters and "descriptor" in r.cell.parameters]
    truths = [r.values["properties"] for r in results if "truth" in r.cell.parameters]
    cases = {
        name: group
        for name, group in grouped(data, "descriptor", "model", "ratio").items()
        if any("microseconds" in r.values for r in group)
    }
    loop = grouped(trained, "descriptor", "model", "ratio")
    reference = properties_of_dft() if silicon else {}
    errors = {
        name: property_errors(r.values["properties"], reference)
        for name, group in cases.items()
        for r in group
        if silicon and "properties" in r.values
    }
    transport = {
        name: transport_errors(r.values["properties"], truths)
        for name, group in loop.items()
        for r in group
        if truths and "properties" in r.values
    }
    noise = _noise(truths)
    families = grouped(data, "descriptor", "model")
    return Found(families, cases, errors, loop, transport, noise, truths[0] if truths else None)


def _noise(truths: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how uncertain the truth is [%]: g(r) from one run to the others, diffusion by its standard error."""
    known = [t for t in truths if "rdf" in t]
    if len(known) < 2:
        return {}
    relative = [t["diffusion_error"] / t["diffusion"] for t in known]
    return {
        "rdf": transport_errors(known[0], known[1:])["rdf"],
        "diffusion": 100.0 * math.hypot(*relative) / len(known),
    }


def complexity_page(
    found: Found, results: Sequence[CellResult], *, limits: Mapping[str, float | None]
) -> Page:
    """Return the page.

    Parameters
    ----------
    found : Found
    results : sequence of CellResult
    limits : mapping
        Largest errors accepted: ``forces`` [meV/Å], ``energy`` [meV/atom], ``properties``, ``transport`` [%].
    """
    data = [r for r in results if "loop" not in r.cell.parameters]
    shapes = derivative_correlations(data)
    papers, own = _claims(found, data, shapes)
    sections = [
        Section(
            "Energy against forces",
            (METHOD,),
            charts=(*trade_off(found.families), *saturation(found.families)),
            tables=(
                saturation_table(found.families),
                *(ratio_table(found.families, key) for key in ("forces", "energy")),
            ),
        ),
        Section(
            "Accuracy and cost",
            (COSTS, CHOICE),
            charts=pareto(found.cases, found.errors, found.liquid),
            tables=(front_table(found.cases, found.errors, found.liquid),),
        ),
    ]
    if found.errors:
        told = (f"Diamond silicon against the DFT reference, first split only. {RANKS}",)
        sections.append(
            Section(
                "Do properties notice?",
                told,
                charts=correlation_charts(found.cases, found.errors, DFT_KEYS),
                tables=(
                    correlation_table(found.cases, found.errors, DFT_KEYS),
                    property_table(found.cases, found.errors, (*NUMBERS, PHONONS), "Errors [%]"),
                ),
            )
        )
    if found.transport:
        sections.append(_loop_section(found))
    if shapes:
        text_ = "Averages over atoms of the derivatives of the atomic energy with respect to the features (figure 3)."
        sections.append(
            Section(
                "Do the models find the same surface?",
                (text_,),
                charts=derivative_charts(data),
                tables=(derivative_table(shapes),),
            )
        )
    return Page(
        title="Model complexity: what does it buy?",
        question="How far do descriptors and models lower the force error once the weight of forces is scanned, does "
        "a lower force error buy better properties, and which potential is the cheapest that is good enough?",
        answer=_answer(found, limits),
        claims=tuple(papers),
        own=asked(own),
        sections=tuple(sections),
    )


def _loop_section(found: Found) -> Section:
    ranked = sorted(found.transport, key=lambda n: found.transport[n]["rdf"])
    known = [n for n in ranked if math.isfinite(found.transport[n]["rdf"])]
    charts = correlation_charts(found.loop, found.transport, (*TRANSPORT, PHONONS), found.noise)
    if known and found.truth is not None:
        charts = (liquid_chart(found.loop, found.truth, (known[0], known[-1])), *charts)
    keys = [key for key in LOOP_KEYS if key in (*TRANSPORT, PHONONS, "bulk_modulus", "c44")]
    paragraphs = [LOOP]
    if found.noise:
        numbers = ", ".join(f"{TRANSPORT[k]} {plain(found.noise[k], 2)} %" for k in ("rdf", "diffusion"))
        paragraphs.append(
            f"How well the truth is known: {numbers} (g(r): two runs of the truth compared; diffusion: standard error of "
            "their mean). A single potential's diffusion is as uncertain as one run."
        )
    return Section(
        "Liquid, diffusion and conduction of heat",
        tuple(paragraphs),
        charts=charts,
        tables=(
            correlation_table(found.loop, found.transport, LOOP_KEYS),
            property_table(found.loop, found.transport, keys, "Errors in the closed loop [%]"),
        ),
    )


def _answer(found: Found, limits: Mapping[str, float | None]) -> str:
    wanted = [f"force RMSE up to {limits['forces']:g} meV/Å", f"energy up to {limits['energy']:g} meV/atom"]
    if found.errors and limits["properties"] is not None:
        wanted.append(f"property errors up to {limits['properties']:g} %")
    if found.transport and limits["transport"] is not None:
        wanted.append(f"errors of liquid and conduction up to {limits['transport']:g} % in the closed loop")
    asked = f"{', '.join(wanted[:-1])} and {wanted[-1]}"
    chosen = found.chosen(limits)
    if chosen is not None:
        results = found.cases[chosen]
        return (
            f"Recommended, the cheapest that meets {asked}: {shown(chosen)} with {cost(results):.3g} µs per atom and step, "
            f"forces {text(error(results, 'test', 'forces'))} meV/Å, energy {text(error(results, 'test', 'energy'))} "
            "meV/atom."
        )
    return f"No potential of this study meets {asked}.{_nearest(found, limits)}"


def _nearest(found: Found, limits: Mapping[str, float | None]) -> str:
    """Return which case misses the limits by least, and by how much."""
    over = {name: excesses(name, found.cases, found.errors, found.liquid, limits) for name in found.cases}
    name = min(over, key=lambda n: max(over[n].values()), default=None)
    if name is None or not math.isfinite(max(over[name].values())):
        return ""
    missed = ", ".join(f"{key} by a factor of {value:.2g}" for key, value in over[name].items() if value > 1)
    return f" The nearest, {shown(name)}, misses {missed}."


def _claims(
    found: Found, results: Sequence[CellResult], shapes: Mapping[tuple[str, str, str, str], float]
) -> tuple[list[Claim], list[Claim]]:
    """Return what the paper states, and what is asked of more descriptors, each with what was found."""
    papers, own = saturation_claims(found.families)
    noted = (found.cases, found.errors), (found.loop, found.transport)
    papers += property_claims(*noted, found.noise)
    of_shapes, more = shape_claims(results, shapes)
    papers += [*of_shapes, *cost_claims(results), *missing_claims(found.families)]
    return papers, [*own, *own_property_claims(found.cases, found.errors), *more]


def written(chosen: str | None, attempts: Sequence[Attempt]) -> Section:
    """Return the section about the recommendation and its export."""
    if chosen is None:
        return Section("Recommendation", ("Nothing meets the limits, so nothing was written.",))
    rows = [
        [
            attempt.target,
            "no" if attempt.reason else "yes",
            attempt.reason or f"{attempt.proof}\nfiles: {', '.join(attempt.files)}",
        ]
        for attempt in attempts
    ]
    told = (
        (
            f"{shown(chosen)}: potential.ff, its configuration, the export with its certificate and a README are in the folder "
            "`recommended` of the study."
        ),
    )
    return Section(
        "Recommendation",
        told,
        tables=(table("Exports tried, in order", ["program", "written", "result"], rows, text_columns=3),),
    )
