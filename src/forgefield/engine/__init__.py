"""Potentials at compiled speed: blocks of atoms, fused kernels for inference and training."""
