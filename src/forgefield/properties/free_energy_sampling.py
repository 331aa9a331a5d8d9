"""A walk through the states of a thermodynamic path: averages at fixed lambda, works of switching.

What a stage gave, and the state it ended in, go into a journal, by which a run that was interrupted goes on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.errors import ConfigError, SimulationError
from forgefield.properties.barostat import check_shape, mean_cell
from forgefield.properties.base import Progress, silent
from forgefield.properties.dynamics import DynamicsSettings, Observable, Records
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.dynamics_lammps import make_dynamics
from forgefield.properties.free_energy_estimators import Measured, switching
from forgefield.properties.free_energy_potentials import Mixture, Scaled
from forgefield.properties.free_energy_temperature import Ramp
from forgefield.properties.journal import Journal
from forgefield.properties.statistics import series_mean

__all__ = ["Fluctuations", "Switched", "Walker"]

FloatArray = NDArray[np.float64]
Direction = Literal["up", "down"]

THROWN = 0.1
"""A force that moves an atom by more than this in a step [Å] is that of atoms on top of each other."""
MOST_PARTINGS = 500


class Fluctuations(Protocol):
    """What a run tells by its fluctuations rather than by means."""

    @property
    def observe(self) -> Mapping[str, Observable]:
        """What to record for it; means of arrays are kept as profiles."""

    def summarise(self, records: Records) -> dict[str, list[float]]:
        """Return numbers as value, standard error and independent samples."""


class Switched:
    """A mixture whose lambda moves by one step with every evaluation, and the work that this takes.

    Parameters
    ----------
    mixture : Mixture
    steps : int
        Evaluations from one end to the other.
    direction : {'up', 'down'}
        Lambda from 0 to 1, or from 1 to 0.

    Attributes
    ----------
    work : float [eV]
        Done on the system so far, ``sum dlambda (U_1 - U_0)``.
    path : list of (lambda, U_1 - U_0)
    """

    def __init__(self, mixture: Mixture, steps: int, direction: Direction) -> None:
        fractions = np.arange(steps + 1) / steps
        values, _ = switching(fractions if direction == "up" else 1.0 - fractions)
        self.mixture, self.couplings, self.work = mixture, values, 0.0
        self.weights = np.gradient(values)
        self.weights[[0, -1]] *= 0.5  # so that they sum to the difference of the ends
        self.path: list[tuple[float, float]] = []

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        k = min(len(self.path), len(self.couplings) - 1)
        self.mixture.coupling = float(self.couplings[k])
        result = self.mixture.evaluate(positions, cell, virial=virial, atomic=atomic)
        if len(self.path) < len(self.couplings):
            self.work += float(self.weights[k]) * self.mixture.difference
            self.path.append((self.mixture.coupling, self.mixture.difference))
        return result

    def reset(self) -> None:
        """Forget neighbour lists; lambda and work stay."""
        self.mixture.reset()


class Walker:
    """One copy of the system, taken from stage to stage.

    Parameters
    ----------
    name : str
        Prefix of its stages.
    atoms : ase.Atoms
        Start; not changed.
    dynamics : DynamicsSettings
        Temperature, time step, thermostat; every stage has its own seed, made of this one and its number.
    journal : Journal
    progress : callable
    """

    def __init__(
        self,
        name: str,
        atoms: Atoms,
        dynamics: DynamicsSettings,
        journal: Journal,
        progress: Progress = silent,
    ) -> None:
        self.name, self.dynamics, self.journal, self.progress = name, dynamics, journal, progress
        self.atoms = atoms.copy()
        self.atoms.calc = None
        self.atoms.set_constraint()
        self.planned, self.done = 1.0, 0.0
        self._wanted: float | FloatArray | None = None
        self._state = journal.states.get(name)
        self._ready = self._state is None  # stages already in the journal are passed over

    def average(
        self,
        stage: str,
        field: ForceField,
        observe: Mapping[str, Observable],
        *,
        steps: int,
        equilibration: int,
        every: int = 5,
        profiles: Mapping[str, Observable] | None = None,
        fluctuations: Fluctuations | None = None,
        **changes: Any,
    ) -> dict[str, Measured]:
        """Return means over a run in equilibrium, with the standard errors that its correlations leave.

        Parameters
        ----------
        stage : str
        field : ForceField
        observe : mapping of callables
            Numbers; see `dynamics.Observable`.
        steps, equilibration, every : int
            Steps that count, before them, and between samples.
        profiles : mapping of callables, optional
            Arrays; their means over the run are kept, see `profile`.
        fluctuations : Fluctuations, optional
            What follows from them is returned with the means.
        **changes
            To the settings of the dynamics, e.g. ``ensemble="npt"``.

        Returns
        -------
        dict of Measured
            Of what is observed and of ``potential`` [eV], ``temperature`` [K], ``volume`` [Å^3].
        """
        known = self._known(stage)
        if known is None:
            before = self.atoms.cell.array.copy()
            shape = self._shape(**changes)
            self._part(field)
            self._run(field, equilibration, stage + " (equilibration)", **changes)
            spread = {} if fluctuations is None else dict(fluctuations.observe)
            records = self._run(
                field, steps, stage, {**observe, **(profiles or {}), **shape, **spread}, every, **changes
            )
            names = ["potential", "temperature", "volume", *observe]
            known = {name: _mean(records[name]) for name in names}
            if "pressure" in records:
                known["pressure"] = _mean(np.trace(records["pressure"], axis1=1, axis2=2) / 3.0)
            known |= {} if fluctuations is None else fluctuations.summarise(records)
            arrays = [name for name in spread if records[name].ndim > 1]
            for name in [*(profiles or {}), *arrays]:
                self.journal.profiles[f"{self.name}/{stage}/{name}"] = records[name].mean(axis=0).tolist()
            if "cell" in records:
                cell = mean_cell(records["cell"], known["volume"][0])
                used = DynamicsSettings.parse(self.dynamics.model_dump() | changes)
                check_shape(before, cell, used.barostat, used.temperature)
                self.journal.profiles[f"{self.name}/{stage}/cell"] = cell.tolist()
            self._close(stage, known)
        return {name: Measured(*found[:2]) for name, found in known.items()}

    def independent(self, stage: str, name: str) -> float:
        """Return how many independent samples an average of a stage that is done rests on."""
        found = self.journal.stages[f"{self.name}/{stage}"][name]
        return float(found[2]) if len(found) > 2 else math.inf  # journals of old have no such number

    def profile(self, stage: str, name: str) -> FloatArray:
        """Return the mean of an array over a stage that is done."""
        return np.asarray(self.journal.profiles[f"{self.name}/{stage}/{name}"], dtype=np.float64)

    def switch(
        self,
        stage: str,
        mixture: Mixture,
        *,
        steps: int,
        equilibration: int,
        direction: Direction,
        check: Callable[[Atoms], None] | None = None,
    ) -> tuple[float, FloatArray]:
        """Switch from one end to the other after a run in equilibrium there; `check` sees the atoms at the end.

        Returns
        -------
        float, (n, 2)
            Work done on the system [eV]; lambda and ``U_1 - U_0`` [eV] on the way, thinned out.
        """
        known = self._known(stage)
        if known is None:
            mixture.coupling = 0.0 if direction == "up" else 1.0
            self._part(mixture)
            self._run(mixture, equilibration, stage + " (equilibration)")
            switched = Switched(mixture, steps, direction)
            self._run(switched, steps, stage)
            if check is not None:
                check(self.atoms)
            thin = switched.path[:: max(1, steps // 200)]
            known = {"work": switched.work, "path": [list(map(float, pair)) for pair in thin]}
            self._close(stage, known)
        return float(known["work"]), np.asarray(known["path"], dtype=np.float64)

    def scale_energy(
        self, field: ForceField, last: float, *, steps: int, equilibration: int
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Scale the potential from 1 to `last` and back; see `reversible_scaling`.

        Returns
        -------
        scales, forward, backward : (n,), (n,) [eV], (n,) [eV]
            Thinned out; `backward` is the work from `last` back to each scale.
        """
        stage = f"reversible scaling to {last:g}"
        known = self._known(stage)
        if known is None:
            works = []
            for way, (start, end) in (("up", (1.0, last)), ("down", (last, 1.0))):
                self._run(Scaled(field, start), equilibration, f"{stage} {way} (equilibration)")
                ramp = Ramp(field, start, end, steps)
                self._run(ramp, steps, f"{stage} {way}")
                works.append((ramp.scales, ramp.works))
            thin = slice(None, None, max(1, steps // 200))
            known = {
                "scales": [*works[0][0][thin], last],
                "forward": [*works[0][1][thin], works[0][1][-1]],
                "backward": [*works[1][1][::-1][thin], 0.0],
            }
            self._close(stage, known)
        scales, forward, backward = (np.asarray(known[k]) for k in ("scales", "forward", "backward"))
        return scales, forward, backward

    def scale_to(self, volume: float) -> None:
        """Change the volume [Å^3], atoms and all, at equal shape."""
        self._wanted = volume  # asked for again once a state has been taken from the journal
        if abs(volume / self.atoms.get_volume() - 1.0) > 1e-12:
            factor = (volume / self.atoms.get_volume()) ** (1.0 / 3.0)
            self.atoms.set_cell(self.atoms.cell.array * factor, scale_atoms=True)

    def settle(self, stage: str) -> None:
        """Take the mean cell of a stage at constant pressure that is done, atoms and all."""
        key = f"{self.name}/{stage}"
        if f"{key}/cell" not in self.journal.profiles:  # the shape was kept
            self.scale_to(float(self.journal.stages[key]["volume"][0]))
            return
        self._wanted = self.profile(stage, "cell")
        self.atoms.set_cell(self._wanted, scale_atoms=True)

    def _part(self, field: ForceField) -> None:
        """Move atoms apart that another force field left where this one would throw them out with the first step.

        On the way from an ideal gas, whose atoms may be anywhere, to a repulsion. Nothing happens to others.
        """
        masses, step = self.atoms.get_masses(), self.dynamics.timestep * units.fs
        positions, cell = self.atoms.positions, self.atoms.cell.array
        field.reset()
        for _ in range(MOST_PARTINGS):
            moves = field.evaluate(positions, cell).forces * (0.5 * step**2 / masses[:, None])
            lengths = np.linalg.norm(moves, axis=1)
            if not lengths.max() > THROWN:
                break
            positions += moves * (THROWN / np.maximum(lengths, THROWN))[:, None]
        field.reset()

    def _shape(self, **changes: Any) -> dict[str, Observable]:
        """Return what has to be observed of the cell: where its shape moves, all of it."""
        settings = self.dynamics.model_dump() | changes
        if settings["ensemble"] != "npt" or settings["barostat"] == "isotropic":
            return {}
        return {"cell": lambda state, _forces: state.cell}

    def current(self) -> Atoms:
        """Return the structure with its velocities after the last stage, also where the journal knows that stage."""
        self._restore()
        return self.atoms.copy()

    def _known(self, stage: str) -> dict[str, Any] | None:
        key = f"{self.name}/{stage}"
        if key in self.journal.stages:
            self._wanted = None  # the state in the journal is of after this stage, and of its cell
            return self.journal.stages[key]
        self._restore()
        return None

    def _restore(self) -> None:
        state = self._state
        if state is not None and not self._ready:
            self.atoms.set_cell(np.array(state["cell"]))
            self.atoms.positions[:] = state["positions"]
            self.atoms.set_velocities(np.array(state["velocities"]))
            self._ready = True
            if isinstance(self._wanted, float):
                self.scale_to(self._wanted)
            elif self._wanted is not None:
                self.atoms.set_cell(self._wanted, scale_atoms=True)

    def _close(self, stage: str, result: dict[str, Any]) -> None:
        state = {
            "positions": self.atoms.positions.tolist(),
            "velocities": self.atoms.get_velocities().tolist(),
            "cell": self.atoms.cell.array.tolist(),
        }
        self.journal.close(self.name, f"{self.name}/{stage}", result, state)

    def _run(
        self,
        field: ForceField,
        steps: int,
        stage: str,
        observe: Mapping[str, Observable] | None = None,
        every: int = 50,
        **changes: Any,
    ) -> Records:
        if steps < 1:
            return {}
        if steps // every < 4 and observe is not None:
            raise ConfigError(
                f"{steps} steps with a sample every {every} give no average; take at least {4 * every}"
            )
        number = int(hashlib.sha256(f"{self.name}/{stage}".encode()).hexdigest()[:6], 16)
        changes = {"seed": self.dynamics.seed + number} | changes
        settings = DynamicsSettings.parse(self.dynamics.model_dump() | changes)
        simulation = make_dynamics(self.atoms, field, settings)

        def report(done: float, text: str = "") -> None:
            self.progress(
                min((self.done + done * steps) / self.planned, 1.0), f"{self.name}: {stage}, {text}"
            )

        path = self.journal.path
        keep = None if path is None else path.with_name(self.name.replace(" ", "_"))
        try:
            records = simulation.run(
                steps, every=min(every, steps), observe=observe, keep=keep, progress=report
            )
        except SimulationError as error:
            raise SimulationError(f"{self.name}, {stage}: {error}") from None
        self.done += steps
        self.atoms = simulation.atoms()
        return records


def _mean(samples: FloatArray) -> list[float]:
    found = series_mean(samples)
    return [found.value, found.error, found.n_independent]
