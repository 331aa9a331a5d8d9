"""Diffusion, vibrations and viscosity against processes whose answers are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from pair_force_field import LennardJonesForces
from scipy.signal import lfilter

from forgefield.errors import ConfigError, DataError
from forgefield.properties.correlation import (
    correlation,
    doubts,
    green_kubo,
    mean_squared_displacement,
    spectrum,
)
from forgefield.properties.diffusion import MSD, diffusion, yeh_hummer
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.trajectory import Trajectory, from_frames, read_trajectory
from forgefield.properties.vibrations import VDOS, vibrations
from forgefield.properties.viscosity import VISCOSITY, ViscositySettings, shear_components, viscosity


def made(positions, velocities=None, pressure=None, interval=10.0, numbers=None):
    n_frames, n_atoms, _ = positions.shape
    numbers = np.full(n_atoms, 18) if numbers is None else numbers
    return Trajectory(
        positions, np.broadcast_to(20.0 * np.eye(3), (n_frames, 3, 3)), numbers, np.full(n_atoms, 40.0),
        np.array([True] * 3), interval, velocities, pressure,
    )  # fmt: skip


def decaying(n, time, seed=0, columns=1):
    """Series with autocorrelation exp(-t / time)."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1.0 / time)
    x = np.empty((n, columns))
    x[0] = rng.standard_normal(columns)
    for t in range(1, n):
        x[t] = keep * x[t - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(columns)
    return x


def test_correlation_and_displacement_are_the_direct_sums():
    x = np.random.default_rng(1).standard_normal((23, 2)).cumsum(axis=0)
    for lag in range(23):
        pairs = (x[: 23 - lag], x[lag:])
        assert correlation(x)[lag] == pytest.approx((pairs[0] * pairs[1]).mean(axis=0), abs=1e-12)
        squared = mean_squared_displacement(1000.0 + x)[lag]
        assert squared == pytest.approx(((pairs[1] - pairs[0]) ** 2).mean(axis=0), abs=1e-9)


def test_random_walk_diffuses():
    rng = np.random.default_rng(2)
    steps = rng.standard_normal((2000, 40, 3)) * np.where(np.arange(40) < 20, 0.1, 0.2)[:, None]
    numbers = np.where(np.arange(40) < 20, 18, 10)
    found = diffusion(made(steps.cumsum(axis=0), numbers=numbers))
    for element, size in (("Ar", 0.1), ("Ne", 0.2)):
        exact = size**2 / 2 / 0.01  # per 10 fs
        one = found[element]
        assert abs(one.coefficient - exact) < 4 * one.error
        assert one.error < 0.2 * exact
        assert one.exponent == pytest.approx(1.0, abs=0.15)


class Free:
    def evaluate(self, positions, cell, *, virial=False, atomic=False):  # noqa: ARG002
        return Forces(0.0, np.zeros_like(positions), np.zeros((3, 3)))

    def reset(self):
        pass


def test_langevin_particles_diffuse_as_einstein_says():
    friction = 0.02  # 1/fs
    atoms = Atoms(f"Ar{60}", positions=np.zeros((60, 3)), cell=[20] * 3, pbc=True)
    settings = DynamicsSettings(temperature=300.0, timestep=2.0, friction=friction, seed=4)
    dynamics = Dynamics(atoms, Free(), settings)
    records = dynamics.run(
        8000, every=5, observe={"x": lambda s, _: s.positions, "v": lambda s, _: s.velocities}
    )
    exact = units.kB * 300 / 39.948 / (friction / units.fs) * 1000 * units.fs  # Å^2/ps
    moving = made(records["x"], records["v"])
    slope = diffusion(moving, window=(0.5, 0.9))["Ar"]
    area = vibrations(moving, correlation_time=0.4, blocks=8)["Ar"]
    exact *= 59 / 60
    assert abs(slope.coefficient - exact) < 4 * slope.error
    assert abs(area.diffusion - exact) < 4 * area.diffusion_error + 0.01 * exact
    assert slope.error < 0.15 * exact
    expected = np.exp(-friction * 1000 * area.time)
    assert np.abs(area.vacf - expected).max() < 0.08


def test_free_flight_and_rest_are_said_to_be_no_diffusion():
    rng = np.random.default_rng(5)
    time = np.arange(400)[:, None, None]
    flight = time * rng.standard_normal((6, 3))
    assert diffusion(made(flight))["Ar"].exponent == pytest.approx(2.0)
    rest = 0.1 * rng.standard_normal((400, 6, 3))
    assert diffusion(made(rest))["Ar"].exponent == pytest.approx(0.0, abs=0.1)


def test_density_of_states_of_an_oscillator():
    time = np.arange(4000) * 0.004  # ps
    phase = np.random.default_rng(6).uniform(0, 2 * np.pi, (8, 3))
    velocities = np.cos(2 * np.pi * 7.5 * time[:, None, None] + phase)
    numbers = np.array([18] * 4 + [10] * 4)
    velocities[:, 4:] = np.cos(2 * np.pi * 12.5 * time[:, None, None] + phase[4:])
    found = vibrations(made(np.zeros_like(velocities), velocities, interval=4.0, numbers=numbers), blocks=4)
    for element, f in (("Ar", 7.5), ("Ne", 12.5)):
        one = found[element]
        assert one.frequency[one.density.argmax()] == pytest.approx(f, abs=0.15)
        assert one.density.sum() * one.frequency[1] == pytest.approx(1.0)
    assert found["all"].mean_frequency == pytest.approx(10.0, abs=0.6)


def test_spectrum_of_an_exponential_is_a_lorentzian():
    time = np.arange(4000) * 0.01
    frequency, density = spectrum(np.exp(-time), 0.01)
    expected = 2 / (1 + (2 * np.pi * frequency) ** 2)
    low = frequency < 1.0
    assert density[low] == pytest.approx(expected[low], abs=0.06)


def test_green_kubo_integral_of_a_known_process():
    series = np.stack([decaying(6000, 8.0, seed, 3) for seed in range(4)])
    found = green_kubo(2.0 * series, 0.5, n_lags=150, blocks=2)
    exact = 4.0 * 0.5 * (0.5 + 1 / (np.exp(1 / 8) - 1))
    assert found.converged
    assert found.read_at == 74.5
    assert found.value == pytest.approx(found.integral[112:].mean())
    assert abs(found.value - exact) < 4 * found.error
    assert found.error < 0.2 * exact
    assert found.correlation[0] == pytest.approx(4.0, rel=0.1)
    early = green_kubo(2.0 * series, 0.5, n_lags=150, blocks=2, read_at=30.0)
    assert early.value == pytest.approx(early.integral[45:61].mean())
    assert early.error < found.error
    assert early.change == pytest.approx(early.value - found.value)
    with pytest.raises(DataError, match="times as long"):
        green_kubo(series, 0.5, n_lags=4000)
    with pytest.raises(DataError, match="as often"):
        green_kubo(series, 0.5, n_lags=150, read_at=1.0)


def process(rng, shape, step, parts):
    """Series (n_replicas, n, n_components) whose correlations are sums of exp(-t/time) cos(2 pi f t); integral 1.

    `parts`: (time, f, weight in the integral).
    """
    n_replicas, n, n_components = shape
    total = np.zeros(shape)
    for time, f, weight in parts:
        turn = np.exp((-1.0 / time + 2j * np.pi * f) * step)
        noise = rng.standard_normal((2, n_replicas, n_components, n))
        noise = (noise[0] + 1j * noise[1]) * np.sqrt(1.0 - abs(turn) ** 2)
        noise[..., 0] /= np.sqrt(1.0 - abs(turn) ** 2)
        series = np.moveaxis(lfilter([1.0], [1.0, -turn], noise, axis=-1).real, -1, 1)
        total += np.sqrt(weight / (step * (0.5 + turn / (1.0 - turn))).real) * series
    return total / np.sqrt(sum(weight for *_, weight in parts))


TWO_TIMES = ((0.05, 0.0, 0.5), (1.0, 0.0, 0.5))
OPTICAL = ((0.5, 0.0, 1.0), (1.0, 6.0, 0.02))


@pytest.mark.parametrize(
    ("parts", "replicas", "length", "lag", "blocks", "components"),
    [
        (((0.5, 0.0, 1.0),), 8, 20.0, 4.0, 1, 3),
        (TWO_TIMES, 8, 20.0, 4.0, 1, 3),
        (OPTICAL, 8, 20.0, 4.0, 1, 3),
        (((0.05, 0.0, 0.5), (0.5, 0.0, 0.5)), 1, 100.0, 2.0, 10, 5),
    ],
)
def test_errors_of_green_kubo_cover_the_truth(parts, replicas, length, lag, blocks, components):
    step = 0.02
    shape = (replicas, round(length / step), components)
    found = [
        green_kubo(
            process(np.random.default_rng(seed), shape, step, parts), step, n_lags=round(lag / step) + 1,
            blocks=blocks, equivalent=components == 5,
        )
        for seed in range(40)
    ]  # fmt: skip
    values, errors = (np.array([getattr(one, name) for one in found]) for name in ("value", "error"))
    assert 0.75 < np.sqrt((((values - 1.0) / errors) ** 2).mean()) < 1.35
    assert abs(values.mean() - 1.0) < np.sqrt((errors**2).mean())
    assert np.mean(errors) < 0.35
    assert np.mean([one.converged for one in found]) > 0.9
    assert all(one.sampled for one in found)


def test_green_kubo_says_when_the_lag_or_the_series_are_short():
    rng = np.random.default_rng(3)
    slow = process(rng, (30, 1000, 3), 0.02, ((2.0, 0.0, 1.0),))
    early = green_kubo(slow, 0.02, n_lags=151)
    assert not early.converged
    assert early.change > 0
    assert any("take a longer `correlation_time`" in text for text in doubts(early, "replicas"))
    few = green_kubo(slow[:2], 0.02, n_lags=500)
    assert not few.sampled
    assert any("short for a lag of 9.98 ps" in text for text in doubts(few, "replicas"))
    enough = process(rng, (20, 2000, 3), 0.02, ((0.2, 0.0, 1.0),))
    assert doubts(green_kubo(enough, 0.02, n_lags=151), "replicas") == []
    # One series alone has no spread; theory knows its error all the same.
    alone = [green_kubo(one[None, :, :1], 0.02, n_lags=51) for one in enough]
    scatter = np.std([one.value for one in alone])
    assert np.mean([one.error for one in alone]) == pytest.approx(scatter, rel=0.4)
    assert alone[0].correlation_error is None


def test_viscosity_of_a_known_process():
    n = 20000
    p = decaying(n, 5.0, 7, 9).reshape(n, 3, 3)
    symmetric = (p + np.swapaxes(p, 1, 2)) / np.sqrt(2)
    moving = made(np.zeros((n, 1, 3)), pressure=symmetric * 1e-3)
    found = viscosity(moving, 300.0, correlation_time=0.6)
    lag = 0.01 * (0.5 + 1 / (np.exp(0.2) - 1))
    exact = 8000 / (units.kB * 300) * 1e-6 * lag * 160.2176634e9 * 1e-12 * 1e3
    assert abs(found.value - exact) < 4 * found.error
    assert found.error < 0.15 * exact


def test_shear_components_turn_into_each_other():
    # A rotation only mixes them: the sum of squares is half the square of the traceless part.
    p = np.random.default_rng(8).standard_normal((4, 3, 3))
    s = 0.5 * (p + np.swapaxes(p, 1, 2))
    s -= np.trace(s, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    assert (shear_components(p) ** 2).sum(axis=1) == pytest.approx(0.5 * (s * s).sum(axis=(1, 2)))


def test_finite_size_correction_in_si_units():
    boltzmann, eta, length = 1.380649e-23, 0.85e-3, 24.8e-10
    expected = 2.837297 * boltzmann * 298 / (6 * np.pi * eta * length) * 1e8
    assert yeh_hummer(298.0, 0.85, 24.8) == pytest.approx(expected, rel=1e-6)


def test_wrapped_files_are_unwrapped(tmp_path):
    rng = np.random.default_rng(9)
    cell = np.array([[4.0, 0, 0], [1.5, 5.0, 0], [0, 1, 6.0]])
    path = rng.random((3, 3)) @ cell + (0.25 * rng.standard_normal((200, 3, 3))).cumsum(axis=0)
    frames = [Atoms("Ar2Ne", positions=p, cell=cell, pbc=True) for p in path]
    for n, frame in enumerate(frames):
        frame.wrap()
        frame.info["time_fs"] = 10.0 * n
    write(tmp_path / "run.xyz", frames)
    found = read_trajectory(tmp_path / "run.xyz")
    moved = found.positions - found.positions[0]
    assert moved == pytest.approx(path - path[0], abs=1e-6)
    assert found.interval == pytest.approx(10.0)
    assert len(read_trajectory(tmp_path / "run.xyz", skip=1.0)) == 100
    frames[5].positions += 0.499 * cell[0]
    with pytest.raises(DataError, match="more often"):
        from_frames(frames, interval=1.0)


def test_properties_run_and_say_what_is_missing():
    length = (4 / 0.7) ** (1 / 3) * 3
    atoms = bulk("Ar", "fcc", a=length / 3, cubic=True) * 3
    atoms.set_masses([1.0] * len(atoms))
    options = {
        "temperature": 1.2 / units.kB, "timestep": 0.1, "friction": 0.05, "equilibration": 0.02, "length": 0.06,
        "interval": 0.3, "blocks": 4,
    }  # fmt: skip
    result = MSD(atoms, LennardJonesForces(), viscosity=1.0, error=1e-3, **options)
    assert result["Ar diffusion_infinite"] > result["Ar diffusion"] > 0
    assert any("asked for 0.001; that takes about" in text for text in result.warnings)
    found = VISCOSITY(atoms, LennardJonesForces(), correlation_time=0.005, **options)
    assert found["viscosity"] > 0
    assert VDOS(atoms, LennardJonesForces(), correlation_time=0.01, **options)["mean_frequency"] > 0


def test_bad_input():
    moving = made(np.zeros((50, 2, 3)))
    with pytest.raises(DataError, match=r"15 frames are too few .* 0\.2 ps or more"):
        diffusion(made(np.zeros((15, 2, 3))))
    with pytest.raises(ConfigError, match=r"`fit` from 0\.1 to 0\.2 ps .* 0\.6 ps or more, got 0\.49 ps"):
        diffusion(moving, window=(0.1, 0.2))
    with pytest.raises(DataError, match="no velocities"):
        vibrations(moving)
    with pytest.raises(DataError, match="no pressures"):
        viscosity(moving, 300.0)
    with pytest.raises(DataError, match="2 blocks"):
        vibrations(made(np.zeros((50, 2, 3)), np.zeros((50, 2, 3))), blocks=2)
    # Said before anything is simulated.
    with pytest.raises(ConfigError, match="too short"):
        MSD(bulk("Cu"), EMT(), length=0.1)
    with pytest.raises(ConfigError, match="at least 30 ps"):
        MSD(bulk("Cu"), EMT(), length=20.0, fit=(1.0, 10.0))
    with pytest.raises(ConfigError, match="10 blocks of `correlation_time`"):
        VDOS(bulk("Cu"), EMT(), length=10.0)
    with pytest.raises(ConfigError, match="at least 40"):
        VISCOSITY(bulk("Cu"), EMT(), length=30.0)
    with pytest.raises(ConfigError, match="beyond `correlation_time`"):
        VISCOSITY(bulk("Cu"), EMT(), read_at=3.0)
    with pytest.raises(ConfigError, match="4 times `interval`"):
        VISCOSITY(bulk("Cu"), EMT(), read_at=0.03)
    assert ViscositySettings().length >= 40.4
