"""Many runs, several at a time, each kept as soon as it is done: an interrupted program goes on."""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from avl_pegp.evaluation import Record, read_records, write_records
from runs.command_line import alone
from runs.job import Job, Run
from runs.older import translated


def complete(
    jobs: Sequence[Job], recipes: Mapping[str, Run], folder: Path, workers: int
) -> list[Record]:
    """The records of all jobs; those that the folder already holds are not run again.

    Args:
        jobs: in the order of the records.
        recipes: by setting what does its runs: a function at the top of its file, so that workers
            find it; the file of the program itself will do.
        folder: one file a run, and TensorBoard's logs.
        workers: processes, of one thread each.

    Raises:
        ValueError, OSError: see ``missing_of``.
        RuntimeError: a run failed; it is named, and what caused it stands above.
    """
    missing = missing_of(jobs, folder)
    paths = [folder / f"{job.label}.json" for job in jobs]
    kept = len(jobs) - len(missing)
    bar = tqdm(total=len(jobs), initial=kept, unit="run", smoothing=0.1, disable=None)
    # Fresh processes: a forked one would inherit threads that torch has already started.
    context = multiprocessing.get_context("spawn")
    with _single_threads(), ProcessPoolExecutor(workers, context) as pool:
        waiting = {
            pool.submit(_run, recipes[job.setting], job, path): path for job, path in missing
        }
        try:
            for future in as_completed(waiting):
                done = waiting[future].stem
                if error := future.exception():
                    raise RuntimeError(f"{done} failed; what is done is kept") from error
                bar.set_postfix_str(done)
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    bar.close()
    return [record_in(path) for path in paths]


def missing_of(jobs: Sequence[Job], folder: Path) -> list[tuple[Job, Path]]:
    """The jobs still to be run, and where their records go; the folder is then there.

    Raises:
        ValueError: the folder holds a run of the same name with other settings, or two jobs have one.
        OSError: the folder can't be made.
    """
    names = Counter(job.label for job in jobs)
    if twice := [name for name in names if names[name] > 1]:
        raise ValueError(f"{twice[0]} is asked for twice: give each seed once")
    paths = [(job, folder / f"{job.label}.json") for job in jobs]
    missing = [(job, path) for job, path in paths if not is_done(job, path)]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def many_runs(
    doc: str | None,
    jobs_of: Callable[[list[int]], list[Job]],
    recipes: Mapping[str, Run],
    seeds: Sequence[int] = (1, 2, 3),
    downloaded: Mapping[str, str] | None = None,
) -> tuple[argparse.Namespace, list[Record]]:
    """A program of many runs: its flags, and the records of the jobs that they ask for.

    While they are run, no other program may work in the same folder.

    Args:
        doc: what ``--help`` says.
        jobs_of: the jobs for these seeds.
        recipes: by setting what does its runs.
        seeds: where none are given.
        downloaded: benchmarks whose data a flag names the folder of, each with the flag.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="keeps what is done")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    for benchmark, flag in (downloaded or {}).items():
        parser.add_argument(flag, dest=benchmark, required=True, help="folder that holds the data")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f"--workers {args.workers}: must be at least 1")
    jobs = [
        replace(job, machine=replace(job.machine, data_root=getattr(args, job.benchmark)))
        if job.benchmark in (downloaded or {})
        else job
        for job in jobs_of(args.seeds)
    ]
    try:
        missing_of(jobs, args.out)
    except (ValueError, OSError) as error:
        parser.error(f"--out {args.out}: {error}")
    with alone(args.out):
        return args, complete(jobs, recipes, args.out, args.workers)


def is_done(job: Job, path: Path) -> bool:
    """Whether the run's record is there; one of other settings is refused."""
    if not path.exists():
        return False
    then, now = translated(record_in(path).config["job"]), job.described()
    other = sorted(name for name in now if then.get(name, "nothing") != now[name])
    if other:
        name = other[0]
        raise ValueError(
            f"{path} was run with {name}={then.get(name)!r}, and {name}={now[name]!r} is asked for: "
            "give another folder, or remove that file to run it again"
        )
    return True


def record_in(path: Path) -> Record:
    """The record of a run, which is alone in its file.

    Raises:
        ValueError: it is not, or its settings are not told.
    """
    records = read_records(path)
    if len(records) != 1 or not isinstance(records[0].config.get("job"), dict):
        raise ValueError(
            f"{path} does not hold the record of one run and its job: remove that file to run it again"
        )
    return records[0]


@contextmanager
def _single_threads() -> Iterator[None]:
    """Processes started meanwhile use one thread each."""
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(run: Run, job: Job, path: Path) -> None:
    logs = path.parent / "tensorboard" / path.stem
    with redirect_stderr(io.StringIO()):  # no bars but that of the whole
        write_records([run(job, logs)], path)
