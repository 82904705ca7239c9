"""Online learning: a stream seen once, a few samples at a time, with task boundaries or without any.

    python experiments/online.py --benchmark split_glyphs --pet lora --out runs/online
    python experiments/online.py --benchmark blurry_glyphs --no-boundaries --pet lora --out runs/blurry

PEGP's and the head's statistics come from the training minibatches themselves: no further pass. The
linear head is trained on the classes of the task, without boundaries on those of the minibatch.
Accuracy is taken where a task ends, which without boundaries only the evaluation knows (and
first_session, a control). DIR then holds results.json, table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

import argparse
import time
from itertools import groupby
from pathlib import Path

from avalanche.training.determinism.rng_manager import RNGManager
from command_line import BY_CLASS, MADE_HERE, flags, jobs_of, run_all
from job import Job
from methods import METHODS

from avl_pegp.benchmarks import online_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record
from avl_pegp.plugins import ProgressPlugin
from avl_pegp.plugins.experience import origin_of

BENCHMARKS = (*MADE_HERE, "blurry_glyphs", "blurry_digits", *BY_CLASS)


def run(job: Job, logs: Path) -> Record:
    """Train one method with one PET over the whole stream, once; evaluate where a task ends."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = job.stream()
    tasks, tests = benchmark.train_stream, benchmark.test_stream
    size = job.training.batch_size
    stream = online_benchmark(benchmark, size, job.boundaries, job.seed).train_stream
    learner = job.learner(benchmark.class_names)
    started = time.perf_counter()
    learner.fit_jointly(tasks, job.title)
    seconds = time.perf_counter() - started

    accuracy = AccuracyMatrices(len(tasks))
    progress = ProgressPlugin(job.title, len(stream))
    strategy = learner.strategy(accuracy, logs, progress)
    for i, pieces in groupby(stream, lambda piece: origin_of(piece).current_experience):
        learner.begin(i)
        strategy.train_epochs = learner.epochs_in(i, seen_once=True)
        started = time.perf_counter()
        for piece in pieces:
            strategy.train(piece, eval_streams=[])
        learner.refit(strategy, tasks[: i + 1])
        seconds += time.perf_counter() - started
        strategy.eval(tests[: i + 1], **job.machine.reading())
    if learner.pegp is not None:
        learner.pegp.consolidate()  # the record's ranks and drift are of the whole stream
    progress.close()
    return job.record(learner, accuracy, seconds, benchmark)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    parser.set_defaults(epochs=1, batch_size=10)
    parser.add_argument("--every", type=int, default=10, help="iterations; without boundaries")
    parser.add_argument("--boundaries", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    if args.every < 1:
        parser.error(f"--every {args.every}: must be at least 1")
    if args.epochs != 1:
        parser.error(f"--epochs {args.epochs}: an online stream is seen once; leave it out")
    rivals = [method for method in args.methods if METHODS[method].rival]
    if rivals and not args.boundaries:
        parser.error(f"--methods {' '.join(rivals)} must know where tasks end: use --boundaries")
    jobs = jobs_of(parser, args, "online", every=args.every, boundaries=args.boundaries)
    run_all(jobs, args.out, args.quiet)


if __name__ == "__main__":
    main()
