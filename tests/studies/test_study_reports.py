"""Reports of the committed results in a browser: on a desk, on a phone, touched and printed."""

import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from forgefield.studies import find_study
from forgefield.studies.page import render_page
from forgefield.studies.record import read_record

pytestmark = pytest.mark.slow
RESULTS = Path(__file__).resolve().parents[2] / "studies" / "results"
WIDTHS = {"desk": 1200, "phone": 390, "print": 689}
"""Of the window [pixels]; the last one is what A4 leaves between the margins."""
MARGIN, POINT = 53.0, 0.75
"""Of a printed page [pixels], and points in a pixel."""
PROBE = """
const report = JSON.parse(document.getElementById('report').textContent);
const found = {};
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
function texts(document) {
  const wrong = [];
  for (const svg of document.querySelectorAll('svg[data-key]')) {
    const panel = svg.closest('.panel').getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
    boxes.forEach(([name, box], n) => {
      if (box.left < panel.left || box.right > panel.right || box.bottom > panel.bottom) wrong.push(`${svg.dataset.key} cut: ${name}`);
      boxes.slice(0, n).forEach(([other, b]) => overlap(box, b) && wrong.push(`${svg.dataset.key}: ${name} on ${other}`));
    });
  }
  return wrong;
}
function tap(frame) {
  const page = frame.contentDocument, tip = page.getElementById('tip'), missed = [];
  const values = JSON.parse(page.getElementById('values').textContent);
  for (const svg of page.querySelectorAll('svg[data-key]')) {
    const points = values[svg.dataset.key].points;
    if (!points.length) continue;
    const [x, y, label, , value] = points[points.length - 1];
    const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    for (const type of ['pointerdown', 'pointerup', 'pointerout', 'pointerleave'])
      svg.dispatchEvent(new frame.contentWindow.PointerEvent(type,
        { pointerType: 'touch', clientX: at.x, clientY: at.y, bubbles: type !== 'pointerleave' }));
    const box = tip.getBoundingClientRect();
    // Where points lie on each other another one may be told.
    if (tip.hidden || !tip.textContent || box.left < 0 || box.right > frame.clientWidth) missed.push(`${svg.dataset.key} ${label}`);
  }
  page.querySelector('h1').dispatchEvent(new frame.contentWindow.PointerEvent('pointerdown', { pointerType: 'touch', bubbles: true }));
  return { missed, closed: tip.hidden };
}
for (const [kind, width] of Object.entries(WIDTHS)) {
  const frame = document.createElement('iframe');
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    found[kind] = {
      texts: texts(page), wide: root.scrollWidth - root.clientWidth, charts: page.querySelectorAll('svg[data-key]').length,
      tables: [...page.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.getAttribute('aria-label')),
      letter: Math.min(...[...page.querySelectorAll('svg text')].map((t) => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)),
      files: [...page.querySelectorAll('a.download')].map((a) => a.download),
    };
    if (kind === 'phone') Object.assign(found[kind], tap(frame));
    frame.remove();
    if (Object.keys(found).length === Object.keys(WIDTHS).length) {
      document.getElementById('report').remove();
      document.title = 'RESULT' + JSON.stringify(found);
    }
  };
  frame.srcdoc = kind === 'print' ? report.replaceAll('@media print', '@media screen') : report;
  document.body.append(frame);
}
"""


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium to render the reports with")
    return found


def run(browser, folder, *arguments):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update"]
    options += ["--disable-background-networking", "--disable-sync", "--enable-logging=stderr"]
    done = subprocess.run(
        [browser, *options, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    return done.stdout


def written(name, folder):
    """The report of committed results."""
    record, study = read_record(RESULTS / f"{name}.json"), find_study(name)
    settings = study.Settings.parse(record.settings, where=name)
    page = study.page(settings, record.results)
    path = folder / "report.html"
    path.write_text(render_page(page, record.content(page)), encoding="utf-8")
    return path, page


def printed(file):
    """For every page of a PDF its width and height and where its text is, (x, y) from its upper left corner [pixels]."""
    raw = file.read_bytes()
    pages = []
    for page in re.findall(rb"/Type /Page\b.*?endobj", raw, re.DOTALL):
        number = re.search(rb"/Contents (\d+) 0 R", page).group(1)
        stream = re.search(rb"\n" + number + rb" 0 obj\n.*?stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL)
        box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", page)
        wide, high = (float(v) / POINT for v in box.groups())
        places = _places(zlib.decompress(stream.group(1)).decode("latin-1"))
        pages.append((wide, high, [(x, high - y) for x, y in places]))
    return pages


def _places(commands):
    """Follow the coordinate systems of a page's commands to where each text begins."""
    now, kept = np.eye(3), []
    for line in commands.splitlines():
        *numbers, command = line.split() or [""]
        if command == "q":
            kept.append(now)
        elif command == "Q":
            now = kept.pop()
        elif command in ("cm", "Tm"):
            a, b, c, d, e, f = map(float, numbers)
            own = np.array([[a, b, 0.0], [c, d, 0.0], [e, f, 1.0]]) @ now
            if command == "cm":
                now = own
            else:
                yield own[2, 0] / POINT, own[2, 1] / POINT


@pytest.mark.parametrize("name", [f.stem for f in sorted(RESULTS.glob("*.json"))])
def test_report_on_desk_phone_and_paper(name, browser, tmp_path):
    path, page = written(name, tmp_path)
    content = json.dumps(path.read_text(encoding="utf-8")).replace("<", "\\u003c")
    harness = tmp_path / "harness.html"
    harness.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><body><script type="application/json" id="report">{content}</script>'
        f"<script>const WIDTHS = {json.dumps(WIDTHS)};{PROBE}</script></body>",
        encoding="utf-8",
    )
    out = run(browser, tmp_path, "--window-size=1300,1000", "--dump-dom", harness.as_uri())
    title = re.search(r"<title>RESULT(.*?)</title>", out)
    assert title is not None, out[-2000:]
    found = json.loads(title.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    for kind, seen in found.items():
        assert seen["charts"] == len(page.charts())
        assert seen["texts"] == [], kind
        assert seen["wide"] <= 0, kind
    assert found["desk"]["tables"] == found["print"]["tables"] == []
    assert found["phone"]["letter"] > 10.5
    assert found["phone"]["missed"] == []
    assert found["phone"]["closed"]
    assert found["desk"]["files"] == [*page.files().values(), "results.json"]

    pdf = tmp_path / "report.pdf"
    run(browser, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri())
    pages = printed(pdf)
    full = [(max(y for _, y in places) - MARGIN) / (high - 2 * MARGIN) for _, high, places in pages]
    assert full[0] > 0.5, "a near-empty first page"
    assert np.mean(full[:-1]) > 0.6, full
    assert all(MARGIN <= x < wide - MARGIN for wide, _, places in pages for x, _ in places)
