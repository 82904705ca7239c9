"""The programs that look into runs, on a few images: the page's pictures, and what looking costs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from studies import benchmark_inspection, inspection

from avl_pegp.benchmarks import BENCHMARKS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def glyphs_for_digits(tiny, monkeypatch):
    """Three images a glyph, in two experiences, where the page has all digits."""
    monkeypatch.setitem(BENCHMARKS, "split_digits", BENCHMARKS["split_glyphs"])


@pytest.mark.long
def test_every_picture_of_the_page_is_made(launch, glyphs_for_digits, tmp_path):
    launch(inspection, tmp_path, "--epochs", "1")
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in (DOCS / "inspection").iterdir()}
    page = (DOCS / "inspection.md").read_text(encoding="utf-8")
    for name in made:
        assert f"(inspection/{name})" in page
        with Image.open(tmp_path / name) as image:
            image.load()
            assert len(image.getcolors(2**20)) > 50  # something is drawn


@pytest.mark.long
def test_the_benchmark_tells_the_cost_of_looking(tiny, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_inspection.py", "--pairs", "2"])
    benchmark_inspection.main()
    told = " ".join(capsys.readouterr().out.split())
    numbers = (
        r"metrics (\S+) times that \(half of 2 pairs of 50 steps lie between (\S+) and (\S+)\)"
    )
    middle, low, high = map(float, re.search(numbers, told).groups())
    assert low <= middle <= high


def test_one_pair_tells_nothing_of_spread(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_inspection.py", "--pairs", "1"])
    with pytest.raises(SystemExit, match="2"):
        benchmark_inspection.main()
    assert "--pairs 1: must be at least 2" in capsys.readouterr().err


def test_only_every_other_block_of_steps_looks(tiny, tmp_path, monkeypatch):
    looked = []
    see = benchmark_inspection.Turns.before_training_iteration

    def noted(turns, strategy, **kwargs):
        see(turns, strategy, **kwargs)
        if strategy.experience.current_experience == 1:
            looked.append(any(map(benchmark_inspection.looks, strategy.evaluator.metrics)))

    monkeypatch.setattr(benchmark_inspection.Turns, "before_training_iteration", noted)
    turns, drawing = benchmark_inspection.measure("lora", pairs=2, every=3, logs=tmp_path)
    assert min(map(len, turns.seconds.values())) >= 2
    first = looked[0]
    assert looked[:9] == [first] * 3 + [not first] * 3 + [first] * 3
    assert min(turns.ratios()) > 0
    assert drawing > 0
