"""nep.txt: the numbers of calorine, an independent program, for published files, for every kind of file and for ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from nep_files import made_up
from typer.testing import CliRunner

import forgefield as ff
from forgefield.cli.app import app
from forgefield.deployment.gpumd import export_nep, nep_text, parse_nep, read_nep
from forgefield.deployment.gpumd_header import is_nep
from forgefield.descriptors import NEP, SO3
from forgefield.errors import ConfigError, ForgefieldError, PotentialFileError
from forgefield.keys import voigt_to_matrix
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.testing.numerics import deviation
from forgefield.testing.tolerances import OTHER_PROGRAM

calorine = pytest.importorskip("calorine.calculators", reason="needs the dev extra: pip install calorine")
calorine_nep = pytest.importorskip("calorine.nep")
nepy = pytest.importorskip("_nepy", reason="comes with calorine")

SINGLE = 1e-5
"""Single precision against another program in double precision."""

METALS = ["Ag", "Al", "Au", "Cr", "Cu", "Mg", "Mo", "Ni", "Pb", "Pd", "Pt", "Ta", "Ti", "V", "W", "Zr"]
UNEP = "Song-2024-UNEP-v1-AgAlAuCrCuMgMoNiPbPdPtTaTiVWZr.txt"
FILES = [
    "C_2022_NEP4.txt",
    "C_2024_NEP4.txt",
    "Si_2022_NEP4_3body.txt",
    "Si_2022_NEP4_4body.txt",
    "Si_2022_NEP4_5body.txt",
    UNEP,
]


def crystal(cell, seed, elements=None, rattle=0.08, scale=1.0):
    rng = np.random.default_rng(seed)
    atoms = cell.copy()
    strain = scale * (np.eye(3) + 0.05 * rng.uniform(-1, 1, (3, 3)))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rattle * rng.standard_normal(atoms.positions.shape)
    if elements:
        atoms.symbols = rng.permutation(np.resize(elements, len(atoms)))
    return atoms


CASES = {
    "Si 3-body": (FILES[2], crystal(bulk("Si", cubic=True) * (2, 1, 1), 0)),
    "Si 4-body": (FILES[3], crystal(bulk("Si", cubic=True) * (2, 1, 1), 1)),
    "Si 5-body": (FILES[4], crystal(bulk("Si", cubic=True), 2, rattle=0.2)),
    "Si, cell thinner than the cutoff": (FILES[4], crystal(bulk("Si"), 3)),
    "C 2022": (FILES[0], crystal(bulk("C", cubic=True), 4, rattle=0.05)),
    "C 2024, two cutoffs": (FILES[1], crystal(bulk("C", cubic=True), 5, rattle=0.05)),
    "three metals": (UNEP, crystal(bulk("Cu", cubic=True) * (2, 2, 1), 6, ["Cu", "Au", "Ag"])),
    "sixteen metals": (UNEP, crystal(bulk("Al", cubic=True) * (2, 2, 2), 7, METALS)),
    "within reach of the repulsion": (
        UNEP,
        crystal(bulk("Cu", cubic=True) * (2, 2, 1), 8, ["Cu", "Ni", "Al"], 0.1, 0.65),
    ),
}


def compare(potential, atoms, path, tolerance=OTHER_PROGRAM):
    """Compare everything a calculator gives with calorine."""
    got = potential.predict(atoms)
    assert np.abs(got.forces).max() > 1e-3
    energies, forces, virials = reference(atoms, path)
    assert deviation(got.energy, energies.sum()) < tolerance
    assert deviation(got.energies, energies) < tolerance
    assert deviation(got.forces, forces) < tolerance
    assert deviation(got.virials, virials) < tolerance
    stress = -virials.sum(axis=0) / atoms.get_volume()
    assert deviation(voigt_to_matrix(got.stress), stress, 1e-4) < tolerance
    return got


def reference(atoms, path):
    """Return energies, forces and atomic virials of calorine's NEP_CPU.

    Not through its calculator, which refuses versions 3 and 5 although NEP_CPU runs them.
    """
    columns = [x.T.ravel().tolist() for x in (atoms.cell.array, atoms.positions)]
    cpu = nepy.NEPY(
        str(path),
        len(atoms),
        columns[0],
        atoms.get_chemical_symbols(),
        columns[1],
        atoms.get_masses().tolist(),
    )
    parts = [np.array(x).reshape(-1, len(atoms)) for x in cpu.get_potential_forces_and_virials()]
    energies, forces, virials = parts
    return energies[0], forces.T, virials.T.reshape(-1, 3, 3)


@pytest.mark.parametrize("case", CASES)
def test_published_potentials(case, shared_data):
    name, atoms = CASES[case]
    path = shared_data / "nep" / name
    compare(read_nep(path), atoms, path)
    compare(read_nep(path, dtype="float32"), atoms, path, SINGLE)


def test_the_calculator_of_calorine(shared_data):
    """Its units and signs, on top of NEP_CPU."""
    name, atoms = CASES["three metals"]
    path = shared_data / "nep" / name
    got = read_nep(path).predict(atoms)
    other = atoms.copy()
    other.calc = calorine.CPUNEP(str(path))
    assert deviation(got.energy, other.get_potential_energy()) < OTHER_PROGRAM
    assert deviation(got.forces, other.get_forces()) < OTHER_PROGRAM
    assert deviation(got.stress, other.get_stress()) < OTHER_PROGRAM


@pytest.mark.parametrize("case", ["Si 3-body", "Si 5-body", "three metals"])
def test_features(case, shared_data):
    name, atoms = CASES[case]
    path = shared_data / "nep" / name
    potential = read_nep(path)
    expected = calorine_nep.get_descriptors(atoms, str(path))
    scale = potential.scaler.scale.numpy()
    assert deviation(potential.descriptor.compute(atoms) * scale, expected) < OTHER_PROGRAM


def test_cluster_and_sheet_without_three_periods(shared_data):
    path = shared_data / "nep" / FILES[0]
    potential = read_nep(path)
    sheet = graphene(size=(2, 2, 1), vacuum=10.0)
    sheet.rattle(0.05, seed=1)
    flake = sheet.copy()
    flake.center(vacuum=10.0)
    for atoms, pbc in ((sheet, (True, True, False)), (flake, False)):
        atoms.pbc = pbc
        got = potential.predict(atoms)
        assert got.stress is None
        other = atoms.copy()
        other.pbc = True  # calorine knows no other; the vacuum is wider than the cutoff
        other.calc = calorine.CPUNEP(str(path))
        assert deviation(got.forces, other.get_forces()) < OTHER_PROGRAM
        assert deviation(got.energy, other.get_potential_energy()) < OTHER_PROGRAM


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_is_written_to_the_letter(name, shared_data):
    text = (shared_data / "nep" / name).read_text()
    assert nep_text(parse_nep(text)) == text


# ---- every kind of file, made up -----------------------------------------------------------------------------


def flexible(n_pairs):
    rng = np.random.default_rng(5)
    return [
        x
        for _ in range(n_pairs)
        for x in (rng.uniform(0.5, 1.0), rng.uniform(2.0, 2.6), *rng.uniform(0.1, 1.0, 8))
    ]


KINDS = {
    "nep3": made_up(["O", "Si"], 3),
    "nep3 with ZBL": made_up(["Si", "O"], 3, zbl="zbl 0.9 2.4"),
    "nep4, elements out of order": made_up(["Si", "C", "O"]),
    "nep4, no higher-body features": made_up(l_max="3 0 0", n_higher=0),
    "nep4, five-body only": made_up(l_max="2 0 1", n_higher=1),
    "nep4, l up to 8": made_up(l_max="8 2 0", n_higher=1),
    "nep5": made_up(["Si", "O"], 5),
    "nep5 with ZBL": made_up(["Si", "O"], 5, zbl="zbl 1.1 2.2"),
    "cutoffs of elements": made_up(["Si", "O", "C"], cutoffs=(5.5, 5.0, 4.5, 3.5, 5.0, 4.0)),
    "cutoffs of elements, shared": made_up(["O", "Si"], cutoffs=(5.5, 5.5, 4.0, 4.0)),
    "typewise ZBL": made_up(["Si", "O"], zbl="zbl 1.25 2.5 0.7"),
    "flexible ZBL": made_up(["Si", "O"], zbl="zbl 0 0", tail=flexible(3)),
    "all invariants": made_up(["Si", "O"], l_max="4 1 1 1 1 1 1", n_higher=6),
    "some invariants": made_up(l_max="4 0 0 0 1 0 1", n_higher=2),
    "q_112": made_up(l_max="2 0 0 1", n_higher=1),
    "q_123": made_up(l_max="3 0 0 0 1", n_higher=1),
    "q_233": made_up(l_max="3 1 0 0 0 1", n_higher=2),
    "q_134": made_up(l_max="4 0 0 0 0 0 1", n_higher=1),
}


def dense(elements, seed=11):
    """A triclinic crystal with bonds from 1.2 Å on."""
    return crystal(bulk("C", cubic=True) * (2, 1, 1), seed, elements, rattle=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_and_what_we_make_of_it(kind, tmp_path):
    path = tmp_path / "nep.txt"
    path.write_text(KINDS[kind])
    potential = ff.load(path)
    assert potential.dtype == torch.float64
    atoms = dense(potential.provenance.notes["nep"]["elements"])
    expected = compare(potential, atoms, path)
    compare(ff.load(path, dtype="float32"), atoms, path, SINGLE)
    again = export_nep(potential, tmp_path / "again.txt")
    assert deviation(ff.load(again).predict(atoms).forces, expected.forces) < 1e-13
    compare(potential, atoms, again)
    model = calorine_nep.read_model(str(again))
    assert model.version == 4
    assert model.n_neuron == 6 + kind.startswith("nep5")  # its biases differ


# ---- what we train -------------------------------------------------------------------------------------------


def trained(elements=("Si", "O"), *, exact, references=True, scaling="whitened", zbl=True, hidden=5):
    """A potential as training leaves it: everything that is folded on export differs from its neutral value."""
    torch.manual_seed(1)
    descriptor = NEP(
        elements, cutoff_radial=5.0, cutoff_angular=4.0, n_max_radial=3, n_max_angular=2, l_max=3
    )
    model = Network(descriptor.n_features, len(descriptor.species), NetworkSettings(hidden=(hidden,)))
    energies = dict(zip(descriptor.species, (-158.3, -432.25, -3.5), strict=False)) if references else None
    repulsion = ZBL(descriptor.species, ZBLSettings(outer=2.0)) if zbl else None
    potential = Potential(descriptor, model, energies, 0.37, exact_free_atom=exact, zbl=repulsion)
    features = np.concatenate([descriptor.compute(dense(elements, seed)) for seed in range(3)])
    potential.scaler.fit(torch.from_numpy(features), scaling)
    with torch.no_grad():
        model.biases[-1].normal_()
    return potential


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("scaling", ["whitened", "standard", "minmax"])
def test_a_trained_potential_gives_the_same_numbers_elsewhere(exact, scaling, tmp_path):
    potential = trained(exact=exact, scaling=scaling)
    path, *_ = potential.export("gpumd", tmp_path / "new folder")
    atoms = dense(["Si", "O", "O"])
    compare(potential, atoms, path, SINGLE)  # as trained, in single precision
    compare(potential.to_dtype(torch.float64), atoms, path)
    lone = atoms[:1].copy()
    lone.set_cell(np.eye(3) * 15)
    other = lone.copy()
    other.calc = calorine.CPUNEP(str(path))
    assert deviation(potential.predict(lone).energy, other.get_potential_energy()) < OTHER_PROGRAM


@pytest.mark.parametrize("references", [True, False])
def test_different_free_atoms_cost_one_neuron(references):
    potential = trained(exact=True, references=references)
    lines = nep_text(potential).splitlines()
    neurons = next(line for line in lines if line.startswith("ANN"))
    assert neurons == "ANN 6 0"  # with `exact_free_atom` the networks give each element another offset
    single = trained(("Si",), exact=True, references=references)
    assert "ANN 5 0" in nep_text(single).splitlines()


def test_neighbours_in_the_header():
    def counts(potential, **options):
        line = nep_text(potential, **options).splitlines()[1 + (potential.zbl is not None)]
        return [int(w) for w in line.split()[-2:]]

    potential = trained(exact=True)
    packed = counts(potential)
    assert 819 >= packed[0] > packed[1] > 30
    potential.provenance.notes["max_neighbours"] = [77, 33]
    assert counts(potential) == [77, 33]
    assert counts(potential, neighbours=(80, 40)) == [80, 40]
    with pytest.raises(ConfigError, match="at most 819 neighbours"):
        nep_text(potential, neighbours=(900, 40))


def potential_with(descriptor, hidden=(5,), activation="tanh"):
    model = Network(
        descriptor.n_features,
        len(descriptor.species),
        NetworkSettings(hidden=hidden, activation=activation),
    )
    return Potential(descriptor, model)


def test_what_gpumd_cannot_hold_is_refused(tmp_path):
    nep = NEP(["Si"], n_max_radial=2, n_max_angular=2)
    so3 = SO3(["Si"], n_max=1, l_max=1)
    linear = Potential(nep, Linear(nep.n_features, 1))
    many = NEP(["Si"], n_max_angular=12, l_max=8)
    broken = potential_with(nep)
    with torch.no_grad():
        broken.model.weights[0][0, 0, 0] = float("nan")
    for potential, message in (
        (potential_with(so3), "descriptor `nep`.*'so3'"),
        (linear, "`network`.*'linear'"),
        (potential_with(nep, hidden=(5, 5)), r"one hidden layer.*\[5, 5\]"),
        (potential_with(nep, activation="silu"), "tanh.*silu"),
        (potential_with(many), "at most 103 features.*139"),
        (potential_with(NEP(["Si"], basis_size_radial=17)), "at most 16 basis_size.*17"),
        (broken, "not finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_nep(potential, tmp_path / "nep.txt")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ForgefieldError, match="cannot write"):
        export_nep(potential_with(nep), tmp_path / "absent" / "nep.txt")
    with pytest.raises(ConfigError, match=r"cannot export to 'gpmud'.*did you mean 'gpumd'"):
        potential_with(nep).export("gpmud", tmp_path)


# ---- finding and writing files --------------------------------------------------------------------------------

GOOD = made_up(["Si", "O"], zbl="zbl 1 2")


def test_files_are_recognised_by_their_content(tmp_path):
    assert is_nep(GOOD.encode())
    assert is_nep(b"nep4 1 Si\n")
    assert not is_nep(b"nepenthe\n")
    assert not is_nep(b"")
    path = tmp_path / "looks.ff"
    path.write_text(GOOD)
    assert ff.load(path).elements == ["O", "Si"]
    path.write_bytes(b"nep4 1 \xff\n")
    with pytest.raises(PotentialFileError, match=r"begins like a nep\.txt"):
        ff.load(path)
    own = tmp_path / "nep.txt"
    potential = parse_nep(GOOD)
    potential.save(own)
    assert nep_text(ff.load(own)) == nep_text(potential)
    with pytest.raises(ConfigError, match="dtype"):
        parse_nep(GOOD, dtype="float16")


def test_command_line(tmp_path):
    def invoke(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    source = tmp_path / "source.txt"
    source.write_text(GOOD)
    done = invoke("export", source, "--to", "gpumd", "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    name, *_ = json.loads(done.stdout)["files"]
    assert name.endswith("nep.txt")
    assert nep_text(ff.load(name)) == nep_text(ff.load(source))
    assert invoke("info", source).exit_code == 0
    refused = invoke("export", source, "--to", "lammps-nothing", "-o", tmp_path)
    assert refused.exit_code == 2
