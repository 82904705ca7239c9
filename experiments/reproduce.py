"""A published table, run again: rows and seeds one after another, then the numbers side by side.

    python experiments/reproduce.py cifar100 --dry-run --out runs/reproduction
    python experiments/reproduce.py cifar100 lora-10 adapter-10 --data-root DATA --out runs/reproduction

Each row is a file in experiments/reproduction/TABLE. Run it again to go on after an interruption, or
with further rows. Writes OUT/TABLE.md: published, ours, difference; what was not run says so.
docs/reproduction.md says what to download.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import mean

import class_incremental
import clip_incremental
import domain_incremental
import online
from reproduction.estimate import Step, cost_of, measure
from reproduction.recipe import Published, Recipe
from reproduction.recipe_files import load, tables
from rich.console import Console
from rich.table import Table
from runs.command_line import alone
from runs.job import RANDOM, Job, Run
from runs.parts import stream_of
from runs.resumable import complete, missing_of
from runs.training import Machine

from avl_pegp.evaluation import Record, markdown, read_records, spread

TITLES = ("row", "method", "published", "ours", "difference")
VIEWS = {  # by the recipe's field: a title, and how names of these numbers begin in a record
    "published": ("All classes so far compete:", ""),
    "published_task_aware": ("With the task told at test:", "task_aware_"),
}
RECIPES: dict[str, Run] = {
    module.__name__: module.run
    for module in (class_incremental, domain_incremental, online, clip_incremental)
}
Runs = dict[str, list[Job]]


def main() -> None:
    parser = flags()
    args = parser.parse_args()
    try:
        recipes = recipes_of(args)
        runs = {row: jobs_of(recipe, row, args) for row, recipe in recipes.items()}
        jobs = list({job.label: job for row in args.rows for job in runs[row]}.values())
        if args.dry_run:
            Console(width=110).print(plan(jobs, recipes, args))
            return
        stream_of(jobs[0])  # missing data and broken images are found before time is spent
        missing_of(jobs, args.out / args.table)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    devices = cycle(args.device)
    jobs = [replace(j, machine=replace(j.machine, device=next(devices))) for j in jobs]
    path = args.out / f"{args.table}.md"
    with alone(args.out):
        complete(jobs, RECIPES, args.out / args.table, args.workers)
        path.write_text(page(args.table, recipes, runs, args.out / args.table))
    Console().print(f"Wrote {path}")


def flags() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=tables())
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of the table; all without any")
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    parser.add_argument("--data-root", help="the folder that holds what you downloaded")
    parser.add_argument(
        "--weights", help="a folder of files named after backbones' tags, or random"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="in the place of the recipe's")
    parser.add_argument("--methods", nargs="+", help="in the place of the recipe's")
    parser.add_argument("--device", nargs="+", default=[Machine.device], help="dealt out to runs")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--loaders", type=int, default=4, help="processes of a run that read images"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be run, and its cost"
    )
    parser.add_argument(
        "--tflops",
        type=float,
        help="of your GPU, sustained, for --dry-run; this machine's if left out",
    )
    return parser


def recipes_of(args: argparse.Namespace) -> dict[str, Recipe]:
    """The recipes of all rows of the table; ``args.rows`` then names those that are to be run.

    Raises:
        ValueError: a row that the table does not have, or a recipe that is wrong.
    """
    known = tables()[args.table]
    unknown = [row for row in args.rows if row not in known]
    if unknown:
        raise ValueError(f"{args.table} has no row {', '.join(unknown)}; it has {', '.join(known)}")
    args.rows = args.rows or known
    changes = {n: getattr(args, n) for n in ("seeds", "methods") if getattr(args, n)}
    return {row: load(args.table, row).changed(changes) for row in known}


def jobs_of(recipe: Recipe, row: str, args: argparse.Namespace) -> list[Job]:
    """The runs of a row."""
    weights = RANDOM if args.dry_run else args.weights
    return recipe.jobs(row, Machine(args.data_root, args.device[0], args.loaders), weights)


def plan(jobs: Sequence[Job], recipes: dict[str, Recipe], args: argparse.Namespace) -> Table:
    """What would be run, with operations, hours and memory, estimated from a step measured here."""
    table = Table(title=f"{args.table}: {len(jobs)} runs")
    for name in ("row", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "trained parameters", "PFLOP a run", "hours a run", "memory (GiB)"):
        table.add_column(name, justify="right")
    steps: dict[str, Step] = {}
    total = 0.0
    for (row, method), count in Counter((job.pet, job.method) for job in jobs).items():
        job = next(job for job in jobs if (job.pet, job.method) == (row, method))
        step = steps[row] = steps.get(row) or measure(job, classes=100)
        size = recipes[row if row in recipes else args.rows[0]].size
        cost = cost_of(job, step, size.train, size.test, size.experiences)
        hours = cost.operations / (args.tflops * 1e12 if args.tflops else step.rate) / 3600
        total += count * hours
        numbers = (cost.operations / 1e15, hours, cost.memory / 2**30)
        cells = [f"{number:,.1f}" for number in numbers]
        table.add_row(row, method, str(count), f"{step.trained:,}", *cells)
    where = f"{args.tflops:g} TFLOP/s" if args.tflops else f"what {args.device[0]} did in one step"
    table.caption = f"{total:,.0f} hours in all, at {where}; reading images is not counted"
    return table


def page(table: str, recipes: dict[str, Recipe], runs: Runs, folder: Path) -> str:
    """The table as Markdown."""
    commands = [
        f"python experiments/reproduce.py {table} {row} --data-root DATA --out OUT"
        for row in recipes
    ]
    done: dict[tuple[str, str], list[Record]] = {}
    for row in recipes:
        for job in runs[row]:
            path = folder / f"{job.label}.json"
            records = read_records(path) if path.exists() else []
            done.setdefault((row, job.method), []).extend(records)
    records = [record for group in done.values() for record in group]
    versions = {str(record.versions) for record in records}
    weights = {source_of(record) for record in records}
    title = next(iter(recipes.values())).title
    return "\n".join(
        (
            f"# {title}\n",
            "Average accuracy / forgetting in percent; ours is mean ± standard deviation over seeds.\n",
            *sections(recipes, done),
            "```bash",
            *commands,
            "```\n",
            "Weights: " + ("; ".join(sorted(weights)) or "nothing was run yet") + "\n",
            "Versions: " + ("; ".join(sorted(versions)) or "nothing was run yet") + "\n",
        )
    )


def sections(recipes: dict[str, Recipe], done: dict[tuple[str, str], list[Record]]) -> list[str]:
    """A table of each view of the same runs for which there are published numbers."""
    found = []
    for view, (title, prefix) in VIEWS.items():
        published = {row: getattr(recipe, view) for row, recipe in recipes.items()}
        if any(published.values()):
            lines = [
                [row, method, *cells(numbers.get(method), done.get((row, method), []), prefix)]
                for row, numbers in published.items()
                for method in dict.fromkeys((*(m for r, m in done if r == row), *numbers))
            ]
            found.append(f"{title}\n\n{markdown([TITLES, *lines])}\n")
    return found


def source_of(record: Record) -> str:
    """The backbone's weights: tag, file and digest, or that they are random."""
    source = record.config["weights"]
    file = f"{source['file']}, sha256 {source['sha256']}" if source["file"] else "random numbers"
    return f"{source['tag']} ({file})"


def cells(published: Published | None, records: Sequence[Record], view: str = "") -> list[str]:
    """Published, ours, difference; ``view`` begins the names of the numbers in a record."""
    then = " / ".join(f"{value:.2f}" for value in published) if published else ""
    if not records:
        return [then, "not run", ""]
    names = (f"{view}average_accuracy", f"{view}forgetting")
    ours = [[getattr(record, name) for record in records] for name in names]
    now = " / ".join(map(spread, ours)) + f" ({len(records)})"
    gaps = [
        100 * mean(values) - value for values, value in zip(ours, published or (), strict=False)
    ]
    return [then, now, " / ".join(f"{gap:+.2f}" for gap in gaps)]


if __name__ == "__main__":
    main()
