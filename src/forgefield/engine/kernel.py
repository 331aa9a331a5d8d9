"""The fused kernels: everything a potential does to a block of atoms, in one pass.

``values``: neighbours -> expansion -> features -> energy -> reverse -> edge gradients -> forces and virials.
``gradients``: the same up to the energy with a tangent on everything, and back to the parameters. With the loss L, its
derivatives ``E' = dL/dE_i`` and ``G_ij = dL/dg_ij``, the gradient of L is that of ``sum_i E'_i E_i + <dE_i/dA, J G>``,
the second term being the change of E along ``J G``, the change of the coefficients when the neighbours move along G.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.repulsion import Neighbours, emit_repulsion, repulsion_table
from forgefield.errors import ForgefieldError
from forgefield.expansions.base import Expansion
from forgefield.expansions.traced import KINDS, Place, Traced
from forgefield.expansions.triplets import TripletExpansion
from forgefield.keys import VOIGT
from forgefield.models.potential import Potential
from forgefield.stages.kernel_stage import KernelArray, KernelStage
from forgefield.stages.parameters import ParameterLayout, Shape, ShapeStage
from forgefield.tracer.memory import Indices, Points, Rows
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Lanes, Vec

__all__ = [
    "ListedEdges",
    "NotCompiledError",
    "Plan",
    "gradient_kernel",
    "gradient_signature",
    "list_signature",
    "make_stage",
    "plane_of",
    "setup",
    "value_kernel",
    "value_signature",
]


class NotCompiledError(ForgefieldError):
    """A part of a potential has no kernel; the plain path computes the same, slower."""


@dataclass(frozen=True)
class Plan:
    """What a kernel is built for: the parts of a potential, without the values of its parameters.

    Attributes
    ----------
    potential : Potential
    expansions : tuple of Expansion
    layout : ParameterLayout
    prepared : tuple
        What `traced.Kind.prepare` returned for each expansion; the tables are in `layout.memory`.
    repulsion : bool
        Whether the potential has a nuclear repulsion; its list of neighbours then comes last.
    """

    potential: Potential
    expansions: tuple[Expansion, ...]
    layout: ParameterLayout
    prepared: tuple[Any, ...]
    repulsion: bool = False

    @classmethod
    def of(cls, potential: Potential, *, repulsion: bool = False) -> Plan:
        """Return the plan of a potential, of its nuclear repulsion as well if asked for.

        Raises
        ------
        NotCompiledError
            A part of it has no kernel.
        """
        expansions = tuple(potential.descriptor.expansions)
        for e in expansions:
            if type(e) not in KINDS:
                raise NotCompiledError(f"{type(e).__name__} has no compiled kernel")
        stage = ShapeStage(len(potential.species))
        try:
            features = potential.descriptor.features(stage, [Shape(_matrix_shape(e)) for e in expansions])
            potential.model.energy(stage, stage.scaled(features))
        except AttributeError as error:
            raise NotCompiledError(f"an operation of the potential has no compiled form ({error})") from None
        prepared = tuple(KINDS[type(e)].prepare(e, stage.layout.memory) for e in expansions)
        return cls(potential, expansions, stage.layout, prepared, repulsion and potential.zbl is not None)

    @property
    def n_species(self) -> int:
        """Elements of the potential."""
        return len(self.potential.species)

    @property
    def n_lists(self) -> int:
        """Lists of neighbours: one for each expansion, one for the nuclear repulsion."""
        return len(self.expansions) + self.repulsion

    def tables(self, n: int) -> NDArray[np.float64]:
        """Return the constants of list n: those of the expansion, or the parameters of the repulsion."""
        if n == len(self.expansions):
            return repulsion_table(self.potential)
        e = self.expansions[n]
        return KINDS[type(e)].constants(e)

    def rows_per_edge(self, n: int) -> int:
        """Return how many numbers of scratch memory a row of neighbours takes in list n, twice that with a tangent."""
        return KINDS[type(self.expansions[n])].rows_per_edge(self.expansions[n])

    @property
    def coefficients(self) -> int:
        """Expansion coefficients of an atom."""
        return sum(math.prod(e.shape) for e in self.expansions)

    def energy(self, stage: KernelStage, a: list[KernelArray]) -> KernelArray:
        """Emit the energy of the block."""
        potential = self.potential
        features = potential.descriptor.features(stage, a)
        energy: KernelArray = potential.model.energy(stage, stage.scaled(features))
        return energy


def _matrix_shape(e: Expansion) -> tuple[int, int]:
    """Return rows and columns of the coefficients of an atom."""
    n_channels, n_radial, n_harmonics = e.shape
    return n_channels * n_radial, n_harmonics


class ListedEdges:
    """The neighbours of a block, in rows of one per lane.

    They are picked from the lists where the rows are ``fresh`` (1) and stay there for later calls (0).
    """

    def __init__(self, k: Kernel, block: Int, n: int, plan: Plan, arguments: dict[str, Any]) -> None:
        self.n_species = plan.n_species
        self.points: Points = arguments["positions"]
        self.centres: Lanes = arguments["centres"].lanes(block)
        self.offsets: Indices = arguments[f"offsets{n}"] + block * (self.n_species + 1)
        self.picked: Indices = arguments[f"picked{n}"]
        starts, ends = (arguments[f"{x}{n}"] + block * self.n_species for x in ("starts", "ends"))
        neighbours: Indices = arguments[f"neighbours{n}"]
        with k.range(self.n_species) as s:
            start, end = starts.lanes(s), ends.lanes(s)
            lo = self.offsets[s]
            with k.range((self.offsets[s + 1] - lo) * arguments["fresh"]) as e:
                self.picked.set_lanes(lo + e, neighbours.pick(start, end, e))

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        """See `expansions.kernels.Edges`."""
        return self.offsets[species], self.offsets[species + count]

    def at(self, row: Int) -> Lanes:
        """Return the points of a row."""
        return self.picked.lanes(row)

    def vector(self, row: Int) -> list[Vec]:
        """Return ``r_ij``, one neighbour per lane."""
        return self.points.difference(self.at(row), self.centres)


def list_signature(plan: Plan) -> dict[str, str]:
    """Return the arguments that all kernels begin with."""
    signature = {"b0": "int", "b1": "int", "positions": "points", "centres": "indices", "species": "indices"}
    signature["fresh"] = "int"
    for n in range(plan.n_lists):
        signature |= {f"{x}{n}": "indices" for x in ("neighbours", "starts", "ends", "offsets", "picked")}
        signature[f"table{n}"] = "scalars"
    signature |= {"parameters": "scalars", "term_integers": "indices", "term_numbers": "scalars"}
    return signature | {"work": "workspace", "scratch": "workspace", "saved": "rows"}


def value_signature(plan: Plan, *, virials: bool) -> dict[str, str]:
    """Return the arguments of `value_kernel`.

    ``forces`` (and ``virial_x, _y, _z``) are rows of four per point, added to; ``energies`` one row per block;
    ``strain`` six rows per block, `keys.VOIGT` components of ``sum_j r_ij g_ij``; ``saved`` the coefficients.
    """
    signature = list_signature(plan) | {"forces": "vectors", "energies": "rows", "strain": "rows"}
    return signature | ({f"virial_{x}": "vectors" for x in "xyz"} if virials else {})


def gradient_signature(plan: Plan) -> dict[str, str]:
    """Return the arguments of `gradient_kernel`.

    ``force_bars`` are ``dL/dF`` of every point; ``energy_bars`` one row and ``strain_bars`` six rows per block (of
    `keys.VOIGT`, half for the components off the diagonal); ``gradients`` one row per parameter, added to.
    """
    bars = {"force_bars": "vectors", "energy_bars": "rows", "strain_bars": "rows", "gradients": "sums"}
    return list_signature(plan) | bars


def make_stage(
    k: Kernel, plan: Plan, block: Int, arguments: dict[str, Any], *, training: bool
) -> KernelStage:
    """Return the stage of a block."""
    return KernelStage(
        k,
        arguments["species"][block],
        plan.layout,
        arguments["parameters"],
        terms=(arguments["term_integers"], arguments["term_numbers"]),
        gradients=arguments["gradients"] if training else None,
        tangent=training,
    )


def setup(
    k: Kernel, plan: Plan, block: Int, arguments: dict[str, Any], stage: KernelStage, *, saved: bool
) -> tuple[list[ListedEdges], list[Traced], list[KernelArray]]:
    """Return the neighbours of a block for each expansion, the expansions, and arrays for their coefficients.

    The first plane of the arrays lies in the argument ``saved`` if asked for.
    """
    edges: list[ListedEdges] = []
    traced: list[Traced] = []
    arrays: list[KernelArray] = []
    start: Any = block * plan.coefficients
    scratch: Rows = arguments["scratch"]
    for n, (e, prepared) in enumerate(zip(plan.expansions, plan.prepared, strict=True)):
        neighbours = ListedEdges(k, block, n, plan, arguments)
        rows, columns = _matrix_shape(e)
        planes: list[Rows] | None = None
        if saved:
            planes = [arguments["saved"] + start]
            planes += [k.buffer(rows * columns) for _ in range(stage.planes - 1)]
        start = start + rows * columns
        edges.append(neighbours)
        terms = prepared, (arguments["term_integers"], arguments["term_numbers"])
        # Sums over pairs of neighbours, which the way back leaves in scratch memory, must begin at zero every time.
        keep = stage.planes == 1 and not (stage.repeats and isinstance(e, TripletExpansion))
        place = Place(neighbours, scratch, arguments[f"table{n}"], stage.species, terms, keep=keep)
        first, last = neighbours.rows(0, plan.n_species)
        scratch = scratch + (last - first) * (plan.rows_per_edge(n) * stage.planes)
        traced.append(KINDS[type(e)].emit(k, e, place))
        arrays.append(stage.array(rows, columns, planes))
    return edges, traced, arrays


def value_kernel(plan: Plan, *, save: bool, virials: bool) -> Callable[..., None]:
    """Return the kernel of energies, forces and virials.

    Parameters
    ----------
    plan : Plan
    save : bool
        Keep the expansion coefficients for `gradient_kernel`.
    virials : bool
        Also atomic virials of kind I (given to the neighbour): ``virial_a[j] -= r_ij_a g_ij``.
    """

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            edges, traced, arrays = setup(k, plan, block, arguments, stage, saved=save)
            for t, x in zip(traced, arrays, strict=True):
                t.forward(*plane_of(x, 0))
            energy = plan.energy(stage, arrays)
            scale = arguments["parameters"][plan.layout.size]
            arguments["energies"][block] = scale * energy.value(0, 0, 0)
            energy.base.bars[0][energy.at(0, 0)] = scale
            stage.backward()
            total = Collected(k, arguments, virials=virials)
            for neighbours, t, x in zip(edges, traced, arrays, strict=True):
                t.reverse(
                    lambda i, m, x=x: x.bar(0, i, m),  # type: ignore[misc]
                    lambda row, r, g, neighbours=neighbours: total.add(neighbours.at(row), r, g),  # type: ignore[misc]
                )
            if plan.repulsion:
                n = len(plan.expansions)
                repulsion = ListedEdges(k, block, n, plan, arguments)
                sums = k.accumulators(1)
                emit_repulsion(k, repulsion, arguments[f"table{n}"], stage.species, sums, total.add)
                arguments["energies"].add(block, sums[0])
            total.finish(block, edges[0].centres)

    return kernel


class Collected:
    """Forces and virials of a block."""

    def __init__(self, k: Kernel, arguments: dict[str, Any], *, virials: bool) -> None:
        self.arguments, self.virials = arguments, virials
        self.own, self.strain = k.accumulators(3), k.accumulators(6)

    def add(self, j: Lanes, r: list[Vec], g: list[Any]) -> None:
        """Add what the gradients g with respect to the vectors r to atoms j give."""
        self.arguments["forces"].add(j, [-c for c in g])
        for a in range(3):
            self.own[a] += g[a]
        for n, (a, b) in enumerate(VOIGT):
            self.strain[n] += r[a] * g[b]
        if self.virials:
            for a, axis in enumerate("xyz"):
                self.arguments[f"virial_{axis}"].add(j, [-(r[a] * c) for c in g])

    def finish(self, block: Int, centres: Lanes) -> None:
        """Write what belongs to the atoms of the block."""
        self.arguments["forces"].add(centres, self.own.values())
        for n in range(6):
            self.arguments["strain"][block * 6 + n] = self.strain[n]


def plane_of(x: KernelArray, plane: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return what sets and what adds to the elements of a plane."""
    rows = x.base.values[plane]
    return (lambda i, j, v: x.put(plane, i, j, v)), (lambda i, j, v: rows.add(x.at(i, j), v))


def gradient_kernel(plan: Plan) -> Callable[..., None]:
    """Return the kernel of the gradient with respect to the parameters; it reads what `value_kernel` saved."""

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=True)
            edges, traced, arrays = setup(k, plan, block, arguments, stage, saved=True)
            force_bars: Points = arguments["force_bars"]
            own = force_bars.gather(edges[0].centres)
            strain = [arguments["strain_bars"][block * 6 + n] for n in range(6)]
            for neighbours, t, x in zip(edges, traced, arrays, strict=True):

                def direction(row: Int, neighbours: ListedEdges = neighbours) -> list[Any]:
                    return edge_bar(neighbours, force_bars, row, own, strain)

                t.tangent(*plane_of(x, 1), direction)
            energy = plan.energy(stage, arrays)
            scale = arguments["parameters"][plan.layout.size]
            at = energy.at(0, 0)
            energy.base.bars[0][at] = scale * arguments["energy_bars"][block]
            energy.base.bars[1][at] = scale
            stage.backward()

    return kernel


def edge_bar(
    neighbours: Neighbours, force_bars: Points, row: Int, own: list[Vec], strain: list[Vec]
) -> list[Any]:
    """``dL/dg_ij = dL/dF_i - dL/dF_j + (dL/dstrain) r_ij``."""
    other, r = force_bars.gather(neighbours.at(row)), neighbours.vector(row)
    result: list[Any] = [a - b for a, b in zip(own, other, strict=True)]
    for n, (a, b) in enumerate(VOIGT):
        result[a] = result[a] + strain[n] * r[b]
        if a != b:
            result[b] = result[b] + strain[n] * r[a]
    return result
