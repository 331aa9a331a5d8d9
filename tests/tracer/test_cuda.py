"""CUDA C: what is emitted does what the program says, run lane by lane on the processor, and nvcc accepts it."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from run_kernels import build  # type: ignore[import-not-found]

from forgefield.testing.host_cuda import host_compiler, host_module
from forgefield.testing.interpreter import interpret
from forgefield.tracer.cuda import LANES, private_arguments, source
from forgefield.tracer.trace import TraceError

needs_compiler = pytest.mark.skipif(
    host_compiler() is None, reason="running CUDA C on the processor needs g++, which is not installed"
)
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

KINDS = {32: torch.float32, 64: torch.float64}
TOLERANCE = {32: 2e-6, 64: 1e-14}


def launch(program, arguments, blocks=1, threads=64):
    """Run a program on a dict of integers and tensors, which it changes in place."""
    module = host_module(source(program))
    module.launch(program.name, blocks, threads, list(arguments.values()))


def numbers(shape, bits, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-2, 2, shape)).to(KINDS[bits])


@needs_compiler
@pytest.mark.parametrize("bits", [32, 64])
def test_every_function_and_operation(bits):
    """Against NumPy, at arguments on both sides of zero; three warps share seven blocks."""

    def kernel(k, n, x, y):
        with k.range(n, parallel=True) as b:
            v = x[b]
            f = v.formula_functions
            positive = v * v + 0.1
            values = [f.sin(3.0 * v), f.cos(3.0 * v), f.exp(v), f.tanh(v), f.sqrt(positive), f.log(positive)]
            values += [f.log1p(positive), f.where(v <= 0.5, v / positive, -1e-7), k.op("rint", v), abs(v)]
            for i, value in enumerate(values):
                y[b * len(values) + i] = value

    x, y = numbers((7, LANES), bits), torch.zeros((7, 10, LANES), dtype=KINDS[bits])
    launch(
        build(kernel, {"n": "int", "x": "rows", "y": "rows"}, bits), {"n": 7, "x": x, "y": y}, 3, threads=32
    )
    v = x.numpy().astype(np.float64)
    p = v * v + 0.1
    truth = [np.sin(3 * v), np.cos(3 * v), np.exp(v), np.tanh(v), np.sqrt(p), np.log(p), np.log1p(p)]
    truth += [np.where(v <= 0.5, v / p, -1e-7), np.rint(v), np.abs(v)]
    assert np.allclose(y.numpy().transpose(1, 0, 2), truth, rtol=TOLERANCE[bits], atol=TOLERANCE[bits])


def lists_and_sums(k, n, table, picked, *, points, x, work, out, total):
    """A bit of everything that has memory: private rows and integers, gathered and scattered rows, sums."""
    own = k.buffer(3)
    with k.range(n, parallel=True) as b:
        with k.range(3) as i:
            own[i] = x[b * 3 + i]
            picked.set_lanes(i, table.pick(table.lanes(0), table.lanes(1), b + i))
        centre, sums = table.lanes(2), k.accumulators(1, 0.25)
        with k.range(3) as i:
            j = picked.lanes(i)
            r = points.difference(j, centre)
            out.add(j, [own[i] * c for c in r])
            sums[0] += own[i] * r[0]
            total.add(i, own[i] * r[1])
        own.add(0, sums[0])
        x[b * 3] = own[0]


SIGNATURE = {
    "n": "int",
    "table": "indices",
    "picked": "indices",
    "points": "points",
    "x": "rows",
    "work": "workspace",
    "out": "vectors",
    "total": "sums",
}


@needs_compiler
@pytest.mark.parametrize("bits", [32, 64])
def test_memory_is_that_of_the_interpreter(bits):
    """Two warps at work on five blocks, against one after the other in NumPy."""
    rng = np.random.default_rng(1)
    program = build(lists_and_sums, SIGNATURE, bits)
    start = rng.integers(100, 110, (1, LANES))
    table = np.concatenate([start, start + 4, rng.integers(0, 40, (1, LANES)), np.zeros((1, LANES))])
    table = np.concatenate([table.ravel(), rng.integers(0, 40, 20)]).astype(np.int32)
    points = rng.uniform(-5, 5, (40, 4))

    def arguments(warps):
        return {
            "n": 5,
            "table": torch.from_numpy(table.copy()),
            "picked": torch.zeros((warps, 3, LANES), dtype=torch.int32),
            "points": torch.from_numpy(points),
            "x": numbers((15, LANES), bits, seed=2),
            "work": torch.zeros((warps, program.workspace, LANES), dtype=KINDS[bits]),
            "out": torch.zeros((40, 4), dtype=KINDS[bits]),
            "total": torch.zeros(3 * LANES, dtype=torch.float64 if warps > 1 else KINDS[bits]),
        }

    assert private_arguments(program.signature, program.body) == ["picked"]
    mine, truth = arguments(2), arguments(1)
    launch(program, mine | {"picked_rows": 3}, blocks=1, threads=64)
    interpret(program, LANES, {a: x if isinstance(x, int) else x.numpy() for a, x in truth.items()})
    for name in ("x", "out"):
        assert np.allclose(mine[name], truth[name], rtol=1e-5 if bits == 32 else 1e-13, atol=1e-5)
    expected = truth["total"].numpy().reshape(3, LANES).sum(axis=1)
    assert abs(expected).min() > 1e-3
    assert np.allclose(mine["total"][:3], expected, rtol=2e-5 if bits == 32 else 1e-13)
    assert not mine["total"][3:].any()  # one number per row, whatever the lanes


@needs_compiler
def test_constants_are_written_exactly():
    """0.1 in float32 is the float nearest to 0.1, in float64 the double."""

    def kernel(k, n, y):
        with k.range(n, parallel=True) as b:
            y[b] = y[b] * 0.0 + 0.1

    for bits, kind in KINDS.items():
        y = torch.ones((1, LANES), dtype=kind)
        launch(build(kernel, {"n": "int", "y": "rows"}, bits), {"n": 1, "y": y}, threads=32)
        assert torch.equal(y, torch.full_like(y, 0.1))


@needs_compiler
def test_lockstep_notices_lanes_that_part():
    text = r"""
extern "C" __global__ void __launch_bounds__(128) part(double *x)
{
    if (threadIdx.x % 2 == 0) x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}
"""
    with pytest.raises(Exception, match="different ways"):
        host_module(text).launch("part", 1, 32, [torch.zeros(32, dtype=torch.float64)])


def test_what_a_gpu_cannot_do_says_so():
    def kernel(k, n, x, found):
        with k.range(n) as b:
            found.append(0, b, x[b] < 1.0)

    program = build(kernel, {"n": "int", "x": "rows", "found": "indices"})
    with pytest.raises(TraceError, match="'append' cannot run on a GPU"):
        source(program)


def test_one_file_holds_kernels_of_both_types():
    programs = [build(lists_and_sums, SIGNATURE, bits, name=f"kernel{bits}") for bits in (32, 64)]
    text = source(*programs)
    assert len(re.findall(r"__launch_bounds__\(128\) kernel(32|64)\(", text)) == 2
    assert text.count("struct alignas") == 1


@needs_nvcc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_compiles_every_kind_of_memory(architecture, tmp_path):
    programs = [build(lists_and_sums, SIGNATURE, bits, name=f"kernel{bits}") for bits in (32, 64)]
    (tmp_path / "kernels.cu").write_text(source(*programs))
    command = ["nvcc", "-cubin", "-arch", architecture, "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "kernels.cubin"), str(tmp_path / "kernels.cu")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall("0 bytes spill stores, 0 bytes spill loads", done.stderr)) == 2
