"""A potential on a GPU: the kernels of `gpu_kernels`, compiled when first needed, launched through torch.

Lists of neighbours are made on the processor and uploaded once for as long as they hold; positions travel each time.
Forces and gradients of parameters are summed by atomic additions, whose order is not fixed: two runs agree to rounding,
not bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.engine.blocks import Block, BlockList
from forgefield.engine.gpu_kernels import gpu_program, gpu_signature, scratch_per_edge
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.nvrtc import CudaModule, Module, compile_cuda
from forgefield.engine.points import Listing
from forgefield.engine.predictor import Predictor
from forgefield.errors import ConfigError
from forgefield.models.potential import Potential
from forgefield.tracer.cache import cached
from forgefield.tracer.cuda import LANES, THREADS, source

__all__ = ["DeviceBlock", "DeviceResult", "GPUEngine", "GPUPredictor", "Load"]

FloatArray = NDArray[np.float64]
Load = Callable[[str], Module]
"""From CUDA C to kernels ready to run."""

WARPS_PER_PROCESSOR = 16
"""Warps at work at a time on each multiprocessor: enough for the registers of the largest kernels."""


@dataclass(frozen=True)
class DeviceBlock:
    """Atoms in blocks and their neighbours, on the device.

    Attributes
    ----------
    n_blocks : int
    centres : (n_blocks, 32) int32
    species : (n_blocks,) int32
    tables : tuple of (n_rows, 32) int32
        For each list: a neighbour per lane, the rows of a block following each other.
    offsets : tuple of (n_blocks, n_species + 1) int32
        First row of each species of each block.
    longest : tuple of int
        For each list: rows of the longest block.
    slots : (n_atoms,) int64
        Where each atom is among the lanes of all blocks.
    """

    n_blocks: int
    centres: Tensor
    species: Tensor
    tables: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    longest: tuple[int, ...]
    slots: Tensor


@dataclass(frozen=True)
class DeviceResult:
    """What the kernels say, on the device and without reference energies.

    Attributes
    ----------
    energies : (n_atoms,) [eV]
    forces : (n_points, 4) [eV/Å]
        Images still hold what belongs to their atoms.
    strain : (n_atoms, 6) [eV]
        ``sum_j r_ij g_ij`` of each atom, `keys.VOIGT` components.
    virials : tuple of three (n_points, 4) tensors [eV] or None
        Atomic virials of kind I, the tensor of axis a holding ``-r_a g``.
    coefficients : (n_blocks * coefficients * 32,)
        The expansion coefficients, as `GPUEngine.parameter_gradients` reads them.
    """

    energies: Tensor
    forces: Tensor
    strain: Tensor
    virials: tuple[Tensor, Tensor, Tensor] | None
    coefficients: Tensor


class GPUEngine(Engine):
    """A potential compiled for a GPU; the interface of `Engine`, and the same on tensors of the device.

    Parameters
    ----------
    potential : Potential
        On the processor; its parameters are uploaded at every evaluation.
    dtype : {'float32', 'float64'}
        Of the kernels; positions and their differences are float64 anyway.
    repulsion : bool
        Include the nuclear repulsion.
    device : torch.device or str
    load : callable, optional
        From CUDA C to a `Module`, in place of NVRTC and the driver; the device is then any.
    """

    def __init__(
        self,
        potential: Potential,
        dtype: Precision = "float32",
        *,
        repulsion: bool = True,
        device: torch.device | str = "cuda",
        load: Load | None = None,
    ) -> None:
        self.device = torch.device(device)
        if load is None and not (self.device.type == "cuda" and torch.cuda.is_available()):
            raise ConfigError(
                f"no GPU: the device is {str(self.device)!r}, and torch {torch.__version__} finds "
                f"{torch.cuda.device_count()} CUDA devices; use the compiled kernels of the processor"
            )
        if potential.device.type != "cpu":
            raise ConfigError(
                f"the potential is on {potential.device}; keep it on the processor, its parameters are uploaded"
            )
        super().__init__(potential, dtype, threads=1, repulsion=repulsion)
        self.lanes = LANES
        self.kind = torch.float32 if self.bits == 32 else torch.float64
        self.constants = [torch.from_numpy(t).to(self.device) for t in self.tables]
        integers, numbers = (torch.from_numpy(t).to(self.device) for t in self.terms)
        self._terms: dict[str, int | Tensor] = {"term_integers": integers, "term_numbers": numbers}
        self._load = load
        self._modules: dict[str, tuple[Module, int]] = {}
        self._uploaded: tuple[Block | None, DeviceBlock | None] = (None, None)
        self._listed: list[tuple[Listing, Tensor]] = []
        self._warps = WARPS_PER_PROCESSOR
        if self.device.type == "cuda":
            self._warps *= torch.cuda.get_device_properties(self.device).multi_processor_count

    # ---- kernels ---------------------------------------------------------------------------------------------

    def module(self, name: str) -> tuple[Module, int]:
        """Return a compiled kernel and the rows of workspace that a warp needs; built when first asked for."""
        if name not in self._modules:
            if self._load is not None:
                program = gpu_program(self.plan, name, self.bits)
                self._modules[name] = self._load(source(program)), program.workspace
            else:
                capability = torch.cuda.get_device_capability(self.device)

                def build() -> tuple[int, bytes]:
                    program = gpu_program(self.plan, name, self.bits)
                    return program.workspace, compile_cuda(source(program), capability)

                key = (name, self.bits, self.describe(), capability, torch.version.cuda)
                rows, image = cached(name, key, build)
                self._modules[name] = CudaModule(image, self.device), rows
        return self._modules[name]

    def _launch(self, name: str, block: DeviceBlock, arguments: dict[str, int | Tensor]) -> None:
        module, rows = self.module(name)
        warps = min(block.n_blocks, self._warps)
        grid = -(-warps * LANES // THREADS)
        arguments = arguments | self._terms | {"b0": 0, "b1": block.n_blocks}
        arguments["work"] = self._empty(grid * THREADS * rows)
        values = gpu_signature(self.plan, name)
        if "scratch" in values:
            per_edge = [scratch_per_edge(self.plan, n) for n in range(len(self.plan.expansions))]
            longest = max(p * n for p, n in zip(per_edge, block.longest, strict=False))
            scratch = longest * (2 if name == "tangent" else 1)
            arguments["scratch"] = self._empty(grid * THREADS * scratch)
            arguments["scratch_rows"] = scratch
            values = values | {"scratch_rows": "int"}
        module.launch(name, grid, THREADS, [arguments[a] for a in values])

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.kind, device=self.device)

    # ---- on the device ---------------------------------------------------------------------------------------

    def upload(self, block: Block, lists: Sequence[Listing]) -> DeviceBlock:
        """Return blocks and lists on the device; the same blocks are uploaded once as long as no others come."""
        known, uploaded = self._uploaded
        if known is block and uploaded is not None:
            return uploaded
        if [id(x) for x, _ in self._listed] != [id(x) for x in lists]:
            self._listed = [(x, torch.from_numpy(x.neighbours).to(self.device)) for x in lists]
        both = [self._table(x, b) for (_, x), b in zip(self._listed, block.lists, strict=True)]
        slots = np.empty(block.n_atoms, dtype=np.int64)
        slots[block.atoms[block.real]] = block.real
        result = DeviceBlock(
            n_blocks=block.n_blocks,
            centres=torch.from_numpy(block.centres).to(self.device),
            species=torch.from_numpy(block.species).to(self.device),
            tables=tuple(t for t, _ in both),
            offsets=tuple(o for _, o in both),
            longest=tuple(b.longest for b in block.lists),
            slots=torch.from_numpy(slots).to(self.device),
        )
        self._uploaded = block, result
        return result

    def _table(self, neighbours: Tensor, block: BlockList) -> tuple[Tensor, Tensor]:
        """Return the neighbours of each lane in rows, and the first row of each species of each block."""
        starts, ends, offsets = (
            torch.from_numpy(x).to(self.device) for x in (block.starts, block.ends, block.offsets)
        )
        counts = torch.diff(offsets, dim=1).reshape(-1)
        run = torch.repeat_interleave(torch.arange(len(counts), device=self.device), counts)
        row = torch.arange(len(run), device=self.device) - offsets[:, :-1].reshape(-1)[run]
        first, end = (x.reshape(-1, LANES)[run] for x in (starts, ends))
        return neighbours[torch.minimum(first + row[:, None], end).long()], offsets.to(torch.int32)

    def run(self, positions: Tensor, block: DeviceBlock, *, virials: bool = False) -> DeviceResult:
        """Return energies, forces and strain gradients.

        Parameters
        ----------
        positions : (n_points, 4) float64 on the device
        block : DeviceBlock
        virials : bool
            Also compute atomic virials.
        """
        n = block.n_blocks
        a, a_bar = (self._empty(n * self.plan.coefficients * LANES) for _ in range(2))
        energies, strain = self._empty(n * LANES), self._empty(n, 6, LANES)
        forces, *atomic = (
            torch.zeros((len(positions), 4), dtype=self.kind, device=self.device)
            for _ in range(4 if virials else 1)
        )
        arguments = self._neighbours(positions, block) | {
            "parameters": torch.from_numpy(self.parameters.flat).to(self.device),
            "coefficients": a,
            "coefficient_bars": a_bar,
            "energies": energies,
            "strain": strain,
            "forces": forces,
        }
        arguments |= {f"virial_{axis}": x for axis, x in zip("xyz", atomic, strict=False)}
        for name in ("expand", "energy", "forces_virials" if virials else "forces"):
            self._launch(name, block, arguments)
        return DeviceResult(
            energies=energies[block.slots],
            forces=forces,
            strain=strain.transpose(1, 2).reshape(-1, 6)[block.slots],
            virials=(atomic[0], atomic[1], atomic[2]) if virials else None,
            coefficients=a,
        )

    def _neighbours(self, positions: Tensor, block: DeviceBlock) -> dict[str, int | Tensor]:
        arguments: dict[str, int | Tensor] = {
            "positions": positions,
            "centres": block.centres,
            "species": block.species,
        }
        for n, (table, offsets, constants) in enumerate(
            zip(block.tables, block.offsets, self.constants, strict=True)
        ):
            arguments |= {f"table{n}": table, f"offsets{n}": offsets, f"constants{n}": constants}
        return arguments

    def parameter_gradients(
        self,
        positions: Tensor,
        block: DeviceBlock,
        coefficients: Tensor,
        *,
        energy_bars: Tensor,
        force_bars: Tensor,
        strain_bars: Tensor,
    ) -> Tensor:
        """Return the gradient of a loss with respect to the flat parameters, float64.

        Parameters
        ----------
        positions : (n_points, 4) float64
        block : DeviceBlock
        coefficients : tensor
            Of the `DeviceResult` with the same parameters, positions and blocks.
        energy_bars : (n_blocks * 32,)
            Derivative of the loss with respect to the energy in each lane; zero where there is no atom.
        force_bars : (n_points, 4)
            Likewise for forces, the same on an image as on its atom.
        strain_bars : (n_blocks * 6 * 32,)
            Likewise for the strain gradient, half for components off the diagonal.
        """
        n = block.n_blocks
        gradients = torch.zeros(self.plan.layout.size, dtype=torch.float64, device=self.device)
        arguments = self._neighbours(positions, block) | {
            "parameters": torch.from_numpy(self.parameters.flat).to(self.device),
            "coefficients": coefficients,
            "changes": self._empty(n * self.plan.coefficients * LANES),
            "energy_bars": energy_bars,
            "force_bars": force_bars,
            "strain_bars": strain_bars,
            "gradients": gradients,
        }
        for name in ("tangent", "gradients"):
            self._launch(name, block, arguments)
        return gradients

    # ---- the interface of `Engine`, arrays in and out ----------------------------------------------------------

    def values(
        self,
        positions: FloatArray,
        lists: tuple[Listing, ...],
        block: Block,
        forces: list[NDArray[Any]],
        *,
        atomic: list[list[NDArray[Any]]] | None = None,
        save: NDArray[Any] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """See `Engine.values`; nothing is saved here, since `run` returns the coefficients."""
        del save
        virials = bool(atomic and atomic[0])
        on_device = torch.from_numpy(positions).to(self.device)
        result = self.run(on_device, self.upload(block, lists), virials=virials)
        forces[0] += result.forces.cpu().numpy()
        if atomic and result.virials:
            for n, x in enumerate(result.virials):
                atomic[0][n] += x.cpu().numpy()
        return result.energies.double().cpu().numpy(), result.strain.double().cpu().numpy()


class GPUPredictor(Predictor):
    """`Predictor` on a GPU.

    Parameters
    ----------
    potential : Potential
        On the processor.
    dtype : {'float32', 'float64'}, optional
        Of the kernels; default: that of the potential.
    skin : float [Å]
        See `Predictor`.
    device, load
        See `GPUEngine`.

    Raises
    ------
    NotCompiledError
        A part of the potential has no kernel.
    """

    backend = "cuda"

    def __init__(
        self,
        potential: Potential,
        dtype: Precision | None = None,
        skin: float = 0.0,
        *,
        device: torch.device | str = "cuda",
        load: Load | None = None,
    ) -> None:
        self._device, self._load = device, load
        super().__init__(potential, dtype, 1, skin)

    def _make_engine(self, potential: Potential) -> Engine:
        return GPUEngine(potential, self.dtype, device=self._device, load=self._load)
