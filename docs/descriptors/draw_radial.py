"""Draw the radial functions of every descriptor, and the cutoff functions, from the formulas of the package.

python docs/descriptors/draw_radial.py [FOLDER]

Writes ``radial_<kind>.png`` and ``cutoffs.png`` into the folder, by default ``images`` beside this script.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from forgefield.descriptors import DESCRIPTORS, SNAP, Descriptor, make_descriptor
from forgefield.expansions import numpy_backend
from forgefield.formulas.cutoffs import CutoffName, CutoffShape
from forgefield.formulas.wigner import components

# Okabe and Ito, without yellow: told apart with every kind of colour vision; dashes repeat the distinction.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    (0, (1, 1.2)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1)),
)
FIRST = 0.4
"""Shortest distance drawn [Å]."""

FloatArray = NDArray[np.float64]
Curves = Sequence[tuple[str, FloatArray]]


def distances(cutoff: float) -> FloatArray:
    """Return the distances of a curve [Å]."""
    return np.linspace(FIRST, 1.02 * cutoff, 500)


def draw(path: Path, r: FloatArray, curves: Curves, title: str, *, scaled: bool = False) -> None:
    """Write one picture: curves over distance, each divided by its largest value if `scaled`."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.0, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="0.8", linewidth=0.8)
        for n, (label, values) in enumerate(curves):
            size = np.abs(values).max() if scaled else 1.0
            style = {"color": COLOURS[n % len(COLOURS)], "linestyle": DASHES[n % len(DASHES)]}
            axes.plot(r, values / size, label=label, linewidth=1.4, **style)
        axes.set_xlabel("distance r (Å)")
        axes.set_ylabel("value / largest" if scaled else "value")
        axes.set_title(title, fontsize=8)
        axes.set_xlim(0.0, r[-1])
        axes.legend(frameon=False, fontsize=7, ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(path, dpi=90, metadata={"Software": None})


def radial(d: Descriptor, n: int) -> tuple[FloatArray, FloatArray]:
    """Return distances and the radial functions of an expansion, one row each."""
    basis: Any = d.expansions[n].radial  # type: ignore[attr-defined]
    r = distances(d.expansions[n].cutoff)
    return r, np.stack([np.broadcast_to(v, r.shape) for v in basis(r)])


def take(labels: Sequence[str], values: FloatArray, rows: Sequence[int]) -> Curves:
    """Return labelled rows."""
    return [(label, values[k]) for label, k in zip(labels, rows, strict=True)]


def symmetry(path: Path, kind: str) -> None:
    """Draw G2 functions: the default set, and a shifted one."""
    weighted = {"preset": "gastegger", "cutoff": 6.0} if kind == "wacsf" else {}
    d = make_descriptor({"kind": kind, **weighted}, ["Si"])
    r, values = radial(d, 0)
    names = [n for n in d.feature_names if n.startswith("G2")]
    every = 2 if weighted else 1
    labels = [" ".join(n.split()[2:]).replace("eta", "η ").replace("Rs", "R ") for n in names][::every]
    title = "G2, preset gastegger (every second)" if weighted else "G2, preset pyxtal"
    draw(path, r, take(labels[:7], values, range(0, len(names), every)[:7]), title)


def ead(path: Path) -> None:
    """Draw the orbitals' radial parts for one exponent and shift each."""
    d = make_descriptor({"kind": "ead", "etas": [0.2], "shifts": [0.0, 1.5], "l_max": 2}, ["Si"])
    r, values = radial(d, 0)
    # l-major; then the degree beyond l; then the shifts.
    labels = [f"L = {l}, R {s}" for l in range(3) for s in (0, 1.5)]
    draw(
        path,
        r,
        take(labels, values, [0, 1, 4, 5, 8, 9]),
        "(r / cutoff)^L exp(-0.2 (r - R)²) f_c",
        scaled=True,
    )


def so3(path: Path) -> None:
    """Draw the overlaps of a Gaussian with the radial basis."""
    d = make_descriptor({"kind": "so3", "n_max": 3, "l_max": 2}, ["Si"])
    r, values = radial(d, 0)
    labels = [f"n = {n}, l = {l}" for l in (0, 2) for n in (1, 2, 3)]
    draw(path, r, take(labels, values, [0, 1, 2, 6, 7, 8]), "I_nl(r) f_c(r), α = 2 Å⁻²", scaled=True)


def nep(path: Path) -> None:
    """Draw NEP's Chebyshev basis."""
    d = make_descriptor({"kind": "nep"}, ["Si"])
    r, values = radial(d, 0)
    draw(path, r, take([f"k = {k}" for k in range(6)], values, range(6)), "½ (T_k(x) + 1) f_c")


def chebyshev(path: Path) -> None:
    """Draw the polynomials of aenet."""
    d = make_descriptor({"kind": "chebyshev"}, ["Si"])
    r, values = radial(d, 0)
    draw(path, r, take([f"n = {n}" for n in range(6)], values, range(6)), "T_n(2 r / cutoff - 1) f_c")


def ace(path: Path) -> None:
    """Draw both radial bases."""
    curves: list[tuple[str, FloatArray]] = []
    for name, label in (("chebyshev_exponential", "Chebyshev"), ("spherical_bessel", "Bessel")):
        d = make_descriptor({"kind": "ace", "radial": name, "n_max": [4], "l_min": [0], "l_max": [0]}, ["Si"])
        r, values = radial(d, 0)
        curves += take([f"{label} n = {n}" for n in (1, 2, 3)], values, range(3))
    draw(path, r, curves, "radial functions of ACE", scaled=True)


def pod(path: Path) -> None:
    """Draw the first proper orthogonal modes."""
    d = make_descriptor({"kind": "pod", "inner_cutoff": 0.5}, ["Si"])
    r, values = radial(d, 0)
    inside = r > 1.0
    draw(
        path,
        r[inside],
        take([f"n = {n}" for n in range(1, 6)], values[:, inside], range(5)),
        "modes U_n(r)",
        scaled=True,
    )


def snap(path: Path) -> None:
    """Draw matrix elements for a neighbour along z: the first of the diagonal, real parts."""
    d = SNAP(["Si"], two_j_max=5)
    expansion = d.expansions[0]
    r = distances(expansion.cutoff)
    vectors = np.zeros((len(r), 1, 3))
    vectors[:, 0, 2] = r
    zeros = np.zeros(len(r), dtype=np.int64)
    values = numpy_backend.forward(expansion, vectors, zeros[:, None], zeros)[:, 0, 0].T
    place = {c: n for n, c in enumerate(components(5))}
    curves = [(f"2j = {j}", values[place[j, 0, 0, 0]]) for j in range(6)]
    draw(path, r, curves, "w s(r) Re U of a neighbour along z")


def cutoffs(path: Path) -> None:
    """Draw the families of cutoff functions."""
    r = np.linspace(0.0, 5.1, 500)
    curves = [(name, np.asarray(CutoffShape(name)(r, 5.0))) for name in get_args(CutoffName)]
    draw(path, r, curves, "cutoff functions, cutoff 5 Å")


PICTURES: dict[str, Callable[[Path], None]] = {
    "acsf": lambda path: symmetry(path, "acsf"),
    "wacsf": lambda path: symmetry(path, "wacsf"),
    "ead": ead,
    "so3": so3,
    "snap": snap,
    "nep": nep,
    "chebyshev": chebyshev,
    "ace": ace,
    "pod": pod,
}


def main(folder: Path) -> None:
    """Write all pictures."""
    if set(PICTURES) != set(DESCRIPTORS):
        raise SystemExit(f"no picture of {', '.join(sorted(set(DESCRIPTORS) ^ set(PICTURES)))}")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, picture in PICTURES.items():
        picture(folder / f"radial_{kind}.png")
    cutoffs(folder / "cutoffs.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "images")
