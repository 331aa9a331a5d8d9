"""The kernels of a potential on a GPU: small ones, so that each keeps its numbers in registers.

``expand``: neighbours -> A. ``energy``: A -> energies and ``A_bar = dE/dA``. ``forces``: A_bar -> edge gradients ->
forces and virials. For training, with ``G_ij = dL/dg_ij`` (see `kernel`): ``tangent``: neighbours -> J G, the change of
A along G; ``gradients``: A, J G -> the gradient with respect to the parameters. Between kernels, A and its companions
lie in device memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from forgefield.engine.kernel import Collected, Plan, edge_bar
from forgefield.engine.repulsion import emit_repulsion
from forgefield.expansions.recomputed import RecomputedExpansion
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.expansions.traced import KINDS, Place, Traced, stretch_of
from forgefield.stages.kernel_stage import KernelArray, KernelStage
from forgefield.tracer.memory import Indices, Points
from forgefield.tracer.trace import Int, Kernel, Program, trace
from forgefield.tracer.values import Lanes, Vec

__all__ = ["KERNELS", "gpu_program", "gpu_signature", "scratch_per_edge"]

KERNELS = ("expand", "energy", "forces", "forces_virials", "tangent", "gradients")

Arguments = dict[str, Any]


class _Edges:
    """The neighbours of a block: a table of one per lane, as many rows as the longest run of the block."""

    def __init__(self, block: Int, n: int, plan: Plan, arguments: Arguments) -> None:
        self.n_species = plan.n_species
        self.points: Points = arguments["positions"]
        self.centres: Lanes = arguments["centres"].lanes(block)
        self.table: Indices = arguments[f"table{n}"]
        self.offsets: Indices = arguments[f"offsets{n}"] + block * (self.n_species + 1)

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        return self.offsets[species], self.offsets[species + count]

    def at(self, row: Int) -> Lanes:
        return self.table.lanes(row)

    def vector(self, row: Int) -> list[Vec]:
        return self.points.difference(self.at(row), self.centres)


def gpu_signature(plan: Plan, name: str) -> dict[str, str]:
    """Return the arguments of a kernel of `KERNELS`.

    ``coefficients``, ``coefficient_bars`` and ``changes`` hold ``plan.coefficients`` rows per block: A, dE/dA and J G.
    ``table0`` has one row of neighbours per lane, ``offsets0`` (n_blocks, n_species + 1) the first row of each species,
    ``constants0`` is `Plan.tables`; so for each list.
    ``scratch`` is memory of a warp, `scratch_per_edge` rows for each neighbour; none where all expansions are spherical.
    The others are those of `kernel.value_signature` and `kernel.gradient_signature`; ``gradients`` is one float64
    number per parameter. ``forces`` and the virials are added to.
    """
    signature = {"b0": "int", "b1": "int", "term_integers": "indices", "term_numbers": "scalars"}
    if name in ("energy", "gradients"):
        signature |= {
            "species": "indices",
            "parameters": "scalars",
            "work": "workspace",
            "coefficients": "rows",
        }
        if name == "energy":
            return signature | {"coefficient_bars": "rows", "energies": "rows"}
        return signature | {"changes": "rows", "energy_bars": "rows", "gradients": "sums"}
    signature |= {"positions": "points", "centres": "indices", "species": "indices", "work": "workspace"}
    signature |= {"scratch": "workspace"}
    for n in range(plan.n_lists if name.startswith("forces") else len(plan.expansions)):
        signature |= {f"table{n}": "indices", f"offsets{n}": "indices", f"constants{n}": "scalars"}
    if name == "expand":
        return signature | {"coefficients": "rows"}
    if name == "tangent":
        return signature | {"force_bars": "vectors", "strain_bars": "rows", "changes": "rows"}
    signature |= {"coefficient_bars": "rows", "forces": "vectors", "energies": "rows", "strain": "rows"}
    return signature | ({f"virial_{x}": "vectors" for x in "xyz"} if name == "forces_virials" else {})


def scratch_per_edge(plan: Plan, n: int) -> int:
    """Return how many numbers of scratch memory a row of neighbours of list n takes, twice that with a tangent."""
    return 0 if isinstance(plan.expansions[n], SphericalExpansion) else plan.rows_per_edge(n)


def gpu_program(plan: Plan, name: str, bits: int) -> Program:
    """Trace a kernel of `KERNELS`."""
    body = {
        "expand": _expand,
        "energy": _energy,
        "forces": _forces,
        "forces_virials": _forces,
        "tangent": _tangent,
        "gradients": _gradients,
    }[name]

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            body(k, plan, block, arguments)

    return trace(name, gpu_signature(plan, name), bits, kernel)


def _starts(plan: Plan, block: Int) -> list[Int]:
    """Return the first row of each expansion's coefficients."""
    starts, at = [], block * plan.coefficients
    for e in plan.expansions:
        starts.append(at)
        at = at + math.prod(e.shape)
    return starts


def _expansions(
    k: Kernel, plan: Plan, block: Int, arguments: Arguments
) -> list[tuple[Traced, _Edges, Int, int]]:
    """Return each expansion, its neighbours, the first row of its coefficients and their columns."""
    parts: list[tuple[Traced, _Edges, Int, int]] = []
    centre, terms = arguments["species"][block], (arguments["term_integers"], arguments["term_numbers"])
    for n, (e, start) in enumerate(zip(plan.expansions, _starts(plan, block), strict=True)):
        edges, constants = _Edges(block, n, plan, arguments), arguments[f"constants{n}"]
        if isinstance(e, SphericalExpansion):
            traced: Traced = RecomputedExpansion(k, e, edges, constants, stretch_of(e, constants, centre))
        else:
            place = Place(edges, arguments["scratch"], constants, centre, (plan.prepared[n], terms))
            traced = KINDS[type(e)].emit(k, e, place)
        parts.append((traced, edges, start, e.shape[2]))
    return parts


def _setters(rows: Any, columns: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what sets and what adds to the elements of a matrix that starts at the first row."""

    def store(i: Int | int, m: Int | int, value: Any) -> None:
        rows[i * columns + m] = value

    return store, lambda i, m, v: rows.add(i * columns + m, v)


def _expand(k: Kernel, plan: Plan, block: Int, arguments: Arguments) -> None:
    for t, _, start, columns in _expansions(k, plan, block, arguments):
        t.forward(*_setters(arguments["coefficients"] + start, columns))


def _tangent(k: Kernel, plan: Plan, block: Int, arguments: Arguments) -> None:
    force_bars: Points = arguments["force_bars"]
    own = force_bars.gather(arguments["centres"].lanes(block))
    strain = [arguments["strain_bars"][block * 6 + n] for n in range(6)]
    for t, edges, start, columns in _expansions(k, plan, block, arguments):

        def direction(row: Int, edges: _Edges = edges) -> list[Any]:
            return edge_bar(edges, force_bars, row, own, strain)

        t.tangent(*_setters(arguments["changes"] + start, columns), direction)


def _stage(
    k: Kernel, plan: Plan, block: Int, arguments: Arguments, planes: list[str]
) -> tuple[KernelStage, list[KernelArray]]:
    """Return a stage and the coefficients, whose planes are these arguments."""
    stage = KernelStage(
        k,
        arguments["species"][block],
        plan.layout,
        arguments["parameters"],
        terms=(arguments["term_integers"], arguments["term_numbers"]),
        gradients=arguments.get("gradients"),
        tangent=len(planes) > 1,
    )
    arrays = []
    for e, start in zip(plan.expansions, _starts(plan, block), strict=True):
        values = [arguments[name] + start for name in planes]
        arrays.append(stage.array(e.shape[0] * e.shape[1], e.shape[2], values))
    return stage, arrays


def _energy(k: Kernel, plan: Plan, block: Int, arguments: Arguments) -> None:
    stage, arrays = _stage(k, plan, block, arguments, ["coefficients"])
    for x, start in zip(arrays, _starts(plan, block), strict=True):
        x.base.bars[0] = arguments["coefficient_bars"] + start
    energy = plan.energy(stage, arrays)
    scale = arguments["parameters"][plan.layout.size]
    arguments["energies"][block] = scale * energy.value(0, 0, 0)
    energy.base.bars[0][energy.at(0, 0)] = scale
    stage.backward()


def _gradients(k: Kernel, plan: Plan, block: Int, arguments: Arguments) -> None:
    stage, arrays = _stage(k, plan, block, arguments, ["coefficients", "changes"])
    energy = plan.energy(stage, arrays)
    scale, at = arguments["parameters"][plan.layout.size], energy.at(0, 0)
    energy.base.bars[0][at] = scale * arguments["energy_bars"][block]
    energy.base.bars[1][at] = scale
    stage.backward()


def _forces(k: Kernel, plan: Plan, block: Int, arguments: Arguments) -> None:
    total = Collected(k, arguments, virials="virial_x" in arguments)
    for t, edges, start, columns in _expansions(k, plan, block, arguments):
        bars = arguments["coefficient_bars"] + start
        t.reverse(
            lambda i, m, bars=bars, columns=columns: bars[i * columns + m],  # type: ignore[misc]
            lambda row, r, g, edges=edges: total.add(edges.at(row), r, g),  # type: ignore[misc]
        )
    if plan.repulsion:
        n, sums = len(plan.expansions), k.accumulators(1)
        species, constants = arguments["species"][block], arguments[f"constants{n}"]
        emit_repulsion(k, _Edges(block, n, plan, arguments), constants, species, sums, total.add)
        arguments["energies"].add(block, sums[0])
    total.finish(block, arguments["centres"].lanes(block))
