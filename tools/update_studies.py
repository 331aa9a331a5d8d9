"""Put the results of a finished study into the repository: its JSON, and its words and tables into its page.

    python tools/update_studies.py NAME FOLDER

FOLDER is what ``forgefield study NAME -o FOLDER`` wrote. What stands outside the marks of ``docs/studies/NAME.md``
is left alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- results:start -->", "<!-- results:end -->")


def main(name: str, folder: Path) -> None:
    """Copy results, without what names this computer, and renew the page."""
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    paths = {str(folder.resolve()): "FOLDER", str(ROOT): ".", str(ROOT.parent): ".."}
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


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
