"""A model on features that are stored with their derivatives: energies, forces, strain gradients and back.

Four small kernels. Two run the model for a block of atoms, one per lane: its energies with their derivatives with
respect to the features, and the gradient with respect to its parameters. Two stream through the table of derivatives,
one structure after the other, features along the lanes: the forces, and the change of the features when the neighbours
move along the derivatives of the loss. The mathematics is that of `kernel`, the expansion and its transpose replaced by
the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.derivative_table import DerivativeTable
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.parameters import KernelParameters
from forgefield.engine.stored_memory import Room, StoredMemory
from forgefield.kernel_cache import foreign_sources
from forgefield.models.potential import Potential
from forgefield.parallel import run_parts
from forgefield.stages.kernel_stage import KernelArray, KernelStage
from forgefield.stages.parameters import ParameterLayout, Shape, ShapeStage
from forgefield.tracer.cache import Native, address, host, native
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel, trace

__all__ = ["StoredBatch", "StoredModel"]

TILE = 8
"""Vectors of features that are added up in registers together."""

Array = NDArray[Any]
Int32 = NDArray[np.int32]

MODEL = {"b0": "int", "b1": "int", "species": "indices", "parameters": "scalars"}
MODEL |= {"term_integers": "indices", "term_numbers": "scalars", "work": "workspace", "features": "rows"}
VALUES = MODEL | {"energies": "rows", "bars": "rows"}
GRADIENTS = MODEL | {"tangents": "rows", "energy_bars": "rows", "gradients": "totals"}

BATCH = {"s0": "int", "s1": "int", "structures": "indices", "starts": "indices", "slots": "indices"}
TABLE = dict.fromkeys(("atom_start", "first", "neighbours", "columns", "n_strain"), "indices")
PULL = BATCH | TABLE | {"table": "rows", "bars": "scalars", "forces": "totals", "strain": "totals"}
PUSH = BATCH | TABLE | {"table": "rows", "changes": "rows", "force_bars": "scalars", "strain_bars": "scalars"}


@dataclass(frozen=True)
class StoredBatch:
    """Structures of a table that are evaluated together, and lanes for their atoms.

    Attributes
    ----------
    structures : (n,) int32
        Of the table.
    starts : (n,) int32
        First atom of each, counted within the batch.
    n_atoms : int
    rows : (n_slots,) int
        Row of `DerivativeTable.features` in each lane of each block.
    slots : (n_atoms + n_species,) int32
        Where the atoms of the batch are among the lanes, then free atoms of each element.
    species : (n_blocks,) int32
        Element of each block.
    pointers : tuple of int
        Where structures, starts, slots and species lie in memory.
    """

    structures: Int32
    starts: Int32
    n_atoms: int
    rows: NDArray[np.int64]
    slots: Int32
    species: Int32
    pointers: tuple[int, int, int, int]


class StoredModel:
    """The model of a potential, compiled for the processor at hand.

    Parameters
    ----------
    potential : Potential
    table : DerivativeTable
        Of scaled features; its number type is that of the kernels.

    Raises
    ------
    NotCompiledError
        The model has no kernel.
    """

    def __init__(self, potential: Potential, table: DerivativeTable) -> None:
        self.potential, self.table = potential, table
        self.dtype = table.features.dtype
        self.bits, self.n_features = 8 * self.dtype.itemsize, potential.descriptor.n_features
        self.lanes, self.width = host().lanes(self.bits), table.features.shape[1]
        self.layout = _layout_of(potential)
        self.parameters = KernelParameters(potential, self.layout, self.dtype)
        self._terms = self.layout.memory.arrays(self.dtype)
        arrays = (table.atom_start, table.first, table.neighbours, table.columns, table.n_strain)
        self._kernels: dict[str, Native] = {}
        workspace = max(self._kernel(name).workspace for name in ("values", "gradients"))
        self.memory = StoredMemory(
            self.dtype,
            self.lanes,
            self.n_features,
            self.width,
            n_parameters=self.layout.size,
            work=(workspace + 1) * self.lanes,
            constants=[address(x) for x in (self.parameters.flat, *self._terms)],
            table=[address(x) for x in (*arrays, table.derivatives)],
        )

    def _room(self, batch: StoredBatch, threads: int) -> Room:
        """Return the memory of a batch."""
        return self.memory.room(len(batch.species), batch.n_atoms, len(batch.structures), threads)

    # ---- values ----------------------------------------------------------------------------------------------

    def values(self, batch: StoredBatch, threads: int) -> tuple[Array, Array, Array]:
        """Return energies of atoms and free atoms, forces (n_atoms, 3) and strain gradients (n_structures, 6).

        They stay what they are until the next call of any method.
        """
        room = self._room(batch, threads)
        room.features[...] = self.memory.by_block(self.table.features.take(batch.rows, axis=0))
        self._run("values", room, len(batch.species), threads, batch.pointers[3:])
        room.by_atom[...] = room.bars
        room.forces.fill(0.0)
        room.strain.fill(0.0)
        self._run("pull", room, len(batch.structures), threads, batch.pointers[:3])
        return room.energies.take(batch.slots), room.forces, room.strain

    def gradients(
        self, batch: StoredBatch, energy_bars: Array, force_bars: Array, strain_bars: Array, threads: int
    ) -> None:
        """Set the gradients of the parameters, at the batch evaluated last.

        Parameters
        ----------
        batch : StoredBatch
        energy_bars : (n_atoms + n_species,); force_bars : (n_atoms, 3); strain_bars : (n_structures, 6)
            Derivatives of the loss with respect to what `values` returns.
        threads : int
        """
        room = self._room(batch, threads)
        room.changes.fill(0.0)
        room.forces[...], room.strain[...] = force_bars, strain_bars
        self._run("push", room, len(batch.structures), threads, batch.pointers[:3])
        room.bars[...] = room.changes_by_block
        room.energies.fill(0.0)
        room.energies[batch.slots] = energy_bars
        for x in room.sums:
            x.fill(0.0)
        self._run("gradients", room, len(batch.species), threads, batch.pointers[3:])
        total = room.sums[0]
        for x in room.sums[1:]:
            total += x
        self.parameters.set_gradients(total)

    def _run(self, name: str, room: Room, n: int, threads: int, of_batch: tuple[int, ...]) -> None:
        """Run a kernel on all blocks or structures of a batch."""
        call, own = self._kernel(name).at, room.calls[name]
        run_parts(n, threads, lambda thread, first, last: call(first, last, *of_batch, *own[thread]))

    # ---- kernels ---------------------------------------------------------------------------------------------

    def _kernel(self, name: str) -> Native:
        if name not in self._kernels:
            makers: dict[str, tuple[dict[str, str], Callable[..., None]]] = {
                "values": (VALUES, self._values),
                "gradients": (GRADIENTS, self._gradients),
                "pull": (PULL, self._pull),
                "push": (PUSH, self._push),
            }
            signature, make = makers[name]
            model = self.potential.model
            own: list[Any] = [self.layout.n_species, self.n_features]
            if name in ("values", "gradients"):
                own += [type(model).__name__, model.settings.model_dump_json(), foreign_sources(model)]
            self._kernels[name] = native(
                f"stored_{name}",
                signature,
                self.bits,
                own,
                lambda: trace(f"stored_{name}", signature, self.bits, make),
            )
        return self._kernels[name]

    def _model(
        self, k: Kernel, block: Int, a: dict[str, Any], values: list[Rows], bars: Rows | None
    ) -> tuple[KernelStage, KernelArray]:
        """Emit the energy of a block."""
        stage = KernelStage(
            k,
            a["species"][block],
            self.layout,
            a["parameters"],
            terms=(a["term_integers"], a["term_numbers"]),
            gradients=a.get("gradients"),
            tangent=len(values) > 1,
        )
        features = stage.array(self.n_features, 1, values, None if bars is None else [bars])
        features.base.fixed = bars is None
        energy: KernelArray = self.potential.model.energy(stage, features)
        return stage, energy

    def _values(self, k: Kernel, b0: Int, b1: Int, **a: Any) -> None:
        """Emit energies and their derivatives with respect to the features."""
        with k.range(b0, b1, parallel=True) as block:
            at = block * self.n_features
            stage, energy = self._model(k, block, a, [a["features"] + at], a["bars"] + at)
            scale = a["parameters"][self.layout.size]
            a["energies"][block] = scale * energy.value(0, 0, 0)
            energy.base.bars[0][energy.at(0, 0)] = scale
            stage.backward()

    def _gradients(self, k: Kernel, b0: Int, b1: Int, **a: Any) -> None:
        """Emit the gradient of ``sum_i E'_i E_i + <dE_i/dq, dq>``; see `kernel`."""
        with k.range(b0, b1, parallel=True) as block:
            at = block * self.n_features
            stage, energy = self._model(k, block, a, [a["features"] + at, a["tangents"] + at], None)
            scale = a["parameters"][self.layout.size]
            place = energy.at(0, 0)
            energy.base.bars[0][place] = scale * a["energy_bars"][block]
            energy.base.bars[1][place] = scale
            stage.backward()

    def _tiles(self) -> list[range]:
        n = self.width // self.lanes
        return [range(lo, min(lo + TILE, n)) for lo in range(0, n, TILE)]

    def _pull(self, k: Kernel, s0: Int, s1: Int, **a: Any) -> None:
        """Emit forces and strain gradients from the derivatives of the energies with respect to the features."""
        table, forces, strain = a["table"], a["forces"], a["strain"]
        per_row = self.width // self.lanes
        with _atoms(k, s0, s1, a) as atom:
            bars: Scalars = a["bars"] + atom.slot * self.width
            for tile in self._tiles():
                q = [bars.contiguous(v * self.lanes) for v in tile]

                def along(column: Any, tile: range = tile, q: list[Any] = q) -> Any:
                    row = column * per_row
                    return sum(table[row + v] * x for v, x in zip(tile[1:], q[1:], strict=True)) + (
                        table[row + tile[0]] * q[0]
                    )

                own = k.accumulators(3)
                with atom.neighbours() as (column, j):
                    g = [along(column + c) for c in range(3)]
                    for c in range(3):
                        own[c] += g[c]
                    forces.add_all(j * 3, [-x for x in g])
                forces.add_all(atom.own * 3, own.values())
                with atom.strain() as (column, v):
                    strain.add(v, along(column))

    def _push(self, k: Kernel, s0: Int, s1: Int, **a: Any) -> None:
        """Emit the changes of the features."""
        table, per_row = a["table"], self.width // self.lanes
        force_bars: Scalars = a["force_bars"]
        strain_bars: Scalars = a["strain_bars"]
        with _atoms(k, s0, s1, a) as atom:
            own = [force_bars[atom.own * 3 + c] for c in range(3)]
            for tile in self._tiles():
                sums = k.accumulators(len(tile))
                with atom.neighbours() as (column, j):
                    for c in range(3):
                        u = own[c] - force_bars[j * 3 + c]
                        for n, v in enumerate(tile):
                            sums[n] += u * table[(column + c) * per_row + v]
                with atom.strain() as (column, v):
                    u = strain_bars[v]
                    for n, w in enumerate(tile):
                        sums[n] += u * table[column * per_row + w]
                for n, v in enumerate(tile):
                    a["changes"][atom.slot * per_row + v] = sums[n]


@dataclass(frozen=True)
class _Atom:
    """An atom of a structure within the kernels that read the table.

    Attributes
    ----------
    own, base : Int
        The atom, and the first one of its structure, counted within the batch.
    slot : Int
        Its lane, counted over all blocks.
    atom, structure, member : Int
        In the table: the atom, its structure; the structure within the batch.
    """

    k: Kernel
    arguments: dict[str, Any]
    own: Int
    base: Int
    slot: Int
    atom: Int
    structure: Int
    member: Int

    @contextmanager
    def neighbours(self) -> Iterator[tuple[Any, Any]]:
        """Loop over the neighbours: the first of three columns, and the neighbour counted within the batch."""
        first, columns = self.arguments["first"], self.arguments["columns"]
        lo, hi, column = first[self.atom], first[self.atom + 1], columns[self.atom]
        with self.k.range(lo, hi) as e:
            yield column + (e - lo) * 3, self.arguments["neighbours"][e] + self.base

    @contextmanager
    def strain(self) -> Iterator[tuple[Any, Any]]:
        """Loop over the components of strain: column, and place in the strain gradients of the batch."""
        first, columns = self.arguments["first"], self.arguments["columns"]
        column = columns[self.atom] + (first[self.atom + 1] - first[self.atom]) * 3
        with self.k.range(self.arguments["n_strain"][self.structure]) as v:
            yield column + v, self.member * 6 + v


@contextmanager
def _atoms(k: Kernel, s0: Int, s1: Int, a: dict[str, Any]) -> Iterator[_Atom]:
    """Loop over the atoms of some structures of the batch."""
    with k.range(s0, s1, parallel=True) as member:
        structure, base = a["structures"][member], a["starts"][member]
        first = a["atom_start"][structure]
        with k.range(a["atom_start"][structure + 1] - first) as i:
            own: Int = base + i
            yield _Atom(k, a, own, base, a["slots"][own], first + i, structure, member)


def _layout_of(potential: Potential) -> ParameterLayout:
    """Return the parameters of a model that sees scaled features."""
    stage = ShapeStage(len(potential.species))
    try:
        potential.model.energy(stage, Shape((potential.descriptor.n_features, 1)))
    except AttributeError as error:
        raise NotCompiledError(f"an operation of the model has no compiled form ({error})") from None
    return stage.layout
