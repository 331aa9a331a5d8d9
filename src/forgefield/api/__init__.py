"""What scripts use: read, train, evaluate, load, put together from the layers below."""

from forgefield.api.evaluate import evaluate
from forgefield.api.run import Run
from forgefield.api.select import select
from forgefield.api.train import train
from forgefield.api.uncertainty import uncertainty

__all__ = ["Run", "evaluate", "select", "train", "uncertainty"]
