"""Kernels of a potential for a GPU: run on the processor lane by lane, compiled by nvcc, and run on a GPU if there is one.

The truth is the plain torch path; what is launched on a GPU is the same text that is run here.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import ACE, ACSF, NEP, SNAP, SO3
from forgefield.engine.gpu import GPUEngine, GPUPredictor
from forgefield.engine.gpu_kernels import KERNELS, gpu_program
from forgefield.engine.kernel import Plan
from forgefield.engine.neighbours import list_neighbours
from forgefield.engine.nvrtc import CompilerMissingError, compile_cuda
from forgefield.engine.predictor import Predictor
from forgefield.errors import ConfigError, ForgefieldError
from forgefield.models import Network
from forgefield.models.network import NetworkSettings
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL
from forgefield.testing.host_cuda import host_compiler, host_module
from forgefield.tracer.cuda import source
from forgefield.training.batches import LabelledSet
from forgefield.training.gpu import GPUObjective
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective, make_objective

needs_compiler = pytest.mark.skipif(
    host_compiler() is None, reason="running CUDA C on the processor needs g++, which is not installed"
)
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
ON_HOST = {"device": "cpu", "load": host_module}

OTHERS = {
    "so3": lambda species: SO3(species, cutoff=3.5, n_max=2, l_max=2),
    "snap": lambda species: SNAP(species, two_j_max=3, cutoff=3.6),
    "acsf": lambda species: ACSF(species, preset="behler", cutoff=3.6),
    "ace": lambda species: ACE(species, n_max=(3, 2, 2, 1), l_max=(0, 2, 1, 1), cutoff=3.6),
}

SMALL = {"n_max_radial": 2, "n_max_angular": 2, "basis_size_radial": 3, "basis_size_angular": 3, "l_max": 3}


def make(kind: str, dtype: torch.dtype = torch.float64) -> Potential:
    """Return a small potential with random parameters."""
    torch.manual_seed(3)
    species = ("Si",) if kind == "one element" else ("O", "Si")
    zbl = None
    if kind in OTHERS:
        descriptor = OTHERS[kind](species)
    else:
        cutoffs = {"cutoff_radial": 4.2, "cutoff_angular": 4.2 if kind == "one cutoff" else 3.6}
        own = {"element_cutoffs": {"O": (3.9, 3.3)}} if kind == "cutoffs of elements" else {}
        descriptor = NEP(species, **SMALL, **cutoffs, **own)
    if kind == "repulsion":
        zbl = ZBL(descriptor.species)
    network = Network(descriptor.n_features, len(species), NetworkSettings(hidden=(6,)))
    potential = Potential(descriptor, network, {14: -3.0, 8: -7.0}, zbl=zbl).to_dtype(dtype)
    generator = torch.Generator().manual_seed(1)
    scaler = potential.scaler
    scaler.shift.copy_(torch.rand(scaler.shift.shape, generator=generator, dtype=scaler.shift.dtype))
    return potential


def structure(kind: str, repeat: int = 2) -> Atoms:
    """Return a rattled, sheared, thin crystal; its last block of atoms is not full."""
    atoms = bulk("Si", cubic=True) * (repeat, 2, 1)
    if kind != "one element":
        atoms.numbers[::3] = 8
    atoms.rattle(0.15, seed=0)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.05, 0], [0, 1.02, 0.03], [0, 0, 0.96]]), True)
    return atoms[:-3]


def worst(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference relative to the largest value."""
    return float(abs(a - b).max() / abs(b).max())


KINDS = ("one element", "one cutoff", "two cutoffs", "cutoffs of elements", "repulsion", *OTHERS)


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_torch(kind: str) -> None:
    check_predictions(kind, "float64", ON_HOST)


@needs_compiler
def test_predictions_in_single_precision() -> None:
    check_predictions("two cutoffs", "float32", ON_HOST)


def check_predictions(kind: str, dtype: str, where: dict[str, object]) -> None:
    potential, atoms = make(kind), structure(kind)
    truth = potential.predict(atoms)
    got = GPUPredictor(potential, dtype, **where).predict(atoms, virials=True)
    for name in ("energies", "forces", "stress", "virials"):
        assert worst(getattr(got, name), getattr(truth, name)) < TOLERANCE[dtype], name
    assert abs(got.energy / truth.energy - 1) < TOLERANCE[dtype]


@needs_compiler
def test_few_warps_do_all_blocks_and_lists_are_kept() -> None:
    """Two warps work on four blocks or more; the second evaluation moves the atoms and keeps the lists."""
    potential, atoms = make("two cutoffs"), structure("two cutoffs", repeat=8)
    engine = GPUEngine(potential, "float64", **ON_HOST)
    engine._warps = 2
    points, lists = list_neighbours(atoms, potential.species, [c + 0.3 for c in potential.cutoffs])
    block = engine.blocks(points, lists)
    assert block.n_blocks >= 4
    for step in range(2):
        atoms.rattle(0.02, seed=step)
        points.move(atoms.positions, atoms.cell.array)
        out = engine.evaluate(points, lists, block)
        assert worst(points.fold(out.forces), potential.predict(atoms).forces) < TOLERANCE["float64"]
    assert engine.upload(block, lists) is engine.upload(block, lists)


def labelled() -> list[Atoms]:
    """Return structures with labels far from what the potential says; one lacks its stress."""
    rng, frames = np.random.default_rng(5), []
    for k in range(3):
        atoms = bulk("Si", cubic=True)
        atoms.numbers[: 2 + k] = 8
        atoms.rattle(0.1, seed=k)
        results = {"energy": float(rng.normal()), "forces": rng.normal(size=(8, 3))}
        atoms.calc = SinglePointCalculator(atoms, **results, **({"stress": rng.normal(size=6)} if k else {}))
        frames.append(atoms)
    return frames


def check_gradients(kind: str, dtype: torch.dtype, exact_free_atom: bool, where: dict[str, object]) -> None:
    found = []
    for own in (False, True):
        potential = make(kind, dtype)
        potential.exact_free_atom.fill_(exact_free_atom)
        data = LabelledSet(potential, labelled())
        loss = Loss(LossSettings(), data.scales())
        objective = (
            GPUObjective(potential, data, loss, **where) if own else TorchObjective(potential, data, loss)
        )
        terms = objective.gradient([0, 2], {"energy": 0.7, "forces": 1.3, "stress": 0.4})
        gradients = {
            n: p.grad.double().numpy().copy() for n, p in potential.named_parameters() if p.grad is not None
        }
        found.append((terms.values, gradients))
    (values, truth), (own_values, got) = found
    tolerance = 1e-11 if dtype == torch.float64 else 5e-5
    assert got.keys() == truth.keys()
    assert len(got) >= 4
    for name, value in values.items():
        assert own_values[name] == pytest.approx(float(value), rel=tolerance), name
    largest = max(abs(value).max() for value in truth.values())
    for name, value in truth.items():  # the offsets of energies cancel where the free atom is exact
        scale = max(abs(value).max(), 1e-3 * largest)
        assert abs(got[name] - value).max() < tolerance * scale, name


@needs_compiler
def test_gradients_are_those_of_torch() -> None:
    check_gradients("two cutoffs", torch.float64, True, ON_HOST)


@needs_compiler
def test_gradients_with_scratch_memory_are_those_of_torch() -> None:
    check_gradients("snap", torch.float64, False, ON_HOST)


@needs_compiler
def test_gradients_in_single_precision() -> None:
    check_gradients("two cutoffs", torch.float32, False, ON_HOST)


# ---- compilers -----------------------------------------------------------------------------------------------------


def silicon() -> Potential:
    """Return a NEP of the usual size: nine radial functions, l up to 4, 4- and 5-body terms."""
    descriptor = NEP(("Si",), cutoff_radial=5.0, cutoff_angular=5.0)
    return Potential(descriptor, Network(descriptor.n_features, 1))


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_kernels_do_not_spill(bits: int, architecture: str, tmp_path: object) -> None:
    plan = Plan.of(silicon())
    (tmp_path / "kernels.cu").write_text(source(*(gpu_program(plan, name, bits) for name in KERNELS)))
    command = ["nvcc", "-cubin", "-arch", architecture, "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "kernels.cubin"), str(tmp_path / "kernels.cu")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert spills == [("0", "0")] * len(KERNELS)


def test_nvrtc_compiles_for_the_device_or_for_the_newest_it_knows() -> None:
    try:
        compiled = compile_cuda(source(gpu_program(Plan.of(make("one element")), "energy", 32)), (8, 0))
    except CompilerMissingError as error:
        pytest.skip(str(error))
    assert compiled[:4] == b"\x7fELF"
    assert b".visible .entry empty" in compile_cuda('extern "C" __global__ void empty() {}', (99, 0))
    with pytest.raises(ForgefieldError, match="NVRTC rejects"):
        compile_cuda("nonsense", (8, 0))
    with pytest.raises(ForgefieldError, match=r"compute capability 1\.0"):
        compile_cuda("", (1, 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_message_says_what_to_do() -> None:
    potential, message = make("one element"), "no GPU: .* finds 0 CUDA devices; use the compiled kernels"
    with pytest.raises(ConfigError, match=message):
        GPUEngine(potential)
    with pytest.raises(ConfigError, match=message):
        potential.calculator(backend="cuda").get_potential_energy(bulk("Si"))
    frames = [f for f in labelled() if set(f.numbers) == {8, 14}]
    potential = make("two cutoffs")
    data = LabelledSet(potential, frames)
    with pytest.raises(ConfigError, match=message):
        make_objective(potential, data, Loss(LossSettings(), data.scales()), "cuda")


# ---- on a GPU ------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_on_a_gpu(kind: str, dtype: str) -> None:
    check_predictions(kind, dtype, {})


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["two cutoffs", "snap"])
def test_gradients_on_a_gpu(kind: str, dtype: torch.dtype) -> None:
    check_gradients(kind, dtype, True, {})


@pytest.mark.gpu
@needs_gpu
def test_full_size_on_a_gpu() -> None:
    """Many warps at work, blocks in turns: 27,000 atoms, against the compiled kernels of the processor."""
    potential = silicon()
    atoms = bulk("Si", cubic=True) * 15
    atoms.rattle(0.1, seed=0)
    truth = Predictor(potential, "float64").predict(atoms)
    got = GPUPredictor(potential, "float32").predict(atoms)
    assert worst(got.forces, truth.forces) < TOLERANCE["float32"]
    assert worst(got.stress, truth.stress) < TOLERANCE["float32"]
