"""Distributions of neighbours: ideal gas, crystals, mixtures, LAMMPS's own, a published liquid."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import write
from pair_force_field import LennardJonesForces

from forgefield.errors import ConfigError, DataError, StructureError
from forgefield.properties.distribution import RDF, angle_distribution, radial_distribution
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.trajectory import from_frames

SKEWED = [[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 3.0, 7.5]]


def gas(n_frames, numbers, seed=0):
    rng = np.random.default_rng(seed)
    n = len(numbers)
    return [
        Atoms(numbers, positions=rng.random((n, 3)) @ SKEWED, cell=SKEWED, pbc=True) for _ in range(n_frames)
    ]


def still(atoms, n=2):
    return from_frames([atoms] * n, interval=1.0)


def random_walk(frames):
    """Frames without history: the trajectory takes each as it is."""
    from forgefield.properties.trajectory import Trajectory

    first = frames[0]
    return Trajectory(
        np.array([f.positions for f in frames]), np.array([f.cell.array for f in frames]), first.numbers,
        first.get_masses(), first.pbc, 1.0,
    )  # fmt: skip


def test_ideal_gas_is_one_in_any_cell():
    found = radial_distribution(random_walk(gas(200, [6] * 9 + [8] * 4)), r_max=3.4, n_bins=17)
    for name in ("C-C", "C-O", "O-O", "all"):
        one = found[name]
        far = one.r > 1.6
        pull = (one.g[far] - 1.0) / np.maximum(one.g_error[far], 1e-9)
        assert np.abs(one.g[far] - 1).max() < 0.6, name
        assert np.sqrt(np.mean(pull**2)) < 1.8, name
        assert np.mean(pull) == pytest.approx(0.0, abs=1.0), name


def test_crystal_shells_in_a_skewed_supercell():
    cell = bulk("Cu", "fcc", a=3.6)
    for atoms in (cell, make_supercell(cell, [[2, 1, 0], [0, 2, 1], [1, 0, 3]])):
        one = radial_distribution(still(atoms), r_max=4.6, n_bins=460)["Cu-Cu"]
        edge = one.r + 0.005
        for distance, number in ((2.6, 12), (3.7, 18), (4.45, 42)):
            assert one.coordination[np.searchsorted(edge, distance)] == pytest.approx(number)
        assert one.r[one.first_peak] == pytest.approx(3.6 / np.sqrt(2), abs=0.01)


def test_partials_and_coordination_of_a_compound():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    found = radial_distribution(still(atoms), r_max=4.5, n_bins=450)
    assert sorted(found) == ["Na-Cl", "Na-Na", "all", "Cl-Cl"] or set(found) == {
        "Na-Cl",
        "Na-Na",
        "Cl-Cl",
        "all",
    }
    at = lambda name, r: found[name].coordination[int(r / 0.01)]  # noqa: E731
    assert at("Na-Cl", 3.0) == pytest.approx(6)
    assert at("Na-Na", 3.0) == pytest.approx(0)
    assert at("Na-Na", 4.2) == pytest.approx(12)
    assert at("all", 4.2) == pytest.approx(18)


def test_angles_of_diamond():
    found = angle_distribution(still(bulk("Si", cubic=True)), cutoff=2.5, n_bins=180)["Si"]
    assert found.mean_cosine == pytest.approx(-1 / 3)
    assert found.angle[found.density.argmax()] == pytest.approx(109.47, abs=1)
    assert found.density.sum() == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="angle_cutoff"):
        angle_distribution(still(bulk("Si", cubic=True)), cutoff=1.0)


def test_first_shell_of_a_disordered_peak():
    rng = np.random.default_rng(2)
    frames = []
    for _ in range(10):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * 2
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        frames.append(atoms)
    one = radial_distribution(random_walk(frames), r_max=5.0, n_bins=100)["Cu-Cu"]
    assert one.coordination[one.first_minimum] == pytest.approx(12, abs=0.1)
    assert one.r[one.first_peak] == pytest.approx(2.55, abs=0.1)


def test_property_from_a_file(tmp_path):
    rng = np.random.default_rng(3)
    atoms = bulk("Si", cubic=True) * 2
    frames = []
    for _ in range(12):
        moved = atoms.copy()
        moved.positions += rng.normal(0, 0.05, moved.positions.shape)
        moved.wrap()
        frames.append(moved)
    path = tmp_path / "run.xyz"
    write(path, frames)
    result = RDF(atoms, LennardJones(), trajectory=str(path), interval=10.0, blocks=4, length=1.0)
    assert result["Si-Si coordination"] == pytest.approx(4, abs=0.05)
    assert result["Si mean_cosine"] == pytest.approx(-1 / 3, abs=0.02)
    assert result.conditions["trajectory"] == str(path)
    with pytest.raises(ConfigError, match="`interval`"):
        RDF(atoms, LennardJones(), trajectory=str(path))


def test_too_short_a_run_says_how_long_it_must_be(tmp_path):
    rng = np.random.default_rng(5)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * 2
    frames = []
    for _ in range(320):  # independent of each other, so that errors fall with the root of their number
        moved = atoms.copy()
        moved.positions += rng.normal(0, 0.15, moved.positions.shape)
        frames.append(moved)
    settings = {"interval": 10.0, "blocks": 10, "r_max": 3.6, "angle_cutoff": 3.0}

    def rdf(n, **more):
        write(tmp_path / "run.xyz", frames[:n])
        return RDF(atoms, LennardJones(), trajectory=str(tmp_path / "run.xyz"), **settings, **more)

    quantity = rdf(40).quantities["Cu-Cu peak_height"]
    wanted = 0.5 * quantity.error / quantity.value
    (warning,) = [w for w in rdf(40, error=wanted).warnings if "peak_height" in w]
    assert float(warning.split("about ")[1].split(" ps")[0]) == pytest.approx(4 * 0.39, rel=0.02)
    assert not [w for w in rdf(320, error=wanted).warnings if "peak_height" in w]


def test_lennard_jones_liquid():
    # L. Verlet, Phys. Rev. 165, 201 (1968): rho* = 0.8442, T* = 0.722: first peak 3.0 high at r = 1.09 sigma.
    density, field = 0.8442, LennardJonesForces()
    atoms = bulk("Ar", "fcc", a=(4 / density) ** (1 / 3), cubic=True) * 3
    atoms.set_masses([1.0] * len(atoms))
    hot = {"temperature": 4.0 / units.kB, "timestep": 0.05, "friction": 0.2, "temperature_limit": 1e9}
    melt = Dynamics(atoms, field, DynamicsSettings(seed=1, **hot))
    melt.run(400)
    result = RDF(
        melt.atoms(), field, temperature=0.722 / units.kB, timestep=0.1, friction=0.2,
        equilibration=0.1, length=0.16, interval=2.0, blocks=5, r_max=2.5, n_bins=250, angle_cutoff=1.5,
    )  # fmt: skip
    warm = result["temperature"] * units.kB
    assert warm == pytest.approx(0.722, rel=0.1)
    assert result["Ar-Ar first_peak"] == pytest.approx(1.09, abs=0.05)
    assert result["Ar-Ar peak_height"] == pytest.approx(3.0, abs=0.25)
    assert result["Ar-Ar coordination"] == pytest.approx(13.0, abs=1.0)
    # The energy of g(r) is that of the liquid: M. Thol et al., J. Phys. Chem. Ref. Data 45, 023101 (2016) gives -6.080 at
    # 0.722 and 1.13 more per unit of temperature; a crystal of this density has 0.3 less.
    g = result.curves["Ar-Ar"]
    pairs = 4 * (g.x**-12 - g.x**-6)
    tail = 8 * np.pi * density * (2.5**-9 / 9 - 2.5**-3 / 3)
    others = density * (len(atoms) - 1) / len(atoms)  # an atom is no neighbour of itself
    energy = 2 * np.pi * others * float((g.y * pairs * g.x**2)[g.x > 0.8].sum() * 0.01) + tail
    assert energy == pytest.approx(-6.080 + 1.13 * (warm - 0.722), abs=0.08)


def test_bad_input(tmp_path):
    with pytest.raises(StructureError, match="periodic"):
        radial_distribution(still(Atoms("Si2", [[0, 0, 0], [0, 0, 2]])))
    atoms = bulk("Si", cubic=True)
    with pytest.raises(StructureError, match="periodic"):
        RDF(Atoms("Si2", [[0, 0, 0], [0, 0, 2]]), LennardJones())
    with pytest.raises(DataError, match="cannot read"):
        RDF(atoms, LennardJones(), trajectory=str(tmp_path / "none.xyz"))
    with pytest.raises(ConfigError, match="too short"):
        RDF(atoms, LennardJones(), length=0.01)
    with pytest.raises(ConfigError, match="r_max"):
        radial_distribution(still(atoms), r_max=-1.0)


def test_reaches_that_are_too_far_are_refused_before_anything_is_simulated():
    atoms = bulk("Cu", a=3.6, cubic=True)
    with pytest.raises(ConfigError, match=r"`r_max` = 200 Å makes .* pairs .* take 1\d* Å or less|take 1"):
        RDF(atoms, EMT(), r_max=200.0)
    with pytest.raises(ConfigError, match=r"`angle_cutoff` = 30 Å makes .* pairs of bonds"):
        RDF(atoms, EMT(), angle_cutoff=30.0)
    frames = from_frames([atoms, atoms], interval=1.0)
    with pytest.raises(ConfigError, match="`r_max`"):
        radial_distribution(frames, r_max=200.0)
    with pytest.raises(ConfigError, match="`angle_cutoff`"):
        angle_distribution(frames, cutoff=30.0)
