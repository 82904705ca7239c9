"""Pictures of a report as a browser shows it, for the docs: on a phone, and on a wide screen.

    python experiments/screenshots.py runs/demo/digits

Makes the report of these result folders, opens it in a Chromium without a window, and writes
docs/report_400.png and docs/report_1600.png, or into --out. Nothing is fetched from the network.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from report import page_of, parts_of

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES = {400: 1400, 1600: 1900}  # width and height, in CSS pixels
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


def take(browser: str, page: Path, width: int, height: int, out: Path) -> None:
    """Write what the browser shows of a page in a window of this size.

    Raises:
        RuntimeError: the browser wrote nothing; its own words are passed on.
    """
    out.unlink(missing_ok=True)
    with TemporaryDirectory() as profile:
        flags = [*QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        command = [browser, *flags, f"--screenshot={out.resolve()}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not out.exists():
        raise RuntimeError(f"{browser} wrote no {out}: {done.stderr.strip()[-500:]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="folders")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder to write into")
    args = parser.parse_args()
    try:
        browser = find_browser()
        args.out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            page.write_text(page_of(parts_of(args.results)), encoding="utf-8")
            for width, height in SIZES.items():
                take(browser, page, width, height, args.out / f"report_{width}.png")
    except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        parser.error(str(error))
    print(f"Wrote report_400.png and report_1600.png into {args.out}")


if __name__ == "__main__":
    main()
