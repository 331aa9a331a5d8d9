"""Forgefield: machine-learned interatomic potentials that can be trusted in simulation."""

from __future__ import annotations

__version__ = "0.1.0"
