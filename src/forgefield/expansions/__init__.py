"""Stage one of every descriptor: the expansion of the neighbourhood, a sum over neighbours.

``A_i[c, k, m] = sum over neighbours j of w_c(species_j) R_k(r_ij) Y_m(r_ij)`` for the spherical kind,
``A_i[c, q] = sum over neighbours j < k of w_c(species_j, species_k) B_q(r_ij, r_ik, r_jk)`` for triplets.

`base.py` says what an expansion is; each kind has a file that says what it sums (`spherical.py`).
`numpy_backend.py` and `torch_backend.py` evaluate every kind, its transpose (VJP, gives ``dE/dr_ij``) and its
directional derivative (JVP, gives the gradient of a force loss) behind one signature.
"""

from forgefield.expansions.base import Expansion
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.spherical import RadialBasis, SphericalExpansion
from forgefield.expansions.triplets import TripletBasis, TripletExpansion

__all__ = [
    "Expansion",
    "HypersphericalExpansion",
    "RadialBasis",
    "SphericalExpansion",
    "TripletBasis",
    "TripletExpansion",
]
