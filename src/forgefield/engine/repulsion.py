"""The nuclear repulsion as instructions of a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forgefield.errors import ConfigError
from forgefield.formulas.zbl import screened_repulsion
from forgefield.models.potential import Potential
from forgefield.tracer.memory import Accumulators, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Lanes, Vec

__all__ = ["Neighbours", "emit_repulsion", "repulsion_table"]

NAMES = ("charge", "rate", "inner", "outer", "cosine", "cubic", "quartic", "shift")
WIDTH = len(NAMES) + 8


class Neighbours(Protocol):
    """Where a kernel finds the neighbours of a block: their rows, atoms and vectors."""

    n_species: int

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        """Return first and last row of the neighbours of `count` species from `species` on."""
        ...

    def at(self, row: Int) -> Lanes:
        """Return the points in a row."""
        ...

    def vector(self, row: Int) -> list[Vec]:
        """Return the components of ``r_ij``."""
        ...


def repulsion_table(potential: Potential) -> NDArray[np.float64]:
    """Return the parameters of every pair of elements: `NAMES`, then the four amplitudes and exponents."""
    zbl = potential.zbl
    if zbl is None:
        raise ConfigError("this potential has no nuclear repulsion; give it one with `zbl`")
    n = len(potential.species)
    table = np.empty((n, n, WIDTH))
    for c, name in enumerate(NAMES):
        table[:, :, c] = zbl.tables[name]
    table[:, :, len(NAMES) :] = zbl.screening.reshape(8, n, n).transpose(1, 2, 0)
    return table.ravel()


def emit_repulsion(
    k: Kernel,
    edges: Neighbours,
    table: Scalars,
    centre: Int,
    energy: Accumulators,
    use: Callable[[Lanes, list[Vec], list[Any]], None],
) -> None:
    """Emit half the repulsion of every pair and its gradient.

    Parameters
    ----------
    k : Kernel
    edges : neighbours of the block
    table : Scalars
        See `repulsion_table`.
    centre : Int
        Element of the block.
    energy : Accumulators
        Added to.
    use : callable (neighbours, r_ij, g_ij)
    """
    with k.range(edges.n_species) as s:
        at = (centre * edges.n_species + s) * WIDTH
        values = [table[at + c] for c in range(WIDTH)]
        parameters = dict(zip(NAMES, values, strict=False))
        screening = list(zip(values[len(NAMES) :: 2], values[len(NAMES) + 1 :: 2], strict=True))
        with k.range(*edges.rows(s, 1)) as e:
            with k.tape() as tape:
                d = edges.vector(e)
                f = d[0].formula_functions
                # Beyond the cutoff, padding included, the exponentials of a far point are of no interest.
                r = f.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
                half = 0.5 * screened_repulsion(r, **parameters, screening=screening)
            energy[0] += half
            use(edges.at(e), d, k.vjp(tape, [half], [1.0], d))
