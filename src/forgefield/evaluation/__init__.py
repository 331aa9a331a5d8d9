"""How good a potential is: predictions, errors per split and group, and the report."""

from __future__ import annotations

from forgefield.evaluation.assess import Evaluation, evaluate
from forgefield.evaluation.metrics import MetricsEntry, MetricsTable, metrics
from forgefield.evaluation.predict import PotentialLike, Prediction, predict
from forgefield.evaluation.predictions_file import read_predictions, write_predictions
from forgefield.evaluation.statistics import ForceVectors, Statistics

__all__ = [
    "Evaluation",
    "ForceVectors",
    "MetricsEntry",
    "MetricsTable",
    "PotentialLike",
    "Prediction",
    "Statistics",
    "evaluate",
    "metrics",
    "predict",
    "read_predictions",
    "write_predictions",
]
