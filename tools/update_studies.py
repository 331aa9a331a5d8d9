"""Put the results of studies into the repository: their JSON, and their words and tables into their pages.

    python tools/update_studies.py              # all pages again from the committed results, nothing is computed
    python tools/update_studies.py NAME         # one of them
    python tools/update_studies.py NAME FOLDER  # from what ``forgefield study NAME -o FOLDER`` wrote

What stands outside the marks of ``docs/studies/NAME.md`` is left alone.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from forgefield.studies import STUDIES, redraw_study

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- results:start -->", "<!-- results:end -->")


def main(name: str, folder: Path) -> None:
    """Copy results, without what names this computer, and renew the page."""
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    paths = {
        str(folder.resolve()): "FOLDER",
        str(ROOT): ".",
        str(ROOT.parent): "..",
        platform.platform(): platform.machine(),
    }
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    report = (folder / "report.md").read_text(encoding="utf-8")
    for path, sign in paths.items():
        text, report = text.replace(path, sign), report.replace(path, sign)
    target = ROOT / "studies" / "results" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    page = ROOT / "docs" / "studies" / f"{name}.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n{report}{MARKS[1]}{after}", encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)} and {page.relative_to(ROOT)}")


def again(name: str) -> None:
    """Draw the report of the committed results again and put it into the page."""
    with TemporaryDirectory() as folder:
        redraw_study(name, ROOT / "studies" / "results" / f"{name}.json", folder)
        main(name, Path(folder))


if __name__ == "__main__":
    if len(sys.argv) > 3 or "-h" in sys.argv or "--help" in sys.argv:
        raise SystemExit(__doc__)
    if len(sys.argv) == 3:
        main(sys.argv[1], Path(sys.argv[2]))
    else:
        for study in sys.argv[1:] or STUDIES:
            again(study)
