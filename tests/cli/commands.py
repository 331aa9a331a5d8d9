"""Running commands in tests."""

from __future__ import annotations

from typer.testing import CliRunner

from forgefield.cli.app import app

RUNNER = CliRunner()

SMALL = [
    option
    for text in (
        "descriptor.n_max_radial=3",
        "descriptor.n_max_angular=3",
        "descriptor.basis_size_radial=4",
        "descriptor.basis_size_angular=4",
        "descriptor.l_max=2",
        "descriptor.q_123=false",
        "descriptor.q_233=false",
        "descriptor.q_134=false",
        "descriptor.cutoff_radial=4.2",
        "descriptor.cutoff_angular=4.2",
        "model.hidden=[6]",
        "training.checkpoint_seconds=0",
        "threads=1",
    )
    for option in ("--set", text)
]


def call(*arguments, code=0):
    """Run a command; return standard output, or standard error where it is meant to fail."""
    result = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    assert result.exit_code == code, result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


def fails(*arguments, code=2):
    return call(*arguments, code=code)
