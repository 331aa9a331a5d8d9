"""Command line: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of ``forgefield``."""
    from forgefield.cli.app import app

    app()
