"""One of several processes that train together; see test_distributed.py.

Usage: python processes_worker.py CASES.json OUTPUT
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import forgefield as ff
from forgefield.api.train import Silent, prepare, resolve
from forgefield.errors import ForgefieldError
from forgefield.training.distributed import Processes, join
from forgefield.training.gradient import GradientSettings, GradientTrainer, Row
from forgefield.training.loss import Loss
from forgefield.training.weighting import make_weighting

Array = NDArray[np.float64]


def descend(config: dict[str, Any], processes: Processes) -> GradientTrainer:
    """Prepare and train as `ff.train` does, without evaluation and report."""
    settings = resolve(config)
    made = prepare(settings, Silent())
    how = settings.training
    assert isinstance(how, GradientSettings)
    trainer = GradientTrainer(
        made.potential,
        made.train,
        made.valid,
        loss=Loss(settings.loss, made.train.scales()),
        weights=make_weighting(settings.weights, settings.loss.weights(), settings.seed),
        settings=how,
        seed=settings.seed,
        threads=1,
        processes=processes,
    )
    trainer.run(on_epoch=lambda _: None, on_checkpoint=lambda: None)
    return trainer


def results(trainer: GradientTrainer) -> dict[str, Array]:
    """Return parameters and losses."""
    state = {key: value.numpy() for key, value in trainer.potential.state_dict().items()}
    rows = [[row["loss_train"], row["forces_rmse_valid"]] for row in trainer.progress.history]
    return state | {"history": np.array(rows)}


class _Counts(Silent):
    """Counts the structures whose rows this process makes."""

    structures = 0

    def on_fit(self, done: int, total: int) -> None:  # noqa: ARG002
        """Count."""
        self.structures = done


class StopAfterTwo(Silent):
    """Interrupts after two epochs, as Ctrl-C does."""

    def on_epoch(self, row: Row) -> None:
        """Interrupt."""
        if row["epoch"] == 2:
            raise KeyboardInterrupt


def main(cases: str, output: str) -> None:
    """Train every case; write what every process found, and a whole run."""
    processes = join()
    folder = Path(output)
    for name, config in json.loads(Path(cases).read_text()).items():
        np.savez(folder / f"{name}.{processes.rank}.npz", **results(descend(config, processes)))
    config = json.loads(Path(cases).read_text())["adam"]
    for name, linear in json.loads(Path(cases).with_name("linear.json").read_text()).items():
        made = _Counts()
        run = ff.train(linear, output=folder / name, listener=made)
        values = {key: value.numpy() for key, value in run.potential.state_dict().items()}
        np.savez(folder / f"{name}.{processes.rank}.npz", structures=made.structures, **values)
    ff.train(config, output=folder / "run")
    with contextlib.suppress(KeyboardInterrupt):
        ff.train(config, output=folder / "resumed", listener=StopAfterTwo())
    ff.train(config, output=folder / "resumed", resume=True)
    if processes.rank == 1:
        raise ForgefieldError("process 1 stops on purpose")
    processes.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
