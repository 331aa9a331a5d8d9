"""An epoch of NEP training on the mlearn silicon set, and the time to an error, against TorchNEP on the same core.

    pip install torchnep==1.0.7
    python benchmarks/epoch_torchnep.py DATA [--batch 4] [--epochs 40] [--compile] [--short]

DATA is a folder with ``mlearn_Si/train.xyz`` and ``mlearn_Si/test.xyz`` (Zuo et al., J. Phys. Chem. A 124 (2020) 731).
Both sides train the same potential (5 Å, nine radial functions and channels, l to 4, the 4-body term, 50 neurons,
float32) on the same 214 structures with the same loss, batch size, first learning rate and weight decay, which are
TorchNEP's defaults but for the batch size, and evaluate the 25 test structures after every epoch; how the learning rate
falls is each side's default. An epoch of ours runs after each of theirs, in one process on one core. Times to an error
are numbers of whole epochs at the median time: reading data and building kernels is left out on both sides. TorchNEP
runs eagerly, which is its default on processors, or with torch.compile.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import Clock, Options, Report, Timing, options

from forgefield.api.train import Silent, prepare
from forgefield.training.gradient import GradientSettings, GradientTrainer
from forgefield.training.loss import Loss
from forgefield.training.settings import RunSettings
from forgefield.training.weighting import make_weighting

EPOCH_GOAL, ERROR_GOAL = 25.0, 25.0
EPOCHS, EPOCHS_SHORT = 40, 4
PLANNED = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Our runs to the same error are planned for so many times their number of epochs, the fewest first: the learning rate
falls towards the end of a run, so errors do, too."""

NEP_IN = """type 1 Si
version 4
cutoff 5 5
n_max 8 8
basis_size 8 8
l_max 4 2 0
neuron 50
lambda_e 0.01
lambda_f 1
lambda_v 0.01
lr 0.01
weight_decay 0.0001
batch {batch}
epoch {epochs}
"""


def settings(data: Path, batch: int, epochs: int) -> RunSettings:
    """Return our settings of the same potential."""
    folder = data / "mlearn_Si"
    descriptor = {"kind": "nep", "n_max_radial": 8, "n_max_angular": 8, "five_body": False}
    return RunSettings.parse(
        {
            "data": {"train": [str(folder / "train.xyz")], "valid": [str(folder / "test.xyz")]},
            "descriptor": {**descriptor, "cutoff_radial": 5.0, "cutoff_angular": 5.0, "l_max": 4},
            "model": {"kind": "network", "hidden": [50]},
            "loss": {"energy": 0.01, "forces": 1.0, "stress": 0.01, "normalisation": "gnep"},
            "training": {
                "kind": "adamw",
                "weight_decay": 1e-4,
                "epochs": epochs,
                "batch_size": batch,
                "schedule": {"start": 0.01},
            },
            "dtype": "float32",
        }
    )


def trainer(chosen: RunSettings) -> GradientTrainer:
    """Return our training, ready for its first epoch."""
    if not isinstance(chosen.training, GradientSettings):
        raise TypeError("these settings do not train by gradients")
    ready = prepare(chosen, Silent())
    return GradientTrainer(
        ready.potential,
        ready.train,
        ready.valid,
        loss=Loss(chosen.loss, ready.train.scales()),
        weights=make_weighting(chosen.weights, chosen.loss.weights()),
        settings=chosen.training,
        seed=chosen.seed,
    )


def force_error(row: Any) -> float:
    """Return the force RMSE on the test structures [meV/Å] after an epoch of ours."""
    return float(row["forces_rmse_valid"])


class Turns:
    """Called by TorchNEP at the end of each of its epochs; times that epoch and one of ours.

    What comes before the end of its first epoch, with reading, listing and compiling, is timed separately.
    """

    def __init__(self, ours: GradientTrainer, original: Callable[..., None]) -> None:
        self.trainer, self.original = ours, original
        self.ours, self.theirs = Clock(), Clock()
        self.errors: list[float] = []
        self.n_parameters = 0
        self.first = (0.0, 0.0)
        self._mark = time.perf_counter(), time.process_time()

    def __call__(self, scheduler: Any, loss: float, mode: str, optimizer: Any, least: float) -> None:
        """Take the times, do what TorchNEP wanted, run an epoch of ours."""
        wall, cpu = time.perf_counter() - self._mark[0], time.process_time() - self._mark[1]
        if self.errors:
            self.theirs.add(wall, cpu)
        else:
            self.first = wall, cpu
        self.n_parameters = sum(p.numel() for g in optimizer.param_groups for p in g["params"])
        self.original(scheduler, loss, mode, optimizer, least)
        self.ours.turn(lambda: self.errors.append(force_error(self.trainer.epoch())))
        self._mark = time.perf_counter(), time.process_time()


def run(data: Path, batch: int, epochs: int, *, compiled: bool) -> tuple[Turns, list[float]]:
    """Train both in turns; return the times and TorchNEP's force RMSE on the test structures [meV/Å] by epoch."""
    try:
        import torchnep
        from torchnep import train as module
    except ImportError as error:
        raise SystemExit("this comparison needs TorchNEP: pip install torchnep==1.0.7") from error
    if torchnep.__version__ != "1.0.7":
        raise SystemExit(
            f"TorchNEP 1.0.7 is needed, found {torchnep.__version__}: pip install torchnep==1.0.7"
        )
    turns = Turns(trainer(settings(data, batch, epochs)), module._scheduler_step)  # noqa: SLF001 - end of an epoch
    with tempfile.TemporaryDirectory() as folder, _replaced(module, "_scheduler_step", turns):
        given = Path(folder) / "nep.in"
        given.write_text(NEP_IN.format(batch=batch, epochs=epochs), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            torchnep.train_nep(
                str(given),
                str(data / "mlearn_Si" / "train.xyz"),
                output_dir=folder,
                device="cpu",
                valid_file=str(data / "mlearn_Si" / "test.xyz"),
                run_seed=1,
                restart=False,
                prediction_interval=0,
                use_compile=compiled or None,
            )
        rows = (Path(folder) / "loss.out").read_text(encoding="utf-8").splitlines()
    return turns, [float(x.split()[7]) * 1e3 for x in rows if not x.startswith("#")]


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def our_run(data: Path, batch: int, epochs: int, target: float) -> tuple[Clock, list[float]]:
    """Train alone until an error is reached or the planned epochs are over; return times and errors by epoch."""
    ours, clock, errors = trainer(settings(data, batch, epochs)), Clock(), []
    while not ours.finished and not (errors and errors[-1] <= target):
        clock.turn(lambda: errors.append(force_error(ours.epoch())))
    return clock, errors


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this script."""
    parser.add_argument("data", type=Path, help="folder with mlearn_Si/train.xyz and test.xyz")
    parser.add_argument("--batch", type=int, default=4, help="structures per step (default 4)")
    parser.add_argument("--epochs", type=int, help=f"of TorchNEP (default {EPOCHS}, short {EPOCHS_SHORT})")
    parser.add_argument(
        "--compile", action="store_true", help="TorchNEP with torch.compile, not its default here"
    )


def epochs_of(n: int, timing: Timing) -> Timing:
    """Return the time of n epochs."""
    return Timing((n * timing.median,), (n * timing.cpu_median,))


def compare_errors(
    report: Report, chosen: Options, turns: Turns, theirs: Timing, found: Sequence[float], epochs: int
) -> None:
    """Add the time to TorchNEP's best error, for the shortest run of ours that gets there."""
    target = min(found)
    reached = found.index(target) + 1
    report.note(
        f"best force RMSE on the test structures in {epochs} epochs: TorchNEP {target:.1f} meV/Å (epoch {reached}), "
        f"ours {min(turns.errors):.1f} meV/Å"
    )
    for planned in sorted({max(2, round(epochs * part)) for part in PLANNED}):
        clock, errors = turns.ours, turns.errors
        if planned != epochs:
            clock, errors = our_run(chosen.values.data, chosen.values.batch, planned, target)
        n = next((k for k, error in enumerate(errors, 1) if error <= target), None)
        if n is None:
            report.note(f"a run of ours planned for {planned} epochs gets to {min(errors):.1f} meV/Å")
            continue
        report.speed(
            f"time to {target:.1f} meV/Å: epoch {n} of our run planned for {planned}, epoch {reached} of TorchNEP's",
            epochs_of(n, clock.timing),
            epochs_of(reached, theirs),
            unit="s",
            factor=1.0,
            goal=ERROR_GOAL,
        )
        return


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, add)
    v = chosen.values
    epochs = v.epochs or (EPOCHS_SHORT if chosen.short else EPOCHS)
    if hasattr(
        os, "sched_setaffinity"
    ):  # TorchNEP prepares batches in a second thread: the same core for both
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    words = "torch.compile" if v.compile else "its default, eager"
    name = f"epoch_torchnep{'_compile' if v.compile else ''}"
    report = Report(name, "NEP training, mlearn Si", f"TorchNEP 1.0.7 ({words})", chosen)
    turns, found = run(v.data, v.batch, epochs, compiled=v.compile)
    ours, theirs = turns.ours.timing, turns.theirs.timing
    report.note(
        f"parameters trained: TorchNEP {turns.n_parameters} (its output bias is solved for), "
        f"ours {turns.trainer.potential.n_parameters}; {v.batch} structures a step"
    )
    report.note(
        f"TorchNEP until the end of its first epoch, not counted: {turns.first[0]:.1f} s, {turns.first[1]:.1f} s of "
        "processor time of its own process"
    )
    report.speed(f"epoch, batches of {v.batch}", ours, theirs, unit="s", factor=1.0, goal=EPOCH_GOAL)
    compare_errors(report, chosen, turns, theirs, found, epochs)
    report.finish()


if __name__ == "__main__":
    main()
