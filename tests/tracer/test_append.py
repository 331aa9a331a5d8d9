"""Integers made from numbers: collected under a mask, and rounded."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernels import WAYS, build, lanes_of, number_type, packed, run

from forgefield.formulas.namespace import functions_of
from forgefield.tracer.memory import Cursor


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bits", [32, 64])
def test_a_cursor_collects_listed_numbers_of_the_first_lanes(bits, how):
    rng = np.random.default_rng(7)
    dtype, lanes = number_type(bits), lanes_of(bits)
    x, names = rng.standard_normal(5 * lanes), rng.integers(0, 999, 5 * lanes).astype(np.int32)
    n = 3 * lanes + 2

    def kernel(k, n, x, names, found, count):
        at = Cursor(k, 0)
        with k.range(0, n, lanes) as i:
            v = x.contiguous(i)
            v = functions_of(v).where(k.first_lanes(n - i), v, 1.0)
            at.value = found.append(at.value, i, v < 0.3, names)
        count[0] = at.value

    found, count = np.full(5 * lanes, -1, np.int32), np.zeros(1, np.int32)
    signature = {"n": "int", "x": "scalars", "names": "indices", "found": "indices", "count": "indices"}
    arguments = {"n": n, "x": packed(x, dtype), "names": names, "found": found, "count": count}
    run(build(kernel, signature, bits), arguments, how)
    assert np.array_equal(found[: count[0]], names[:n][x[:n] < 0.3])


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bits", [32, 64])
def test_whole_numbers_are_stored_as_integers(bits, how):
    dtype, lanes = number_type(bits), lanes_of(bits)
    x = packed(np.random.default_rng(8).uniform(-1e5, 1e5, (3, lanes)), dtype)

    def kernel(k, x, whole):
        with k.range(3) as i:
            whole.set_numbers(i, k.op("rint", x[i]))

    whole = np.zeros((3, lanes), np.int32)
    run(build(kernel, {"x": "rows", "whole": "indices"}, bits), {"x": x, "whole": whole}, how)
    assert np.array_equal(whole, np.rint(x).astype(int))
