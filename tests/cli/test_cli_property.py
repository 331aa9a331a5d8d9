"""``forgefield property`` from a structure file to a result, and what it says to mistakes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ase.build import bulk
from ase.io import write
from commands import call

from forgefield.properties.registry import OTHER_NAMES, PROPERTIES, find_property


@pytest.fixture
def copper(tmp_path):
    path = tmp_path / "copper.xyz"
    write(path, bulk("Cu", "fcc", a=3.55), format="extxyz")
    return path


def test_list_names_every_property_and_name_alone_its_settings():
    listed = call("property", "list")
    for name in ("relax", "eos", "elastic", "phonons", "surfaces", "vacancy", "dimer", "md-certificate"):
        assert name in listed
    assert "strain" in call("property", "elastic")


def test_list_imports_no_property():
    code = (
        "import sys; from forgefield.cli.app import app; app(['property', 'list'], standalone_mode=False); "
    )
    code += "print(sorted(m for m in ('torch', 'ase', 'scipy', 'forgefield.properties.base') if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_registry_says_of_each_property_what_it_says_itself():
    for name, entry in PROPERTIES.items():
        found = find_property(name)
        assert (found.name, found.summary) == (name, entry.summary)


def test_other_names_mean_properties():
    assert not set(OTHER_NAMES) & set(PROPERTIES)
    assert {find_property(name).name for name in OTHER_NAMES} == set(OTHER_NAMES.values())


def test_result_is_printed_and_written(copper, tmp_path):
    text = call("property", "eos", "ase:emt", copper, "-o", tmp_path / "out", "--set", "form=vinet")
    assert "bulk_modulus" in text
    assert "±" in text
    content = json.loads((tmp_path / "out" / "eos.json").read_text())
    assert content["conditions"]["form"] == "vinet"
    assert (tmp_path / "out" / "eos.png").exists()


def test_json_is_all_there_is_on_standard_output(copper):
    content = json.loads(call("property", "elastic", "ase:emt", copper, "--set", "relax=true", "--json"))
    constants = content["quantities"]
    assert constants["c11"]["unit"] == "GPa"
    assert constants["c11"]["value"] > constants["c12"]["value"] > constants["c44"]["value"] > 0
    assert content["conditions"]["space_group"] == "Fm-3m (225)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("elastc", "ase:emt"), "did you mean 'elastic'"),
        (("elastic", "ase:emt"), "relax=true"),
        (("elastic", "ase:emt", "--set", "relx=true"), "did you mean 'relax'"),
        (("eos", "ase:emt", "--set", "strains=[0.0, 0.01]"), "at least five"),
        (("surfaces", "ase:emt", "--set", "miller=[[0,0,0]]"), "at least one plane"),
        (("eos", "ase:nothing"), "no calculator 'nothing'"),
        (("eos", "ase:lj:{rcc: 3}"), "did you mean 'rc'"),
        (("eos", "ase:lj:{rc"), "must look like {key: value}"),
        (("eos", "ase:tip3p"), "TIP3P cannot compute this structure"),
        (("eos", "missing.ff"), "missing.ff"),
    ],
)
def test_mistakes_end_with_one_message(copper, arguments, message):
    name, potential, *rest = arguments
    assert message in call("property", name, potential, copper, *rest, code=2)
