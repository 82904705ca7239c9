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
from avalanche.training.supervised import Naive
from runs import parts
from runs.command_line import BY_CLASS, MADE_HERE, flags, jobs_of, run_all
from runs.job import Job
from runs.methods import METHODS

from avl_pegp import attach, create_vit
from avl_pegp.benchmarks import create_benchmark, online_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record
from avl_pegp.pet import trainable_tensors
from avl_pegp.plugins import ProgressPlugin
from avl_pegp.plugins.experience import origin_of

BENCHMARKS = (*MADE_HERE, "blurry_glyphs", "blurry_digits", *BY_CLASS)


def run(job: Job, logs: Path) -> Record:
    """Train one method with one PET over the whole stream, once; evaluate where a task ends."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = create_benchmark(job.benchmark, **parts.stream_options(job))
    tasks, tests = benchmark.train_stream, benchmark.test_stream
    size = job.training.batch_size
    stream = online_benchmark(benchmark, size, job.boundaries, job.seed).train_stream

    classes = len(benchmark.class_names)
    model = create_vit(job.backbone, classes, job.pretrained, **job.backbone_options)
    model.to(job.machine.device)
    if job.does.has_pet:
        attach(model, *parts.pets_of(job))
    else:
        parts.train_classifier_only(model)
    trained = sum(tensor.numel() for tensor in trainable_tensors(model).values())
    optimizer = parts.optimizer_of(job, model)
    seconds = parts.learn_jointly(job, model, optimizer, tasks)  # where the method does so

    pegp, statistics = parts.pegp_of(job), parts.statistics_of(job)
    accuracy = AccuracyMatrices(len(tasks))
    progress = ProgressPlugin(job.title, len(stream))
    plugins = (progress, *parts.baselines_of(job), pegp, statistics)
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        plugins=[plugin for plugin in plugins if plugin is not None],
        evaluator=parts.evaluator_of(accuracy, pegp, logs),
        **parts.training_options(job),
    )

    # Pieces of one task after another; the learner is told of tasks only where there are boundaries.
    for i, pieces in groupby(stream, lambda piece: origin_of(piece).current_experience):
        parts.begin_experience(job, strategy, i, seen_once=True)
        started = time.perf_counter()
        for piece in pieces:
            strategy.train(piece, eval_streams=[])
        if job.does.refit:
            statistics.recompute(strategy, tasks[: i + 1])
        seconds += time.perf_counter() - started
        strategy.eval(tests[: i + 1], **job.machine.reading())
    if pegp is not None:
        pegp.consolidate()  # the record's ranks and drift are of the whole stream
    progress.close()
    numbers = {"trainable_parameters": trained, "train_seconds": round(seconds, 2)}
    return parts.record_of(job, benchmark, model, pegp, accuracy, **numbers)


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
    baselines = [method for method in args.methods if METHODS[method].baseline]
    if baselines and not args.boundaries:
        told = " ".join(baselines)
        parser.error(f"--methods {told} must know where tasks end: use --boundaries")
    jobs = jobs_of(parser, args, "online", every=args.every, boundaries=args.boundaries)
    run_all(jobs, run, args.out, args.quiet)


if __name__ == "__main__":
    main()
