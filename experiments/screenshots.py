"""Pictures of a report as a browser shows it, for the docs: on a phone, and on a wide screen.

    python experiments/screenshots.py runs/demo/digits

Makes the report of these result folders, opens it in a Chromium without a window, and writes
docs/report_400.png and docs/report_1600.png, or into --out. Nothing is fetched from the network.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from reporting.template import page_of, parts_of
from runs.command_line import alone

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HEIGHTS = {400: 1400, 1600: 1900}  # by width, in CSS pixels: at least, then to the end of a figure
# Adds to a page how high a picture of it is that cuts through no figure. Told the width, as a
# browser without a window may open no window that is as narrow.
MEASURE = """<script>
onload = () => {
  document.documentElement.style.width = "WIDTHpx";
  const boxes = [...document.querySelectorAll("figure")].map(f => f.getBoundingClientRect());
  const whole = end => boxes.every(box => end <= box.top || box.bottom <= end);
  const ends = boxes.map(box => box.bottom).filter(end => end >= HEIGHT && whole(end));
  document.documentElement.dataset.end = ends.length ? Math.ceil(Math.min(...ends)) + 12 : HEIGHT;
};
</script>"""
QUIET = (
    "--headless",
    "--no-sandbox",  # in containers the sandbox can't be made; the page is our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def find_browser() -> str:
    """The first Chromium on PATH.

    Raises:
        RuntimeError: there is none.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError(
            f"no Chromium on PATH (looked for {', '.join(BROWSERS)}): install one, on Debian by "
            "apt-get install chromium"
        )
    return found


def run(browser: str, page: Path, width: int, height: int, *flags: str) -> str:
    """Open a page in a window of this size, and return what the browser prints.

    Raises:
        RuntimeError: the browser failed; its own words are passed on.
    """
    with TemporaryDirectory() as profile:
        window = (f"--user-data-dir={profile}", f"--window-size={width},{height}")
        command = [browser, *QUIET, *window, *flags, page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{browser} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def end_of(browser: str, page: Path, width: int, height: int) -> int:
    """The height at which a picture cuts through no figure: this or a little more.

    Raises:
        RuntimeError: the browser failed, or did not say.
    """
    script = MEASURE.replace("WIDTH", str(width)).replace("HEIGHT", str(height))
    measured = page.with_name("measured.html")
    measured.write_text(page.read_text(encoding="utf-8") + script, encoding="utf-8")
    dumped = run(browser, measured, width, height, "--dump-dom")
    found = re.search(r'data-end="(\d+)"', dumped)
    if found is None:
        raise RuntimeError(
            f"{browser} did not say how high the page is: it printed {dumped[:500]!r}"
        )
    return int(found[1])


def take(browser: str, page: Path, width: int, height: int, out: Path) -> None:
    """Write a picture of a page of this width, and of this height or a little more.

    Raises:
        RuntimeError: the browser failed, or wrote nothing.
    """
    out.unlink(missing_ok=True)
    height = end_of(browser, page, width, height)
    run(browser, page, width, height, f"--screenshot={out.resolve()}")
    if not out.exists():
        raise RuntimeError(f"{browser} wrote no {out}: see whether it can write there")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="folders")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder to write into")
    args = parser.parse_args()
    try:
        browser = find_browser()
        with TemporaryDirectory() as folder, alone(args.out):
            page = Path(folder) / "report.html"
            page.write_text(page_of(parts_of(args.results)), encoding="utf-8")
            for width, height in HEIGHTS.items():
                take(browser, page, width, height, args.out / f"report_{width}.png")
    except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        parser.error(str(error))
    print(f"Wrote report_400.png and report_1600.png into {args.out}")


if __name__ == "__main__":
    main()
