"""What cannot be compiled is refused, naming the formula and its line."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from run_kernels import build

from forgefield.formulas.namespace import functions_of
from forgefield.tracer import TraceError


def with_an_if(x):
    return x if x < 1.0 else 2.0 * x


def with_an_and(x):
    return functions_of(x).where((x < 1.0) and (x > 0.0), x, 0.0)


def with_max(x):
    return max(x, 0.0)


def with_an_unknown_function(x):
    return functions_of(x).erf(x)


def with_numpy(x):
    return 2.0 * np.exp(x)


def with_an_option_of_numpy(x):
    return np.add(x, 1.0, where=True)


def with_an_array(x):
    return x * np.ones(3)


def with_an_array_first(x):
    return np.ones(3) * x


def with_float(x):
    return float(x) + 1.0


def with_iteration(x):
    return sum(list(x))


def with_a_traced_exponent(x):
    return x**x


def with_text(x):
    return x + "1"


WRONG = {
    with_an_if: "where",
    with_an_and: "where",
    with_max: "where",
    with_an_unknown_function: "'erf' is not known",
    with_numpy: r"numpy\.exp of a traced value; use functions_of",
    with_an_option_of_numpy: r"numpy\.add",
    with_an_array: "ndarray",
    with_an_array_first: "ndarray",
    with_float: "plain number",
    with_iteration: "sequence",
    with_a_traced_exponent: "exponent",
    with_text: "str",
}


def traced(formula):
    def kernel(k, x, y):
        y[0] = formula(x[0])

    return build(kernel, {"x": "rows", "y": "rows"})


@pytest.mark.parametrize("formula", WRONG)
def test_the_message_names_the_formula_and_the_line(formula):
    line = inspect.getsourcelines(formula)[1] + 1
    with pytest.raises(TraceError, match=WRONG[formula]) as error:
        traced(formula)
    assert str(error.value).startswith(f"{formula.__name__} (test_errors.py, line {line}): ")


def test_an_integer_address_cannot_be_a_number():
    def kernel(k, n, y):
        y[n + 0.5] = 1.0

    with pytest.raises(
        TraceError, match=r"kernel \(test_errors.py, line \d+\): integer arithmetic with float"
    ):
        build(kernel, {"n": "int", "y": "rows"})


def test_a_loop_inside_a_tape():
    def kernel(k, n, y):
        with k.tape(), k.range(n) as i:
            y[i] = 1.0

    with pytest.raises(TraceError, match=r"kernel .*straight-line"):
        build(kernel, {"n": "int", "y": "rows"})


@pytest.mark.parametrize("bounds", [(0,), (3, 3), (4, 2)])
def test_an_empty_loop(bounds):
    def kernel(k, y):
        with k.range(*bounds) as i:
            y[i] = 1.0

    with pytest.raises(TraceError, match=re.escape("an empty loop from")):
        build(kernel, {"y": "rows"})


def test_errors_inside_a_loop_leave_the_kernel_usable():
    def kernel(k, n, y):
        with pytest.raises(TraceError), k.range(n) as i:
            y[i] = with_an_if(y[i])
        y[0] = 1.0

    assert build(kernel, {"n": "int", "y": "rows"}).dump().splitlines()[-1].startswith("store y, 0, 1.0")
