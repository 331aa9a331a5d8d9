"""Regression of models that are linear in their parameters: rows, their compression, and solvers."""
