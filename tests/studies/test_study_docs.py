"""The pages of the documentation say what the committed results say."""

import json
from pathlib import Path

import pytest

from forgefield.studies import STUDIES, find_study
from forgefield.studies.markdown import render_markdown
from forgefield.studies.record import read_record

ROOT = Path(__file__).resolve().parents[2]
RENEW = "run `python tools/update_studies.py`"


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_is_drawn_from_the_committed_results(name):
    file = ROOT / "studies" / "results" / f"{name}.json"
    record, study = read_record(file), find_study(name)
    settings = study.Settings.parse(record.settings)
    page = study.recall(settings, record.results, study.page(settings, record.results), record.conclusion)
    _, _, rest = (
        (ROOT / "docs" / "studies" / f"{name}.md").read_text("utf-8").partition("<!-- results:start -->\n")
    )
    assert rest.partition("<!-- results:end -->")[0] == render_markdown(page), RENEW
    content = json.loads(file.read_text("utf-8"))
    rows = [(c["claim"], c["found"], c["verdict"]) for c in content["claims"]]
    assert rows == list(page.claims), RENEW
    assert content["answer"] == page.answer, RENEW


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_names_its_command_and_what_it_leaves_out(name):
    text = (ROOT / "docs" / "studies" / f"{name}.md").read_text("utf-8")
    assert f"forgefield study {name} studies/configs/{name}.yaml" in text
    assert f"studies/results/{name}.json" in text
    assert "wall time" in text
    if name != "data-efficiency":
        assert "| not run |" in text


def test_committed_settings_are_those_of_the_committed_results():
    from forgefield.config import load_yaml

    for name in STUDIES:
        study = find_study(name)
        given = load_yaml(ROOT / "studies" / "configs" / f"{name}.yaml")
        content = json.loads((ROOT / "studies" / "results" / f"{name}.json").read_text("utf-8"))
        assert study.Settings.parse(content["settings"]) == study.Settings.parse(given), name
