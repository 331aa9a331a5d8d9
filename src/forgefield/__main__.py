"""``python -m forgefield``: the command line, as launchers of several processes call it."""

from __future__ import annotations

from forgefield.cli import main

main()
