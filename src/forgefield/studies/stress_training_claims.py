"""What paper 5 states of stress training, and what was found; and what the study asks beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from scipy.stats import fisher_exact

from forgefield.studies.heat_claims import heat_claims, own_heat_claims
from forgefield.studies.stress_training_numbers import Heat, values_of
from forgefield.studies.summary import Groups, text
from forgefield.studies.verdicts import Claim, Known, known_of, not_run

__all__ = ["missing_claims", "own_claims", "paper_claims"]

Off = Mapping[str, Sequence[Mapping[str, float]]]
"""`melting_errors` of every run, by fit."""


def _said(a: Known, b: Known, unit: str) -> str:
    i = (a - b).interval
    values = f"{text((a.mean, a.error))} against {text((b.mean, b.error))} {unit}"
    return f"{values}; difference {i.said('.2g')}"


def paper_claims(fits: Groups, off: Off, heats: Mapping[str, Heat], kinds: Sequence[str]) -> Iterator[Claim]:
    """Yield the rows of the paper: stress, figure 1, figure 3.

    Parameters
    ----------
    fits : dict of str to list of CellResult
    off : mapping
    heats : mapping of phase to Heat
    kinds : sequence of str
        Atomic virials.
    """
    yield _of_runs(
        fits, "Stress labels lower the error of the stress of strained crystals", ("pressure_error",)
    )
    yield _of_runs(
        fits,
        "Stress labels lower the error of the stress of validation structures",
        ("errors", "valid", "stress"),
    )
    yield _melting(fits, off, "g", "structure", "of g(r)")
    for phase, heat in heats.items():
        yield from heat_claims(heat, phase, kinds)


def own_claims(fits: Groups, off: Off, heats: Mapping[str, Heat], kinds: Sequence[str]) -> Iterator[Claim]:
    """Yield what the paper does not say: volumes, the price in energies and forces, the truth itself."""
    yield _melting(fits, off, "length", "volume", "% of a")
    for key, unit in (("energy", "meV/atom"), ("forces", "meV/Å")):
        a, b = (known_of(values_of(fits[k], "errors", "valid", key)) for k in ("EFP", "EF"))
        yield (
            f"Stress labels make the validation error of {key} larger",
            _said(a, b, unit),
            (a - b).interval.above(),
        )
    for phase, heat in heats.items():
        yield from own_heat_claims(heat, phase, kinds)


def _of_runs(fits: Groups, statement: str, path: Sequence[str]) -> Claim:
    a, b = (known_of(values_of(fits[k], *path)) for k in ("EFP", "EF"))
    return statement, _said(a, b, "GPa"), (a - b).interval.below()


def _melting(fits: Groups, off: Off, key: str, what: str, unit: str) -> Claim:
    """Return whether stress labels bring heating and cooling nearer to the reference.

    Where all EF-fits break down, Fisher's exact test decides: there is nothing left to take a mean of.
    """
    a, b = (known_of(one[key] for one in off[k]) for k in ("EFP", "EF"))
    broken = {k: sum("failed" in r.values["melting"] for r in fits[k]) for k in ("EFP", "EF")}
    claim = f"Stress labels bring the {what} in heating and cooling nearer to the reference"
    said, verdict = _said(a, b, unit), (a - b).interval.below()
    if any(broken.values()):
        said += f"; broke down: {broken['EFP']} against {broken['EF']} of {len(fits['EF'])}"
    if broken["EF"] == len(fits["EF"]):
        counts = [[broken[k], len(fits[k]) - broken[k]] for k in ("EFP", "EF")]
        verdict = "agrees" if float(fisher_exact(counts).pvalue) < 0.05 else "undecided"
    return claim, said, verdict


def missing_claims() -> Iterator[Claim]:
    """Yield what the paper states of first-principles data and of systems that were not simulated."""
    yield not_run(
        "sodium by first principles: heating and cooling with and without stress labels (figure 1)",
        "argon by Lennard-Jones instead, see above",
    )
    yield not_run(
        "free energies of solid and liquid sodium against size and k points (figure 2, table 1)",
        "no first-principles simulations here",
    )
    yield not_run(
        "superionic Ag2Se: conductivities by HNEMD (figure 3)",
        "argon here, molten silicon in the study heat-flux, both by Green-Kubo",
    )
