"""Styles of series: told apart with every kind of colour vision, by marker and dashes, one for one thing."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from forgefield.evaluation import report
from forgefield.studies import find_study
from forgefield.studies.charts import Chart, Series, styles_of
from forgefield.studies.record import read_record
from forgefield.studies.styles import DASHES, DISTANCE, N_STYLES, REFERENCE, assign, swatch

RESULTS = Path(__file__).resolve().parents[2] / "studies" / "results"
CSS = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
SURFACE = {"light": "#ffffff", "dark": "#171b1f"}
CONTRAST = 3.0
"""Of everything drawn against the page: what WCAG 2.1 asks of graphics."""
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
"""Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour):
    value = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear RGB, white of D65."""
    f = TO_XYZ @ np.clip(rgb, 0.0, 1.0) / TO_XYZ.sum(axis=1)
    f = np.where(f > 216 / 24389, np.cbrt(f), (24389 / 27 * f + 16) / 116)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def ciede2000(one, other):
    """Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    c = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(c**7 / (c**7 + 25.0**7)))
    c1, c2 = np.hypot(a1 * (1 + g), b1), np.hypot(a2 * (1 + g), b2)
    h1, h2 = (np.degrees(np.arctan2(b, a * (1 + g))) % 360 for a, b in ((a1, b1), (a2, b2)))
    both = c1 * c2 > 0
    turn = (h2 - h1 + 180) % 360 - 180 if both else 0.0
    big_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    if not both:
        h = h1 + h2
    elif abs(h1 - h2) <= 180:
        h = (h1 + h2) / 2
    else:
        h = (h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2
    cosines = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    t = 1 + sum(k * np.cos(np.radians(n * h + shift)) for k, n, shift in cosines)
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    angle = np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))
    r_t = -np.sin(angle) * 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    x, y, z = (l2 - l1) / s_l, (c2 - c1) / s_c, big_h / s_h
    return float(np.sqrt(x * x + y * y + z * z + r_t * y * z))


def palette(mode):
    """The colours of the style sheet, the ink last."""
    block = CSS.split("@media screen and (prefers-color-scheme: dark)")[mode == "dark"]
    found = [re.search(rf"--k{n}: (#[0-9a-f]{{6}});", block) for n in range(N_STYLES)]
    ink = re.search(r"--ink: (#[0-9a-f]{6});", block)
    return [match.group(1) for match in (*found, ink)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_of_colours_is_the_published_one(one, other, expected):
    assert ciede2000(one, other) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("mode", SURFACE)
def test_colours_differ_with_every_kind_of_vision(mode, vision):
    seen = [lab(np.array(VISION[vision]) @ linear(c)) for c in palette(mode)]
    distances = {(a, b): ciede2000(seen[a], seen[b]) for a, b in itertools.combinations(range(len(seen)), 2)}
    worst = min(distances, key=distances.get)
    assert len(seen) == N_STYLES + 1
    assert distances[worst] >= DISTANCE, (worst, distances[worst])


@pytest.mark.parametrize("mode", SURFACE)
def test_colours_stand_out_from_the_page(mode):
    page = linear(SURFACE[mode]) @ TO_XYZ[1]
    for colour in palette(mode):
        own = linear(colour) @ TO_XYZ[1]
        assert (max(own, page) + 0.05) / (min(own, page) + 0.05) >= CONTRAST, colour


def test_without_colour_nine_series_and_a_reference_differ():
    names = [f"n{k}" for k in range(N_STYLES)]
    styles = [*assign([names]).values(), REFERENCE]
    assert len({s.colour for s in styles}) == len({s.mark for s in styles}) == N_STYLES + 1
    assert len(set(DASHES)) == N_STYLES + 1
    pictures = {swatch(s, line=False, points=True).split(' d="')[1] for s in styles}
    assert len(pictures) == N_STYLES + 1


def test_what_stands_in_one_chart_differs_and_no_style_comes_twice():
    groups = [[f"a{k}" for k in range(6)], [f"b{k}" for k in range(7)], ["a0", *(f"c{k}" for k in range(8))]]
    styles = assign(groups)
    assert len(set(styles.values())) == len(styles) == 21
    for group in groups:
        assert len({styles[n].colour for n in group}) == len({styles[n].mark for n in group}) == len(group)


def test_a_legend_shows_what_is_drawn():
    line, points = (
        Series("a", [1.0, 2.0], [1.0, 2.0], points=False),
        Series("b", [1.0, 2.0], [2.0, 1.0], line=False),
    )
    (of_line, _), (of_points, _) = Chart("t", (line, points), "x", "y").legend()
    assert "curve" in of_line
    assert "marker" not in of_line
    assert "marker" in of_points
    assert "curve" not in of_points


@pytest.mark.parametrize("name", [f.stem for f in sorted(RESULTS.glob("*.json"))])
def test_series_of_the_committed_results(name):
    record = read_record(RESULTS / f"{name}.json")
    study = find_study(name)
    page = study.page(study.Settings.parse(record.settings, where=name), record.results)
    charts = page.charts().values()
    assert charts
    styles = styles_of(charts)
    assert len(set(styles.values())) == len(styles)
    for chart in charts:
        own = [REFERENCE if s.reference else styles[s.key] for s in chart.series]
        assert len({s.colour for s in own}) == len({s.mark for s in own}) == len(own), chart.title
        assert not re.search(r"eV/Å|eV/atom|MPa", re.sub(r"meV/(Å|atom)", "", chart.x_title + chart.y_title))
        for series in chart.series:
            assert series.reference or series.labels, f"{chart.title}: {series.name} does not say which run"
    files = list(page.files().values())
    assert len(set(files)) == len(charts)
    assert not any(re.match(r"chart|figure", f) for f in files)
    heads = " ".join(c.text for section in page.sections for t in section.tables for c in t.columns)
    assert not re.search(r"eV/Å|eV/atom|MPa", re.sub(r"meV/(Å|atom)", "", heads))
    assert "_" not in heads
    json.dumps([chart.values() for chart in charts], allow_nan=False)
