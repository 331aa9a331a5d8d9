"""From exceptions to one clear message and an exit code; from results to text or JSON."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from forgefield.errors import ForgefieldError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BAD_INPUT", "INTERRUPTED", "State", "fail", "guarded", "print_json", "stdout"]

P = ParamSpec("P")

BAD_INPUT = 2
"""Exit code of everything a user can cause."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class State:
    """Options that hold for every command."""

    debug: bool = False


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors a user can cause into one message on stderr and an exit code, without a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ForgefieldError as error:
            fail(str(error))
        except MemoryError:
            fail("not enough memory; lower training.batch_size or the cutoff, or use fewer structures")
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            fail(f"cannot read or write{place}: {error.strerror or error}")
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)

    return run


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Print a message on stderr, in red on a terminal, and leave with `code`."""
    if State.debug and code != INTERRUPTED:
        import traceback

        traceback.print_exc()
    typer.secho(f"Error: {message}" if code == BAD_INPUT else message, fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def stdout() -> Console:
    """Return a console on standard output; as wide as its content needs where that is not a terminal."""
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else 160)


def print_json(content: Mapping[str, Any]) -> None:
    """Print JSON on standard output; numbers that are not finite become null."""
    print(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
