"""Check that files have at most 400 lines and functions at most 60, docstrings not counted.

python tools/check_sizes.py [FOLDER...]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE = 400
MAX_FUNCTION = 60
FOLDERS = ("src", "tests", "tools", "docs", "examples", "benchmarks")


def main() -> int:
    """Print every excess; return 1 if there is one."""
    root = Path(__file__).resolve().parents[1]
    folders = sys.argv[1:] or [name for name in FOLDERS if (root / name).is_dir()]
    files = sorted(path for name in folders for path in (root / name).rglob("*.py"))
    if not files:
        print(f"no Python file found in {', '.join(folders)}", file=sys.stderr)
        return 1
    problems = [text for path in files for text in check(path)]
    for text in problems:
        print(text)
    print(f"sizes: {len(files)} files, {len(problems)} too large")
    return 1 if problems else 0


def check(path: Path) -> Iterator[str]:
    """Yield what is too large in a file."""
    text = path.read_text(encoding="utf-8")
    n_lines = len(text.splitlines())
    if n_lines > MAX_FILE:
        yield f"{path}: {n_lines} lines, at most {MAX_FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = function_lines(node)
            if size > MAX_FUNCTION:
                yield f"{path}:{node.lineno}: {node.name} has {size} lines, at most {MAX_FUNCTION}"


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    size = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        size -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return size


if __name__ == "__main__":
    sys.exit(main())
