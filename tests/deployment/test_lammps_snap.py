"""SNAP files: LAMMPS's numbers for all files it ships and for every kind of potential written here."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from lammps_cases import answers, ask, deviations, potentials_folder, random_potential, structures

import forgefield as ff
from forgefield.deployment.engines import LammpsRun
from forgefield.deployment.folding import Polynomial
from forgefield.deployment.lammps_include import read_include
from forgefield.deployment.lammps_snap import export_snap, load_snap, read_snap
from forgefield.deployment.lammps_symmetry import equal_features, shared_equally
from forgefield.deployment.targets import TARGETS
from forgefield.descriptors import NEP, SNAP
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.formulas.zbl import polynomial_switch, screened_repulsion
from forgefield.models import Linear, Quadratic
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.testing.tolerances import BACKEND, OTHER_PROGRAM

FILES = 18
"""Of LAMMPS's SNAP potentials; C has no include file, W-He adds tables."""

INDIUM_PHOSPHIDE = 1e-8
"""LAMMPS's forces for its InP: equal features have coefficients that differ in the twelfth digit; see lammps_symmetry."""

FORGET = [f"variable {name} delete" for name in ("zblcutinner", "zblcutouter", "zblz", "zblz1", "zblz2")]
"""The files set the same variables, of different styles."""


@pytest.fixture(scope="module")
def published():
    """Every .snapcoeff and every .snap that LAMMPS ships: potential, structures, LAMMPS's answers."""
    folder = potentials_folder()
    runs, potentials = [], {}
    for path in sorted(folder.glob("*.snapcoeff")):
        elements = re.findall(r"^([A-Z][a-z]?) [\d.]+ [\d.]+\s*$", path.read_text(), re.MULTILINE)
        potential = potentials[path.name] = ff.load(path)
        parameters = path.name.replace("coeff", "param")
        commands = [
            "pair_style snap",
            f"pair_coeff * * {path.name} {parameters} {' '.join(elements)}",
        ]
        runs.append(LammpsRun(commands, elements, structures(potential)[:1]))
    for path in sorted(folder.glob("*.snap")):
        if path.name == "W_2940_2017_2_He_JW2013.snap":
            continue
        potential = potentials[path.name] = ff.load(path)
        elements = path.read_text().split()[-len(potential.elements) :]
        if path.name == "W_2940_2017_2.snap":
            elements = ["W"]  # a comment comes last
        commands = [*FORGET, f"include {path.name}"]
        runs.append(LammpsRun(commands, elements, structures(potential)[1:]))
    found = answers(runs, folder)
    return {name: (p, run, a) for (name, p), run, a in zip(potentials.items(), runs, found, strict=True)}


def test_all_published_files_agree_with_lammps(published):
    coefficients = [n for n in published if n.endswith(".snapcoeff")]
    includes = [n for n in published if n.endswith(".snap")]
    assert len(coefficients) == FILES
    assert len(includes) == FILES - 1
    for name, (potential, run, found) in published.items():
        energies, *others = deviations(potential, run.structures, found)
        assert energies < OTHER_PROGRAM, name
        assert max(others) < (INDIUM_PHOSPHIDE if name.startswith("InP") else OTHER_PROGRAM), name


def test_include_files_add_the_repulsion(published):
    with_zbl = [n for n, (p, _, _) in published.items() if p.zbl is not None]
    assert with_zbl == ["InP_JCPA2020.snap", "Ta06A.snap", "WBe_Wood_PRB2019.snap", "W_2940_2017_2.snap"]
    for name in with_zbl:
        whole, alone = published[name][0], published[f"{name}coeff"][0]
        assert alone.zbl is None
        atoms = structures(whole)[0]
        assert whole.predict(atoms).energy - alone.predict(atoms).energy > 1e-3


def test_indium_phosphide_written_again_is_exact(published, tmp_path):
    """What LAMMPS computes is the derivative of its energy once equal features have equal coefficients."""
    potential = published["InP_JCPA2020.snapcoeff"][0]
    export_snap(potential, tmp_path, "again")
    commands = ["pair_style snap", "pair_coeff * * again.snapcoeff again.snapparam P In"]
    assert deviations(potential, *ask(potential, commands, tmp_path)).max() < 1e-12


# ---- writing -------------------------------------------------------------------------------------------------

TWO = {"cutoff": 4.6, "radii": {"In": 0.5, "P": 0.43}, "weights": {"In": 1.0, "P": 0.93}, "two_j_max": 3}
INNER = {"inner_middle": {"In": 2.3, "P": 2.1}, "inner_width": {"In": 0.4, "P": 0.3}}
KINDS = {
    "linear": ({}, "linear", True, False),
    "no bzero, odd rest": (
        {"bzero": False, "rfac0": 0.9, "rmin0": 0.4, "bnorm": True},
        "linear",
        False,
        True,
    ),
    "no switch": ({"switch": False}, "linear", False, False),
    "inner switch": (INNER, "linear", True, True),
    "quadratic features": ({"quadratic": True}, "linear", False, True),
    "quadratic model": ({"bzero": False}, "quadratic", True, True),
    "chemical": ({"chemical": True}, "linear", True, True),
    "chemical, all selves": (
        {"chemical": True, "wself_all": True, "bnorm": True, "bzero": False},
        "linear",
        False,
        True,
    ),
    "chemical quadratic": ({"chemical": True, "quadratic": True, "two_j_max": 1}, "linear", False, False),
    "chemical quadratic model": ({"chemical": True, "two_j_max": 1}, "quadratic", False, True),
}
"""Settings, model, repulsion, exact free atoms."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A potential of every kind, its files, and LAMMPS's answers."""
    potentials, files, runs = {}, {}, []
    for kind, (settings, model, repulsion, exact) in KINDS.items():
        descriptor = SNAP(["In", "P"], **{**TWO, **settings})
        potential = potentials[kind] = random_potential(descriptor, model, repulsion=repulsion, exact=exact)
        folder = tmp_path_factory.mktemp("kind")
        files[kind] = TARGETS["lammps-snap"](potential, folder).files
        commands = [f"shell cd {folder}", "include potential.snap"]
        runs.append(LammpsRun(commands, potential.elements, structures(potential)))
    found = answers(runs, folder)
    return {k: (potentials[k], files[k], run, a) for k, run, a in zip(KINDS, runs, found, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_lammps_runs_what_is_written(kind, written):
    potential, _, run, found = written[kind]
    assert deviations(potential, run.structures, found).max() < 1e-11


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back(kind, written):
    potential, (coefficients, parameters, include), run, _ = written[kind]
    whole = ff.load(include)
    for read in (load_snap(coefficients), load_snap(parameters), whole):
        assert read.descriptor.settings.model_dump() == {
            **potential.descriptor.settings.model_dump(),
            "radii": TWO["radii"],
            "weights": TWO["weights"],
            "quadratic": False,  # it is in the model
        }
        assert isinstance(read.model, Quadratic if "quadratic" in kind else Linear)
    assert (whole.zbl is None) == (potential.zbl is None)
    for atoms in run.structures:
        ours, again = potential.predict(atoms), whole.predict(atoms)
        assert np.allclose(again.forces, ours.forces, rtol=0, atol=1e-11 * np.abs(ours.forces).max())
        assert again.energy == pytest.approx(ours.energy, rel=1e-12)
    assert whole.free_atom_energies() == pytest.approx(potential.free_atom_energies(), abs=1e-11)


def test_order_of_elements_on_pair_coeff(tmp_path):
    """Features of a chemical SNAP are in the order of pair_coeff: another order is another potential."""
    potential = random_potential(SNAP(["In", "P"], **TWO, chemical=True))
    files = export_snap(potential, tmp_path, "x")
    swapped = read_snap(*files, elements=["In", "P"])
    commands = ["pair_style snap", "pair_coeff * * x.snapcoeff x.snapparam In P"]
    frames, found = ask(potential, commands, tmp_path, elements=["In", "P"])
    energies = deviations(swapped, frames, found)[0]
    assert energies < OTHER_PROGRAM
    assert deviations(potential, frames, found)[0] > 1e-3


def test_one_of_two_elements(tmp_path):
    potential = random_potential(SNAP(["In", "P"], **TWO))
    alone = read_snap(*export_snap(potential, tmp_path), elements=["In"])
    assert alone.elements == ["In"]
    atoms = structures(alone)[0]
    assert alone.predict(atoms).energy == pytest.approx(potential.predict(atoms).energy, rel=1e-12)


def test_equal_features_share_their_weight():
    d = SNAP(["In", "P"], **{**TWO, "two_j_max": 2}, chemical=True)
    atoms = structures(random_potential(d))[0]
    features, same = d.compute(atoms), equal_features(d)
    assert len(set(same.tolist())) < len(same)
    for k in set(same.tolist()):
        assert np.ptp(features[:, same == k], axis=1).max() < 1e-10
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2, d.n_features, d.n_features))
    own = Polynomial(np.zeros(2), rng.normal(size=(2, d.n_features)), matrix + matrix.transpose(0, 2, 1))
    shared = shared_equally(d, own)
    assert np.abs(shared.linear - own.linear).max() > 0.1
    assert np.abs(shared.matrix - own.matrix).max() > 0.1
    assert np.allclose(shared.matrix, shared.matrix.transpose(0, 2, 1))
    assert np.allclose(features @ shared.linear.T, features @ own.linear.T, atol=1e-10)
    before, after = (np.einsum("if,sfg,ig->is", features, p.matrix, features) for p in (own, shared))
    assert np.allclose(after, before, rtol=1e-10)
    assert shared_equally(SNAP(["In", "P"], **TWO), own) is own


def test_files_are_the_same_every_time(tmp_path):
    potential = random_potential(SNAP(["In", "P"], **TWO))
    first = [p.read_bytes() for p in export_snap(potential, tmp_path)]
    assert first == [p.read_bytes() for p in export_snap(potential, tmp_path)]


def test_what_does_not_fit_is_refused(tmp_path):
    network = random_potential(SNAP(["Ta"], two_j_max=2), "network", hidden=(3,))
    with pytest.raises(ConfigError, match=r"got snap with network.*exported to lammps-mliap"):
        network.export("lammps-snap", tmp_path / "new")
    fourth = random_potential(SNAP(["Ta"], two_j_max=1, quadratic=True), "quadratic")
    with pytest.raises(ConfigError, match=r"one of `descriptor\.quadratic` and the quadratic model"):
        fourth.export("lammps-snap", tmp_path / "new")
    nep = random_potential(NEP(["Ta"], cutoff_radial=5), "network", hidden=(3,))
    with pytest.raises(
        ConfigError, match=r"got nep with network.*exported to gpumd, lammps, lammps-float32(, metatomic)?$"
    ):
        nep.export("lammps-snap", tmp_path / "new")
    with pytest.raises(ConfigError, match=r"`descriptor\.wself: 1` fixed, this potential has 0.5"):
        random_potential(SNAP(["Ta"], two_j_max=2, wself=0.5)).export("lammps-snap", tmp_path / "new")
    gpumd = random_potential(SNAP(["Ta"], two_j_max=2))
    gpumd.zbl = ZBL(gpumd.species, ZBLSettings(outer=2.0))
    with pytest.raises(ConfigError, match=r"`zbl.form: gpumd`.*form: lammps, inner: 1, outer: 2"):
        gpumd.export("lammps-snap", tmp_path / "new")
    other = random_potential(NEP(["Ta"], cutoff_radial=5), "network", repulsion=True, hidden=(3,))
    with pytest.raises(ConfigError, match=r"GPUMD's form; this potential has zbl\.form: lammps"):
        other.export("gpumd", tmp_path / "new")
    broken = random_potential(SNAP(["Ta"], two_j_max=2))
    broken.model.weight.data[0, 0] = torch.nan
    with pytest.raises(ConfigError, match=r"not finite; nothing was written$"):
        broken.export("lammps-snap", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---- damaged files -------------------------------------------------------------------------------------------

PARAMETERS = "rcutfac 4.0\ntwojmax 0\n"
OVERLAY = "pair_coeff * * snap a.snapcoeff a.snapparam Ta\n"
COEFFICIENTS = "1 2\nTa 0.5 1\n-1.0 # constant\n0.25\n"


@pytest.mark.parametrize(
    ("coefficients", "parameters", "message"),
    [
        (COEFFICIENTS.replace("1 2", "1 3"), PARAMETERS, "has 3 lines after `1 3`, expected 4"),
        (COEFFICIENTS + "0.5\n", PARAMETERS, "expected 3; copy it again"),
        (COEFFICIENTS.replace("0.25", "x"), PARAMETERS, "a coefficient of Ta must be a number, got 'x'"),
        (COEFFICIENTS.replace("0.25", "nan"), PARAMETERS, "must be a number, got 'nan'"),
        (COEFFICIENTS.replace("Ta", "Qq"), PARAMETERS, "'Qq' is no chemical element"),
        (COEFFICIENTS.replace("0.5 1", "0.5"), PARAMETERS, "a line `element radius weight`"),
        (COEFFICIENTS.replace("0.5", "-0.5"), PARAMETERS, "`radii` must be > 0"),
        (COEFFICIENTS, PARAMETERS.replace("0\n", "2\n", 2), "do not belong together"),
        (COEFFICIENTS, "rcutfac 4.0\n", "`twojmax` is missing"),
        (COEFFICIENTS, PARAMETERS + "bzerflag 1\n", "unknown keyword 'bzerflag'.*did you mean 'bzeroflag'"),
        (COEFFICIENTS, PARAMETERS + "bzeroflag 2\n", "`bzeroflag` must be 0 or 1, got '2'"),
        (COEFFICIENTS, PARAMETERS + "switchinnerflag 1\n", "`sinner` is needed with `switchinnerflag 1`"),
        (COEFFICIENTS, PARAMETERS + "rmin0\n", "`rmin0` has no value"),
        (COEFFICIENTS, PARAMETERS + "rmin0 9.0\n", "`descriptor.rmin0` must be below every cutoff"),
        ("", PARAMETERS, "the first line must hold"),
    ],
)
def test_damaged_files(coefficients, parameters, message, tmp_path):
    (tmp_path / "a.snapcoeff").write_text(coefficients)
    (tmp_path / "a.snapparam").write_text(parameters)
    with pytest.raises(PotentialFileError, match=message):
        read_snap(tmp_path / "a.snapcoeff", tmp_path / "a.snapparam")


def test_finding_the_other_file(tmp_path):
    first = tmp_path / "Ta.a.snapcoeff"
    first.write_text(COEFFICIENTS)
    with pytest.raises(PotentialFileError, match=r"second file, NAME\.snapparam.*found: none"):
        ff.load(first)
    (tmp_path / "Ta.b.snapparam").write_text(PARAMETERS)
    assert ff.load(first, dtype="float32").dtype == torch.float32
    assert ff.load(tmp_path / "Ta.b.snapparam").free_atom_energies() == {73: -1.0}
    (tmp_path / "Ta.c.snapparam").write_text(PARAMETERS)
    with pytest.raises(PotentialFileError, match=r"found: Ta\.b\.snapparam, Ta\.c\.snapparam"):
        ff.load(first)
    first.rename(tmp_path / "Ta.c.snapcoeff")
    assert ff.load(tmp_path / "Ta.c.snapcoeff").elements == ["Ta"]
    with pytest.raises(ConfigError, match="dtype"):
        load_snap(tmp_path / "Ta.c.snapcoeff", "float16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair_style hybrid/overlay snap table spline 10\n", "pair style table is not supported"),
        ("pair_style hybrid snap\n", "only hybrid/overlay adds"),
        ("pair_style zbl 1 2\n", "needs one of the pair styles"),
        ("pair_style snap\npair_coeff * * ${x} a.snapparam Ta\n", "variable x is used but not set"),
        ("pair_style snap\npair_coeff * * a.snapcoeff a.snapparam Ta NULL\n", "must name each element once"),
        ("pair_style snap\npair_coeff * * a.snapcoeff a.snapparam W\n", "has no coefficients for W"),
        ("pair_style snap\nmass 1 1.0\n", "command `mass 1 1.0` is not understood"),
        ("pair_style mliap model mliappy a descriptor sna b\npair_coeff * * Ta\n", "model mliappy of mliap"),
        ("pair_style mliap model linear a\n", "needs 6 arguments"),
        (
            "pair_style hybrid/overlay zbl 1 2 snap\npair_coeff 1 1 zbl 74 74\n" + OVERLAY,
            "zbl must be there for all pairs of Ta, with their atomic numbers",
        ),
        (
            "pair_style hybrid/overlay zbl 2 1 snap\npair_coeff 1 1 zbl 73 73\n" + OVERLAY,
            "`inner` must be less than `outer`",
        ),
    ],
)
def test_include_files_that_are_not_understood(text, message, tmp_path):
    (tmp_path / "a.snapcoeff").write_text(COEFFICIENTS)
    (tmp_path / "a.snapparam").write_text(PARAMETERS)
    (tmp_path / "a.snap").write_text(text)
    with pytest.raises(PotentialFileError, match=message):
        read_include(tmp_path / "a.snap")


# ---- the repulsion in LAMMPS's form ---------------------------------------------------------------------------


def test_the_repulsion_ends_smoothly():
    cubic, quartic, shift = polynomial_switch(5000.0, 8.0, np.array(1.5), np.array(2.2))
    r = np.linspace(1.2, 2.19999, 4001)
    ends = {"cosine": 0.0, "cubic": cubic, "quartic": quartic, "shift": shift}
    value = screened_repulsion(r, 5000.0, 8.0, 1.5, 2.2, **ends)
    slope = np.gradient(value, r)
    curvature = np.gradient(slope, r)
    size = [np.abs(x[:50]).max() for x in (value, slope, curvature)]
    assert [abs(x[-8]) for x in (value, slope, curvature)] < [1e-5 * size[0], 1e-4 * size[1], 1e-2 * size[2]]
    assert (screened_repulsion(np.array([2.2, 9.0]), 5000.0, 8.0, 1.5, 2.2, **ends) == 0).all()


def test_the_repulsion_in_kernels():
    torch.manual_seed(0)
    potential = random_potential(
        NEP(["Si", "O"], cutoff_radial=4.5, cutoff_angular=3.5, n_max_radial=2, n_max_angular=2, l_max=2),
        "network",
        repulsion=True,
        hidden=(4,),
    )
    assert isinstance(potential, Potential)
    atoms = structures(potential)[0]
    expected = potential.predict(atoms)
    bare = random_potential(potential.descriptor, "network", hidden=(4,)).predict(atoms)
    assert abs(expected.energy - bare.energy) > 1e-3
    atoms.calc = potential.calculator(backend="compiled")
    assert atoms.calc.backend == "compiled"
    scale = np.abs(expected.forces).max()
    assert np.abs(atoms.get_forces() - expected.forces).max() < 10 * BACKEND * scale
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "lammps", "typewise_factor": 0.7}, "has no `typewise_factor`"),
        ({"form": "lammps", "pairs": {}}, "has no `pairs`"),
        ({"form": "lammps", "inner": 0.0}, "needs `inner` > 0"),
        ({"form": "lamps"}, "'gpumd' or 'lammps'"),
    ],
)
def test_forms_that_do_not_exist(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZBLSettings.parse(settings, where="zbl")
