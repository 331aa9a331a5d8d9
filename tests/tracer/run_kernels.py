"""Run small kernels on the processor or in the interpreter."""

from __future__ import annotations

import numpy as np

from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace
from forgefield.tracer.cache import Native, aligned, host, object_code

WAYS = ("compiled", "interpreted")
N = 64


def build(function, signature, bits=64, name="kernel"):
    """Trace a kernel function."""
    return trace(name, signature, bits, function)


def run(program, arguments, how="compiled"):
    """Run a program on a dict of arguments, which it changes in place."""
    machine = host()
    lanes = machine.lanes(program.bits)
    if how == "interpreted":
        interpret(program, lanes, arguments)
        return
    code = object_code(program, machine)
    native = Native(program.name, program.signature, lanes, program.workspace, code)
    native(*(arguments[a] for a in program.signature))


def lanes_of(bits):
    return host().lanes(bits)


def number_type(bits):
    return np.dtype(f"f{bits // 8}")


def packed(values, dtype):
    """Copy an array to where kernels may read it."""
    array = aligned(np.shape(values), dtype)
    array[...] = values
    return array


def on_columns(function, columns, bits=64, how="compiled"):
    """Return ``function(k, xs)`` for every one of the `N` entries of the columns; a list of arrays in float64."""
    lanes, dtype = lanes_of(bits), number_type(bits)
    n, blocks = len(columns), N // lanes
    sizes = []

    def kernel(k, blocks, x, y):
        with k.range(blocks) as b:
            results = function(k, [x[b * n + i] for i in range(n)])
            sizes.append(len(results))
            for i, v in enumerate(results):
                y[b * len(results) + i] = v

    program = build(kernel, {"blocks": "int", "x": "rows", "y": "rows"}, bits)
    x = packed(np.reshape(columns, (n, blocks, lanes)).swapaxes(0, 1), dtype)
    y = packed(np.zeros((blocks, sizes[0], lanes)), dtype)
    run(program, {"blocks": blocks, "x": x, "y": y}, how)
    return list(y.swapaxes(0, 1).reshape(sizes[0], N).astype(np.float64))
