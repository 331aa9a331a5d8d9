"""A potential as a shared library for LAMMPS: its kernels for several processors, and its constants.

The library knows nothing of Python, PyTorch or LAMMPS. What it holds is read by ``lammps_plugin/forgefield_model.h``:
``forgefield_text`` says what there is, ``forgefield_values_LEVEL_V_call`` runs the kernel without (0) or with (1) atomic
virials, with the addresses of all arguments in one array.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.deployment.cpp import link_shared
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.kernel import NotCompiledError, Plan, value_kernel, value_signature
from forgefield.errors import ConfigError
from forgefield.files import write_bytes
from forgefield.models.potential import Potential
from forgefield.tracer.cache import Machine, cached, host, object_code
from forgefield.tracer.trace import Program, trace

__all__ = ["FORMAT", "check_compiles", "levels", "own_level", "write_library"]

FORMAT = 1

_LEVELS = {
    "avx512": ("x86-64-v4", "-prefer-256-bit", 512),
    "avx2": ("x86-64-v3", "", 256),
    "sse2": ("x86-64", "", 128),
}
"""Processor, features and width of registers for each level, the fastest first."""


def levels() -> tuple[str, ...]:
    """Return the kinds of processors a library is made for: all that a machine like this one may have."""
    return tuple(_LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else ("host",)


def own_level() -> str:
    """Return the kind of this processor."""
    widths = {_LEVELS[name][2]: name for name in levels() if name in _LEVELS}
    return widths.get(host().width, "host")


def check_compiles(potential: Potential) -> None:
    """Raise what is wrong with a potential that has no kernels, or parameters that are no numbers.

    Raises
    ------
    ConfigError
    """
    try:
        Plan.of(potential)
    except NotCompiledError as error:
        raise ConfigError(f"LAMMPS runs the compiled kernels of a potential: {error}") from None
    values = [*potential.parameters(), *potential.buffers()]
    if not all(bool(torch.isfinite(v).all()) for v in values if v.is_floating_point()):
        raise ConfigError("this potential has parameters that are not finite; nothing was written")


def write_library(
    potential: Potential, path: str | Path, dtype: Precision = "float64", kinds: Sequence[str] | None = None
) -> Path:
    """Write the shared library of a potential.

    Parameters
    ----------
    potential : Potential
    path : str or Path
    dtype : {'float32', 'float64'}
        Of the kernels; positions, differences and sums over atoms are float64 anyway.
    kinds : sequence of str, optional
        Of `levels`; default: all of them, so that the library runs on other machines as well.

    Raises
    ------
    ConfigError
        The potential has no kernels.
    CompilerMissingError
        There is nothing to link with.
    """
    check_compiles(potential)
    engine = Engine(potential, dtype)
    chosen = levels() if kinds is None else tuple(kinds)
    objects, workspaces = [], {}
    for virials in (False, True):
        program = _Lazily(engine, virials)
        for level in chosen:
            machine = _machine(level)
            name = f"forgefield_values_{level}_{int(virials)}"
            workspace, code = _kernel(engine, program, name, machine)
            objects += [code, _compiled(_entry(name, program.signature), machine)]
            workspaces[level, virials] = workspace
    objects.append(_compiled(_constants(_arrays(engine, workspaces, chosen)), host()))
    with tempfile.TemporaryDirectory(prefix="forgefield-library-") as scratch:
        files = [write_bytes(Path(scratch, f"{n}.o"), code) for n, code in enumerate(objects)]
        return write_bytes(path, link_shared(files))


class _Lazily:
    """The program of a kernel, traced when the cache has none."""

    def __init__(self, engine: Engine, virials: bool) -> None:
        self.engine, self.virials = engine, virials
        self.signature = value_signature(engine.plan, virials=virials)
        self._program: Program | None = None

    def named(self, name: str) -> Program:
        if self._program is None:
            kernel = value_kernel(self.engine.plan, save=False, virials=self.virials)
            self._program = trace("values", self.signature, self.engine.bits, kernel)
        return replace(self._program, name=name)


def _kernel(engine: Engine, program: _Lazily, name: str, machine: Machine) -> tuple[int, bytes]:
    def build() -> tuple[int, bytes]:
        found = program.named(name)
        return found.workspace, object_code(found, machine)

    return cached("lammps", (name, engine.bits, engine.describe(), machine), build)


@lru_cache(maxsize=8)
def _machine(level: str) -> Machine:
    own = host()
    if level == "host":
        return own
    cpu, features, width = _LEVELS[level]
    return Machine(own.triple, cpu, features, width)


def _compiled(assembly: str, machine: Machine) -> bytes:
    """Compile a few lines of LLVM assembly."""
    target = llvm.Target.from_triple(machine.triple).create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="small"
    )
    module = llvm.parse_assembly(assembly)
    module.triple = machine.triple
    code: bytes = target.emit_object(module)
    return code


def _entry(name: str, signature: Mapping[str, str]) -> str:
    """Return a function that calls a kernel with arguments from an array."""
    kinds = ["i64" if kind == "int" else "ptr" for kind in signature.values()]
    lines = [f"declare void @{name}({', '.join(kinds)})", f"define void @{name}_call(ptr %a) {{"]
    for n, kind in enumerate(kinds):
        lines += [f"%p{n} = getelementptr ptr, ptr %a, i64 {n}", f"%v{n} = load {kind}, ptr %p{n}"]
    arguments = ", ".join(f"{kind} %v{n}" for n, kind in enumerate(kinds))
    return "\n".join([*lines, f"call void @{name}({arguments})", "ret void", "}", ""])


def _arrays(
    engine: Engine, workspaces: Mapping[tuple[str, bool], int], chosen: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return what the library holds beside the kernels."""
    potential, plan = engine.potential, engine.plan
    offsets = potential.references.cpu().numpy().astype(np.float64)
    if bool(potential.exact_free_atom):
        offsets = offsets - potential.model_offsets()
    rows = [plan.rows_per_edge(n) for n in range(len(plan.expansions))]
    lines = [
        f"format {FORMAT}",
        f"bits {engine.bits}",
        f"elements {' '.join(potential.elements)}",
        f"offsets {' '.join(repr(float(x)) for x in offsets)}",
        f"cutoffs {' '.join(repr(float(x)) for x in potential.cutoffs)}",
        f"rows_per_edge {' '.join(map(str, rows))}",
    ]
    for level in chosen:
        lanes = _machine(level).lanes(engine.bits)
        lines.append(f"level {level} {lanes} {workspaces[level, False]} {workspaces[level, True]}")
    integers, numbers = engine.terms
    text = "\n".join(lines).encode() + b"\n\0"
    arrays = {
        "text": np.frombuffer(text, np.uint8),
        "parameters": engine.parameters.flat,
        "integers": integers,
        "numbers": numbers,
    }
    return arrays | {f"table{n}": table for n, table in enumerate(engine.tables)}


def _constants(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return arrays as LLVM assembly; a few zeros follow each, which kernels may read."""
    lines = []
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).tobytes() + bytes(64)
        text = "".join(f"\\{byte:02X}" for byte in content)
        lines.append(f'@forgefield_{name} = constant [{len(content)} x i8] c"{text}", align 64')
    return "\n".join(lines) + "\n"
