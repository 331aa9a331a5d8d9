"""The page about the tracer: its example runs, its dump is what the example leaves; the size it promises."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import numpy as np

from forgefield.tracer import trace
from forgefield.tracer.memory import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tracer.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
DUMP = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]

LINES_OF_CODE = 1000


def test_the_example_runs_and_is_right():
    scope = {}
    exec(EXAMPLE, scope)  # noqa: S102 - our own documentation
    r, e = scope["r"], np.exp(1.5 - scope["r"])
    assert np.allclose(scope["energy"], e * e - 2 * e, rtol=1e-13, atol=1e-15)
    assert np.allclose(scope["slope"], -2 * e * e + 2 * e, rtol=1e-13, atol=1e-15)
    assert r.min() == 1.0


def test_the_dump_is_that_of_the_example():
    scope = {}
    exec(EXAMPLE, scope)  # noqa: S102 - our own documentation
    assert trace("morse", scope["signature"], 64, scope["kernel"]).dump() == DUMP.strip()


def test_the_page_lists_every_kind_of_memory():
    assert [kind for kind in ("int", *KINDS) if f"`{kind}`" not in PAGE] == []


def lines_of_code(path):
    """Count the lines that hold code: no docstrings, comments or empty lines."""
    text = path.read_text(encoding="utf-8")
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        for s in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(s, ast.Expr)
                and isinstance(s.value, ast.Constant)
                and isinstance(s.value.value, str)
            ):
                docstrings |= set(range(s.lineno, s.end_lineno + 1))
    empty = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in empty:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def test_lines_are_counted_without_what_is_not_code(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""One\nof two."""\n\n# comment\nx = [\n    1,\n]\n\n\ndef f():\n    """Doc."""\n    return x\n'
    )
    assert lines_of_code(path) == 5


def test_the_tracer_is_small():
    files = sorted((ROOT / "src" / "forgefield" / "tracer").glob("*.py"))
    assert len(files) > 7
    sizes = {path.name: lines_of_code(path) for path in files}
    assert sum(sizes.values()) <= LINES_OF_CODE, sizes
