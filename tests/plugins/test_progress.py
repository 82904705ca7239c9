"""What someone at a terminal sees, and what anyone else does not."""

from __future__ import annotations

import io
import re
import sys
from functools import partial

import pytest
from streams import naive, stream
from tqdm import tqdm

from avl_pegp import PEGPPlugin
from avl_pegp.plugins import progress
from avl_pegp.plugins.progress import ProgressPlugin, bars


class Screen(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


def shown(monkeypatch, is_terminal, quiet=False):
    """What a short run writes on the screen."""
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with bars(shown=not quiet):
        run = ProgressPlugin("plain, seed 0", experiences=3)
        parts = naive(plugin=PEGPPlugin(), plugins=[run], train_epochs=1, train_mb_size=1)
        benchmark = stream()
        for i, experience in enumerate(benchmark.train_stream):
            parts.strategy.train(experience, eval_streams=[])
            parts.strategy.eval(benchmark.test_stream[: i + 1])
        run.close()
    return screen.getvalue()


def test_training_gathering_and_evaluation_show_the_time_left(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", partial(tqdm, mininterval=0, miniters=0))  # every step
    text = shown(monkeypatch, is_terminal=True)
    time_left = r"experiences \[\d\d:\d\d < \d\d:\d\d\]"
    for state in ("0.5/3", "1.0/3", "3.0/3"):
        assert re.search(rf"plain, seed 0: .*\| {state} {time_left}", text)
    for state in ("1.0/1", "1.0/2", "2.0/3"):
        assert re.search(rf"evaluation: .*\| {state} {time_left}", text)
    assert re.search(r"PEGP: gathering: .*\| 1/2 \[\d\d:\d\d<\d\d:\d\d", text)


@pytest.mark.parametrize(("is_terminal", "quiet"), [(False, False), (True, True), (False, True)])
def test_nothing_is_shown_where_nobody_watches_or_wants_it(monkeypatch, is_terminal, quiet):
    assert shown(monkeypatch, is_terminal, quiet) == ""


def test_bars_come_back_after_a_quiet_block_that_failed(monkeypatch):
    with pytest.raises(KeyError), bars(shown=False):
        raise KeyError
    assert "plain, seed 0" in shown(monkeypatch, is_terminal=True)
