"""Atom-centred symmetry functions: G1, G2, G4 and G5 of Behler, for each element or pair of elements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forgefield.descriptors.acsf_sets import AngularGrid, FunctionSet, RadialGrid, SetName, named_set
from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.descriptors.cutoff_choice import CutoffChoice
from forgefield.expansions.base import Expansion
from forgefield.expansions.spherical import SphericalExpansion, identity_channels
from forgefield.expansions.triplets import TripletExpansion, pair_channels
from forgefield.formulas.cutoffs import COSINE, CutoffShape
from forgefield.formulas.symmetry_functions import (
    angular_factors,
    angular_power,
    angular_weights,
    cosine_sums,
    distinct_pair_sums,
    gaussians,
    squared_gaussians,
    triplet_functions,
)
from forgefield.stages import Stage

__all__ = ["ACSF", "ACSFSettings", "SymmetryFunctions", "SymmetrySettings"]

LARGEST_SPHERICAL_ZETA = 8
"""G5 functions of integer powers up to this one are sums over harmonics; pairs are cheaper beyond."""


class SymmetrySettings(CutoffChoice):
    """What plain and weighted symmetry functions have in common."""

    cutoff: float = Field(4.9, gt=0, le=20, description="neighbours beyond do not count [Å]")
    cutoff_angular: float | None = Field(None, gt=0, le=20, description="of G4 and G5 [Å]; none: the same")
    preset: SetName = Field(
        "pyxtal", description="parameter set that fills in for g2, g4 and g5 where not given"
    )
    g1: bool = Field(default=False, description="add G1, the sum of the cutoff function")
    g2: tuple[RadialGrid, ...] | None = Field(None, description="grids {etas, shifts} of G2 functions")
    g4: tuple[AngularGrid, ...] | None = Field(
        None, description="grids {etas, zetas, lambdas} of G4 functions"
    )
    g5: tuple[AngularGrid, ...] | None = Field(
        None, description="grids {etas, zetas, lambdas} of G5 functions"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cutoff_angular is not None and self.cutoff_angular > self.cutoff:
            raise ValueError(
                f"`cutoff_angular` must not exceed `cutoff` ({self.cutoff} Å), got {self.cutoff_angular}"
            )
        functions = self.functions
        if not (self.g1 or any(functions)):
            raise ValueError("there is no symmetry function left; set one of `g1`, `g2`, `g4`, `g5`")
        _distinct("g2", [p for grid in functions.g2 for p in grid.parameters], _what_matters_radial)
        for name, grids in (("g4", functions.g4), ("g5", functions.g5)):
            _distinct(name, [p for grid in grids for p in grid.parameters], _what_matters_angular)
        if self.g1 and any(eta == 0 for grid in functions.g2 for eta in grid.etas):
            raise ValueError("`g1` and a `g2` with eta = 0 are the same function; leave one of them out")
        return self

    @property
    def angular(self) -> float:
        """Cutoff of the angular functions [Å]."""
        return self.cutoff if self.cutoff_angular is None else self.cutoff_angular

    @property
    def functions(self) -> FunctionSet:
        """The grids in force."""
        preset = named_set(self.preset, self.angular)
        return FunctionSet(
            preset.g2 if self.g2 is None else self.g2,
            preset.g4 if self.g4 is None else self.g4,
            preset.g5 if self.g5 is None else self.g5,
        )


def _what_matters_radial(eta: float, shift: float) -> tuple[float, ...]:
    return (eta, shift) if eta else (0.0,)  # a Gaussian without width is 1 wherever it is centred


def _what_matters_angular(eta: float, zeta: float, lam: float) -> tuple[float, ...]:
    return (eta, zeta, lam) if lam else (eta,)  # without the cosine, powers differ by a factor


def _distinct(
    name: str, parameters: Sequence[tuple[float, ...]], what_matters: Callable[..., tuple[float, ...]]
) -> None:
    """Refuse functions that are multiples of each other."""
    seen: dict[tuple[float, ...], tuple[float, ...]] = {}
    for p in parameters:
        before = seen.setdefault(what_matters(*p), p)
        if before is not p:
            raise ValueError(
                f"`{name}` holds the same function twice, with {before} and with {p}, up to a factor; list every "
                "combination once, one shift where eta = 0, one power where lambda = 0"
            )


class ACSFSettings(SymmetrySettings):
    """Parameters of atom-centred symmetry functions; the defaults are the 70 functions of PyXtal_FF for SiO2."""

    kind: Literal["acsf"] = "acsf"


@dataclass(frozen=True)
class SymmetryRadial:
    """G1 and G2 functions, then the squares of the radial parts of G5."""

    cutoff: float
    cutoff_angular: float
    g1: bool
    parameters: tuple[tuple[float, float], ...]
    squared_etas: tuple[float, ...]
    shape: CutoffShape = COSINE
    per_l: bool = False

    @property
    def n_own(self) -> int:
        """Functions that are features."""
        return int(self.g1) + len(self.parameters)

    @property
    def n_radial(self) -> int:
        """All functions."""
        return self.n_own + len(self.squared_etas)

    def __call__(self, r: Any) -> list[Any]:
        """Return the functions at r."""
        first = [self.shape(r, self.cutoff)] if self.g1 else []
        own = gaussians(r, self.cutoff, self.parameters, self.shape) if self.parameters else []
        return [*first, *own, *squared_gaussians(r, self.cutoff_angular, self.squared_etas, self.shape)]


@dataclass(frozen=True)
class CentredGaussians:
    """Radial parts ``exp(-eta r^2) f_c(r)`` of G5 functions."""

    cutoff: float
    etas: tuple[float, ...]
    shape: CutoffShape = COSINE
    per_l: bool = False

    @property
    def n_radial(self) -> int:
        """One for each exponent."""
        return len(self.etas)

    def __call__(self, r: Any) -> list[Any]:
        """Return the functions at r."""
        return gaussians(r, self.cutoff, [(eta, 0.0) for eta in self.etas], self.shape)


@dataclass(frozen=True)
class SymmetryTriplets:
    """G4 functions and G5 functions that need pairs of neighbours, as (eta, zeta, lambda)."""

    cutoff: float
    g4: tuple[tuple[float, float, float], ...]
    g5: tuple[tuple[float, float, float], ...]
    shape: CutoffShape = COSINE

    @property
    def n_functions(self) -> int:
        """All functions."""
        return len(self.g4) + len(self.g5)

    @property
    def reach(self) -> float:
        """G4 vanishes where the neighbours are farther apart than the cutoff, G5 does not."""
        return float("inf") if self.g5 else self.cutoff

    def __call__(self, r_ij: Any, r_ik: Any, r_jk: Any) -> list[Any]:
        """Return the functions at the three distances."""
        return triplet_functions(r_ij, r_ik, r_jk, self.cutoff, self.g4, self.g5, self.shape)

    # The factors of the functions, see `FactoredBasis`: a Gaussian of the three distances is a product of three.

    @property
    def _gaussians(self) -> list[tuple[float, bool]]:
        """Exponents, and whether the distance between the neighbours counts."""
        return list(dict.fromkeys([(x[0], True) for x in self.g4] + [(x[0], False) for x in self.g5]))

    @property
    def _powers(self) -> list[tuple[float, float]]:
        """(zeta, lambda) of every angle."""
        return list(dict.fromkeys((zeta, lam) for _, zeta, lam in (*self.g4, *self.g5)))

    @property
    def factors(self) -> list[tuple[int, int]]:
        """Gaussian and angle of each function."""
        gaussian = {x: n for n, x in enumerate(self._gaussians)}
        angle = {x: n for n, x in enumerate(self._powers)}
        return [(gaussian[eta, True], angle[zeta, lam]) for eta, zeta, lam in self.g4] + [
            (gaussian[eta, False], angle[zeta, lam]) for eta, zeta, lam in self.g5
        ]

    @property
    def angular_degree(self) -> int | None:
        """The largest power, if all are integers."""
        powers = [zeta for zeta, _ in self._powers]
        return int(max(powers)) if all(float(zeta).is_integer() for zeta in powers) else None

    @property
    def third_reach(self) -> float:
        """Where the factors of the distance between the neighbours vanish."""
        return self.cutoff

    def sides(self, r: Any) -> list[Any]:
        """Return the factors of the distance of a neighbour."""
        return gaussians(r, self.cutoff, [(eta, 0.0) for eta, _ in self._gaussians], self.shape)

    def thirds(self, r: Any) -> list[Any]:
        """Return the factors of the distance between the neighbours."""
        near = [(eta, 0.0) for eta, is_near in self._gaussians if is_near]
        own = iter(gaussians(r, self.cutoff, near, self.shape))
        return [next(own) if is_near else 1.0 for _, is_near in self._gaussians]

    def angles(self, cosine: Any) -> list[Any]:
        """Return the powers of the angle."""
        return angular_factors(cosine, self._powers)


class SymmetryFunctions(Descriptor):
    """What plain and weighted symmetry functions share; they differ in the channels of neighbour species."""

    settings: SymmetrySettings

    def __init__(
        self, species: Sequence[str | int], settings: DescriptorSettings | None = None, **parameters: Any
    ) -> None:
        super().__init__(species, settings, **parameters)
        p = self.settings
        g2, g4, g5 = p.functions
        shape = p.cutoff_shape
        self._spherical, slow = _divided(g5)
        self._weights = [_weights(grid) for grid in self._spherical]
        etas = tuple(eta for grid in self._spherical for eta in grid.etas)
        g2_parameters = tuple(x for grid in g2 for x in grid.parameters)
        self._radial = SymmetryRadial(p.cutoff, p.angular, p.g1, g2_parameters, etas, shape)
        self._triplets = SymmetryTriplets(
            p.angular,
            tuple(x for grid in g4 for x in grid.parameters),
            tuple(x for grid in slow for x in grid.parameters),
            shape,
        )
        expansions: dict[str, Expansion] = {}
        if self._radial.n_radial:
            expansions["radial"] = SphericalExpansion(
                self._radial, p.cutoff, 0, 0, self._radial_channels(), unit_l0=True
            )
        if self._triplets.n_functions:
            expansions["triplets"] = TripletExpansion(self._triplets, p.angular, self._pair_channels())
        if etas:
            l_max = int(max(zeta for grid in self._spherical for zeta in grid.zetas))
            expansions["angular"] = SphericalExpansion(
                CentredGaussians(p.angular, etas, shape), p.angular, 0, l_max, self._angular_channels()
            )
        self._names = tuple(expansions)
        self.expansions = tuple(expansions.values())

    # What follows is replaced where elements are weighted.

    def _radial_channels(self) -> tuple[tuple[float, ...], ...]:
        return identity_channels(self.n_species)

    def _angular_channels(self) -> tuple[tuple[float, ...], ...]:
        return identity_channels(self.n_species)

    def _pair_channels(self) -> tuple[tuple[tuple[float, ...], ...], ...]:
        return pair_channels(self.n_species)

    @property
    def _elements(self) -> list[str]:
        """Label of every channel."""
        return [chemical_symbols[z] for z in self.species]

    def _square_channel(self, channel: int) -> int:
        """Return the channel of the radial expansion with the squared weights of a channel."""
        return channel

    # The rest is the same.

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations_with_replacement(range(len(self._elements)), 2))

    @property
    def feature_names(self) -> list[str]:
        """``G2 Si eta0.05 Rs0``, ``G4 O-Si eta0.01 zeta2 lambda-1`` and likewise G1 and G5."""
        labels = self._elements
        pairs = [labels[s] if len(labels) == 1 else f"{labels[s]}-{labels[t]}" for s, t in self._pairs]
        radial = ["G1 {}"] * self._radial.g1
        radial += [f"G2 {{}} eta{eta:.10g} Rs{shift:.10g}" for eta, shift in self._radial.parameters]
        names = [name.format(label) for label in labels for name in radial]
        triplets = [_angular_name("G4", *x) for x in self._triplets.g4]
        triplets += [_angular_name("G5", *x) for x in self._triplets.g5]
        names += [name.format(pair) for pair in pairs for name in triplets]
        for grid in self._spherical:
            functions = [_angular_name("G5", *x) for x in grid.parameters]
            names += [name.format(pair) for pair in pairs for name in functions]
        return names

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features; see `Descriptor.features`."""
        given = dict(zip(self._names, a, strict=True))
        n, own = self._radial.n_radial, self._radial.n_own
        parts = []
        if own:
            parts += [given["radial"].rows(s * n, s * n + own) for s in range(len(self._elements))]
        if "triplets" in given:
            parts.append(given["triplets"])
        offset = 0
        for k, grid in enumerate(self._spherical):
            for s, t in self._pairs:
                left, right = self._block(given, s, offset, grid), self._block(given, t, offset, grid)
                if s == t:
                    first = self._square_channel(s) * n + own + offset
                    squares = given["radial"].rows(first, first + len(grid.etas))
                    parts.append(stage.map(self._same(k), left, squares))
                else:
                    parts.append(stage.map(self._different(k), left, right))
            offset += len(grid.etas)
        return stage.join(*parts)

    def _block(self, given: dict[str, Any], channel: int, offset: int, grid: AngularGrid) -> Any:
        first = channel * len(self._radial.squared_etas) + offset
        return given["angular"].rows(first, first + len(grid.etas))

    def _same(self, k: int) -> Any:
        """Return the formula of G5 functions of neighbours of one element."""
        weights, angles = self._weights[k], self._spherical[k].angles
        ends = [2.0 ** (1 - zeta) * (1.0 + lam) ** zeta for zeta, lam in angles]
        return lambda x: distinct_pair_sums(x, x[len(x) - 1], weights, ends)

    def _different(self, k: int) -> Any:
        """Return the formula of G5 functions of neighbours of two elements."""
        weights = self._weights[k]
        return lambda x: cosine_sums(x[: len(x) // 2], x[len(x) // 2 :], weights)


class ACSF(SymmetryFunctions):
    """Behler's symmetry functions, for every element and pair of elements among the neighbours.

    ``G1 = sum_j f_c(r_ij)``, ``G2 = sum_j exp(-eta (r_ij - R_s)^2) f_c(r_ij)``,
    ``G4 = 2^(1-zeta) sum_(j<k) (1 + lambda cos theta)^zeta exp(-eta (r_ij^2 + r_ik^2 + r_jk^2)) f_c f_c f_c`` and
    ``G5`` like G4 without r_jk.

    Notes
    -----
    Every pair of neighbours counts once, as in DScribe and n2p2; sums over j and k printed without order have
    twice the value. Features: G1 and G2 by element, then G4 (and G5 of powers that are no integer or large) by pair
    of elements, then the other G5 functions grid by grid; powers, then signs, then exponents.
    Accuracy: G5 as sums over harmonics has an error of 1e-15 (float32: 1e-6) of the largest value its angular factor
    allows, not of its own value.
    Source: Yanxon et al. (PyXtal_FF), eqs. 6-8; Behler, J. Chem. Phys. 134 (2011) 074106.
    """

    Settings: ClassVar[type[DescriptorSettings]] = ACSFSettings
    settings: ACSFSettings


def _divided(grids: Sequence[AngularGrid]) -> tuple[list[AngularGrid], list[AngularGrid]]:
    """Return the parts of the grids that are sums over harmonics, and those that need pairs of neighbours."""
    spherical: list[AngularGrid] = []
    slow: list[AngularGrid] = []
    for grid in grids:
        fast = tuple(z for z in grid.zetas if z.is_integer() and z <= LARGEST_SPHERICAL_ZETA)
        rest = tuple(z for z in grid.zetas if z not in fast)
        for parts, zetas in ((spherical, fast), (slow, rest)):
            if zetas:
                parts.append(AngularGrid(etas=grid.etas, zetas=zetas, lambdas=grid.lambdas))
    return spherical, slow


def _weights(grid: AngularGrid) -> Any:
    """Return the weights of the angular momenta in the powers of a grid."""
    return angular_weights([angular_power(int(zeta), lam) for zeta, lam in grid.angles], int(max(grid.zetas)))


def _angular_name(kind: str, eta: float, zeta: float, lam: float) -> str:
    return f"{kind} {{}} eta{eta:.10g} zeta{zeta:.10g} lambda{lam:.10g}"
