"""What a result prints and keeps."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from matplotlib.figure import Figure

from forgefield.properties.base import Quantity
from forgefield.properties.picture import _draw_quantities
from forgefield.properties.registry import find_property


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.3456, 0.0123, "2.346 ± 0.012"),
        (574.3, 75.0, "574 ± 75"),
        (1.4523e-8, 2.1e-10, "(1.452 ± 0.021)e-08"),  # a diffusion coefficient in m^2/s
        (1e-10, 3e-9, "(0.1 ± 3.0)e-09"),
        (0.0, 0.0, "0 ± 0"),
        (5.0, 1e-9, "5.000000 ± 1e-09"),
        (0.0012, 3e-7, "0.001200 ± 3e-07"),
        (float("nan"), 1.0, "nan"),
        (3.0, None, "3"),
    ],
)
def test_numbers_keep_the_digits_that_mean_something(value, error, text):
    assert str(Quantity(value, "u", error)) == f"{text} u"


@pytest.mark.parametrize("name", ["relax", "elastic", "vacancy"])
def test_every_result_has_a_picture(name, tmp_path):
    copper = bulk("Cu", "fcc", a=3.55, cubic=True)
    settings = {} if name == "relax" else {"relax": True}
    result = find_property(name)(copper, EMT(), folder=tmp_path, **settings)
    height, width = plt.imread(tmp_path / f"{name}.png").shape[:2]
    assert min(height, width) > 150
    figure = Figure()
    if not result.curves:
        _draw_quantities(figure, result)
        labels = [t.get_text() for axes in figure.axes for t in axes.texts]
        shown = sorted(float(label.split(" ± ")[0]) for label in labels)
        assert shown == pytest.approx(sorted(q.value for q in result.quantities.values()), rel=1e-4, abs=1e-3)
        assert all(len(label) < 24 for label in labels)  # none crosses the frame


def test_a_relaxation_shows_its_way():
    result = find_property("relax")(bulk("Cu", "fcc", a=3.4, cubic=True), EMT())
    energy, force = result.curves["energy"].y, result.curves["largest force"].y
    assert energy[0] > energy[-1] == pytest.approx(result["energy"])
    assert force[0] > 1.0
    assert force[-1] <= result.conditions["force_tolerance"]
