"""Training on several processes: each evaluates its share of every batch, all take the same step.

Every process holds the same parameters, draws the same batches and sees the same sums, so that optimisers, weighting
rules and checkpoints need not know: `SharedObjective` stands where the objective of one process stands. Nothing is
random or different on any process but the structures it evaluates.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from forgefield.errors import ConfigError, ForgefieldError, TrainingError
from forgefield.keys import PROPERTIES
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms
from forgefield.training.objective import Differences, Objective
from forgefield.training.step import LabelWeights

__all__ = ["Processes", "SharedObjective", "join"]

FloatArray = NDArray[np.float64]

PATIENCE = timedelta(hours=6)
"""How long a process waits for another one, which may be reading data or writing results."""

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """The processes of one run.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        Processes in all.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.size > 1:
            self.gather([np.zeros(1)])

    def sum(self, x: Tensor) -> None:
        """Replace a tensor by its sum over all processes, the same bits on each."""
        if self.size < 2:
            return
        try:
            dist.all_reduce(x)
        except RuntimeError as error:
            raise _lost(error) from None

    def gather(self, arrays: Sequence[FloatArray]) -> list[list[FloatArray]]:
        """Return the flat float64 arrays of every process, by rank.

        Parameters
        ----------
        arrays : sequence of (n,) float64
            As many on each process; lengths may differ.
        """
        if self.size < 2:
            return [list(arrays)]
        lengths = torch.tensor([len(x) for x in arrays], dtype=torch.int64)
        all_lengths = [torch.empty_like(lengths) for _ in range(self.size)]
        try:
            dist.all_gather(all_lengths, lengths)
            own = np.zeros(max(int(x.sum()) for x in all_lengths))
            own[: int(lengths.sum())] = np.concatenate(list(arrays))
            found = [torch.empty(len(own), dtype=torch.float64) for _ in range(self.size)]
            dist.all_gather(found, torch.from_numpy(own))
        except RuntimeError as error:
            raise _lost(error) from None
        cuts = [np.cumsum(n.numpy()) for n in all_lengths]
        return [np.split(x.numpy()[: c[-1]], c[:-1]) for x, c in zip(found, cuts, strict=True)]

    def check_equal(self, x: Tensor) -> None:
        """Refuse to go on when the processes hold different numbers.

        Raises
        ------
        TrainingError
            Memory or network has changed a number, or the machines differ.
        """
        if self.size < 2:
            return
        y = x.detach().to(torch.float64)
        mark = np.array([float(y.sum()), float(y.square().sum())])
        marks = [found[0].tobytes() for found in self.gather([mark])]
        if len(set(marks)) > 1:
            raise TrainingError(
                f"the {self.size} processes no longer hold the same parameters; run them on machines of one kind with "
                "the same versions, and continue from the checkpoint with --resume"
            )


def join() -> Processes:
    """Return the processes that this one was started with, by ``torchrun`` or `forgefield train --processes`.

    Raises
    ------
    ConfigError
        What the launcher says is incomplete.
    ForgefieldError
        The others cannot be reached.
    """
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    if not all(given.values()):
        return Processes()
    if not (given["WORLD_SIZE"].isdigit() and given["RANK"].isdigit()):
        raise ConfigError(
            f"WORLD_SIZE and RANK must be whole numbers, got {given['WORLD_SIZE']!r} and {given['RANK']!r}; start the "
            "processes with torchrun or --processes"
        )
    if int(given["WORLD_SIZE"]) < 2:
        return Processes()
    if not dist.is_available():
        raise ForgefieldError(
            "this build of torch has no torch.distributed; install one that has, or use one process"
        )
    try:
        dist.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ForgefieldError(
            f"process {given['RANK']} of {given['WORLD_SIZE']} cannot reach the others at "
            f"{given['MASTER_ADDR']}:{given['MASTER_PORT']} ({_first_line(error)}); check address, port and firewall"
        ) from None
    atexit.register(_leave)
    if torch.cuda.is_available():  # sums travel through the processor; each process has a device of its own
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return Processes(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _lost(error: RuntimeError) -> TrainingError:
    return TrainingError(
        f"another process of this run has stopped ({_first_line(error)}); its own message says why. Continue from the "
        "checkpoint with --resume"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class SharedObjective:
    """An `Objective` whose batches are evaluated by all processes together.

    Every process evaluates a run of consecutive structures of the batch; gradients are summed, terms and residuals
    gathered in the order of the batch. All processes must ask for the same batches in the same order.

    Parameters
    ----------
    inner : Objective
        Of all structures, on every process.
    flat : nn.Parameter
        All parameters; its ``.grad`` is written.
    labels : LabelWeights
        Of the same set.
    processes : Processes
    """

    def __init__(
        self, inner: Objective, flat: nn.Parameter, labels: LabelWeights, processes: Processes
    ) -> None:
        self.inner, self.flat, self.labels, self.processes = inner, flat, labels, processes
        self.backend, self.loss = inner.backend, inner.loss
        self._held: tuple[slice, slice, bool] = slice(0), slice(0), False

    @property
    def stored_bytes(self) -> int:
        """See `Objective.stored_bytes`."""
        return self.inner.stored_bytes

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """See `Objective.expect`."""
        self.inner.expect([self._own(b) for b in batches])

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `Objective.gradient`."""
        own = self._own(index)
        shares = self.labels.shares(own, index)
        terms = None
        if own:
            terms = self.inner.gradient(own, {k: w * shares[k] for k, w in weights.items()})
        self._sum_gradient(bool(own))
        return self._together(terms, shares, weights)

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `Objective.terms`."""
        own = self._own(index)
        terms = self.inner.terms(own) if own else None
        return self._together(terms, self.labels.shares(own, index), {})

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, Differences]:
        """See `Objective.linearise`."""
        own = self._own(index)
        terms, parts = None, (np.zeros(0), np.zeros((0, 3)), np.zeros((0, 6)))
        if own:
            terms, parts = self.inner.linearise(own)
        found = self.processes.gather([x.ravel() for x in parts])
        whole = [np.concatenate([f[k] for f in found]) for k in range(3)]
        sizes = [(len(f[0]), len(f[1]) // 3) for f in found]
        structures, atoms = (np.cumsum([0, *(s[k] for s in sizes)]) for k in range(2))
        r = self.processes.rank
        self._held = slice(structures[r], structures[r + 1]), slice(atoms[r], atoms[r + 1]), bool(own)
        differences = whole[0], whole[1].reshape(-1, 3), whole[2].reshape(-1, 6)
        return self._together(terms, self.labels.shares(own, index), {}), differences

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """See `Objective.pull_back`."""
        structures, atoms, any_own = self._held
        if any_own:
            self.inner.pull_back(energy_bar[structures], forces_bar[atoms], strain_bar[structures])
        self._sum_gradient(any_own)

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """See `Objective.labels_of`."""
        return self.inner.labels_of(index)

    def _own(self, index: Sequence[int]) -> list[int]:
        n, r, size = len(index), self.processes.rank, self.processes.size
        return list(index[n * r // size : n * (r + 1) // size])

    def _sum_gradient(self, any_own: bool) -> None:
        if self.flat.grad is None:
            return
        if not any_own:
            self.flat.grad.zero_()
        self.processes.sum(self.flat.grad)

    def _together(
        self, terms: ArrayTerms | None, shares: Mapping[str, float], weights: Mapping[str, float]
    ) -> ArrayTerms:
        """Return the terms of the whole batch from those of this process."""
        values = np.full(len(PROPERTIES), np.nan)
        known = np.zeros(len(PROPERTIES))
        residuals = [np.zeros(0)] * 3
        if terms is not None:
            for k, name in enumerate(PROPERTIES):
                if name in terms.values:
                    values[k], known[k] = shares[name] * terms.values[name], 1.0
            residuals = [terms.energy, terms.forces.ravel(), terms.stress.ravel()]
        found = self.processes.gather([values, known, *residuals])
        total: dict[str, float] = {}
        for k, name in enumerate(PROPERTIES):
            if any(f[1][k] for f in found):
                total[name] = sum(float(f[0][k]) for f in found if f[1][k])
        energy, forces, stress = (np.concatenate([f[k] for f in found]) for k in (2, 3, 4))
        none = np.zeros(0)
        return ArrayTerms(
            total,
            sum(weights.get(k, 0.0) * v for k, v in total.items()),
            energy,
            forces.reshape(-1, 3),
            stress.reshape(-1, 6),
            none,
            none,
            none,
        )
