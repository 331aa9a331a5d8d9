"""Files of mliap: LAMMPS's numbers for all files it ships and for every kind of potential written here."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from lammps_cases import answers, deviations, potentials_folder, random_potential, structures

import forgefield as ff
from forgefield.deployment.engines import LammpsRun
from forgefield.deployment.lammps_mliap import export_mliap, load_mliap, model_kind, read_mliap
from forgefield.deployment.targets import TARGETS
from forgefield.descriptors import NEP, POD, SNAP, SO3
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.models import Linear, Network, Quadratic
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.testing.tolerances import OTHER_PROGRAM

INDIUM_PHOSPHIDE = 1e-8
"""See test_lammps_snap."""

QUADRATURE = 1e-8
"""LAMMPS's radial integrals of so3; see `lammps_so3`."""

PUBLISHED = {
    "Cu.nn.mliap.model": ("nn", "sna", "Cu.snap.mliap.descriptor", ["Cu"], Network),
    "InP_JCPA2020.mliap.model": ("linear", "sna", "InP_JCPA2020.mliap.descriptor", ["In", "P"], Linear),
    "Ni_Mo.mliap.model": ("linear", "so3", "Ni_Mo.mliap.descriptor", ["Mo", "Ni"], Linear),
    "Si.nn.mliap.model": ("nn", "so3", "Si.nn.mliap.descriptor", ["Si"], Network),
    "Ta06A.mliap.model": ("linear", "sna", "Ta06A.mliap.descriptor", ["Ta"], Linear),
    "Ta06A.nn.mliap.model": ("nn", "sna", "Ta06A.mliap.descriptor", ["Ta"], Linear),
    "W.quadratic.mliap.model": ("quadratic", "sna", "W.quadratic.mliap.descriptor", ["W"], Quadratic),
    "WBe_Wood_PRB2019.mliap.model": (
        "linear",
        "sna",
        "WBe_Wood_PRB2019.mliap.descriptor",
        ["W", "Be"],
        Linear,
    ),
}
INCLUDES = ("InP_JCPA2020", "Ta06A", "Ta06A.nn", "W.quadratic", "WBe_Wood_PRB2019")
FORGET = [f"variable {name} delete" for name in ("zblcutinner", "zblcutouter", "zblz", "zblz1", "zblz2")]


@pytest.fixture(scope="module")
def published():
    """Every model and every include file of mliap that LAMMPS ships, except the one for PyTorch."""
    folder = potentials_folder()
    assert sorted(p.name for p in folder.glob("*.mliap.model")) == sorted(PUBLISHED)
    potentials, runs = {}, []
    for name, (model, descriptor, settings, elements, _) in PUBLISHED.items():
        potential = potentials[name] = ff.load(folder / name)
        style = f"pair_style mliap model {model} {name} descriptor {descriptor} {settings}"
        commands = [style, f"pair_coeff * * {' '.join(elements)}"]
        runs.append(LammpsRun(commands, elements, structures(potential)))
    for name in INCLUDES:
        potential = potentials[name] = ff.load(folder / f"{name}.mliap")
        elements = PUBLISHED[f"{name}.mliap.model"][3]
        runs.append(LammpsRun([*FORGET, f"include {name}.mliap"], elements, structures(potential)[:1]))
    found = answers(runs, folder)
    return {n: (p, run, a) for (n, p), run, a in zip(potentials.items(), runs, found, strict=True)}


@pytest.mark.parametrize("name", [*PUBLISHED, *INCLUDES])
def test_published_files_agree_with_lammps(name, published):
    potential, run, found = published[name]
    assert (potential.zbl is not None) == (name in INCLUDES)
    energies, *others = deviations(potential, run.structures, found)
    assert energies < OTHER_PROGRAM
    assert max(others) < (INDIUM_PHOSPHIDE if name.startswith("InP") else OTHER_PROGRAM)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_written_again(name, published, tmp_path):
    potential, run, _ = published[name]
    assert isinstance(potential.model, PUBLISHED[name][4])
    again = ff.load(export_mliap(potential, tmp_path)[1])
    for atoms in run.structures:
        expected = potential.predict(atoms)
        scale = np.abs(expected.forces).max()
        assert np.abs(again.predict(atoms).forces - expected.forces).max() < 1e-12 * scale
        assert again.predict(atoms).energy == pytest.approx(expected.energy, rel=1e-12)


def test_networks_for_pytorch_are_refused():
    with pytest.raises(PotentialFileError, match="model mliappy of mliap is not supported, only linear"):
        ff.load(potentials_folder() / "Ta06A.pytorch.mliap")


# ---- writing -------------------------------------------------------------------------------------------------

TWO = {"cutoff": 4.6, "radii": {"In": 0.5, "P": 0.43}, "weights": {"In": 1.0, "P": 0.93}, "two_j_max": 3}
INNER = {"inner_middle": {"In": 2.3, "P": 2.1}, "inner_width": {"In": 0.4, "P": 0.3}}
BY_NUMBER = {"species_weighting": "atomic_number"}


def kinds():
    """Return potentials by name; all but the names of files and the settings is random."""
    alloy = ["In", "P"]
    return {
        "sna linear": random_potential(SNAP(alloy, **TWO, **INNER), exact=True),
        "sna quadratic": random_potential(SNAP(alloy, **TWO, quadratic=True), repulsion=True),
        "sna quadratic model": random_potential(SNAP(alloy, **TWO), "quadratic", exact=True),
        "sna chemical": random_potential(SNAP(alloy, **TWO, chemical=True, bzero=False)),
        "sna network": random_potential(
            SNAP(alloy, **TWO), "network", repulsion=True, exact=True, hidden=(5, 4)
        ),
        "sna chemical network": random_potential(SNAP(alloy, **TWO, chemical=True), "network", hidden=(5,)),
        "so3 linear": random_potential(SO3(["Ni", "Mo"], **BY_NUMBER), repulsion=True),
        "so3 quadratic model": random_potential(SO3(["Ni", "Mo"], n_max=2, **BY_NUMBER), "quadratic"),
        "so3 network": random_potential(
            SO3(["Ni", "Mo"], l_max=4, **BY_NUMBER), "network", exact=True, hidden=(4, 3)
        ),
        "so3 of one element": random_potential(SO3(["Si"], n_max=4), "network", hidden=(6,)),
    }


KINDS = (
    "sna linear",
    "sna quadratic",
    "sna quadratic model",
    "sna chemical",
    "sna network",
    "sna chemical network",
    "so3 linear",
    "so3 quadratic model",
    "so3 network",
    "so3 of one element",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A potential of every kind, its files, and LAMMPS's answers."""
    potentials, files, runs = kinds(), {}, []
    for kind, potential in potentials.items():
        folder = tmp_path_factory.mktemp("kind")
        files[kind] = TARGETS["lammps-mliap"](potential, folder).files
        commands = [f"shell cd {folder}", "include potential.mliap"]
        runs.append(LammpsRun(commands, potential.elements, structures(potential)))
    found = answers(runs, folder)
    return {k: (p, files[k], run, a) for (k, p), run, a in zip(potentials.items(), runs, found, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_lammps_runs_what_is_written(kind, written):
    potential, _, run, found = written[kind]
    assert deviations(potential, run.structures, found).max() < (QUADRATURE if "so3" in kind else 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back(kind, written):
    potential, (model, descriptor, include), run, _ = written[kind]
    whole = ff.load(include)
    assert type(whole.model) is (Quadratic if "quadratic" in kind else type(potential.model))
    assert model_kind(whole) == model_kind(potential)
    assert load_mliap(model).descriptor.n_features == load_mliap(descriptor).descriptor.n_features
    assert (whole.zbl is None) == (potential.zbl is None)
    for atoms in run.structures:
        ours, again = potential.predict(atoms), whole.predict(atoms)
        assert np.allclose(again.forces, ours.forces, rtol=0, atol=1e-11 * np.abs(ours.forces).max())
        assert again.energy == pytest.approx(ours.energy, rel=1e-11)


def test_single_precision_is_folded_in_double(tmp_path):
    d = SNAP(["Ta"], two_j_max=2, cutoff=4.6)
    potential = random_potential(d, "network", exact=True, dtype=torch.float32, hidden=(4,))
    again = ff.load(export_mliap(potential, tmp_path)[0])
    double = potential.to_dtype(torch.float64)
    atoms = structures(double)[0]
    assert again.predict(atoms).energy == pytest.approx(double.predict(atoms).energy, rel=1e-12)


def test_what_does_not_fit_is_refused(tmp_path):
    def network(descriptor, activation="tanh"):
        return random_potential(descriptor, "network", hidden=(3,), activation=activation)

    snap = {"two_j_max": 2}
    for potential, message in (
        (network(SNAP(["Ta"], **snap), "silu"), r"`model\.activation: silu`; train with tanh"),
        (
            network(SNAP(["Ta"], **snap, quadratic=True)),
            r"no networks of quadratic features.*quadratic: false",
        ),
        (random_potential(SNAP(["Ta"], **snap, quadratic=True), "quadratic"), "is of fourth degree"),
        (network(SNAP(["Ta"], **snap, wself=2.0)), r"`descriptor\.wself: 1` fixed, this potential has 2"),
        (network(SO3(["Ta", "W"])), r"`descriptor\.species_weighting: resolved`; train with `atomic_number`"),
        (network(SO3(["Ta"], l_max=0)), r"needs `descriptor\.l_max` >= 1"),
        (network(SO3(["Ta"], alpha=20.0, cutoff=5.0)), r"overflows where 2 alpha cutoff\^2 > 700.*has 1000"),
        (network(NEP(["Ta"], cutoff_radial=5)), r"got nep; train such a potential\. As it is.*gpumd"),
        (random_potential(POD(["Ta"])), r"got pod; train such a potential\. As it is.*lammps-pod"),
    ):
        with pytest.raises(ConfigError, match=message):
            potential.export("lammps-mliap", tmp_path / "new")
    other_form = network(SNAP(["Ta"], **snap))
    other_form.zbl = ZBL(other_form.species, ZBLSettings(outer=2.0))
    with pytest.raises(ConfigError, match=r"`zbl\.form: gpumd`"):
        other_form.export("lammps-mliap", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---- networks of others --------------------------------------------------------------------------------------

DESCRIPTOR = "nelems 1\nelems Ta\nradelems 0.5\nwelems 1\nrcutfac 4.5\ntwojmax 1\n"


def network_text(layers, seed=0):
    """Return the text of a network of the two features of `DESCRIPTOR`."""
    rng = np.random.default_rng(seed)
    sizes = [2, *(n for _, n in layers)]
    count = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    described = " ".join(f"{a} {n}" for a, n in layers)
    numbers = " \n".join(map(repr, rng.normal(size=count).tolist()))
    return f"1 {count}\nNET 2 {len(layers)} {described}\n0.3 -0.2\n1.5 2.5\n{numbers}\n"


LAYERS = (
    [("sigmoid", 3), ("linear", 1)],
    [("linear", 3), ("tanh", 2), ("linear", 2), ("linear", 1)],
    [("tanh", 3), ("sigmoid", 2), ("sigmoid", 1)],
    [("sigmoid", 2), ("linear", 3), ("sigmoid", 2), ("linear", 1)],
    [("linear", 3), ("linear", 1)],
    [("tanh", 1)],
)


def test_any_layers(tmp_path):
    potentials_folder()
    (tmp_path / "d").write_text(DESCRIPTOR)
    potentials, runs = [], []
    for n, layers in enumerate(LAYERS):
        (tmp_path / f"m{n}").write_text(network_text(layers))
        potentials.append(read_mliap(tmp_path / f"m{n}", tmp_path / "d"))
        commands = [f"pair_style mliap model nn m{n} descriptor sna d", "pair_coeff * * Ta"]
        runs.append(LammpsRun(commands, ["Ta"], structures(potentials[-1])))
    for potential, run, found in zip(potentials, runs, answers(runs, tmp_path), strict=True):
        assert deviations(potential, run.structures, found).max() < 1e-11
    assert [type(p.model) for p in potentials] == [Network] * 4 + [Linear, Network]


@pytest.mark.parametrize(
    ("model", "descriptor", "message"),
    [
        (
            network_text([("relu", 2), ("linear", 1)]),
            DESCRIPTOR,
            "'relu' is not supported.*forces of relu jump",
        ),
        (network_text([("gelu", 2), ("linear", 1)]), DESCRIPTOR, "LAMMPS would take it for linear"),
        (network_text([("tanh", 2), ("linear", 2)]), DESCRIPTOR, "the last with one node"),
        (network_text([("linear", 1)]).replace("1.5", "0"), DESCRIPTOR, "divided by 0"),
        (network_text([("linear", 1)]) + "1.0\n", DESCRIPTOR, "has 8 numbers, expected 7"),
        (network_text([("linear", 1)]).replace("NET 2 1", "NET 2"), DESCRIPTOR, "must be NET, features"),
        (network_text([("linear", 1)]), DESCRIPTOR.replace("twojmax 1", "twojmax 2"), "is for 2 features"),
        ("1 4\n1\n2\n3\n4\n", DESCRIPTOR, r"has 4 coefficients.* need 3 \(linear\) or 6 \(quadratic\)"),
        ("1 3\n1\n2\n", DESCRIPTOR, "has 2 coefficients, expected 3"),
        ("2 3\n1\n2\n3\n1\n2\n3\n", DESCRIPTOR, "for 2 elements, .* for 1: Ta"),
        ("1 3\n1\n2\n3\n", DESCRIPTOR + "quadraticflag 1\n", "unknown keyword 'quadraticflag'"),
        ("1 3\n1\n2\n3\n", DESCRIPTOR.replace("welems 1\n", ""), "`welems` is missing"),
        ("1 3\n1\n2\n3\n", DESCRIPTOR.replace("welems 1", "welems 1 2"), "`welems` needs 1 values"),
        ("1 3\n1\n2\n3\n", DESCRIPTOR.replace("twojmax 1", "nmax 1"), "unknown keyword|`lmax` is missing"),
        ("", DESCRIPTOR, "the first line must hold"),
    ],
)
def test_damaged_files(model, descriptor, message, tmp_path):
    (tmp_path / "a.mliap.model").write_text(model)
    (tmp_path / "a.mliap.descriptor").write_text(descriptor)
    with pytest.raises(PotentialFileError, match=message):
        read_mliap(tmp_path / "a.mliap.model", tmp_path / "a.mliap.descriptor")


def test_densities_that_so3_does_not_have(tmp_path):
    text = "nelems 2\nelems Mo Ni\nradelems 0.5 0.5\nwelems 42 28\nrcutfac 4.1\nnmax 1\nlmax 1\nalpha 2.0\n"
    model, descriptor = tmp_path / "m", tmp_path / "d"
    model.write_text("2 3\n" + "1.0\n" * 6)
    descriptor.write_text(text)
    assert read_mliap(model, descriptor).elements == ["Ni", "Mo"]
    for old, new, message in (
        ("42 28", "1 1", "`welems` must be the atomic numbers, 42 28, got 1 1"),
        ("0.5 0.5", "0.5 0.4", "`radelems` below 0.5 cut the density off"),
        ("nmax 1\n", "nmax 1\nrfac0 1\n", "unknown keyword 'rfac0'"),
    ):
        descriptor.write_text(text.replace(old, new))
        with pytest.raises(PotentialFileError, match=message):
            read_mliap(model, descriptor)
