"""Every descriptor has a page with its settings and the picture of its radial functions, which the script can draw."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from forgefield.descriptors import DESCRIPTORS, parse_settings

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "descriptors"
LARGEST_PICTURE = 40_000
"""Bytes."""


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_page(kind):
    page = (FOLDER / f"{kind}.md").read_text(encoding="utf-8")
    assert f"(images/radial_{kind}.png)" in page
    for part in ("## Definition", "## Cost", "## How it is tested", "Source"):
        assert part in page, part
    for text in page.split("```yaml\n")[1:]:
        settings = yaml.safe_load(text.split("```")[0])["descriptor"]
        assert parse_settings(settings).kind == kind


def test_pictures_are_drawn_from_the_formulas(tmp_path):
    spec = importlib.util.spec_from_file_location("draw_radial", FOLDER / "draw_radial.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path)
    drawn = sorted(p.name for p in tmp_path.iterdir())
    assert drawn == sorted([*(f"radial_{kind}.png" for kind in DESCRIPTORS), "cutoffs.png"])
    for name in drawn:
        kept = FOLDER / "images" / name
        assert kept.stat().st_size < LARGEST_PICTURE
        new, old = imread(tmp_path / name), imread(kept)
        assert new.shape == old.shape
        # Fonts and smoothing may differ between versions, curves do not.
        assert np.abs(new - old).mean() < 0.02, name
