"""Metrics against numbers worked out by hand and against plain NumPy."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from forgefield.errors import DataError, LabelError, PredictionError
from forgefield.evaluation import MetricsTable, Prediction, metrics

GPA = 160.2176634


def test_hand_computed_numbers(make_structure):
    frames = [
        make_structure("Si2", -10.0, [[0, 0, 0], [1, 0, 0]], [0.01] * 6, split="test", config_type="a"),
        make_structure("Si", -4.0, [[0, 3, 4]], [-0.01] * 6, split="test", config_type="b"),
    ]
    predictions = [
        Prediction(-10.02, np.array([[0.1, 0, 0], [1, 0, 0.2]]), np.array([0.012] * 6)),
        Prediction(-3.97, np.array([[0, 3.0, 4.0]]), np.array([-0.01] * 6)),
    ]
    total = metrics(frames, predictions).total
    # Energy per atom: references -5 and -4 eV, errors -10 and +30 meV.
    assert total.energy.mae == pytest.approx(20.0)
    assert total.energy.rmse == pytest.approx(np.sqrt(500.0))
    assert total.energy.max == pytest.approx(30.0)
    assert total.energy.bias == pytest.approx(10.0)
    assert total.energy.r2 == pytest.approx(1 - (0.01**2 + 0.03**2) / 0.5)
    # Nine components, errors 100 and 200 meV/Å on two of them.
    assert total.forces.n_values == 9
    assert total.forces.mae == pytest.approx(300.0 / 9)
    assert total.forces.rmse == pytest.approx(np.sqrt(50000.0 / 9))
    assert total.forces.reference_rms == pytest.approx(1000 * np.sqrt(26.0 / 9))
    # Stress: 0.002 eV/Å^3 on half of the twelve components.
    assert total.stress.mae == pytest.approx(0.001 * GPA)
    assert total.stress.rmse == pytest.approx(0.002 * GPA / np.sqrt(2))
    assert total.stress.max == pytest.approx(0.002 * GPA)
    # Vectors: |F| off by 0.1, sqrt(1.04)-1 and 0; angle arctan(0.2) and 0 where |F| >= 0.1.
    vectors = total.force_vectors
    assert vectors.magnitude_mae == pytest.approx(1000 * (0.1 + np.sqrt(1.04) - 1) / 3)
    assert vectors.n_angles == 2
    assert vectors.angle_mean == pytest.approx(np.degrees(np.arctan(0.2)) / 2)


def test_every_split_and_group_against_numpy(labelled):
    frames, predictions = labelled
    table = metrics(frames, predictions)
    seen = 0
    for split, groups in table.split_groups.items():
        for group, entry in groups.items():
            chosen = [
                (f, p)
                for f, p in zip(frames, predictions, strict=True)
                if f.info["split"] == split and f.info["config_type"] == group
            ]
            error = np.concatenate([(p.forces - f.calc.results["forces"]).ravel() for f, p in chosen]) * 1000
            assert entry.forces.rmse == pytest.approx(np.sqrt(np.mean(error**2)))
            assert entry.forces.mae == pytest.approx(np.mean(np.abs(error)))
            assert entry.forces.max == pytest.approx(np.max(np.abs(error)))
            energy = [(p.energy - f.calc.results["energy"]) / len(f) * 1000 for f, p in chosen]
            assert entry.energy.rmse == pytest.approx(np.sqrt(np.mean(np.square(energy))))
            assert entry.n_structures == len(chosen)
            seen += 1
    assert seen == 9
    assert list(table.splits) == ["train", "valid", "test"]
    assert list(table.groups) == ["bulk", "melt", "slab"]


def test_r2_against_the_correlation_of_a_least_squares_line(make_structure):
    # For predictions that are the least-squares line of the references, R2 is the squared correlation.
    rng = np.random.default_rng(0)
    reference = rng.normal(size=40)
    target = 2 * reference + rng.normal(size=40)
    fitted = np.polyval(np.polyfit(reference, target, 1), reference)
    frames = [make_structure("Si", value) for value in target]
    table = metrics(frames, [Prediction(value, np.zeros((1, 3))) for value in fitted])
    assert table.total.energy.r2 == pytest.approx(np.corrcoef(reference, target)[0, 1] ** 2)


def test_force_errors_of_each_element(labelled):
    frames, predictions = labelled
    elements = metrics(frames, predictions).total.elements
    assert sorted(elements) == ["In", "P"]
    for symbol, item in elements.items():
        error = np.concatenate(
            [
                (p.forces - f.calc.results["forces"])[[s == symbol for s in f.get_chemical_symbols()]].ravel()
                for f, p in zip(frames, predictions, strict=True)
            ]
        )
        assert item.rmse == pytest.approx(1000 * np.sqrt(np.mean(error**2)))


def test_missing_labels_are_masked_and_counted(labelled):
    frames, predictions = labelled
    total = metrics(frames, predictions).total
    assert (total.stress.n_structures, total.stress.n_missing, total.stress.n_values) == (9, 3, 54)
    assert (total.energy.n_structures, total.energy.n_missing) == (12, 0)


def test_nan_labels_count_as_missing(make_structure):
    forces = np.array([[np.nan, 0.0, 0.0], [1.0, 1.0, np.inf]])
    frames = [make_structure("Si2", np.nan, forces, [np.nan] * 6)]
    total = metrics(frames, [Prediction(-1.0, np.zeros((2, 3)), np.zeros(6))]).total
    assert not total.energy.labelled
    assert total.energy.n_missing == 1
    assert not total.stress.labelled
    assert total.forces.n_values == 4
    assert total.forces.mae == pytest.approx(500.0)
    assert total.force_vectors is None


def test_no_labels_give_no_number(make_structure):
    frames = [make_structure("Si", -1.0, config_type="a", split="test")]
    table = metrics(frames, [Prediction(-1.1, np.zeros((1, 3)), np.zeros(6))])
    stress = table.total.stress
    assert (stress.mae, stress.rmse, stress.max, stress.bias, stress.r2) == (None,) * 5
    assert table.total.energy.r2 is None
    text = _printed(table)
    assert "no labels" in text
    assert "nan" not in text.lower()


def test_a_stress_label_without_predicted_stress_is_missing(make_structure):
    frames = [make_structure("Si", -1.0, stress=[0.0] * 6)]
    total = metrics(frames, [Prediction(-1.0, np.zeros((1, 3)), None)]).total
    assert (total.stress.n_structures, total.stress.n_missing) == (0, 1)


def test_constant_reference_has_no_r2(make_structure):
    frames = [make_structure("Si", -5.4), make_structure("Si2", -10.8), make_structure("Si3", -16.2)]
    total = metrics(frames, [Prediction(-5.0 * n, np.zeros((n, 3))) for n in (1, 2, 3)]).total
    assert total.energy.r2 is None
    assert total.energy.mae == pytest.approx(400.0)


def test_split_argument_keeps_only_that_split(labelled):
    frames, predictions = labelled
    everything, test = metrics(frames, predictions), metrics(frames, predictions, split="test")
    assert test.total == everything.splits["test"]
    assert list(test.splits) == ["test"]
    with pytest.raises(DataError, match="did you mean 'test'"):
        metrics(frames, predictions, split="tset")


def test_dictionary_round_trip_is_exact_and_json(labelled):
    table = metrics(*labelled)
    text = json.dumps(table.to_dict(), allow_nan=False)
    assert MetricsTable.from_dict(json.loads(text)) == table
    values = json.loads(text)
    assert values["units"] == {"energy": "meV/atom", "forces": "meV/Å", "stress": "GPa"}
    assert values["splits"]["test"]["forces"]["rmse"] == table.splits["test"].forces.rmse


def test_unknown_or_damaged_dictionary_is_refused(labelled):
    values = metrics(*labelled).to_dict()
    with pytest.raises(DataError, match="schema 99"):
        MetricsTable.from_dict(values | {"schema": 99})
    del values["total"]["forces"]
    with pytest.raises(DataError, match="forces"):
        MetricsTable.from_dict(values)


def test_rows_hold_every_set_and_property(labelled):
    rows = metrics(*labelled).rows()
    assert len(rows) == 3 * (1 + 3 + 3 + 9)
    assert {row["property"] for row in rows} == {"energy", "forces", "stress"}
    assert len({tuple(row) for row in rows}) == 1


def test_printed_table_shows_the_numbers(labelled):
    table = metrics(*labelled)
    text = _printed(table)
    for split in ("train", "valid", "test"):
        assert split in text
    assert f"{table.splits['test'].forces.rmse:.3g}"[:3] in text
    assert "slab" not in _printed(table, groups=False)


def _printed(table, **options):
    console = Console(width=200, file=io.StringIO())
    console.print(table.table(**options))
    return console.file.getvalue()


def test_headline_prefers_test_then_valid(labelled):
    frames, predictions = labelled
    assert metrics(frames, predictions).headline()[0] == "test"
    assert metrics(frames[:9], predictions[:9]).headline()[0] == "valid"
    assert metrics(frames[:6], predictions[:6]).headline()[0] == "train"


def test_entry_names_what_exists(labelled):
    table = metrics(*labelled)
    assert table.entry(split="test", group="slab").n_structures == 1
    assert table.entry(group="slab") == table.groups["slab"]
    with pytest.raises(DataError, match="did you mean 'slab'"):
        table.entry(group="slap")


def test_errors_name_the_cause(make_structure, labelled):
    frames, predictions = labelled
    with pytest.raises(DataError, match="12 structures but 11 predictions"):
        metrics(frames, predictions[:-1])
    with pytest.raises(DataError, match="no structures"):
        metrics([], [])
    with pytest.raises(LabelError, match="none of the 1 structures"):
        metrics([make_structure("Si")], [Prediction(0.0, np.zeros((1, 3)))])
    with pytest.raises(LabelError, match=r"forces label of structure 'x' has shape \(1, 3\)"):
        metrics([make_structure("Si2", forces=[[0, 0, 0]], name="x")], [Prediction(0.0, np.zeros((2, 3)))])
    with pytest.raises(PredictionError, match="order of the structures"):
        metrics([make_structure("Si2", -1.0)], [Prediction(0.0, np.zeros((1, 3)))])
    with pytest.raises(PredictionError, match="not finite"):
        metrics([make_structure("Si", -1.0)], [Prediction(np.nan, np.zeros((1, 3)))])
