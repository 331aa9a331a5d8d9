"""metatomic: its own calculator with the exported file says what the potential says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.descriptors import ACE, ACSF, NEP, POD, SNAP, SO3, Chebyshev
from forgefield.errors import ConfigError
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings

pytest.importorskip("metatomic.torch", reason="needs pip install metatomic-torch metatomic-ase")
metatomic_ase = pytest.importorskip("metatomic_ase", reason="needs pip install metatomic-ase")

from forgefield.deployment.metatomic import export_metatomic  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

ELEMENTS = ["O", "Si"]
DESCRIPTORS = {
    "nep": lambda: NEP(
        ELEMENTS, cutoff_radial=5.0, cutoff_angular=4.0, n_max_radial=3, n_max_angular=2, l_max=3
    ),
    "nep, cutoffs of elements": lambda: NEP(
        ELEMENTS, n_max_radial=2, n_max_angular=2, l_max=2, element_cutoffs={"O": [4.0, 3.0]}
    ),
    "so3": lambda: SO3(ELEMENTS, n_max=2, l_max=2, cutoff=4.0),
    "pod": lambda: POD(
        ELEMENTS, n_max_two_body=3, n_max_three_body=2, degree_three_body=2, n_max_four_body=0
    ),
    "ace": lambda: ACE(ELEMENTS),
    "acsf": lambda: ACSF(ELEMENTS),
    "chebyshev": lambda: Chebyshev(ELEMENTS),
}


def make(descriptor, *, zbl=False, exact=False, linear=False):
    torch.manual_seed(3)
    network = NetworkSettings(hidden=(6,))
    model = Linear(descriptor.n_features, 2) if linear else Network(descriptor.n_features, 2, network)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.1 * torch.randn_like(values))
    repulsion = ZBL(descriptor.species, ZBLSettings(outer=2.5)) if zbl else None
    references = {8: -7.0, 14: -3.0}
    found = Potential(descriptor, model, references, 2.0, exact_free_atom=exact, zbl=repulsion)
    return found.to_dtype(torch.float64)


def crystal(n=1, seed=0):
    atoms = bulk("Si", cubic=True) * (n, 1, 1)
    atoms.numbers[::3] = 8
    atoms.rattle(0.15, seed=seed)
    return atoms


def compare(potential, path, frames, tolerance=1e-10):
    calculator = metatomic_ase.MetatomicCalculator(str(export_metatomic(potential, path)))
    for atoms in frames:
        truth = potential.predict(atoms)
        atoms.calc = calculator
        scale = np.abs(truth.forces).max()
        assert atoms.get_potential_energy() == pytest.approx(truth.energy, rel=tolerance)
        assert np.allclose(atoms.get_forces(), truth.forces, rtol=0, atol=tolerance * scale)
        if atoms.pbc.all():
            size = np.abs(truth.stress).max()
            assert np.allclose(atoms.get_stress(), truth.stress, rtol=0, atol=tolerance * size)
    assert scale > 1e-3


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "nep" else pytest.mark.slow) for name in DESCRIPTORS]
)
def test_says_what_the_potential_says(name, tmp_path):
    cluster = crystal(seed=3)
    cluster.pbc = False
    compare(make(DESCRIPTORS[name]()), tmp_path / "a.pt", [crystal(), cluster, crystal(2, seed=1)])


@pytest.mark.slow
def test_repulsion_free_atoms_and_other_models(tmp_path):
    close = crystal()
    close.positions[1] = close.positions[0] + [0.9, 0.3, 0.0]
    lone = Atoms("SiOSi", [[0, 0, 0], [0, 0, 1.9], [0, 12.0, 0]], cell=[30, 30, 30], pbc=True)
    potential = make(DESCRIPTORS["nep"](), zbl=True, exact=True)
    compare(potential, tmp_path / "a.pt", [crystal(), lone, close])
    compare(make(DESCRIPTORS["so3"](), linear=True), tmp_path / "b.pt", [crystal()])
    single = make(DESCRIPTORS["nep"]()).to_dtype(torch.float32)
    compare(single, tmp_path / "c.pt", [crystal(2)], tolerance=2e-5)


@pytest.mark.slow
def test_export_with_certificate(tmp_path):
    files = make(DESCRIPTORS["nep"]()).export("metatomic", tmp_path)
    assert [p.name for p in files] == ["potential.pt", "certificate.json"]
    certificate = json.loads(files[1].read_text())
    assert certificate["passed"] is True
    assert certificate["engine"]["name"] == "metatomic"
    assert certificate["largest_differences"]["energies"]["relative"] < 1e-10
    with pytest.raises(ConfigError, match=r"\.pt"):
        export_metatomic(make(DESCRIPTORS["nep"]()), tmp_path / "a.mt")


def test_what_cannot_be_differentiated_is_refused(tmp_path):
    snap = make(SNAP(ELEMENTS, two_j_max=2), linear=True)
    with pytest.raises(ConfigError, match=r"'snap' overwrites.*can be exported to .*lammps-snap"):
        snap.export("metatomic", tmp_path)


@pytest.mark.slow
def test_loads_without_this_package(tmp_path):
    path = export_metatomic(make(DESCRIPTORS["nep"]()), tmp_path / "a.pt")
    program = (
        "import sys\nfrom metatomic.torch import load_atomistic_model\n"
        f"model = load_atomistic_model({str(path)!r})\n"
        "assert not any(name.startswith('forgefield') for name in sys.modules)\n"
        "print(sorted(model.capabilities().atomic_types))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[8, 14]"
