"""Checks of the bundled silicon data: labels, groups, splits, physics; only the shipped files are read."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from forgefield import datasets
from forgefield.errors import ConfigError

GPA = 160.2176634
MEGABYTE = 1 << 20
BASIS_STRESS = {"diamond": -0.0224 / GPA, "betasn": -0.0319 / GPA}
"""Pressure of the finite basis, (2/3) dE/dln(cutoff) / V from energies at 24 and 28 Ry [eV/Å^3]; `convergence.py`."""
GROUPS = {
    "IsolatedAtom",
    "betasn_eos",
    "betasn_strain",
    "betasn_strain_rattled",
    "diamond_eos",
    "diamond_strain",
    "diamond_strain_rattled",
    "liquid",
    "solid_300K",
    "solid_600K",
    "solid_1200K",
    "solid_1800K",
    "surface",
    "vacancy",
}
UNIT_STRAINS = {
    "uniaxial_x": np.diag([1.0, 0.0, 0.0]),
    "uniaxial_z": np.diag([0.0, 0.0, 1.0]),
    "uniaxial_111": np.full((3, 3), 1.0 / 3.0),
    "biaxial_xy": np.diag([1.0, 1.0, 0.0]),
    "shear_xy": np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "shear_xz": np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]),
}


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    return datasets.load()


@pytest.fixture(scope="module")
def answers() -> dict:
    return datasets.reference()


def group(frames: list[Atoms], name: str) -> list[Atoms]:
    found = [atoms for atoms in frames if atoms.info["config_type"] == name]
    assert found, f"no structure of group {name}"
    return found


def strain_series(frames: list[Atoms], prefix: str) -> dict[float, Atoms]:
    """Structures named prefix-p04.5 etc. by their strain."""
    series = {}
    for atoms in frames:
        match = re.fullmatch(rf"{re.escape(prefix)}-([pm])(\d+\.\d)", atoms.info["name"])
        if match:
            series[(1.0 if match[1] == "p" else -1.0) * float(match[2]) / 100.0] = atoms
    return dict(sorted(series.items()))


def tensor(voigt: np.ndarray) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def test_size_groups_and_unique_names(frames):
    assert datasets.path().stat().st_size < 2 * MEGABYTE
    assert len(frames) == 409
    assert {atoms.info["config_type"] for atoms in frames} == GROUPS
    assert len({atoms.info["name"] for atoms in frames}) == len(frames)
    assert max(len(atoms) for atoms in frames) >= 16


def test_labels_are_complete_and_finite(frames):
    for atoms in frames:
        forces, stress = atoms.get_forces(), atoms.get_stress()
        assert forces.shape == (len(atoms), 3)
        assert stress.shape == (6,)
        assert np.isfinite(atoms.get_potential_energy())
        assert np.isfinite(forces).all()
        assert np.isfinite(stress).all()
        assert atoms.pbc.all()
        assert atoms.get_volume() > 0.0


def test_split_shares_and_loader(frames):
    counts = Counter(atoms.info["split"] for atoms in frames)
    assert set(counts) == set(datasets.SPLITS)
    for name, share in (("train", 0.7), ("valid", 0.2), ("test", 0.1)):
        assert counts[name] / len(frames) == pytest.approx(share, abs=0.02)
        assert len(datasets.load(split=name)) == counts[name]
    for name in GROUPS - {"IsolatedAtom"}:
        members = Counter(atoms.info["split"] for atoms in group(frames, name))
        assert members["train"] > members["valid"] > 0, name
    assert group(frames, "IsolatedAtom")[0].info["split"] == "train"


def test_no_duplicates(frames):
    seen = []
    for atoms in frames:
        key = (len(atoms), round(atoms.get_potential_energy(), 6), *np.round(np.sort(atoms.get_stress()), 6))
        seen.append(key)
    assert len(set(seen)) == len(seen)


def test_neighbouring_strains_share_a_split(frames):
    """The closely spaced strains (0.5 % apart) must not leak from training into test."""
    names = {atoms.info["name"]: atoms.info["split"] for atoms in frames}
    series = [
        "diamond_strain-uniaxial_x-p0{}",
        "diamond_strain-shear_xy-p0{}",
        "betasn_strain-uniaxial_z-p0{}",
    ]
    strains = [("3.5", "4.0", "4.5"), ("5.5", "6.0", "6.5"), ("3.5", "4.0", "4.5")]
    for pattern, values in zip(series, strains, strict=True):
        assert len({names[pattern.format(value)] for value in values}) == 1


def test_net_force_vanishes(frames):
    """pw.x subtracts the mean force, so only rounding remains."""
    worst = max(np.abs(atoms.get_forces().sum(axis=0)).max() for atoms in frames)
    assert worst < 1.0e-5


def test_forces_vanish_by_symmetry(frames):
    symmetric = [*group(frames, "diamond_eos"), *group(frames, "betasn_eos"), *group(frames, "IsolatedAtom")]
    symmetric += [
        atoms
        for atoms in group(frames, "diamond_strain")
        if any(mode in atoms.info["name"] for mode in ("-uniaxial_x-", "-biaxial_xy-", "-tetragonal-"))
    ]
    for atoms in symmetric:
        assert np.abs(atoms.get_forces()).max() < 2.0e-3, atoms.info["name"]


@pytest.mark.parametrize("phase", ["diamond", "betasn"])
def test_compressed_cells_push_and_stretched_cells_pull(frames, phase):
    series = strain_series(frames, f"{phase}_eos")
    pressures = [-atoms.get_stress()[:3].mean() for atoms in series.values()]
    assert len(series) >= 11
    assert pressures[0] > 0.0 > pressures[-1]
    inner = [pressure for strain, pressure in zip(series, pressures, strict=True) if abs(strain) <= 0.05]
    assert (np.diff(inner) < 0.0).all()


@pytest.mark.parametrize("phase", ["diamond", "betasn"])
def test_energy_over_volume_is_smooth(frames, phase):
    """A quintic in V^(-2/3) passes through the energies to a fraction of a meV/atom."""
    series = strain_series(frames, f"{phase}_eos")
    inner = [atoms for strain, atoms in series.items() if abs(strain) <= 0.0401]
    x = np.array([(atoms.get_volume() / len(atoms)) ** (-2.0 / 3.0) for atoms in inner])
    y = np.array([atoms.get_potential_energy() / len(atoms) for atoms in inner])
    x = (x - x.mean()) / np.ptp(x)
    residual = y - np.polynomial.Polynomial.fit(x, y, 4)(x)
    assert len(inner) >= 9
    assert np.abs(residual).max() < 5.0e-4


STENCILS = [
    ("diamond_strain", "uniaxial_x", 0.04),
    ("diamond_strain", "uniaxial_111", 0.08),
    ("diamond_strain", "biaxial_xy", -0.04),
    ("diamond_strain", "shear_xy", 0.06),
    ("betasn_strain", "uniaxial_z", 0.04),
    ("betasn_strain", "biaxial_xy", -0.04),
    ("betasn_strain", "shear_xz", 0.06),
]


@pytest.mark.parametrize(("prefix", "mode", "centre"), STENCILS)
def test_stress_is_the_strain_derivative_of_the_energy(frames, prefix, mode, centre):
    """dE/ds by central differences of strains 0.5 % apart equals V sigma : dF/ds F^-1 within 0.2 %.

    Energies have a fixed cutoff, stresses a fixed number of waves: the number grows with the volume, and the energy falls
    with it by an amount that is known from energies at two cutoffs.
    """
    series = strain_series(frames, f"{prefix}-{mode}")
    low, middle, high = (series[round(centre + step, 3)] for step in (-0.005, 0.0, 0.005))
    slope = (high.get_potential_energy() - low.get_potential_energy()) / 0.01
    unit = UNIT_STRAINS[mode]
    rate = unit @ np.linalg.inv(np.eye(3) + centre * unit)
    stress = tensor(middle.get_stress()) + BASIS_STRESS[prefix.split("_")[0]] * np.eye(3)
    expected = middle.get_volume() * np.sum(stress * rate)
    assert abs(expected) > 0.1
    assert slope == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("phase", ["diamond", "betasn"])
def test_stress_sign_and_size_along_whole_series(frames, phase):
    """The work of the stress between neighbouring strains (trapezoid) is the energy difference."""
    modes = {"diamond": ("uniaxial_x", "biaxial_xy"), "betasn": ("uniaxial_z", "biaxial_xy")}[phase]
    checked = 0
    for mode in modes:
        series = strain_series(frames, f"{phase}_strain-{mode}")
        origin = strain_series(frames, f"{phase}_eos")[0.0]
        series = dict(sorted({**series, 0.0: origin}.items()))
        unit = UNIT_STRAINS[mode]
        slopes = {
            strain: atoms.get_volume()
            * np.sum(tensor(atoms.get_stress()) * (unit @ np.linalg.inv(np.eye(3) + strain * unit)))
            / len(atoms)
            for strain, atoms in series.items()
        }
        for (s0, first), (s1, second) in itertools.pairwise(series.items()):
            change = (second.get_potential_energy() - first.get_potential_energy()) / len(first)
            work = 0.5 * (slopes[s0] + slopes[s1]) * (s1 - s0)
            assert work == pytest.approx(change, abs=2.0e-3)
            checked += 1
    assert checked >= 16


def test_structures_are_physical(frames):
    for atoms in frames:
        if len(atoms) > 1:
            assert neighbor_list("d", atoms, 3.5).min() > 1.8, atoms.info["name"]


def test_liquid_is_above_solid_and_atom_is_highest(frames):
    def mean(name: str) -> float:
        return float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in group(frames, name)]))

    cold, warm, hot = mean("solid_300K"), mean("solid_600K"), mean("solid_1800K")
    assert cold < warm < hot < mean("liquid") < mean("IsolatedAtom")


def test_reference_agrees_with_the_data(frames, answers):
    """The fit in the reference and the structures in the data set come from the same settings."""
    series = strain_series(frames, "diamond_eos")
    lowest = min(series.values(), key=lambda atoms: atoms.get_potential_energy())
    assert lowest.get_potential_energy() / 2.0 == pytest.approx(answers["diamond"]["eos"]["energy"], abs=1e-3)
    elastic = answers["diamond"]["elastic"]
    assert elastic["bulk_modulus"] == pytest.approx((elastic["c11"] + 2.0 * elastic["c12"]) / 3.0, abs=0.05)
    assert elastic["bulk_modulus"] == pytest.approx(answers["diamond"]["eos"]["bulk_modulus"], rel=0.02)


def test_reference_is_near_published_values(answers):
    """Published PBE calculations and experiment; the windows cover their spread."""
    diamond = answers["diamond"]
    assert diamond["a0"] == pytest.approx(5.47, abs=0.015)
    assert diamond["eos"]["bulk_modulus"] == pytest.approx(89.0, abs=4.0)
    assert diamond["eos"]["bulk_modulus_derivative"] == pytest.approx(4.2, abs=0.4)
    assert diamond["eos"]["fit_rms"] < 1.0e-4
    assert diamond["elastic"]["c11"] == pytest.approx(153.0, abs=8.0)
    assert diamond["elastic"]["c12"] == pytest.approx(57.0, abs=6.0)
    assert diamond["elastic"]["c44"] == pytest.approx(74.0, abs=5.0)
    assert diamond["elastic"]["c44_clamped"] > diamond["elastic"]["c44"] + 15.0
    gamma = diamond["phonons"]["gamma"]
    assert np.abs(gamma[:3]).max() < 0.1
    assert gamma[3] == pytest.approx(15.2, abs=0.4)
    assert gamma[5] == pytest.approx(gamma[3], abs=0.05)
    assert diamond["phonons"]["x"][0] == pytest.approx(4.2, abs=0.5)
    assert diamond["phonons"]["l"][0] == pytest.approx(3.2, abs=0.5)
    assert answers["betasn"]["energy_above_diamond"] == pytest.approx(0.29, abs=0.04)
    assert answers["betasn"]["c_over_a"] == pytest.approx(0.553, abs=0.015)


def test_cohesive_energy(frames, answers):
    """PBE gives 4.5-4.7 eV/atom without zero-point motion."""
    atom = group(frames, "IsolatedAtom")[0]
    cohesive = atom.get_potential_energy() - answers["diamond"]["eos"]["energy"]
    assert cohesive == pytest.approx(4.6, abs=0.25)


def test_unknown_names_are_rejected():
    with pytest.raises(ConfigError, match="silicon"):
        datasets.load("silicone")
    with pytest.raises(ConfigError, match="train, valid"):
        datasets.load(split="training")
    with pytest.raises(ConfigError, match="unknown data set"):
        datasets.reference("carbon")
