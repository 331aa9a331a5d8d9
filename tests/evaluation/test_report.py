"""The report: complete, self-contained, escaped, bounded in size, and drawn where the numbers are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from forgefield.errors import ForgefieldError, LabelError
from forgefield.evaluation import Prediction, metrics
from forgefield.evaluation.report import ReportData, render_report, write_report
from forgefield.evaluation.report.curves import best_epoch, learning_curves
from forgefield.evaluation.report.tables import worst_tables
from forgefield.evaluation.report.verdict import checks, verdict
from forgefield.evaluation.residuals import collect

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Collects elements and checks that every one is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.ids, self.tags, self.attributes, self.texts = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.stack
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def log(n_epochs=20, **columns):
    return [
        {
            "epoch": str(n),
            "loss_train": str(9.0 / (n + 1)),
            "loss_valid": str(abs(n - 12) + 1.0),
            "learning_rate": "1e-3",
        }
        | {"forces_rmse_train": str(100.0 / (n + 1)), "forces_rmse_valid": "", "stress_rmse_train": ""}
        | columns
        for n in range(n_epochs)
    ]


def data(frames, predictions, **options):
    return ReportData("InP", metrics(frames, predictions), frames, predictions, **options)


@pytest.fixture
def full(labelled):
    counts = {"found": 4, "used": 3, "missing": 1}
    return data(
        *labelled,
        log=log(),
        audit={
            "rows": [{"group": "bulk", "n_structures": 4, "n_atoms": 14, "energy": counts, "forces": counts}]
        },
        findings=[{"severity": "error", "code": "unit", "message": "Stress in kbar?", "names": ["s1", "s2"]}],
        config_text="model:\n  neurons: 30\n",
        versions={"forgefield": "0.1.0", "machine": {"cores": 2}},
        notes=["A remark."],
        properties={"rows": [{"property": "Bulk modulus", "DFT": 80.0, "potential": 84.0, "unit": "GPa"}]},
        reference_energies={"In": -0.5, "P": -1.25},
        run={"seed": 42, "training data": "ab12"},
        subtitle="NEP",
    )


def payload(text):
    return json.loads(re.search(r'id="values">(.*?)</script>', text, re.DOTALL).group(1))


def test_page_is_well_formed_and_complete(full):
    text = render_report(full)
    page = Page(text)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    sections = {"summary", "parity", "learning", "groups", "worst", "properties", "data", "run"}
    assert sections <= set(page.ids)
    targets = {value[1:] for key, value in page.attributes if key == "href" and value.startswith("#")}
    assert targets == sections
    assert page.tags.count("h1") == 1
    assert page.tags.count("caption") == page.tags.count("table") >= 8
    shown = "".join(page.texts)
    for part in (
        "Stress in kbar?",
        "neurons: 30",
        "A remark.",
        "+5 %",
        "machine cores",
        "ab12",
        "−1.250000",
        "s1, s2",
    ):
        assert part in shown, part
    assert "nan" not in re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL).lower().replace(
        "finance", ""
    )


def test_page_needs_nothing_else(full):
    text = render_report(full)
    assert not re.search(r"https?:|\"//|url\(|@import|fetch\(|XMLHttp", text)
    loading = {"src", "srcset", "action", "poster", "data"}
    page = Page(text)
    assert not [(key, value) for key, value in page.attributes if key in loading]
    assert all(value.startswith(("#", "data:")) for key, value in page.attributes if key == "href")


def test_every_plot_speaks(full):
    text = render_report(full)
    plots = re.findall(r'<svg class="plot"[^>]*>', text)
    assert len(plots) == 6 + 3 + 3
    assert all(
        'role="img"' in plot and len(re.search(r'aria-label="([^"]*)"', plot).group(1)) > 30 for plot in plots
    )


def test_same_data_give_the_same_page(full):
    assert render_report(full) == render_report(full)


def test_text_of_the_user_is_escaped(labelled):
    frames, predictions = labelled
    attack = "</script><script>alert(1)</script>"
    frames[0].info["name"] = frames[1].info["config_type"] = attack
    report = data(
        frames,
        predictions,
        config_text=attack,
        notes=[attack],
        findings=[{"message": attack, "code": attack, "names": [attack], "severity": attack}],
        run={attack: attack},
        properties={"rows": [{"property": attack}]},
        audit={"rows": [{"group": attack}]},
    )
    text = render_report(ReportData(**{**vars(report), "title": attack, "subtitle": attack}))
    assert "<script>alert" not in text
    page = Page(text)
    assert page.stack == []
    assert page.tags.count("script") == 2
    assert payload(text)["names"][0] == attack


def test_values_behind_the_plots_are_the_numbers(labelled):
    frames, predictions = labelled
    plot = payload(render_report(data(frames, predictions)))["plots"]["parity-energy"]
    found = {i: (r, p) for s in plot["series"] for i, r, p in zip(s["i"], s["r"], s["p"], strict=True)}
    assert len(found) == 12
    for index, (reference, predicted) in found.items():
        assert reference == pytest.approx(frames[index].calc.results["energy"] / len(frames[index]), abs=6e-6)
        assert predicted == pytest.approx(predictions[index].energy / len(frames[index]), abs=6e-6)


def test_reference_energies_are_subtracted_where_all_are_known(labelled):
    frames, predictions = labelled
    known = payload(render_report(data(frames, predictions, reference_energies={"In": -1.0, "P": -2.0})))
    series = known["plots"]["parity-energy"]["series"][0]
    atoms = frames[series["i"][0]]
    offset = np.mean([{"In": -1.0, "P": -2.0}[s] for s in atoms.get_chemical_symbols()])
    assert series["r"][0] == pytest.approx(atoms.calc.results["energy"] / len(atoms) - offset, abs=6e-6)
    partly = payload(render_report(data(frames, predictions, reference_energies={"In": -1.0})))
    assert partly["plots"]["parity-energy"]["series"][0]["r"][0] != series["r"][0]


def test_missing_labels_leave_their_plots_out(make_structure):
    frames = [make_structure("Si2", -10.0 - n, split="test", config_type="a") for n in range(3)]
    predictions = [Prediction(-10.1 - n, np.zeros((2, 3)), np.zeros(6)) for n in range(3)]
    text = render_report(data(frames, predictions))
    page = Page(text)
    assert text.count("no labels") >= 4
    assert set(payload(text)["plots"]) == {"parity-energy", "errors-energy"}
    assert "learning" not in page.ids
    assert "No labels: forces, stress" in text


def test_perfect_predictions_draw_without_a_scale(make_structure):
    frames = [make_structure("Si", -5.0, [[0, 0, 0]], [0.0] * 6, split="test") for _ in range(2)]
    predictions = [Prediction(-5.0, np.zeros((1, 3)), np.zeros(6))] * 2
    assert Page(render_report(data(frames, predictions))).stack == []


def test_page_without_any_label_is_refused(make_structure, labelled):
    report = data(*labelled)
    bare = ReportData("x", report.metrics, [make_structure("Si")], [Prediction(0.0, np.zeros((1, 3)))])
    with pytest.raises(LabelError, match="none of the 1 structures"):
        render_report(bare)


def test_file_is_written_whole_or_not_at_all(full, tmp_path):
    path = write_report(tmp_path / "report.html", full)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(ForgefieldError, match="cannot write"):
        write_report(tmp_path / "absent" / "report.html", full)


def test_a_thousand_structures_of_64_atoms_stay_small(make_structure):
    rng = np.random.default_rng(3)
    frames, predictions = [], []
    for n in range(1000):
        forces, stress = rng.normal(size=(64, 3)), rng.normal(size=6) * 0.02
        split = ("train", "valid", "test")[n % 3]
        frames.append(
            make_structure("Si64", -300 + rng.normal(), forces, stress, name=f"structure-{n}", split=split)
        )
        noise = rng.standard_t(3, (64, 3)) * 0.1
        predictions.append(
            Prediction(-300 + rng.normal(), forces + noise, stress + rng.normal(size=6) * 0.002)
        )
    text = render_report(data(frames, predictions, log=log(5000)))
    assert len(text.encode()) < 3_000_000
    plot = payload(text)["plots"]["parity-forces"]
    assert plot["kind"] == "density"
    assert sum(map(sum, plot["n"].values())) == 192_000
    assert "192,000 values" in text


def test_worst_structures_are_the_largest_errors(labelled):
    frames, predictions = labelled
    tables = worst_tables(collect(frames, predictions))
    error = [
        np.sqrt(np.mean((p.forces - f.calc.results["forces"]) ** 2))
        for f, p in zip(frames, predictions, strict=True)
    ]
    expected = [f"s{index}" for index in np.argsort(error)[::-1][:10]]
    assert [row[0].split("\n")[0] for row in tables[1].rows] == expected
    signed = [
        (p.energy - f.calc.results["energy"]) / len(f) for f, p in zip(frames, predictions, strict=True)
    ]
    worst = int(np.argmax(np.abs(signed)))
    assert tables[0].rows[0][0].startswith(f"s{worst}\n")
    assert (tables[0].rows[0][1][0] == "+") == (signed[worst] > 0)


def test_verdict_and_points_to_check(make_structure):
    rng = np.random.default_rng(5)

    def sets(test_noise, bias=0.0):
        frames, predictions = [], []
        for n in range(40):
            split, noise = ("test", test_noise) if n < 12 else ("train", 0.01)
            forces = rng.normal(size=(2, 3))
            frames.append(make_structure("Si2", -10.0 + n, forces, split=split))
            error = rng.normal(size=(2, 3)) * noise
            predictions.append(Prediction(-10.0 + n + bias + rng.normal() * 0.01, forces + error))
        return metrics(frames, predictions)

    good = sets(0.01)
    assert "12 test structures, never seen in training" in verdict(good)
    assert f"{good.splits['test'].energy.rmse:.3g}" in verdict(good)
    assert checks(good) == []
    assert "gap-forces" in [item.code for item in checks(sets(0.05))]
    assert "offset-energy" in [item.code for item in checks(sets(0.01, bias=0.1))]
    train = metrics([make_structure("Si", -1.0, split="train")], [Prediction(-1.1, np.zeros((1, 3)))])
    assert [item.code for item in checks(train)] == ["no-test-set"]


def test_learning_curves_skip_what_is_empty_or_constant():
    weights = {"weight_energy": "1.0", "weight_forces": "1.0"}
    titles = [figure.title for figure in learning_curves(log(**weights))]
    assert titles == ["Loss", "Force RMSE", "Learning rate"]
    rows = log()
    for n, row in enumerate(rows):
        row["weight_energy"] = str(1.0 + n)
    assert learning_curves(rows)[-1].title == "Loss weights"
    assert best_epoch(rows) == 12
    assert learning_curves(rows[:1]) == []
    assert learning_curves([]) == []


def test_long_curves_keep_their_extremes():
    rows = log(5000)
    rows[3217]["loss_train"] = "1e9"
    rows[4001]["loss_train"] = ""
    series = learning_curves(rows)[0].data["series"][0]
    assert len(series["x"]) <= 402
    assert max(series["y"]) == 1e9
    assert series["x"][series["y"].index(1e9)] == 3217


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 500])
def test_page_runs_in_a_browser(full, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to render the page with")
    path = write_report(tmp_path / "report.html", full)
    # A page that reports on itself: does the script run, does anything stick out, do hidden layers stay hidden?
    probe = """<script>
      const values = [document.documentElement.className, document.documentElement.scrollWidth <= innerWidth];
      const plot = document.querySelector('svg[data-key="parity-energy"]');
      plot.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
      values.push(!document.getElementById('tip').hidden && /error/.test(document.getElementById('tip').textContent));
      document.querySelector('input[value="k2"]').click();
      values.push(getComputedStyle(plot.querySelector('.marker.k0')).display);
      values.push(getComputedStyle(plot.querySelector('.marker.k2')).display);
      document.title = 'RESULT ' + values.join('|');
    </script></body>"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
    ]
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            *quiet,
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert "RESULT js|true|true|none|inline" in done.stdout, re.findall(r"RESULT[^<]*", done.stdout)
    assert "CONSOLE" not in done.stderr, done.stderr
