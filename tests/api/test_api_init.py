"""Suggested settings: read off the data, and their commented text parses back."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.api import init, recipe
from forgefield.api.init import commented_yaml, suggest, suggest_cutoff, suggest_repulsion
from forgefield.api.survey import survey
from forgefield.data import split
from forgefield.descriptors import make_descriptor
from forgefield.errors import ConfigError, DataError, LabelError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL
from forgefield.training.loss import LossSettings
from forgefield.training.settings import RunSettings


def with_labels(atoms, **labels):
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **labels)
    return copy


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"descriptor": {"kind": "so3"}, "model": {"kind": "linear"}, "training": {"kind": "least_squares"}},
        {"title": 'colons: and "quotes" # and — hashes', "threads": 3, "dtype": "float64"},
        {"training": {"kind": "adamw", "clip": None, "patience": 20, "schedule": {"stop": 1e-7}}},
        {"data": {"train": ["a b.xyz", "c*.xyz"], "split": {"by": "group", "twin_distance": 0.05}}},
    ],
)
def test_commented_text_parses_back_to_the_same_settings(changes):
    settings = RunSettings.parse({"data": {"train": ["x.xyz"]}, **changes})
    text = commented_yaml(settings)
    assert RunSettings.parse(yaml.safe_load(text)) == settings
    assert max(map(len, text.splitlines())) <= 118
    for line in text.splitlines():
        assert "#" in line or line.strip() == "" or line.strip().endswith(":") or ": " in line


def test_comments_name_range_and_choices():
    text = commented_yaml(RunSettings.parse({"data": {"train": ["x.xyz"]}}))
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert "[Å]" in lines["cutoff_radial"]
    assert "> 0, <= 20" in lines["cutoff_radial"]
    assert "nep | so3" in text
    assert "linear | network" in text
    assert "null | integer >= 1" in lines["patience"]


def test_everything_labelled(alloy_frames):
    settings = suggest(alloy_frames, paths=["alloy.xyz"], quality="fast")
    assert settings.loss.weights() == LossSettings().weights()
    assert settings.title == "Cu-Au potential"
    assert list(settings.data.train) == ["alloy.xyz"]
    assert settings.training.epochs == recipe.MOST_EPOCHS
    assert settings.descriptor.cutoff_radial == settings.descriptor.cutoff_angular


def test_weights_are_zero_where_labels_are_missing(alloy_frames):
    energies = [with_labels(a, energy=a.get_potential_energy()) for a in alloy_frames]
    given = suggest(alloy_frames).loss
    assert suggest(energies).loss.weights() == {"energy": given.energy, "forces": 0.0, "stress": 0.0}
    forces = [with_labels(a, forces=a.get_forces()) for a in alloy_frames]
    assert suggest(forces).loss.weights() == {"energy": 0.0, "forces": given.forces, "stress": 0.0}
    with pytest.raises(LabelError, match="none of the 24 structures"):
        suggest([a.copy() for a in alloy_frames])


def test_forces_alone_need_no_reference_energies(alloy_frames):
    frames = [with_labels(a, forces=a.calc.results["forces"]) for a in alloy_frames]
    settings = suggest(frames)
    assert settings.data.references.method == "none"
    assert (settings.loss.energy, settings.loss.stress) == (0.0, 0.0)
    assert suggest(alloy_frames).data.references.method == "auto"


@pytest.mark.parametrize(
    ("n", "groups", "valid"), [(1, 1, 0), (2, 1, 0), (3, 1, 1), (5, 5, 0), (8, 1, 2), (8, 2, 2)]
)
def test_what_is_suggested_for_few_structures_can_be_trained(alloy_frames, n, groups, valid):
    frames = []
    for k in range(n):
        frames.append(with_labels(alloy_frames[k], energy=-float(k)))
        frames[-1].info["config_type"] = f"group {k % groups}"
    found = split(frames, suggest(frames).data.split)
    assert len(found.valid) == valid
    assert len(found.train) == n - valid


def test_repulsion_begins_where_the_data_end(alloy_frames):
    """No distance in the data is changed, so neither are the labels to learn."""
    settings = suggest(alloy_frames).zbl
    species = sorted({int(z) for a in alloy_frames for z in a.numbers})
    ends = np.asarray(ZBL(species, settings).tables["outer"])
    nearest = np.full_like(ends, np.inf)
    for atoms in alloy_frames:
        i, j, _, vectors = neighbour_pairs(atoms, 4.0)
        kinds = np.searchsorted(species, atoms.numbers)
        np.minimum.at(nearest, (kinds[i], kinds[j]), np.linalg.norm(vectors, axis=1))
    assert (ends < nearest).all()
    assert (ends > 0.5).all()


def test_no_repulsion_without_distances_or_inside_crushed_data():
    alone = with_labels(Atoms("C", cell=[20.0] * 3, pbc=True), energy=-1.0)
    assert suggest_repulsion(survey([alone])) is None
    crushed = with_labels(Atoms("Si2", [[0, 0, 0], [0, 0, 0.4]]), energy=9.0)
    assert suggest_repulsion(survey([crushed])) is None
    far = with_labels(Atoms("Cs2", [[0, 0, 0], [0, 0, 5.0]]), energy=-1.0)
    assert suggest_repulsion(survey([far])) == {"outer": 2.5, "typewise_factor": 0.7}


def test_epochs_fall_with_the_amount_of_data(alloy_frames, monkeypatch):
    found = survey(alloy_frames)
    once = init.seconds_per_epoch(found, 20, 4, suggest_cutoff(found))
    assert init.seconds_per_epoch(found, 40, 4, suggest_cutoff(found)) == pytest.approx(2 * once)
    settings = suggest(alloy_frames, quality="fast")
    n_train = int(24 * (1 - settings.data.split.valid))
    seconds = init.seconds_per_epoch(found, n_train, settings.training.batch_size, suggest_cutoff(found))
    monkeypatch.setitem(recipe.SECONDS, "fast", 100 * seconds)
    assert suggest(alloy_frames, quality="fast").training.epochs == 100
    monkeypatch.setitem(recipe.SECONDS, "fast", seconds)
    assert suggest(alloy_frames, quality="fast").training.epochs == recipe.FEWEST_EPOCHS


def test_quality_sets_optimiser_and_members(alloy_frames):
    fast, standard, best = (suggest(alloy_frames, quality=q) for q in ("fast", "standard", "best"))
    assert suggest(alloy_frames) == standard
    assert (fast.training.kind, standard.training.kind, best.training.kind) == ("adamw", "kalman", "kalman")
    assert fast.committee is None
    assert standard.committee is None
    assert best.committee.members == recipe.MEMBERS
    assert standard.training.epochs >= recipe.KALMAN_EPOCHS
    assert best.training.epochs >= recipe.KALMAN_EPOCHS
    assert standard.training.anchor == best.training.anchor == "zero"
    assert 0 < best.training.prior == standard.training.prior < best.training.output_prior
    assert (
        best.training.output_prior < standard.training.output_prior
    )  # one potential falls into its own holes
    for settings in (fast, standard, best):
        assert RunSettings.parse(yaml.safe_load(commented_yaml(settings))) == settings
    with pytest.raises(ConfigError, match="did you mean 'standard'"):
        suggest(alloy_frames, quality="standart")


def test_suggested_blocks_hold_the_parameters_there_are(alloy_frames):
    settings = suggest(alloy_frames)
    descriptor = make_descriptor(settings.descriptor, ["Cu", "Au"])
    model = make_model(settings.model, descriptor.n_features, 2)
    potential = Potential(descriptor, model, {29: 0.0, 79: 0.0})
    there = sum(p.numel() for p in potential.parameters())
    (neurons,) = settings.model.hidden
    assert init.count_parameters(settings.descriptor.model_dump(mode="json"), ["Cu", "Au"], neurons) == there
    assert settings.training.blocks == "all"
    assert there <= settings.training.block_size


def work(**changes):
    parameters = dict.fromkeys(recipe.KALMAN_NEURONS, changes.pop("n_parameters", 2500))
    return recipe.Workload(
        **{"parameters": parameters, "n_train": 200, "batch_size": 4, "seconds": 0.1, **changes}
    )


def test_neurons_are_as_many_as_fit_one_block():
    few, most = min(recipe.KALMAN_NEURONS), max(recipe.KALMAN_NEURONS)
    fits, large = recipe.ONE_BLOCK, recipe.ONE_BLOCK + 1
    for parameters, neurons in (((fits, 10), most), ((large, fits), few), ((large, large), few)):
        found = work(parameters=dict(zip((most, few), parameters, strict=True)))
        assert found.neurons == neurons
        assert found.n_parameters == parameters[0 if neurons == most else 1]
    assert recipe.recipe("standard", work())["model"]["hidden"] == [most]


def test_kalman_filter_makes_way_where_it_would_take_too_long_or_too_much(monkeypatch):
    assert work().kalman_epochs("standard") == recipe.KALMAN_EPOCHS
    assert work().kalman_epochs("best") == recipe.KALMAN_EPOCHS
    assert work(n_train=20).kalman_epochs("standard") == recipe.KALMAN_STEPS // 5
    assert work(n_parameters=recipe.ONE_BLOCK).kalman_epochs("standard") > 0
    assert work(n_parameters=recipe.ONE_BLOCK + 1).kalman_epochs("standard") == 0
    slow = work(seconds=recipe.SECONDS["standard"])
    assert slow.kalman_epochs("standard") == 0
    assert recipe.recipe("standard", slow)["training"]["kind"] == "adamw"
    assert recipe.recipe("best", slow)["committee"] == {"members": recipe.MEMBERS}
    monkeypatch.setattr(recipe, "physical_memory", lambda: 8 * 2500**2)
    assert work().kalman_epochs("standard") == 0
    monkeypatch.setattr(recipe, "physical_memory", lambda: None)
    assert work().kalman_epochs("standard") > 0


def test_official_split_is_kept(alloy_frames):
    frames = [a.copy() for a in alloy_frames]
    for n, (old, new) in enumerate(zip(alloy_frames, frames, strict=True)):
        new.calc = old.calc
        new.info["split"] = "test" if n % 3 == 0 else "train"
    settings = suggest(frames)
    assert settings.data.split.test == 0.0
    assert settings.data.split.valid == 0.2  # at least eight structures, at most a fifth
    frames[1].info["split"] = "valid"
    assert suggest(frames).data.split.valid == 0.0


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Si", "diamond", a=5.43), 5.0),  # 28 neighbours within 5 Å
        (bulk("Fe", "bcc", a=2.87).repeat(2), 5.0),  # 58
        (Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.2]]), init.LARGEST_CUTOFF),
    ],
    ids=["Si", "Fe", "molecule"],
)
def test_cutoff_of_common_materials(atoms, expected):
    assert suggest_cutoff(survey([with_labels(atoms, energy=0.0)])) == expected


def test_cutoff_gives_a_sensible_number_of_neighbours():
    dense = survey([bulk("C", "diamond", a=3.57)])
    assert 20 <= dense.neighbours(suggest_cutoff(dense)) <= 60
    assert suggest_cutoff(dense) < 5.0
    sparse = survey([bulk("Na", "bcc", a=4.29)])
    assert 20 <= sparse.neighbours(suggest_cutoff(sparse)) <= 60
    assert suggest_cutoff(sparse) > 5.0


def test_survey_counts_neighbours_exactly():
    found = survey([bulk("Si", "diamond", a=5.43)])
    assert found.nearest == pytest.approx(5.43 * np.sqrt(3) / 4)
    assert found.neighbours(3.0) == pytest.approx(4)
    assert found.neighbours(4.2) == pytest.approx(16)
    assert found.neighbours(5.0) == pytest.approx(28)
    assert found.first_peak == pytest.approx(2.35, abs=0.06)


def test_survey_of_an_ideal_gas_has_a_flat_rdf():
    rng = np.random.default_rng(0)
    gas = [Atoms("He400", positions=rng.uniform(0, 20, (400, 3)), cell=[20] * 3, pbc=True) for _ in range(3)]
    rdf = survey(gas).rdf
    assert np.abs(rdf[30:].mean() - 1.0) < 0.02


def test_survey_names_a_broken_structure():
    good, bad = bulk("Cu"), Atoms("Cu2", positions=np.zeros((2, 3)), cell=[4] * 3, pbc=True)
    bad.info["name"] = "data.xyz#17"
    with pytest.raises(StructureError, match=r"data\.xyz#17"):
        survey([good, bad])
    with pytest.raises(DataError, match="no structures"):
        survey([])


def test_contradicted_stress_labels_are_to_be_detected(silicon_strain):
    assert suggest(silicon_strain).data.stress_convention == "auto"
    flipped = [
        with_labels(a, energy=a.get_potential_energy(), forces=a.get_forces(), stress=-a.get_stress())
        for a in silicon_strain
    ]
    assert suggest(flipped).data.stress_convention == "detect"


@pytest.fixture(scope="module")
def silicon_strain():
    """Strained diamond silicon of the bundled data."""
    from forgefield import datasets

    return [a for a in datasets.load("silicon") if a.info["config_type"] == "diamond_strain"]
