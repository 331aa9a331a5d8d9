"""What scripts use: read, train, evaluate, load, put together from the layers below."""

from forgefield.api.evaluate import evaluate
from forgefield.api.run import Run
from forgefield.api.train import train

__all__ = ["Run", "evaluate", "train"]
