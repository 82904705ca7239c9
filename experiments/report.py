"""One page of results to open in a browser: tables, figures, settings, versions, commands.

    python experiments/report.py runs/demo/digits runs/demo/glyphs --out report.html

Each folder holds what a setting's script left, results.json, or what results.py and its kin did, a
file a run. Runs of one setting, benchmark, backbone and head stand in one table, also those of different
folders. The page is one file that needs no network: figures are in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reporting.template import page_of, parts_of
from runs.command_line import alone


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="folders")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
    args = parser.parse_args()
    try:
        with alone(args.out, file=True):
            args.out.write_text(page_of(parts_of(args.results)), encoding="utf-8")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"Wrote {args.out}")


if __name__ == "__main__":
    main()
