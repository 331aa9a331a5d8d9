"""Stage one of every descriptor: the expansion of the neighbourhood, linear in the neighbours.

``A_i[c, k, m] = sum over neighbours j of w_c(species_j) R_k(r_ij) Y_m(r_ij)``

`spherical.py` says what is expanded; `numpy_backend.py` and `torch_backend.py` evaluate it, its transpose (VJP, gives
``dE/dr_ij``) and its directional derivative (JVP, gives the gradient of a force loss) behind one signature.
"""

from forgefield.expansions.spherical import RadialBasis, SphericalExpansion

__all__ = ["RadialBasis", "SphericalExpansion"]
