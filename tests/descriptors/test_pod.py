"""POD against LAMMPS, against sums written out, and its files."""

from __future__ import annotations

import itertools

import lammps_pod_run as lammps_run
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.deployment.lammps_pod import export_pod, read_pod
from forgefield.deployment.load import describe, load
from forgefield.descriptors import POD, make_descriptor
from forgefield.descriptors.pod_files import (
    read_pod_coefficients,
    read_pod_parameters,
    write_pod_coefficients,
    write_pod_parameters,
)
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.formulas.dual import Dual
from forgefield.formulas.pod_basis import four_body_exponents, pod_radial, pod_snapshots
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.testing import tolerances as tol
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace

SMALL = {
    "inner_cutoff": 0.7,
    "bessel_degree": 3,
    "inverse_degree": 4,
    "n_max_two_body": 4,
    "n_max_three_body": 3,
    "degree_three_body": 3,
    "n_max_four_body": 2,
    "degree_four_body": 3,
}


def crystal(symbols=("Ta",), seed=0):
    """16 displaced atoms in a triclinic cell smaller than the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Ta", "bcc", a=3.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.15, seed=seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.standard_normal((3, 3))), scale_atoms=True)
    atoms.symbols = rng.choice(symbols, len(atoms))
    return atoms


def random_potential(descriptor, atoms, seed=0):
    """A linear potential in which every feature has about the same say; its scaler is not trivial."""
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(descriptor.compute(atoms))
    model = make_model({"kind": "linear"}, descriptor.n_features, descriptor.n_species)
    references = {z: -1.0 - 0.1 * z for z in descriptor.species}
    potential = Potential(descriptor, model, references, energy_scale=0.5).to_dtype(torch.float64)
    potential.scaler.fit(features, "standard")
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(rng.standard_normal(model.weight.shape)))
        model.bias.copy_(torch.from_numpy(rng.standard_normal(model.bias.shape)))
    return potential


def agree(potential, atoms, answer):
    prediction = potential.predict(atoms)
    features = potential.descriptor.compute(atoms)
    assert prediction.energy == pytest.approx(answer.energy, rel=tol.OTHER_PROGRAM)
    scale = np.abs(answer.forces).max()
    assert scale > 0.1
    assert np.abs(prediction.forces - answer.forces).max() < tol.OTHER_PROGRAM * scale
    assert features.shape == answer.descriptors.shape
    error = np.abs(features - answer.descriptors).max(axis=0) / np.abs(features).max(axis=0)
    assert error.max() < tol.OTHER_PROGRAM


def test_tantalum_of_lammps():
    folder = lammps_run.potentials_folder()
    files = folder / "Ta_param.pod", folder / "Ta_coeff.pod"
    potential, atoms = read_pod(*files), crystal()
    assert potential.descriptor.n_features == 31
    assert potential.free_atom_energies()[73] == -4.45745
    agree(potential, atoms, lammps_run.evaluate(atoms, *files, ["Ta"]))


@pytest.mark.parametrize(
    ("elements", "settings"),
    [
        (["Ta"], {}),
        (["Ta"], {"degree_three_body": 12, "degree_four_body": 6, "n_max_four_body": 2}),
        (["W", "Ta"], {}),
        (["Mo", "W", "Ta"], SMALL),
        (["Ta"], {**SMALL, "n_max_five_body": 2, "degree_five_body": 3}),
        (["W", "Ta"], {**SMALL, "n_max_six_body": 2, "degree_six_body": 3}),
        (["Ta", "W"], {**SMALL, "n_max_seven_body": 2, "degree_seven_body": 2, "n_max_five_body": 1}),
    ],
)
def test_exported_potential_in_lammps(elements, settings, tmp_path):
    atoms = crystal(elements)
    potential = random_potential(POD(elements, element_order=tuple(elements), **settings), atoms)
    files = export_pod(potential, tmp_path, "test")
    assert [f.name for f in files] == ["test_param.pod", "test_coeff.pod"]
    again = read_pod(*files)
    for path in files:
        assert load(path, dtype="float32").to_dtype(torch.float64).n_parameters == again.n_parameters
    assert again.predict(atoms).energy == pytest.approx(potential.predict(atoms).energy, rel=1e-12)
    agree(again, atoms, lammps_run.evaluate(atoms, *files, elements))


def cluster(symbols):
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((len(symbols) - 1, 3))
    vectors *= (rng.uniform(1.2, 4.0, len(vectors)) / np.linalg.norm(vectors, axis=1))[:, None]
    return Atoms(symbols, np.vstack([[0, 0, 0], vectors]))


def test_features_are_the_sums_of_the_definition():
    order = ("Si", "O")
    d = POD(["O", "Si"], element_order=order, **SMALL)
    atoms = cluster(["Si", "O", "Si", "O", "Si"])
    got = dict(zip(d.feature_names, d.compute(atoms)[0], strict=True))
    r = np.linalg.norm(atoms.positions[1:], axis=1)
    unit = atoms.positions[1:] / r[:, None]
    cosine = unit @ unit.T
    u = np.array(d.expansions[0].radial(r))
    of = {e: [j - 1 for j in range(1, 5) if atoms[j].symbol == e] for e in order}
    expected = {f"{e} n{n + 1}": u[n, of[e]].sum() for e in order for n in range(4)}
    for a, b in itertools.combinations_with_replacement(order, 2):
        for n, p in itertools.product(range(3), range(4)):
            terms = (u[n, j] * u[n, k] * cosine[j, k] ** p for j in of[a] for k in of[b])
            expected[f"{a} {b} n{n + 1} p{p}"] = sum(terms)
    for a, b, c in itertools.combinations_with_replacement(order, 3):
        for n, (x, y, z) in itertools.product(range(2), four_body_exponents(3)):
            terms = (
                u[n, j] * u[n, k] * u[n, l] * cosine[j, k] ** x * cosine[j, l] ** y * cosine[k, l] ** z
                for j in of[a]
                for k in of[b]
                for l in of[c]
            )
            expected[f"{a} {b} {c} n{n + 1} {x}{y}{z}"] = sum(terms)
    assert list(expected) == d.feature_names
    error = np.array([got[k] - expected[k] for k in expected])
    assert np.abs(error).max() < 1e-13 * max(map(abs, expected.values()))


def test_products_multiply_the_features_they_name():
    d = POD(["Si"], **SMALL, n_max_five_body=2, degree_five_body=2, n_max_six_body=1, degree_six_body=2)
    features = dict(zip(d.feature_names, d.compute(cluster(["Si"] * 6))[0], strict=True))
    products = [name for name in features if name.startswith("(")]
    assert len(products) > 10
    for name in products:
        left, right = name[1:-1].split(") (")
        assert features[name] == pytest.approx(features[left] * features[right], rel=1e-12)


def test_radial_functions_are_orthonormal_and_vanish_smoothly():
    inner, cutoff = 0.5, 5.0
    r = np.linspace(inner + 1e-6, cutoff, 2000)
    u = np.array(pod_radial(r, inner, cutoff, 4, 8, 8))
    overlap = u @ u.T  # the sum that defines the modes
    off_diagonal = overlap - np.diag(np.diag(overlap))
    assert np.abs(off_diagonal).max() < 1e-8 * np.diag(overlap).min()
    x, w = np.polynomial.legendre.leggauss(400)
    r = inner + 0.5 * (cutoff - inner) * (x + 1)
    u = np.array(pod_radial(r, inner, cutoff, 4, 8, 8))
    integral = (u * w * 0.5 * (cutoff - inner)) @ u.T  # which the sum approximates
    assert np.abs(np.diag(integral) - 1).max() < 1e-3
    assert np.abs(integral - np.eye(8)).max() < 0.03
    at_cutoff = pod_radial(Dual(np.array([5.0 - 1e-3, 5.0, 7.0]), np.ones(3)), inner, cutoff, 4, 8, 8)
    assert all(np.abs(f.value).max() < 1e-30 and np.abs(f.tangent).max() < 1e-20 for f in at_cutoff)


def test_snapshots_are_those_of_the_definition():
    inner, cutoff, r = 0.8, 4.5, np.linspace(0.9, 4.4, 50)
    y = (r - inner) / (cutoff - inner)
    cut = np.exp(1 - 1 / np.sqrt((1 - y**3) ** 2 + 1e-6))
    expected = [
        np.sqrt(2 / (cutoff - inner))
        / k
        * np.sin(k * np.pi * np.expm1(-b * y) / np.expm1(-b))
        / (r - inner)
        * cut
        for b in (1e-3, 2.0, 4.0)
        for k in (1, 2, 3)
    ] + [cut / r**k for k in (1, 2)]
    got = np.array(pod_snapshots(r, inner, cutoff, 3, 2))
    assert np.abs(got - expected).max() < 1e-12 * np.abs(expected).max()
    at_inner = np.array(pod_snapshots(np.array([inner - 1e-7, inner, inner + 1e-7]), inner, cutoff, 3, 2))
    assert np.ptp(at_inner, axis=1).max() < 1e-5 * np.abs(at_inner).max()


def test_radial_functions_in_kernels():
    radial = POD(["Si"], **SMALL).expansions[0].radial

    def kernel(k, r, out):
        del k
        for n, value in enumerate(radial(r[0])):
            out[n] = value

    r, out = np.array([[0.7, 1.5, 4.99, 5.0, 9.0]]), np.zeros((radial.n_radial, 5))
    interpret(trace("radial", {"r": "rows", "out": "rows"}, 64, kernel), 5, {"r": r, "out": out})
    expected = np.array(radial(r[0]))
    assert np.abs(out - expected).max() < 1e-13 * np.abs(expected).max()


def test_files_round_trip(tmp_path):
    d = POD(["W", "Ta"], element_order=("W", "Ta"), cutoff=5.1, **{**SMALL, "inner_cutoff": 0.3})
    again = read_pod_parameters(write_pod_parameters(tmp_path / "p.pod", d))
    assert again.settings == d.settings
    assert again.elements == ["W", "Ta"]
    assert again.species == (73, 74)
    table = np.random.default_rng(0).standard_normal((2, 1 + d.n_features))
    path = write_pod_coefficients(tmp_path / "c.pod", d, table)
    assert np.array_equal(read_pod_coefficients(path, d), table)
    first = path.read_text().splitlines()
    assert first[0] == f"model_coefficients: {table.size} 0 0"
    assert float(first[1]) == table[1, 0]  # tungsten comes first in the file


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("number_of_environment_clusters 3", "is 3, only 1 is supported"),
        ("onebody 0", "is 0, only 1 is supported"),
        ("rcut five", "must be a keyword and one number"),
        ("rcutt 5.0", "did you mean 'rcut'"),
        ("species Xx", "must name the elements, got Xx"),
        ("rin 6.0", "`inner_cutoff` must be < `cutoff`"),
    ],
)
def test_bad_parameter_files(line, message, tmp_path):
    path = tmp_path / "p.pod"
    path.write_text(f"# parameters\nspecies Ta\n{line} # comment\n")
    with pytest.raises((PotentialFileError, ConfigError), match=message):
        read_pod_parameters(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is ``"),
        ("model_coefficients: 4 0 0\n1\n2\n3\n4\n", "expected `model_coefficients: 2 0 0`"),
        ("model_coefficients: 2 5 3\n1\n2\n", "expected `model_coefficients: 2 0 0`"),
        ("model_coefficients: 2 0 0\n1\n", "1 lines of coefficients, expected 2"),
        ("model_coefficients: 2 0 0\n1\ntwo\n", "not a number"),
        ("model_coefficients: 2 0 0\n1\nnan\n", "expected 2 numbers"),
    ],
)
def test_bad_coefficient_files(text, message, tmp_path):
    d = POD(["Ta"], n_max_two_body=1, n_max_three_body=0, n_max_four_body=0)
    path = tmp_path / "c.pod"
    path.write_text(text)
    with pytest.raises(PotentialFileError, match=message):
        read_pod_coefficients(path, d)


def test_found_by_content(tmp_path):
    d = POD(["W", "Ta"], **SMALL)
    potential = Potential(d, make_model({"kind": "linear"}, d.n_features, 2), {73: -1.0, 74: -2.5})
    parameters, coefficients = export_pod(potential, tmp_path / "new")
    assert load(coefficients).free_atom_energies() == {73: -1.0, 74: -2.5}
    assert describe(parameters)["bytes"] == parameters.stat().st_size
    alone = parameters.rename(tmp_path / "parameters.pod")
    with pytest.raises(PotentialFileError, match=r"name them NAME_param\.pod and NAME_coeff\.pod"):
        load(alone)
    with pytest.raises(PotentialFileError, match=r"potential_param\.pod"):
        load(coefficients)


def test_only_linear_pod_potentials_are_exported(tmp_path):
    d = POD(["Ta"], **SMALL)
    network = Potential(d, make_model({"kind": "network"}, d.n_features, 1))
    with pytest.raises(ConfigError, match="got pod with network"):
        export_pod(network, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner_cutoff": 6.0}, "`inner_cutoff` must be < `cutoff`"),
        ({"n_max_four_body": 7}, "`n_max_four_body` must be <= `n_max_three_body` \\(6\\), got 7"),
        ({"degree_four_body": 5}, "`degree_four_body` must be <= `degree_three_body` \\(4\\), got 5"),
        ({"n_max_six_body": 5}, "`n_max_six_body` must be <= `n_max_four_body` \\(4\\)"),
        ({"bessel_degree": 1, "inverse_degree": 2}, "5 snapshots .* give no 8 radial functions"),
        (
            {"element_order": ["Ta", "W"]},
            "`element_order` is \\['Ta', 'W'\\], but the elements are \\['Ta'\\]",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor({"kind": "pod", **settings}, ["Ta"])
