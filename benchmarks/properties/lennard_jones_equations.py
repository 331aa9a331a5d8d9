"""Published free energies of the Lennard-Jones system, and that of the harmonic crystal, which is exact at low temperature.

Everything per atom, in reduced units, for the full potential, with the thermal wavelength equal to sigma.

Solid: M. A. van der Hoef, J. Chem. Phys. 113, 8142 (2000); the same with the constant of E. A. Mastny and J. J. de Pablo,
J. Chem. Phys. 127, 104504 (2007); H. Adidharma and S. P. Tan (2016). Fluid: J. K. Johnson, J. A. Zollweg and K. E. Gubbins, Mol.
Phys. 78, 591 (1993); M. Thol et al., J. Phys. Chem. Ref. Data 45, 023101 (2016). Coefficients of the solid and of Thol et al. were
taken from public implementations and not compared with the papers.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

__all__ = [
    "adidharma_tan",
    "gas_structure",
    "harmonic_crystal",
    "johnson",
    "lattice_energy",
    "mastny_de_pablo",
    "thol",
    "van_der_hoef",
]

X = [
    *(0.8623085097507421, 2.976218765822098, -8.402230115796038, 0.1054136629203555, -0.8564583828174598),
    *(1.582759470107601, 0.7639421948305453, 1.753173414312048, 2.798291772190376e3, -4.8394220260857657e-2),
    *(0.9963265197721935, -3.698000291272493e1, 2.084012299434647e1, 8.305402124717285e1),
    *(-9.574799715203068e2, -1.477746229234994e2, 6.398607852471505e1, 1.603993673294834e1),
    *(6.805916615864377e1, -2.791293578795945e3, -6.245128304568454, -8.116836104958410e3),
    *(1.488735559561229e1, -1.059346754655084e4, -1.131607632802822e2, -8.867771540418822e3),
    *(-3.986982844450543e1, -4.689270299917261e3, 2.593535277438717e2, -2.694523589434903e3),
    *(-7.218487631550215e2, 1.721802063863269e2),
]
"""Parameters of Johnson, Zollweg and Gubbins, table 10."""

THOL = (
    (
        *((0.005208073, 1.0, 4), (2.186252, 0.32, 1), (-2.161016, 0.505, 1)),
        *((1.4527, 0.672, 2), (-2.041792, 0.843, 2), (0.18695286, 0.898, 3)),
    ),
    (
        *((-0.090988445, 1.294, 5, 1), (-0.4974561, 2.59, 2, 2), (0.10901431, 1.786, 2, 1)),
        *((-0.80055922, 2.77, 3, 2), (-0.568839, 1.786, 1, 2), (-0.6208625, 1.205, 1, 1)),
    ),
    (
        (-1.4667177, 2.83, 1, 2.067, 0.625, 0.71, 0.2053),
        (1.891469, 2.548, 1, 1.522, 0.638, 0.86, 0.409),
        (-0.1383701, 4.65, 2, 8.82, 3.91, 1.94, 0.6),
        (-0.3869645, 1.385, 3, 1.722, 0.156, 1.48, 1.203),
        (0.1265702, 1.46, 3, 0.679, 0.157, 1.49, 1.829),
        (0.605781, 1.351, 2, 1.883, 0.153, 1.945, 1.397),
        (1.179189, 0.66, 1, 3.925, 1.16, 3.02, 1.39),
        (-0.47732679, 1.496, 2, 2.461, 1.73, 1.11, 0.539),
        (-9.9218575, 1.83, 3, 28.2, 383.0, 1.17, 0.934),
        (-0.5747932, 1.616, 1, 0.753, 0.112, 1.33, 2.369),
        (0.003772923, 4.97, 1, 0.82, 0.119, 0.24, 2.43),
    ),
)
"""Terms of Thol et al., table 2: n, t, d; n, t, d, l; n, t, d, eta, beta, gamma, epsilon."""


def johnson(density: float, t: float) -> float:
    """Return the Helmholtz energy of the fluid, Johnson et al."""
    x = [0.0, *X]
    a = [
        x[1] * t + x[2] * math.sqrt(t) + x[3] + x[4] / t + x[5] / t**2,
        x[6] * t + x[7] + x[8] / t + x[9] / t**2,
        x[10] * t + x[11] + x[12] / t,
        x[13],
        x[14] / t + x[15] / t**2,
        x[16] / t,
        x[17] / t + x[18] / t**2,
        x[19] / t**2,
    ]
    b = [
        x[20] / t**2 + x[21] / t**3,
        x[22] / t**2 + x[23] / t**4,
        x[24] / t**2 + x[25] / t**3,
        x[26] / t**2 + x[27] / t**4,
        x[28] / t**2 + x[29] / t**3,
        x[30] / t**2 + x[31] / t**3 + x[32] / t**4,
    ]
    gamma = 3.0
    f = math.exp(-gamma * density**2)
    g = [(1.0 - f) / (2.0 * gamma)]
    for i in range(1, 6):
        g.append(-(f * density ** (2 * i) - 2 * i * g[-1]) / (2.0 * gamma))
    excess = sum(c * density ** (i + 1) / (i + 1) for i, c in enumerate(a))
    excess += sum(c * d for c, d in zip(b, g, strict=True))
    return excess + t * (math.log(density) - 1.0)


def thol(density: float, t: float) -> float:
    """Return the Helmholtz energy of the fluid, Thol et al."""
    tau, delta = 1.32 / t, density / 0.31
    powers, decays, bells = THOL
    residual = sum(n * tau**a * delta**d for n, a, d in powers)
    residual += sum(n * tau**a * delta**d * math.exp(-(delta**q)) for n, a, d, q in decays)
    residual += sum(
        n * tau**a * delta**d * math.exp(-eta * (delta - e) ** 2 - beta * (tau - gamma) ** 2)
        for n, a, d, eta, beta, gamma, e in bells
    )
    return t * residual + t * (math.log(density) - 1.0)


def lattice_energy(density: float) -> float:
    """Return the energy of the fcc lattice at rest."""
    return -14.45392093 * density**2 + 6.065940096 * density**4


def van_der_hoef(density: float, t: float, constant: float = -23.3450759) -> float:
    """Return the Helmholtz energy of the fcc crystal, van der Hoef."""
    a = [
        [-8.2151768, 12.070686, -6.6594615, 1.3211582],
        [13.404069, -20.632066, 11.564825, -2.3064801],
        [-5.5481261, 8.8465978, -5.0258631, 1.0070066],
    ]
    b = [69.833875, -132.86963, 97.438593, -25.848057]
    beta = 1.0 / t
    anharmonic = -sum(
        a[n][m - 2] / (m - 1) * density**n * beta ** (1 - m) for n in range(3) for m in range(2, 6)
    )
    rest = sum(b[n] / (n + 1) * density ** (n + 1) for n in range(4))
    excess = constant + beta * lattice_energy(density) + 1.5 * math.log(beta) + anharmonic + rest
    return t * (excess + math.log(density) - 1.0)


def mastny_de_pablo(density: float, t: float) -> float:
    """Return van der Hoef's with the constant of Mastny and de Pablo."""
    return van_der_hoef(density, t, -23.3626352)


def adidharma_tan(density: float, t: float) -> float:
    """Return the Helmholtz energy of the fcc crystal, Adidharma and Tan."""
    q = [
        [36.33808682, -41.137808, 25.74698103, -7.807991646],
        [-107.1699988, 128.050431, -82.46948719, 25.42569589],
        [119.9321063, -149.8142253, 98.98941549, -30.98224644],
        [-60.0831842, 77.97346577, -52.73174376, 16.73649778],
        [11.33640974, -15.21781104, 10.51355501, -3.381006354],
    ]
    b = [107.235706, -124.131009, 77.69834533, -24.920071, 3.2250032]
    excess = -33.049893 - 1.5 * math.log(t) + sum(c * density ** (n + 1) for n, c in enumerate(b))
    excess += sum(c * density**n * t ** (m + 1) for n, row in enumerate(q) for m, c in enumerate(row))
    return lattice_energy(density) + t * (excess + math.log(density) - 1.0)


def harmonic_crystal(density: float, t: float, *, cutoff: float = 12.0, mesh: int = 24) -> float:
    """Return the Helmholtz energy of the classical harmonic fcc crystal of infinite size: exact as t goes to 0.

    Parameters
    ----------
    density, t : float
    cutoff : float
        Of the force constants; the lattice energy is that of all pairs.
    mesh : int
        Wave vectors along each reciprocal vector.
    """
    primitive = (4.0 / density) ** (1.0 / 3.0) * (0.5 - 0.5 * np.eye(3))
    reach = int(3.0 * cutoff / np.linalg.norm(primitive[0])) + 1
    cells = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    vectors = cells @ primitive
    r = np.linalg.norm(vectors, axis=1)
    near = (r > 0.0) & (r < cutoff)
    cells, unit, r = cells[near], vectors[near] / r[near, None], r[near]
    slope, curvature = 4.0 * (-12.0 * r**-13 + 6.0 * r**-7), 4.0 * (156.0 * r**-14 - 42.0 * r**-8)
    along = unit[:, :, None] * unit[:, None, :]
    springs = (curvature - slope / r)[:, None, None] * along + (slope / r)[:, None, None] * np.eye(3)
    grid = (np.arange(mesh) + 0.5) / mesh
    logs = []
    for x, y in itertools.product(grid, repeat=2):
        q = np.stack([np.full(mesh, x), np.full(mesh, y), grid], axis=1)
        phases = 1.0 - np.cos(2.0 * np.pi * q @ cells.T)
        matrices = (phases @ springs.reshape(-1, 9)).reshape(-1, 3, 3)
        logs.append(np.log(np.linalg.eigvalsh(matrices)).sum(axis=1))
    mean = 0.5 * float(np.mean(logs))
    return lattice_energy(density) + t * (mean - 1.5 * math.log(2.0 * math.pi * t))


def gas_structure(density: float, t: float, cutoff: float, n_bins: int) -> np.ndarray:
    """Return g(r) of a gas in shells up to the cutoff, shifted to zero there, to first order in the density.

    ``g = exp(-u / kT) (1 + rho int f(s) f(|r - s|) d^3 s)``, ``f = exp(-u / kT) - 1``: exact to that order. In bipolar
    coordinates the integral is ``2 pi / r int s f(s) int_|r-s|^(r+s) q f(q) dq ds``.
    """

    def exponent(r: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            energy = 4.0 * (r**-12 - r**-6) - 4.0 * (cutoff**-12 - cutoff**-6)
        return np.where(r < cutoff, -np.minimum(energy, 1e3) / t, 0.0)

    fine = np.linspace(1e-6, 3.0 * cutoff, 60_001)
    weight = fine * np.expm1(exponent(fine))
    inner = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(fine) * (weight[1:] + weight[:-1]))])
    edges = (np.arange(n_bins)[:, None] + (np.arange(9) + 0.5) / 9) * cutoff / n_bins  # means over shells
    s, near = fine[fine < cutoff], weight[fine < cutoff]
    both = [
        np.trapezoid(near * (np.interp(r + s, fine, inner) - np.interp(np.abs(r - s), fine, inner)), s) / r
        for r in edges.ravel()
    ]
    g = np.exp(exponent(edges)) * (1.0 + density * 2.0 * np.pi * np.reshape(both, edges.shape))
    mean: np.ndarray = (g * edges**2).sum(axis=1) / (edges**2).sum(axis=1)
    return mean
