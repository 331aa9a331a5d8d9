"""Potentials at work: calculators, molecular dynamics, and other programs' formats."""
