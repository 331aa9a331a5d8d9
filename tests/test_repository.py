"""The repository itself: documentation that is generated, links, sizes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_config_page_is_current():
    page = load(ROOT / "docs" / "generate_config.py").render()
    assert page == (ROOT / "docs" / "config.md").read_text(encoding="utf-8"), "run: make docs"


def test_config_page_names_every_choice():
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    for word in (
        "`descriptor.l_max`",
        "`training.schedule.start`",
        "`kind: least_squares`",
        "`data.split.valid`",
    ):
        assert word in page


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 5
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_results_name_no_folder_of_one_computer():
    folders = [ROOT / "studies", ROOT / "benchmarks", ROOT / "docs"]
    files = [f for folder in folders for f in folder.rglob("*") if f.suffix in (".json", ".md", ".yaml")]
    assert len(files) > 100
    place = re.compile(r"[\"' ]/(tmp|root|home|Users|work)/")
    assert not [str(f.relative_to(ROOT)) for f in files if place.search(f.read_text(encoding="utf-8"))]


def test_rows_of_a_table_have_as_many_cells():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
    uneven, tables = [], 0
    for page in pages:
        width = None
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            tables += width is None and cells is not None
            if None not in (width, cells) and cells != width:
                uneven.append(f"{page.relative_to(ROOT)}:{number}")
            width = cells
    assert tables > 50
    assert not uneven


def test_every_command_and_option_is_on_the_page():
    import typer

    from forgefield.cli.app import app

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    sections = {name: part for part in parts for name in part.splitlines()[0].split(", ")}
    commands = typer.main.get_command(app).commands
    assert set(sections) == set(commands)
    missing = [
        f"{name} {option}"
        for name, command in commands.items()
        for parameter in command.params
        for option in [[o for o in parameter.opts if o.startswith("-")]]
        if option and not any(o in sections[name] for o in [*option, *parameter.secondary_opts])
    ]
    assert not missing


def test_size_limits_are_enforced(tmp_path):
    check = load(ROOT / "tools" / "check_sizes.py")
    long_function = "def f():\n" + "    x = 1\n" * 60
    documented = 'def g():\n    """One.\n' + "\n" * 30 + '    """\n' + "    x = 1\n" * 40
    (tmp_path / "a.py").write_text(long_function + documented)
    (tmp_path / "b.py").write_text("x = 1\n" * 401)
    assert [text.split(": ", 1)[1] for text in check.check(tmp_path / "a.py")] == [
        "f has 61 lines, at most 60"
    ]
    assert len(list(check.check(tmp_path / "b.py"))) == 1


def test_importing_the_package_is_light():
    code = "import sys, forgefield; print(sorted({'torch', 'ase', 'numpy', 'matplotlib'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["read", "train", "load", "evaluate", "descriptors", "models", "datasets", "testing"]
)
def test_public_names(name):
    import forgefield

    assert getattr(forgefield, name) is not None
    assert name in dir(forgefield)


def test_unknown_public_name_lists_what_there_is():
    import forgefield

    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it offers .*train"):
        _ = forgefield.trian
