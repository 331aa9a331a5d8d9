"""What a fluid's cell lacks of an infinite one: hard rods, ideal mixtures, salts, the Uhlenbeck-Ford model; exact averages."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy.special import gamma, gammaln

from forgefield.errors import ConfigError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics import State
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_fluid import (
    FluidFluctuations,
    fluid_finite_size,
    number_fluctuations,
)
from forgefield.properties.free_energy_phases import liquid_free_energy, solid_free_energy
from forgefield.properties.free_energy_potentials import (
    EinsteinSprings,
    Mixture,
    Repulsion,
    soft_core,
    uhlenbeck_ford,
)
from forgefield.properties.free_energy_reference import (
    harmonic_crystal_free_energy,
    ideal_gas_free_energy,
    log_thermal_wavelengths,
    volume_per_lattice_point,
)
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.journal import Journal

KT = units.kB * 300.0


# ---- closed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [0.0, 0.3, 0.9])
def test_hard_rods_in_a_ring_are_exact(packing: float) -> None:
    # Z_N = L (L - N a)^(N - 1) / N! with rods of length a; rho kT kappa_T = (1 - rho a)^2. Packing 0 is the ideal gas.
    n, a = 64, 1.0
    length = n * a / packing if packing else float(n)
    free = length - n * a * (packing > 0)
    log_z = math.log(length) + (n - 1) * math.log(free) - gammaln(n + 1)
    infinite = n * (math.log(free / n) + 1.0)
    lacks = KT * (log_z - infinite)  # F(infinite) - F(N)
    chi = Measured((1.0 - packing) ** 2, 0.1 * (1.0 - packing) ** 2)
    found = fluid_finite_size([n], chi, None, 300.0)
    assert found.value == pytest.approx(lacks, abs=KT * (1.0 / (11.0 * n) + 2e-3 * (packing > 0.5)))
    assert abs(lacks) > 0.6 * KT
    assert found.error == pytest.approx(0.05 * KT)


def test_mixtures_count_every_species() -> None:
    counts = np.array([40, 30, 20])
    n, x = counts.sum(), counts / counts.sum()
    exact = KT * float((counts * np.log(counts) - counts - gammaln(counts + 1.0)).sum())  # Stirling's formula
    composition = n * (np.diag(x) - np.outer(x, x))[:2, :2]  # of an ideal gas
    found = fluid_finite_size(counts, Measured(1.0, 0.0), composition, 300.0).value
    assert found == pytest.approx(exact, abs=0.01 * KT)
    with pytest.raises(ConfigError, match="composition"):
        fluid_finite_size(counts, Measured(1.0, 0.0), None, 300.0)


def test_of_a_salt_only_whole_formula_units_are_free() -> None:
    found = fluid_finite_size([21, 42], Measured(0.8, 0.0), [[1e-3]], 300.0).value
    assert found == pytest.approx(-0.5 * KT * math.log(2 * math.pi * 63 * 0.8 / 9), rel=1e-3)


def test_numbers_that_hardly_fluctuate_are_summed_one_by_one() -> None:
    for variances in ((0.04,), (5.0,), (0.1, 3.0)):
        normals = [
            sum(math.exp(-k * k / (2.0 * v)) for k in range(-60, 61)) for v in variances
        ]  # independent numbers
        found = number_fluctuations(np.diag(1.0 / np.array(variances)))
        assert found == pytest.approx(math.log(math.prod(normals)), abs=2e-3)
        assert found >= 0.0


# ---- fluctuations ------------------------------------------------------------------------------------------------


class Nothing:
    def reset(self) -> None:
        pass

    def evaluate(self, positions, _cell, *, virial=False, **_others) -> Forces:
        return Forces(0.0, np.zeros_like(positions), np.zeros((3, 3)) if virial else None)


def test_composition_of_an_ideal_mixture_is_that_of_its_waves() -> None:
    atoms = Atoms("Ar40Ne20", positions=np.zeros((60, 3)), cell=[8.0, 9.0, 10.0], pbc=True)
    fluid, rng, zero = FluidFluctuations(atoms, Nothing(), 300.0), np.random.default_rng(0), np.zeros((60, 3))
    observe = fluid.observe["waves"]
    found = []
    for _ in range(600):
        positions = rng.uniform(0, 1, (60, 3)) @ atoms.cell.array
        state = State(positions, zero, atoms.cell.array, atoms.get_masses(), atoms.numbers)
        found.append(observe(state, Forces(0.0, zero)))
    # Independent of each other: variance N x (1 - x); the square of one wave scatters as an exponential.
    assert fluid.composition(np.mean(found, axis=0))[0, 0] == pytest.approx(60 * 2 / 9, rel=0.25)
    assert "waves" not in FluidFluctuations(atoms[:40], Nothing(), 300.0).observe


def test_free_energy_of_four_atoms_is_that_of_infinitely_many() -> None:
    # Uhlenbeck-Ford model, p = 1, b rho = 0.5: beta F / N = 0.52685 (R. Paula Leite et al. 2016). Its virial
    # coefficients are Gaussian integrals: K / rho kT = 1 + 2 x + 3 B3 x^2 + ..., B3 = 0.2566, and 2.13 to that table.
    length, n = 2.0, 4
    density = 0.5 / (0.5 * (math.pi * length**2) ** 1.5)
    atoms = bulk("Ar", "fcc", a=(4 / density) ** (1 / 3), cubic=True)
    common = {
        "phase": "liquid", "temperature": 300.0, "timestep": 15.0, "friction": 0.004, "points": 3,
        "reference_points": 4, "reference_strength": 2.0, "reference_length": length, "steps": 250,
        "equilibration": 40, "target_steps": 1000, "melt_steps": 50,
    }  # fmt: skip
    result = FREE_ENERGY(atoms, uhlenbeck_ford(atoms, 1.0, length, KT), **common)
    ideal = log_thermal_wavelengths(atoms.get_masses(), 300.0) / n + math.log(density) - 1.0
    found = result.quantities["helmholtz"]
    excess, error = found.value / KT - ideal, found.error / KT
    assert error < 0.06
    assert abs(excess - 0.52685) < 3 * error
    size = result.quantities["finite_size"]
    assert abs(excess - size.value / KT - 0.52685) > 5 * error  # without it
    modulus, unsure = (
        result.conditions[f"bulk_modulus{x}_GPa"] / 160.2176634 / density / KT for x in ("", "_error")
    )
    assert unsure < 0.05
    assert modulus == pytest.approx(2.13, rel=0.1)  # of four atoms, 1/N of it is missing
    assert result.conditions["density_fluctuation"] == pytest.approx(1.0 / modulus)
    assert size.value == pytest.approx(
        -0.5 * KT * math.log(2 * math.pi * n * result.conditions["density_fluctuation"]) / n
    )
    assert result.conditions["finite_size_correction_eV_per_atom"] == size.value
    assert result.conditions["cell_A"] == np.round(atoms.cell.array, 6).tolist()


@pytest.mark.parametrize("steps", [400, 40])
def test_a_modulus_that_is_noise_is_not_used(steps: int, monkeypatch) -> None:
    monkeypatch.setattr("forgefield.properties.free_energy_checks.SMALLEST_FLOW", 0.0)
    atoms = bulk("Ar", "fcc", a=5.0, cubic=True)
    result = FREE_ENERGY(
        atoms, Stiff(), phase="liquid", temperature=300.0, timestep=10.0, points=1, reference_points=1, steps=40,
        equilibration=0, target_steps=steps, melt_steps=0,
    )  # fmt: skip
    assert any("is not resolved; raise `target_steps`" in text for text in result.warnings)
    assert "finite_size" not in result.quantities


class Stiff(Nothing):
    """No forces, and a pressure that is noise."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def evaluate(self, positions, _cell, *, virial=False, **_others) -> Forces:
        total = 30.0 * self.rng.standard_normal() * np.eye(3)
        return Forces(0.0, np.zeros_like(positions), total if virial else None)


# ---- whole paths with exact averages -----------------------------------------------------------------------------


class Exact(Walker):
    """A walker whose averages are given by a function of stage and force field."""

    def __init__(self, atoms: Atoms, settings: FreeEnergySettings, means) -> None:
        super().__init__("exact", atoms, settings.dynamics(), Journal(None, ""))
        self.means = means

    def average(self, stage, field, _observe, **_others):
        found = {name: Measured(value, 0.0) for name, value in self.means(stage, field).items()}
        self.journal.stages[f"{self.name}/{stage}"] = {name: [m.value, m.error] for name, m in found.items()}
        return found

    def independent(self, _stage, _name):
        return math.inf


def hessian(atoms: Atoms) -> np.ndarray:
    n = len(atoms)
    found = np.zeros((n, 3, n, 3))
    i, j, _, r = neighbour_pairs(atoms, 3.0)
    for a, b, v in zip(i, j, r, strict=True):
        block = 3.0 * np.outer(v, v) / (v @ v) + 0.5 * np.eye(3)
        found[a, :, a] += block
        found[a, :, b] -= block
    return found.reshape(3 * n, 3 * n)


class Crystal(Nothing):
    """Harmonic."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix


def test_crystal_over_lambda_with_its_centre_of_mass_is_exact() -> None:
    # Two elements with springs and masses of their own, so that lattice and centre of mass float apart.
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    settings = FreeEnergySettings(temperature=300.0, points=20, finite_size=False)
    target = Crystal(hessian(atoms))

    def means(_stage, field):
        if not isinstance(field, Mixture):
            squares = {f"square_{z}": 3.0 * KT / k for z, k in ((11, 2.0), (17, 5.0))}
            return squares | {"potential": 0.0, "excursion": 0.1, "pressure": 0.0}
        k = field.start.springs
        springs = np.kron(np.diag(k) - np.outer(k, k) / k.sum(), np.eye(3))
        mixed = field.coupling * field.end.matrix + (1.0 - field.coupling) * springs
        inverse = np.linalg.pinv(mixed, rcond=1e-10, hermitian=True)
        return {"excursion": 0.1, "difference": 0.5 * KT * float(((target.matrix - springs) * inverse).sum())}

    found = solid_free_energy(atoms, target, Exact(atoms, settings, means), settings)
    assert found.legs["einstein"].couplings.size == 20
    assert found.conditions["spring_17_eV_per_A2"] == pytest.approx(5.0)
    exact = harmonic_crystal_free_energy(
        target.matrix, atoms.get_masses(), 300.0, volume_per_lattice_point(atoms)
    )
    assert abs(found.free_energy.value - exact) < 1e-6 * KT * len(atoms)
    # the motion as a whole is 1.4 kT here: it cannot have been left out, nor put in with the wrong springs
    assert abs(found.conditions["correction_centre_of_mass_eV"]) > KT


@pytest.mark.parametrize("finite", ["off", "on", "old journal"])
def test_dilute_gas_over_lambda_is_exact(finite: str) -> None:
    # Soft spheres far apart, k = 0.85 as in paper 5: F_ex = kT N (N - 1) / 2V  4 pi / 3 sigma^3 (mu / kT)^(3/n) Gamma(1 - 3/n).
    edge, n, strength, sigma = 40.0, 8, 0.5, 3.0
    atoms = Atoms(f"Ar{n}", positions=np.zeros((n, 3)), cell=3 * [edge], pbc=True)
    settings = FreeEnergySettings(
        phase="liquid", temperature=300.0, reference="soft-core", reference_points=100, points=6,
        reference_strength=strength, reference_length=sigma, melt_steps=0, finite_size=finite != "off",
    )  # fmt: skip
    pairs = 0.5 * n * (n - 1) / edge**3 * 4.0 / 3.0 * math.pi * sigma**3 * gamma(0.75)

    def excess(part: float) -> float:
        return KT * pairs * (part * strength) ** 0.25

    def means(stage, field):
        if not isinstance(field, Mixture):
            modulus = n * KT / edge**3 / 0.9
            slope = modulus - n * KT / edge**3 * math.sinh(0.03) / 0.03
            away = {"compressed": 0.03, "expanded": -0.03}.get(stage, 0.0)
            return {"potential": 0.0, "flow": 2.0, "bulk_modulus": modulus, "configurational": slope * away}
        energy = {c: 0.25 * excess(c) / c for c in (field.coupling, 1.0 - 0.5 * field.coupling)}
        if field.start is None:
            return {"difference": energy[field.coupling]}
        return {"difference": -0.5 * energy[1.0 - 0.5 * field.coupling]}

    target = soft_core(atoms, 0.5 * strength * KT, sigma)
    walker = Exact(atoms, settings, means)
    if finite == "old journal":
        walker.journal.stages["exact/repulsion down 1 point 6"] = {}
    found = liquid_free_energy(atoms, target, walker, settings)
    ideal = ideal_gas_free_energy(atoms.numbers, atoms.get_masses(), edge**3, 300.0)
    lacks = 0.5 * KT * math.log(2.0 * math.pi * n * 0.9) if finite == "on" else 0.0
    assert abs(found.free_energy.value - ideal - excess(0.5) + lacks) < 1e-6 * KT * n
    assert excess(0.5) > 1e-3 * KT * n  # or nothing would have been tested
    assert (found.finite_size is not None) == (finite == "on")
    assert any("version that had none" in text for text in found.warnings) == (finite == "old journal")


@pytest.mark.parametrize("cutoff", [2.0, 7.5])
def test_every_pair_of_a_repulsion_counts_once(cutoff: float) -> None:
    # A cell thinner than the cutoff: images of an atom itself too.
    rng = np.random.default_rng(4)
    cell = np.array([[5.0, 0.2, 0.0], [1.5, 4.0, 0.0], [0.5, 1.0, 6.0]])
    atoms = Atoms("Ar5", scaled_positions=rng.uniform(-1.0, 2.0, (5, 3)), cell=cell, pbc=True)

    def law(squared):
        return np.exp(-squared), -np.exp(-squared)

    field = Repulsion(atoms, law, cutoff)
    _, _, _, vectors = neighbour_pairs(atoms, cutoff)
    both = np.exp(-(vectors**2).sum(axis=1)) - math.exp(-(cutoff**2))
    for _ in range(2):  # with the list made anew, and with the same once more
        assert field.evaluate(atoms.positions, cell).energy == pytest.approx(0.5 * both.sum(), rel=1e-12)
    parts = field.evaluate(atoms.positions, cell, virial=True, atomic=True)
    assert parts.energies.sum() == pytest.approx(parts.energy, rel=1e-12)
    assert parts.virials.sum(axis=0) == pytest.approx(parts.virial, rel=1e-10, abs=1e-14)
    atoms.positions[1] = atoms.positions[0] + cell[2]
    with pytest.raises(StructureError, match="atoms 0 and 1 are at the same place"):
        field.evaluate(atoms.positions, cell)


def test_springs_of_a_floating_lattice_are_the_hessian_that_is_used_above() -> None:
    k, rng = np.array([2.0, 5.0, 3.0]), np.random.default_rng(0)
    springs = EinsteinSprings(np.zeros((3, 3)), k)
    u = rng.standard_normal((3, 3))
    matrix = np.kron(np.diag(k) - np.outer(k, k) / k.sum(), np.eye(3))
    energy = springs.evaluate(u, np.eye(3)).energy
    assert energy == pytest.approx(0.5 * float(u.ravel() @ matrix @ u.ravel()), rel=1e-12)


def test_waves_are_the_longest_of_a_skewed_cell() -> None:
    atoms = Atoms("ArNe", positions=np.zeros((2, 3)), cell=[[9, 0, 0], [4, 8, 0], [1, 2, 7]], pbc=True)
    shells = FluidFluctuations(atoms, Nothing(), 300.0)._shells()
    grid = [i for i in itertools.product(range(-4, 5), repeat=3) if any(i)]
    squares = np.sort(((2 * np.pi * np.array(grid) @ atoms.cell.reciprocal()) ** 2).sum(axis=1))
    assert shells[0][0] == pytest.approx(squares[0], rel=0.05)
    assert shells[0][0] < shells[1][0] <= squares[squares > 1.05 * squares[0]][0] * 1.05


def test_atoms_of_an_ideal_gas_on_top_of_each_other_are_parted_first() -> None:
    rng = np.random.default_rng(0)
    atoms = Atoms("Ar8", positions=rng.uniform(0, 12, (8, 3)), cell=[12.0] * 3, pbc=True)
    atoms.positions[1] = atoms.positions[0] + [0.02, 0.0, 0.01]
    settings = FreeEnergySettings(phase="liquid", temperature=300.0, timestep=8.0)
    walker = Walker("w", atoms, settings.dynamics(), Journal(None, ""))
    field = soft_core(atoms, 0.7 * KT, 3.0)
    found = walker.average("hot", field, {}, steps=400, equilibration=100)
    assert found["temperature"].value == pytest.approx(300.0, rel=0.5)
    # Those that are well apart stay where they are.
    still = Walker("w", walker.atoms, settings.dynamics(), Journal(None, ""))
    still._part(field)
    assert np.array_equal(still.atoms.positions, walker.atoms.positions)


class Stops:
    """A force field that breaks off after so many evaluations."""

    left = 10**9

    def __init__(self, field) -> None:
        self.field = field

    def reset(self) -> None:
        self.field.reset()

    def evaluate(self, positions, cell, **wanted) -> Forces:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.field.evaluate(positions, cell, **wanted)


def test_a_liquid_interrupted_anywhere_ends_the_same_to_the_bit(tmp_path) -> None:
    length = 2.0
    atoms = bulk("Ar", "fcc", a=4.1, cubic=True)
    settings = {
        "phase": "liquid", "temperature": 300.0, "pressure": 0.15, "timestep": 15.0, "friction": 0.004, "points": 2,
        "reference_points": 2, "reference_strength": 2.0, "reference_length": length, "steps": 20,
        "equilibration": 10, "target_steps": 240, "melt_steps": 20, "compressibility": 5.0,
    }  # fmt: skip
    field = Stops(uhlenbeck_ford(atoms, 1.0, length, KT))
    whole = FREE_ENERGY(atoms, field, **settings)
    taken = 10**9 - field.left
    assert whole.quantities["volume"].error > 0.0
    for part in (0.35, 0.48, 0.6, 0.85):  # in the runs at three volumes, and on the path
        field.left = int(part * taken)
        folder = tmp_path / f"{part:.3f}"
        with pytest.raises(KeyboardInterrupt):
            FREE_ENERGY(atoms, field, folder=folder, **settings)
        field.left = 10**9
        resumed = FREE_ENERGY(atoms, field, folder=folder, **settings)
        assert resumed.quantities == whole.quantities
        assert resumed.conditions == whole.conditions
