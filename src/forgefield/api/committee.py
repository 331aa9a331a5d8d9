"""Training of a committee: the same run several times from different seeds, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from forgefield.api.run import Run, RunFolder, splits_of, versions
from forgefield.api.uncertainty import calibrations_of
from forgefield.data import Dataset
from forgefield.descriptors import DESCRIPTORS
from forgefield.engine.predictor import fastest
from forgefield.errors import CheckpointError, ConfigError
from forgefield.evaluation import Evaluation, evaluate
from forgefield.evaluation.metrics import format_error
from forgefield.evaluation.residuals import QUANTITIES
from forgefield.keys import PROPERTIES
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential, Provenance
from forgefield.training.least_squares import LeastSquaresSettings
from forgefield.training.settings import RunSettings

if TYPE_CHECKING:
    from forgefield.api.estimate import MemoryEstimate
    from forgefield.api.train import Listener
    from forgefield.training.gradient import Row

__all__ = ["member_settings", "train_committee"]


class _Forward:
    """Passes on what is heard, but the data only once, and keeps them; `begins` is called at the first start.

    Members refuse bad data and checkpoints of other runs before they start: until then nothing is written.
    """

    def __init__(self, listener: Listener, begins: Callable[[], None]) -> None:
        self.listener, self.begins = listener, begins
        self.started = False
        self.dataset: Dataset | None = None

    def on_data(self, dataset: Dataset) -> None:
        if self.dataset is None:
            self.listener.on_data(dataset)
        self.dataset = dataset

    def on_start(self, settings: RunSettings, potential: Potential, memory: MemoryEstimate) -> None:
        if not self.started:
            self.started = True
            self.begins()
        self.listener.on_start(settings, potential, memory)

    def on_epoch(self, row: Row) -> None:
        self.listener.on_epoch(row)

    def on_fit(self, done: int, total: int) -> None:
        self.listener.on_fit(done, total)


def member_settings(settings: RunSettings, n: int) -> RunSettings:
    """Return the settings of member n = 0, 1, ...: those of the committee with the seed raised by n."""
    title = f"{settings.title}, member {n + 1}" if settings.title else f"Member {n + 1}"
    return settings.model_copy(
        update={"committee": None, "seed": settings.seed + n, "title": title[:200]}, deep=True
    )


def train_committee(
    settings: RunSettings,
    folder: RunFolder,
    train_one: Callable[..., Run],
    listener: Listener,
    *,
    resume: bool = False,
    properties: Callable[[Any], dict[str, Any]] | None = None,
) -> Run:
    """Train every member in its own folder ``member_1``, ``member_2``, ... and write the committee into `folder`.

    Parameters
    ----------
    settings : RunSettings
        With `committee`.
    folder : RunFolder
    train_one : callable
        `api.train.train`.
    listener : Listener
    resume : bool
        Members that are finished are kept, the one that was interrupted goes on from its checkpoint.
    properties : callable, optional
        See `api.train.train`.

    Raises
    ------
    ConfigError
        Nothing in the run depends on the seed, so that all members would be the same.
    CheckpointError
        Nothing to resume, or of another configuration.
    """
    _refuse_twins(settings)
    n_members = 0 if settings.committee is None else settings.committee.members
    checkpoints = [member(folder, n).checkpoint for n in range(n_members)]
    if resume and not checkpoints[0].exists():
        raise CheckpointError(
            f"nothing to resume in {folder.path}: member_1/checkpoint.ff is missing; run without --resume"
        )

    def begin() -> None:
        folder.write_config(settings)
        for path in checkpoints if folder.writes and not resume else ():
            path.unlink(missing_ok=True)

    heard = _Forward(listener, begin)
    runs = [
        train_one(
            member_settings(settings, n),
            output=checkpoint.parent,
            resume=resume and checkpoint.exists(),
            listener=heard,
        )
        for n, checkpoint in enumerate(checkpoints)
    ]
    return _together(settings, folder, runs, heard, properties)


def member(folder: RunFolder, n: int) -> RunFolder:
    """Return the folder of member n = 0, 1, ..."""
    return RunFolder(folder.path / f"member_{n + 1}", folder.writes)


def _refuse_twins(settings: RunSettings) -> None:
    drawn = hasattr(DESCRIPTORS[settings.descriptor.kind], "reset_parameters")
    if isinstance(settings.training, LeastSquaresSettings) and not drawn:
        raise ConfigError(
            f"`committee`: least squares on {settings.descriptor.kind} features draws nothing at random, so all members "
            "would be the same; train with adam, or use the extrapolation grade (`extrapolation: true`) instead"
        )


def _together(
    settings: RunSettings,
    folder: RunFolder,
    runs: Sequence[Run],
    heard: _Forward,
    properties: Callable[[Any], dict[str, Any]] | None,
) -> Run:
    dataset = heard.dataset
    if dataset is None:
        raise ConfigError("`committee.members` must be at least 2")
    members = [run.potential for run in runs if isinstance(run.potential, Potential)]
    committee = Committee(members)
    evaluation = evaluate(fastest(committee) or committee, splits_of(dataset))
    notes: dict[str, Any] = {
        "seeds": [settings.seed + n for n in range(len(runs))],
        "versions": versions(),
        "title": settings.title,
        "members": [run.evaluation.metrics.headline()[1].to_dict() for run in runs],
    }
    judged = calibrations_of(evaluation, "valid").get("forces_spread")
    lines = comparison(runs, evaluation)
    if judged is not None:
        notes["calibration"] = judged.to_dict()
        lines.append(
            f"Spread of the forces on valid: the true errors are {format_error(judged.scale)} times as large; rank "
            f"correlation {judged.correlation:.2f}."
        )
    metrics = evaluation.metrics.to_dict()
    committee.provenance = Provenance(metrics, dataset.hash, notes)
    folder.write_results(
        settings,
        dataset,
        committee,
        evaluation,
        runs[0].history,
        properties=properties(committee) if properties else None,
        notes=lines,
    )
    return Run(committee, metrics, folder.path, evaluation, runs[0].history)


def comparison(runs: Sequence[Run], together: Evaluation) -> list[str]:
    """Return one line for each property: RMSE of every member and of the committee on the set that judges it."""
    split, entry = together.metrics.headline()
    lines = [f"Committee of {len(runs)}; learning curves and epochs are those of member 1."]
    for key in PROPERTIES:
        whole = entry.of(key).rmse
        single = [run.evaluation.metrics.headline()[1].of(key).rmse for run in runs]
        known = [value for value in single if value is not None]
        if whole is None or len(known) < len(runs):
            continue
        quantity = QUANTITIES[key]
        lines.append(
            f"{quantity.title} RMSE on {split}: members {', '.join(map(format_error, known))}; their mean prediction "
            f"{format_error(whole)} {quantity.error_unit}."
        )
    return lines
