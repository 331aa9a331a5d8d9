"""Nuclear repulsion: its formula, and its way through everything a potential does."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from scipy import constants

import forgefield as ff
from forgefield.descriptors import NEP
from forgefield.errors import ConfigError
from forgefield.formulas.dual import Dual
from forgefield.formulas.zbl import UNIVERSAL_SCREENING, cosine_switch, zbl_pair
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.testing import CHECKS
from forgefield.testing.numerics import deviation
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import make_objective

SPECIES = (8, 14)


def potential_with(settings=None, *, model="network", silent=False):
    torch.manual_seed(0)
    descriptor = NEP(SPECIES, cutoff_radial=4.5, cutoff_angular=3.5, n_max_radial=2, n_max_angular=2, l_max=2)
    if model == "linear":
        regression = Linear(descriptor.n_features, 2)
    else:
        regression = Network(descriptor.n_features, 2, NetworkSettings(hidden=(4,)))
    if silent:
        for p in regression.parameters():
            p.data.zero_()
    zbl = ZBL(SPECIES, settings or ZBLSettings(outer=2.4, inner=0.9))
    potential = Potential(descriptor, regression, {8: -3.0, 14: -5.0}, zbl=zbl).to_dtype(torch.float64)
    potential.scaler.scale.fill_(0.1)
    return potential


def crystal(seed=0, bond=1.75):
    """A triclinic crystal with many pairs between the inner and the outer cutoff."""
    rng = np.random.default_rng(seed)
    atoms = bulk("C", a=bond * 4 / 3**0.5, cubic=True)
    atoms.symbols = rng.permutation(["Si"] * 4 + ["O"] * 4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.06 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
    return atoms


# ---- formula -------------------------------------------------------------------------------------------------


def test_bare_nuclei_and_the_screening_length():
    """At tiny distances the Coulomb law; further out the universal function of Ziegler, Biersack and Littmark."""
    coulomb = constants.e / (4 * np.pi * constants.epsilon_0) * 1e10
    assert zbl_pair(1e-6, 8, 14, 3.0, 4.0) == pytest.approx(coulomb * 8 * 14 / 1e-6, rel=1e-5)
    bohr = constants.physical_constants["Bohr radius"][0] * 1e10
    length = 0.8854 * bohr / (8**0.23 + 14**0.23)
    r = 0.7
    phi = sum(a * np.exp(-b * r / length) for a, b in UNIVERSAL_SCREENING)
    assert zbl_pair(r, 8, 14, 3.0, 4.0) == pytest.approx(coulomb * 8 * 14 / r * phi, rel=5e-4)
    assert sum(a for a, _ in UNIVERSAL_SCREENING) == pytest.approx(1.0, abs=1e-12)


def test_the_switch_is_smooth():
    r = np.linspace(0.5, 2.5, 20001)
    value = cosine_switch(r, 1.0, 2.0)
    assert (value[r < 1] == 1).all()
    assert (value[r >= 2] == 0).all()
    slope = np.gradient(value, r)
    assert np.abs(np.diff(slope)).max() < 1e-3
    assert value[10000] == pytest.approx(0.5, abs=1e-9)


def test_one_formula_for_numbers_arrays_tensors_and_duals():
    r = np.linspace(0.4, 2.6, 45)
    expected = [zbl_pair(float(x), 14, 8, 0.9, 2.4) for x in r]
    assert np.allclose(zbl_pair(r, 14, 8, 0.9, 2.4), expected, rtol=1e-14)
    assert np.allclose(zbl_pair(torch.from_numpy(r), 14, 8, 0.9, 2.4), expected, rtol=1e-14)
    dual = zbl_pair(Dual(r, np.ones_like(r)), 14, 8, 0.9, 2.4)
    step = 1e-6
    slope = (zbl_pair(r + step, 14, 8, 0.9, 2.4) - zbl_pair(r - step, 14, 8, 0.9, 2.4)) / (2 * step)
    assert deviation(dual.tangent, slope) < 1e-8


# ---- potential -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", ["Si2", "SiO", "OSi", "O2"])
def test_a_dimer_has_the_energy_of_the_formula(symbols):
    potential = potential_with(silent=True)
    references = sum({"Si": -5.0, "O": -3.0}[a] for a in Atoms(symbols).symbols)
    for distance in (0.5, 1.0, 1.7, 2.39, 2.41, 3.0):
        atoms = Atoms(symbols, [[0, 0, 0], [0.6 * distance, 0, 0.8 * distance]])
        pair = zbl_pair(distance, *map(int, atoms.numbers), 0.9, 2.4)
        got = potential.predict(atoms)
        assert got.energy - references == pytest.approx(pair, rel=1e-12, abs=1e-12)
        halves = got.energies - [{"Si": -5.0, "O": -3.0}[a] for a in atoms.symbols]
        assert np.allclose(halves, 0.5 * pair, rtol=1e-12, atol=1e-12)
        assert (np.abs(got.forces).max() > 0) == (distance < 2.4)


@pytest.mark.parametrize(
    "name",
    [
        "forces",
        "stress",
        "rotation",
        "permutation",
        "periodic_images",
        "batches",
        "virials",
        "heat_flux",
        "single_precision",
        "file_round_trip",
        "isolated_atom",
    ],
)
def test_checklist(name):
    assert CHECKS[name](potential_with(), [crystal(0), crystal(1)]).passed


def test_repulsion_is_added_to_the_rest():
    potential, atoms = potential_with(), crystal()
    bare = Potential(potential.descriptor, potential.model, {8: -3.0, 14: -5.0})
    bare.scaler = potential.scaler
    alone = potential_with(silent=True)
    alone.references.zero_()
    whole, without, only = (p.predict(atoms) for p in (potential, bare, alone))
    assert np.abs(only.forces).max() > 1.0
    for name in ("energies", "forces", "stress", "virials"):
        total = getattr(without, name) + getattr(only, name)
        assert deviation(getattr(whole, name), total) < 1e-12
    many = potential.predict_many([atoms, atoms[:3]])[0]
    assert deviation(many.forces, whole.forces) < 1e-12
    assert potential.n_parameters == bare.n_parameters


def test_a_repulsion_that_reaches_further_than_the_descriptor():
    potential = potential_with(ZBLSettings(outer=6.0, inner=1.0))
    assert potential.cutoff == 6.0
    assert potential.cutoffs == (4.5, 3.5, 6.0)
    assert CHECKS["forces"](potential, [crystal()]).passed


def test_typewise_cutoffs_end_earlier_for_small_atoms():
    zbl = ZBL((1, 14), ZBLSettings(outer=2.0, typewise_factor=0.7))
    assert zbl.tables["outer"][0, 0] == pytest.approx(0.7 * 2 * 0.426667)
    assert zbl.tables["outer"][1, 1] == pytest.approx(0.7 * 2 * 1.38667)
    assert ZBL((14, 82), ZBLSettings(outer=2.0, typewise_factor=0.7)).tables["outer"][1, 1] == 2.0
    assert not zbl.tables["inner"].any()


def test_own_parameters_of_pairs():
    flat = [x for pair in UNIVERSAL_SCREENING for x in pair]
    pairs = {"O-O": (0.9, 2.4, *flat), "O-Si": (0.9, 2.4, *flat), "Si-Si": (0.5, 2.0, *flat)}
    universal, flexible = potential_with(), potential_with(ZBLSettings(pairs=pairs))
    atoms = crystal()
    atoms.symbols = "O8"
    assert deviation(flexible.predict(atoms).forces, universal.predict(atoms).forces) < 1e-12
    atoms.symbols = "Si8"
    assert deviation(flexible.predict(atoms).forces, universal.predict(atoms).forces) > 1e-3


def test_files_copies_and_calculators_keep_it(tmp_path):
    potential, atoms = potential_with(ZBLSettings(outer=2.2, typewise_factor=0.8)), crystal()
    expected = potential.predict(atoms).forces
    loaded = ff.load(potential.save(tmp_path / "p.ff"))
    assert loaded.zbl.settings == potential.zbl.settings
    assert np.array_equal(loaded.predict(atoms).forces, expected)
    pickled = pickle.loads(pickle.dumps(loaded.calculator()))  # noqa: S301
    for calculator in (potential.calculator(), pickled):
        atoms.calc = calculator
        assert deviation(atoms.get_forces(), expected) < 1e-12
        atoms.positions[0] += 0.3  # the list with a skin reaches as far
        assert deviation(atoms.get_forces(), potential.predict(atoms).forces) < 1e-12
        atoms.positions[0] -= 0.3
    single = potential.calculator(dtype="float32")
    atoms.calc = single
    assert deviation(atoms.get_forces(), expected) < 1e-5
    without = Potential(potential.descriptor, potential.model).to_dtype(torch.float64)
    assert ff.load(without.save(tmp_path / "q.ff")).zbl is None


# ---- training ------------------------------------------------------------------------------------------------


def labelled(potential, n):
    frames = []
    for seed in range(n):
        atoms = crystal(seed)
        result = potential.predict(atoms)
        atoms.calc = SinglePointCalculator(
            atoms, energy=result.energy, forces=result.forces, stress=result.stress
        )
        frames.append(atoms)
    return frames


def test_least_squares_learns_what_the_repulsion_does_not_say():
    truth = potential_with(model="linear")
    truth.model.reset_parameters(torch.Generator().manual_seed(1))
    frames = labelled(truth, 6)
    learner = potential_with(model="linear")
    learner.descriptor.load_state_dict(truth.descriptor.state_dict())
    fit_linear(
        learner, LabelledSet(learner, frames), LossSettings(stress=0.1), LeastSquaresSettings(ridge=1e-14)
    )
    for atoms in frames[:2]:
        assert deviation(learner.predict(atoms).forces, truth.predict(atoms).forces) < 1e-6
    blind = Potential(
        learner.descriptor, Linear(learner.descriptor.n_features, 2), {8: -3.0, 14: -5.0}
    ).to_dtype(torch.float64)
    fit_linear(blind, LabelledSet(blind, frames), LossSettings(stress=0.1), LeastSquaresSettings(ridge=1e-14))
    assert deviation(blind.predict(frames[0]).forces, truth.predict(frames[0]).forces) > 1e-3


def test_gradient_training_sees_it_as_a_baseline():
    truth = potential_with()
    data = LabelledSet(truth, labelled(truth, 2))
    batch = data.batch([0, 1], torch.float64)
    out = truth.evaluate(batch.graph, training=True)
    assert deviation(out.forces.detach().numpy(), batch.forces.numpy()) < 1e-12
    assert deviation(out.energy.detach().numpy(), batch.energy.numpy()) < 1e-12
    loss = (out.forces - batch.forces + 1.0).square().sum()
    gradients = torch.autograd.grad(loss, [*truth.parameters()], allow_unused=True)
    assert max(float(g.abs().max()) for g in gradients if g is not None) > 0


@pytest.mark.parametrize("backend", ["torch", "compiled"])
def test_both_ways_of_training_leave_nothing_to_learn_from_the_truth(backend):
    truth = potential_with()
    data = LabelledSet(truth, labelled(truth, 2))
    terms = make_objective(truth, data, Loss(LossSettings(), data.scales()), backend).terms([0, 1])
    assert np.abs(data.labels[0].forces).max() > 1.0
    for residuals in (terms.energy, terms.forces, terms.stress):
        assert np.abs(residuals).max() < 1e-9


def test_config(alloy_file, tmp_path):
    config = {
        "data": {"train": [str(alloy_file)]},
        "descriptor": {
            "kind": "nep",
            "cutoff_radial": 4.0,
            "cutoff_angular": 4.0,
            "n_max_radial": 1,
            "n_max_angular": 1,
            "basis_size_radial": 2,
            "basis_size_angular": 2,
            "l_max": 2,
        },
        "model": {"kind": "network", "hidden": [3]},
        "zbl": {"outer": 2.0},
        "training": {"epochs": 1, "backend": "torch"},
    }
    run = ff.train(config, output=tmp_path / "run")
    assert run.potential.zbl.settings.outer == 2.0
    loaded = ff.load(tmp_path / "run" / "potential.ff")
    assert loaded.zbl.settings == run.potential.zbl.settings
    close = Atoms("CuAu", [[0, 0, 0], [0, 0, 0.4]])
    assert loaded.predict(close).forces[1, 2] > 100.0
    assert len(loaded.provenance.notes["max_neighbours"]) == 1


# ---- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outer": 1.0, "inner": 1.5}, "`inner` must be less than `outer`, 1.0 Å, got 1.5"),
        ({"outer": -1.0}, "greater than 0"),
        ({"pairs": {"SiO": [0.5, 1.0, *[0.1] * 8]}}, "keys such as Si-O, got 'SiO'"),
        ({"pairs": {"Si-Xy": [0.5, 1.0, *[0.1] * 8]}}, "keys such as Si-O, got 'Si-Xy'"),
        ({"pairs": {"Si-O": [1.5, 1.0, *[0.1] * 8]}}, "inner < outer"),
        ({"pairs": {"Si-O": [0.5, 1.0]}}, "10 items"),
        ({"pairs": {}, "typewise_factor": 0.7}, "leave out `typewise_factor`"),
        ({"outter": 1.0}, "did you mean 'outer'"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZBLSettings.parse(settings, where="zbl")


def test_elements_must_fit():
    with pytest.raises(ConfigError, match="lacks O-Si"):
        ZBL(SPECIES, ZBLSettings(pairs={"O-O": (0.5, 1.0, *[0.1] * 8)}))
    with pytest.raises(ConfigError, match="up to Pu, not of Am"):
        ZBL((95,), ZBLSettings(typewise_factor=0.7))
    descriptor = NEP(["Si"])
    with pytest.raises(ConfigError, match="for the elements"):
        Potential(descriptor, Network(descriptor.n_features, 1), zbl=ZBL((8,)))
    potential = Potential(descriptor, Network(descriptor.n_features, 1))
    graph = potential.tensors(potential.graph(bulk("Si")))
    assert potential.baseline(graph) is None
    with pytest.raises(ConfigError, match="no nuclear repulsion"):
        potential.repulsion(graph)
