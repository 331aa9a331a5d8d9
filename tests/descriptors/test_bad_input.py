"""What descriptors refuse: values outside their domain, cutoffs and elements that do not fit, files of other versions."""

from __future__ import annotations

import json
import re
import struct

import annotated_types as domain
import pytest
import torch
from ase import Atoms

from forgefield.descriptors import DESCRIPTORS, make_descriptor
from forgefield.errors import ConfigError, PotentialFileError, UnknownSpeciesError
from forgefield.models import file, make_model
from forgefield.models.potential import Potential

STEPS = {domain.Gt: 0.0, domain.Ge: -1.0, domain.Lt: 0.0, domain.Le: 1.0}
NAMES = {domain.Gt: "gt", domain.Ge: "ge", domain.Lt: "lt", domain.Le: "le"}


def outside():
    """(kind, setting, value) just outside every bound of every number."""
    for kind, descriptor in DESCRIPTORS.items():
        for name, field in descriptor.Settings.model_fields.items():
            for bound in field.metadata:
                if type(bound) in STEPS:
                    yield kind, name, getattr(bound, NAMES[type(bound)]) + STEPS[type(bound)]


OUTSIDE = list(outside())


def test_every_descriptor_has_bounds_and_every_cutoff_both():
    assert {kind for kind, *_ in OUTSIDE} == set(DESCRIPTORS)
    for kind, descriptor in DESCRIPTORS.items():
        for name in descriptor.Settings.model_fields:
            if name in ("cutoff", "cutoff_radial", "cutoff_angular"):
                values = [v for k, n, v in OUTSIDE if (k, n) == (kind, name)]
                assert min(values) <= 0, (kind, name)
                assert max(values) > 20, (kind, name)


@pytest.mark.parametrize(("kind", "name", "value"), OUTSIDE)
def test_numbers_outside_their_domain(kind, name, value):
    with pytest.raises(
        ConfigError, match=rf"`descriptor\.{name}`: .*(greater|less) than.*got {re.escape(str(value))}"
    ):
        make_descriptor({"kind": kind, name: value}, ["Si"])


@pytest.mark.parametrize("kind", DESCRIPTORS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "far", None])
def test_cutoffs_that_are_no_numbers(kind, value):
    name = next(n for n in ("cutoff", "cutoff_radial") if n in DESCRIPTORS[kind].Settings.model_fields)
    with pytest.raises(ConfigError, match=rf"`descriptor\.{name}`"):
        make_descriptor({"kind": kind, name: value}, ["Si"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # cutoffs that do not fit each other
        ({"kind": "acsf", "cutoff": 4, "cutoff_angular": 5}, r"must not exceed `cutoff` \(4.0 Å\), got 5"),
        ({"kind": "wacsf", "cutoff": 4, "cutoff_angular": 5}, "must not exceed `cutoff`"),
        ({"kind": "chebyshev", "cutoff_radial": 4, "cutoff_angular": 5}, "must not exceed `cutoff_radial`"),
        ({"kind": "nep", "cutoff_radial": 4, "cutoff_angular": 5}, "must not exceed"),
        (
            {"kind": "nep", "element_cutoffs": {"Si": [4, 5], "O": [4, 4]}},
            "angular cutoff of Si, 5.0 Å, must not",
        ),
        ({"kind": "pod", "inner_cutoff": 5.0}, r"`inner_cutoff` must be < `cutoff` \(5.0 Å\), got 5.0"),
        ({"kind": "snap", "rmin0": 6.0}, "`descriptor.rmin0` must be below every cutoff, got 6.0 Å"),
        (
            {"kind": "acsf", "preset": "gastegger", "cutoff": 1.5},
            "needs an angular cutoff above 1.6 Å, got 1.5",
        ),
        # elements without parameters, or parameters without an element
        (
            {"kind": "snap", "weights": {"C": 1.0}},
            "names 'C', which the potential does not know: choose from O, Si",
        ),
        ({"kind": "snap", "radii": {"Xx": 0.5}}, "'Xx', which is not a chemical element"),
        (
            {"kind": "snap", "inner_middle": {"Si": 1.0}, "inner_width": {"Si": 0.1}},
            "`descriptor.inner_middle` has no value for O",
        ),
        ({"kind": "snap", "inner_middle": {"Si": 1.0}}, "must name the same elements"),
        ({"kind": "chebyshev", "species_weights": {"Si": 1.0}}, "names Si, but the elements are O, Si"),
        ({"kind": "nep", "element_cutoffs": {"C": [4, 3]}}, "names C, but the elements are O, Si"),
        ({"kind": "pod", "element_order": ["Si"]}, r"is \['Si'\], but the elements are \['O', 'Si'\]"),
        # numbers that are none
        ({"kind": "snap", "weights": {"Si": float("nan")}}, "`descriptor.weights.Si`.*finite"),
        ({"kind": "snap", "radii": {"Si": 0.0}}, "`radii` must be > 0, got 0.0 for Si"),
        (
            {"kind": "chebyshev", "species_weights": {"Si": float("inf"), "O": 1}},
            "species_weights.Si`.*finite",
        ),
        # no features, or features that repeat others
        ({"kind": "acsf", "g2": [], "g4": [], "g5": []}, "no symmetry function left"),
        ({"kind": "wacsf", "g2": [], "g4": [], "g5": []}, "no symmetry function left"),
        ({"kind": "acsf", "g1": True, "g2": [{"etas": [0.0]}]}, "`g1` and a `g2` with eta = 0 are the same"),
        ({"kind": "acsf", "g2": [{"etas": [0.0], "shifts": [0, 1]}]}, "`g2` holds the same function twice"),
        (
            {"kind": "wacsf", "g5": [{"etas": [0.1], "zetas": [1, 2], "lambdas": [0]}]},
            "`g5` holds the same function twice, with .*1.0, 0.0.* and with .*2.0, 0.0.*, up to a factor",
        ),
        ({"kind": "ead", "etas": []}, "`descriptor.etas`.*at least 1"),
        ({"kind": "ead", "etas": [0.1, 0.1]}, "the same value twice"),
        ({"kind": "ead", "etas": [0.0]}, "eta = 0 is the same for every shift"),
        ({"kind": "chebyshev", "species_weights": {"Si": 2, "O": 2}}, "gives every element 2.*repeat"),
        ({"kind": "snap", "weights": {"Si": 0, "O": 0}}, "no neighbour counts"),
        ({"kind": "ace", "n_max": [], "l_min": [], "l_max": []}, "`descriptor.n_max`.*at least 1"),
        ({"kind": "ace", "n_max": [1, 1], "l_min": [0, 3], "l_max": [0, 2]}, "`l_min` must be <= `l_max`"),
        (
            {"kind": "ace", "n_max": [40] * 4, "l_min": [0] * 4, "l_max": [0, 9, 9, 9]},
            "more than 50000 functions",
        ),
        ({"kind": "pod", "n_max_two_body": 30}, "20 snapshots .* give no 30 radial functions"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor(settings, ["Si", "O"])


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_other_elements_and_other_settings(kind):
    d = make_descriptor({"kind": kind}, ["Si", "O"])
    with pytest.raises(UnknownSpeciesError, match="knows O, Si, but the structure contains C"):
        d.compute(Atoms("SiC", [[0, 0, 0], [0, 0, 1.8]]))
    with pytest.raises(ConfigError, match=r"unknown setting `descriptor\.cut`"):
        make_descriptor({"kind": kind, "cut": 4.0}, ["Si"])


def changed(content, change):
    """The content of a file of which `change` has altered the description."""
    (size,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + size])
    inner = json.loads(outer["__metadata__"]["forgefield"])
    change(inner)
    outer["__metadata__"]["forgefield"] = json.dumps(inner)
    head = json.dumps(outer).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + content[8 + size :]


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_files_of_other_versions(kind):
    torch.manual_seed(0)
    settings = {"ace": {"n_max": (2, 1), "l_min": (0, 0), "l_max": (0, 1)}, "snap": {"two_j_max": 2}}
    d = make_descriptor({"kind": kind, **settings.get(kind, {})}, ["Si"])
    p = Potential(d, make_model({"kind": "linear"}, d.n_features, 1)).to_dtype(torch.float64)
    content = file.to_bytes(p)
    assert file.from_bytes(changed(content, lambda h: None), verify=False).descriptor.settings == d.settings
    with pytest.raises(PotentialFileError, match="format version 99"):
        file.from_bytes(changed(content, lambda h: h.update(version=99)), verify=False)
    with pytest.raises(PotentialFileError, match=r"cannot be rebuilt: .*`descriptor\.novelty`"):
        file.from_bytes(changed(content, lambda h: h["descriptor"].update(novelty=1)), verify=False)
    with pytest.raises(PotentialFileError, match=r"cannot be rebuilt: .*descriptor\.kind.* is 'unheard'"):
        file.from_bytes(changed(content, lambda h: h["descriptor"].update(kind="unheard")), verify=False)
