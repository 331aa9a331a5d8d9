"""Put the tables of the last `make demo` into README.md, and a picture of its report into docs/images.

The picture needs Chromium; without it only the tables are renewed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.image

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- demo:start -->", "<!-- demo:end -->"
WIDTH, HEIGHT = 1200, 3000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Renew both; return 1 if the demo has not been run."""
    summary = ROOT / "demo" / "summary.md"
    if not summary.exists():
        print("run `make demo` first", file=sys.stderr)
        return 1
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    tables = summary.read_text(encoding="utf-8")
    readme.write_text(f"{before}{START}\n{tables}{END}{after}", encoding="utf-8")
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print("no Chromium: the picture stays as it is", file=sys.stderr)
    else:
        picture(browser, ROOT / "demo" / "report.html", ROOT / "docs" / "images" / "report.png")
    return 0


def picture(browser: str, report: Path, target: Path) -> None:
    """Write the summary and the parity plots of a report, one below the other."""
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for anchor, height in (("summary", 455), ("parity", 505)):
            page = Path(folder) / f"{anchor}.html"
            hidden = "nav, main > section:not(#ANCHOR), .skip { display: none !important }"
            style = f"<style>{hidden.replace('ANCHOR', anchor)}</style></head>"
            page.write_text(report.read_text(encoding="utf-8").replace("</head>", style, 1), encoding="utf-8")
            shot = page.with_suffix(".png")
            command = [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={shot}",
                page.as_uri(),
            ]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            parts.append(matplotlib.image.imread(shot)[:height])
        import numpy as np

        target.parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(target, np.concatenate(parts)[..., :3])


if __name__ == "__main__":
    sys.exit(main())
