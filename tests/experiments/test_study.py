"""The launcher of studies: what it lists, what it starts, what it refuses."""

from __future__ import annotations

import sys

import pytest
import study
from studies import results


@pytest.fixture
def start(monkeypatch):
    """Run the launcher with these words."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["study.py", *words])
        study.main()

    return run


def test_every_study_is_listed_with_the_first_line_of_what_it_says(start, capsys):
    for words in ((), ("--help",)):
        start(*words)
        lines = capsys.readouterr().out.splitlines()
        for name in ("results", "ablation", "clip_search", "inspection", "benchmark_projection"):
            assert sum(line.split()[:1] == [name] for line in lines) == 1
        assert any(line.endswith(results.__doc__.splitlines()[0]) for line in lines)
        assert not any(line.split()[:1] == ["sections"] for line in lines)  # no program


def test_a_study_gets_the_words_after_its_name(start, capsys):
    with pytest.raises(SystemExit, match="0"):
        start("results", "--help")
    told = capsys.readouterr().out
    assert told.startswith("usage: study.py results [-h] --out OUT")


def test_an_unknown_study_is_refused_with_the_known_ones(start, capsys):
    with pytest.raises(SystemExit, match="2"):
        start("resluts")
    assert "study.py: error: resluts: must be one of ablation, " in capsys.readouterr().err
