"""Pictures of the report, with a browser of a few lines in the place of Chromium."""

from __future__ import annotations

import sys

import pytest
import screenshots
from reporting import template

from avl_pegp.evaluation import write_records

BROWSER = """#!{python}
import sys
from pathlib import Path
flags = dict(word.partition("=")[::2] for word in sys.argv[1:-1])
if "--dump-dom" in flags:
    print({dumped!r})
else:
    Path(flags["--screenshot"]).write_text(flags["--window-size"])
"""


@pytest.fixture
def browse(tmp_path, monkeypatch, rows, launch):
    """Take pictures of a few records, with a browser that prints this of a page; their folder."""
    monkeypatch.setattr(template, "pictures_of", lambda rows, title: [])
    (tmp_path / "runs").mkdir()
    write_records(rows, tmp_path / "runs" / "results.json")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def take(dumped=None):
        if dumped is not None:
            browser = tmp_path / "bin" / "chromium"
            browser.write_text(BROWSER.format(python=sys.executable, dumped=dumped))
            browser.chmod(0o755)
        launch(screenshots, tmp_path / "out", str(tmp_path / "runs"))
        return tmp_path / "out"

    return take


def test_pictures_end_where_the_browser_says_that_a_figure_ends(browse):
    out = browse('<html data-end="2345">')
    assert (out / "report_400.png").read_text() == "400,2345"
    assert (out / "report_1600.png").read_text() == "1600,2345"


@pytest.mark.parametrize(
    ("dumped", "message"),
    [
        (None, "no Chromium on PATH (looked for chromium, chromium-browser,"),
        ("<html>", "did not say how high the page is: it printed '<html>"),
    ],
)
def test_without_a_browser_that_works_no_picture_is_made(browse, dumped, message, capsys):
    with pytest.raises(SystemExit):
        browse(dumped)
    assert message in " ".join(capsys.readouterr().err.split())
