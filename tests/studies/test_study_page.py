"""Charts and the page: what is drawn, what can be pointed at, and that it runs in a browser."""

import csv
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from forgefield.studies.charts import BOTTOM, LEFT, RIGHT, TOP, Chart, Series
from forgefield.studies.summary import text
from forgefield.studies.training import merged, thinned

HERE = str(Path(__file__).parent)


def test_points_lie_where_their_values_are():
    chart = Chart("t", (Series("a", [1.0, 10.0, 100.0], [1.0, 2.0, 3.0]),), "x", "y", x_log=True)
    xs, ys = ([p[k] for p in chart.values()["points"]] for k in (0, 1))
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert LEFT < xs[0] < xs[2] < RIGHT
    assert TOP < ys[2] < ys[0] < BOTTOM


def test_what_cannot_be_drawn_is_left_out_but_stays_in_the_data():
    series = Series("a", [1.0, 2.0, 3.0], [math.nan, -1.0, 5.0], [0.1, 0.1, math.nan])
    chart = Chart("t", (series,), "x", "y", y_log=True)
    assert [p[2:] for p in chart.values()["points"]] == [["a", "3", "5"]]
    assert len(list(csv.reader(io.StringIO(chart.csv())))) == 4
    assert "nan" not in chart.svg("k").lower().replace("nanometre", "")


def test_labels_are_escaped():
    chart = Chart("<t>", (Series("<b>", [0.0], [1.0]),), "", "y", categories=("<i>",))
    assert "<b>" not in chart.svg("k")
    assert "<i>" not in chart.svg("k")


def test_error_bars_span_two_standard_errors():
    chart = Chart("t", (Series("a", [0.0, 1.0], [1.0, 3.0], [0.5, 0.0]),), "x", "y")
    found = re.search(
        r'd="M[\d.]+ ([\d.]+)V([\d.]+)M[^"]*" ?|class="whisker k0 p0" d="M[\d.]+ ([\d.]+)V([\d.]+)',
        chart.svg("k"),
    )
    assert found is not None
    low, high = (float(g) for g in found.groups() if g is not None)
    first, second = chart.values()["points"]
    per_unit = (first[1] - second[1]) / 2.0
    assert abs(high - low) == pytest.approx(per_unit, abs=0.3)


def test_numbers_have_the_digits_of_their_error():
    assert text((1.234, 0.05)) == "1.234 ± 0.050"


def test_settings_of_another_kind_replace():
    base = {"training": {"kind": "adam", "epochs": 3}, "seed": 1}
    assert merged(base, {"training": {"epochs": 4}}) == {"training": {"kind": "adam", "epochs": 4}, "seed": 1}
    assert merged(base, {"training": {"kind": "snes"}})["training"] == {"kind": "snes"}


def test_thinned_log_keeps_its_ends():
    log = [{"epoch": n} for n in range(1001)]
    epochs = thinned(log, ["epoch"], 100)["epoch"]
    assert epochs[0] == 0
    assert epochs[-1] == 1000
    assert len(epochs) <= 101


@pytest.mark.slow
def test_page_runs_in_a_browser(tmp_path, monkeypatch):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to render the page with")
    from forgefield.studies import run_study

    monkeypatch.syspath_prepend(HERE)
    run_study("toy_study:Toy", {}, tmp_path)
    path = tmp_path / "report.html"
    probe = """<script>
      const plot = document.querySelector('svg[data-key="chart-0"]');
      plot.focus();
      plot.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
      const tip = document.getElementById('tip');
      const links = [...document.querySelectorAll('a.download')].map((a) => a.download).join(',');
      document.title = ['RESULT', !tip.hidden, tip.textContent, document.activeElement === plot, links,
        document.querySelectorAll('b').length, document.documentElement.scrollWidth <= innerWidth].join('|');
    </script></body>"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1200,900",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    title = re.search(r"<title>([^<]*)</title>", done.stdout)
    assert title is not None, done.stderr[-2000:]
    result = title.group(1).split("|")
    assert result[:2] == ["RESULT", "true"]
    assert "squaresn: 1n²: 1" in result[2]
    assert result[3:] == ["true", "all-squares.csv,results.json", "0", "true"]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
