"""Loops at run time, what lives across them, and every kind of memory; compiled and interpreted alike."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernels import WAYS, build, lanes_of, number_type, packed, run

from forgefield.tracer.memory import Cursor

RNG = np.random.default_rng(1)
both = pytest.mark.parametrize("how", WAYS)
widths = pytest.mark.parametrize("bits", [32, 64])


@both
@widths
def test_nested_loops_with_bounds_known_only_at_run_time(bits, how):
    """y[i] = sum over i <= j < n, step s, of (i + 1) x[j], by three nested loops."""
    n, lanes, dtype = 7, lanes_of(bits), number_type(bits)
    x = packed(RNG.standard_normal((n, lanes)), dtype)

    def kernel(k, n, step, x, y):
        with k.range(n) as i:
            total = k.accumulators(1)
            with k.range(i, n, step) as j, k.range(i + 1):
                total[0] += x[j]
            y[i] = total[0]

    program = build(kernel, {"n": "int", "step": "int", "x": "rows", "y": "rows"}, bits)
    for step in (1, 2, 3):
        y = packed(np.full((n, lanes), 7.0), dtype)
        run(program, {"n": n, "step": step, "x": x, "y": y}, how)
        expected = [(i + 1) * x[i::step].astype(np.float64).sum(axis=0) for i in range(n)]
        assert np.allclose(y, expected, rtol=0, atol=100 * np.finfo(dtype).eps)


@both
def test_a_loop_over_nothing_at_run_time_does_nothing(how):
    def kernel(k, n, y):
        with k.range(n) as i:
            y[i] = 1.0

    y = packed(np.zeros((2, lanes_of(64))), np.float64)
    run(build(kernel, {"n": "int", "y": "rows"}), {"n": 0, "y": y}, how)
    assert (y == 0).all()


def test_a_single_trip_is_no_loop():
    seen = []

    def kernel(k, y):
        with k.range(3, 4) as i:
            seen.append(i)
            y[i] = 1.0

    assert "loop" not in build(kernel, {"y": "rows"}).dump()
    assert seen == [3]


@both
def test_arithmetic_of_integers(how):
    def kernel(k, n, y):
        for row, value in enumerate(
            [n + 2, 2 + n, n - 3, 40 - n, n * 3, n // 4, n, k.integer("min", n, 5), k.integer("max", n, 50)]
        ):
            y[row] = value

    y = np.zeros(9, np.int32)
    run(build(kernel, {"n": "int", "y": "indices"}), {"n": 30, "y": y}, how)
    assert y.tolist() == [32, 32, 27, 10, 90, 7, 30, 5, 50]


@both
@widths
def test_accumulators_start_where_told_and_keep_lanes_apart(bits, how):
    dtype, lanes = number_type(bits), lanes_of(bits)

    def kernel(k, x, y):
        a = k.accumulators(3, start=1.5)
        with k.range(4) as i:
            for n in range(len(a)):
                a[n] += x[i] * float(n)
        for n, v in enumerate(a.values()):
            y[n] = v

    x = packed(RNG.integers(-8, 8, (4, lanes)), dtype)
    y = packed(np.zeros((3, lanes)), dtype)
    run(build(kernel, {"x": "rows", "y": "rows"}, bits), {"x": x, "y": y}, how)
    assert np.array_equal(y, 1.5 + np.arange(3)[:, None] * x.sum(axis=0))


@both
def test_rows_with_offsets_set_and_add(how):
    def kernel(k, n, x, y):
        later = y + n
        later[0] = x[1]
        later.add(1, x[0])
        (later + 1).add(0, x[1])

    lanes = lanes_of(64)
    x, y = (packed(RNG.standard_normal((s, lanes)), np.float64) for s in (2, 5))
    before = y.copy()
    run(build(kernel, {"n": "int", "x": "rows", "y": "sums"}), {"n": 3, "x": x, "y": y}, how)
    assert np.array_equal(y[:3], before[:3])
    assert np.array_equal(y[3], x[1])
    assert np.allclose(y[4], before[4] + x.sum(axis=0), rtol=1e-15)


@both
def test_buffers_do_not_overlap(how):
    def kernel(k, y, work):
        a, b = k.buffer(3), k.buffer(2)
        for rows, size, start in ((a, 3, 0.0), (b, 2, 10.0)):
            for i in range(size):
                rows[i] = start + i
        with k.range(3) as i:
            y[i] = a[i]
        with k.range(2) as i:
            y[i + 3] = b[i]

    program = build(kernel, {"y": "rows", "work": "workspace"})
    assert program.workspace == 5
    y, work = (packed(np.zeros((5, lanes_of(64))), np.float64) for _ in range(2))
    run(program, {"y": y, "work": work}, how)
    assert y[:, 0].tolist() == [0, 1, 2, 10, 11]


@both
@widths
def test_numbers_shared_by_all_lanes(bits, how):
    dtype, lanes = number_type(bits), lanes_of(bits)

    def kernel(k, n, s, d, y):
        y[0] = s[n]
        y[1] = (s + n)[1]
        y[2] = d[n]
        y[3] = s.contiguous(n + 1)

    s, d = RNG.standard_normal(lanes + 5).astype(dtype), RNG.standard_normal(4)
    y = packed(np.zeros((4, lanes)), dtype)
    signature = {"n": "int", "s": "scalars", "d": "doubles", "y": "rows"}
    run(build(kernel, signature, bits), {"n": 2, "s": s, "d": d, "y": y}, how)
    assert (y[0] == s[2]).all()
    assert (y[1] == s[3]).all()
    assert (y[2] == d[2].astype(dtype)).all()
    assert np.array_equal(y[3], s[3 : 3 + lanes])


@both
@widths
def test_atoms_are_gathered_and_scattered_as_rows_of_four(bits, how):
    """Also where several lanes add to the same atom, which must all count."""
    dtype, lanes = number_type(bits), lanes_of(bits)

    def kernel(k, x, i, j, f, out):
        a, b = i.lanes(0), j.lanes(0)
        d = x.difference(b, a)
        g = f.gather(b)
        for c in range(3):
            out[c], out[3 + c] = d[c], g[c]
        f.add(a, d)

    n = 6
    x, f = packed(1e3 * RNG.standard_normal((n, 4)), np.float64), packed(RNG.standard_normal((n, 4)), dtype)
    i, j = (RNG.integers(0, n, (1, lanes)).astype(np.int32) for _ in range(2))
    out, before = packed(np.zeros((6, lanes)), dtype), f.astype(np.float64)
    signature = {"x": "points", "i": "indices", "j": "indices", "f": "vectors", "out": "rows"}
    run(build(kernel, signature, bits), {"x": x, "i": i, "j": j, "f": f, "out": out}, how)
    exact = (x[j[0]] - x[i[0]])[:, :3]
    assert np.array_equal(out[:3].T, exact.astype(dtype)), "subtracted in float64, then rounded"
    assert np.array_equal(out[3:].T, before[j[0], :3].astype(dtype))
    total = before[:, :3].copy()
    np.add.at(total, i[0], exact)
    assert np.allclose(f[:, :3], total, rtol=0, atol=2e4 * np.finfo(dtype).eps)
    assert np.array_equal(f[:, 3], before[:, 3])


@both
@widths
def test_rows_of_four_are_put_where_they_belong(bits, how):
    dtype, lanes = number_type(bits), lanes_of(bits)

    def kernel(k, i, x, f):
        (f + 2).put(i.lanes(0), [x[c] for c in range(4)])

    i = RNG.permutation(lanes + 3)[None, :lanes].astype(np.int32)
    x, f = packed(RNG.standard_normal((4, lanes)), dtype), packed(RNG.standard_normal((lanes + 6, 4)), dtype)
    expected = f.copy()
    expected[2 + i[0]] = x.T
    run(build(kernel, {"i": "indices", "x": "rows", "f": "vectors"}, bits), {"i": i, "x": x, "f": f}, how)
    assert np.array_equal(f, expected)


@both
def test_lists_of_neighbours_are_picked_lane_by_lane(how):
    lanes = lanes_of(64)
    listed = RNG.integers(0, 100, 40).astype(np.int32)
    starts = RNG.integers(0, 20, (1, lanes)).astype(np.int32)
    ends = (starts + RNG.integers(0, 6, (1, lanes))).astype(np.int32)

    def kernel(k, listed, starts, ends, picked):
        lo, hi = starts.lanes(0), ends.lanes(0)
        with k.range(7) as e:
            picked.set_lanes(e, listed.pick(lo, hi, e))

    picked = np.zeros((7, lanes), np.int32)
    run(
        build(kernel, dict.fromkeys(("listed", "starts", "ends", "picked"), "indices")),
        {"listed": listed, "starts": starts, "ends": ends, "picked": picked},
        how,
    )
    assert np.array_equal(picked, listed[np.minimum(starts + np.arange(7)[:, None], ends)])


@both
@widths
@pytest.mark.parametrize("from_source", [False, True])
def test_a_cursor_collects_the_lanes_of_a_mask(bits, from_source, how):
    """Their numbers, or what a list holds for them; room for all lanes is needed behind the last one."""
    dtype, lanes = number_type(bits), lanes_of(bits)
    x = packed(RNG.standard_normal((5, lanes)), dtype)
    names = RNG.integers(0, 1000, 5 * lanes + 3).astype(np.int32)

    def kernel(k, x, found, count, names):
        at = Cursor(k, 1)
        with k.range(5) as i:
            source = names + 3 if from_source else None
            at.value = found.append(at.value, i * lanes, x[i] < 0.3, source)
        count[0] = at.value

    found, count = np.full(7 * lanes, -1, np.int32), np.zeros(1, np.int32)
    signature = {"x": "rows", "found": "indices", "count": "indices", "names": "indices"}
    run(build(kernel, signature, bits), {"x": x, "found": found, "count": count, "names": names}, how)
    expected = np.flatnonzero(x.reshape(-1) < 0.3)
    assert count[0] == 1 + len(expected)
    assert np.array_equal(found[1 : count[0]], names[3 + expected] if from_source else expected)
    assert found[0] == -1
    assert (found[count[0] + lanes :] == -1).all()


@both
@widths
def test_the_first_lanes_are_a_mask(bits, how):
    dtype, lanes = number_type(bits), lanes_of(bits)

    def kernel(k, n, y):
        y[0] = k.op("where", k.first_lanes(n), 1.0, 2.0)

    for n in (0, 1, lanes - 1, lanes, lanes + 3):
        y = packed(np.zeros((1, lanes)), dtype)
        run(build(kernel, {"n": "int", "y": "rows"}, bits), {"n": n, "y": y}, how)
        assert np.array_equal(y[0], np.where(np.arange(lanes) < n, 1, 2))


def test_the_dump_shows_loops_and_lines():
    def kernel(k, n, x, y):
        with k.range(n) as i:
            y[i] = 2.0 * x[i] + 1.0

    lines = build(kernel, {"n": "int", "x": "rows", "y": "rows"}).dump().splitlines()
    assert [line.split(" = ")[-1].split()[0] for line in lines] == [
        "argument",
        "loop",
        "load",
        "mul",
        "add",
        "store",
    ]
    assert not lines[1].startswith(" ")
    assert all(line.startswith("    ") for line in lines[2:])
    assert "mul 2.0, v" in lines[3]


@both
@widths
@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_totals_collect_sums_over_the_lanes(bits, how, count):
    """y[i] += sum over the lanes of x[i], some at a time and for each of two blocks, from an odd place on."""
    lanes, dtype = lanes_of(bits), number_type(bits)
    x = packed(RNG.standard_normal((2 * count, lanes)), dtype)
    y = packed(np.arange(count + 3), dtype)

    def kernel(k, n, x, y):
        with k.range(n) as b:
            (y + 1).add_all(b * 0, [x[b * count + i] for i in range(count)])
        y.add(count + 2, x[0])

    run(build(kernel, {"n": "int", "x": "rows", "y": "totals"}, bits), {"n": 2, "x": x, "y": y}, how)
    sums = x.astype(np.float64).sum(axis=1)
    expected = np.arange(count + 3.0)
    expected[1 : count + 1] += sums[:count] + sums[count:]
    expected[count + 2] += sums[0]
    assert np.allclose(y, expected, rtol=0, atol=100 * np.finfo(dtype).eps)
