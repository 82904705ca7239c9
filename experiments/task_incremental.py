"""Task-incremental learning: new classes arrive in experiences, and the task label is known at test.

    python experiments/task_incremental.py --benchmark split_glyphs --pet lora --out runs/tasks

Experiences carry Avalanche's task labels; in evaluation only the classes of the task that is named
compete. DIR then holds results.json, table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.supervised import Naive
from runs import parts
from runs.command_line import BY_CLASS, MADE_HERE, flags, jobs_of, run_all
from runs.job import Job

from avl_pegp import attach, create_vit
from avl_pegp.benchmarks import create_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record
from avl_pegp.pet import trainable_tensors
from avl_pegp.plugins import ProgressPlugin

BENCHMARKS = (*MADE_HERE, *BY_CLASS)


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = create_benchmark(job.benchmark, task_labels=True, **parts.stream_options(job))
    train, test = benchmark.train_stream, benchmark.test_stream

    # The model: a frozen backbone with a PET and a linear head that are trained.
    classes = len(benchmark.class_names)
    model = create_vit(job.backbone, classes, job.pretrained, **job.backbone_options)
    model.to(job.machine.device)
    if job.does.has_pet:
        attach(model, *parts.pets_of(job))
    else:
        parts.train_classifier_only(model)
    trained = sum(tensor.numel() for tensor in trainable_tensors(model).values())
    optimizer = parts.optimizer_of(job, model)
    seconds = parts.learn_jointly(job, model, optimizer, train)  # where the method does so

    # The strategy; PEGP comes after what changes gradients, class statistics after PEGP.
    pegp, statistics = parts.pegp_of(job), parts.statistics_of(job)
    methods = (*parts.baselines_of(job), pegp, statistics)
    progress = ProgressPlugin(job.title, len(train))
    schedule = job.training.schedule_of(optimizer)
    accuracy = AccuracyMatrices(len(train))
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        plugins=[progress, *schedule, *(p for p in methods if p is not None)],
        evaluator=parts.evaluator_of(accuracy, pegp, logs),
        **parts.training_options(job),
    )

    # The stream: train on each experience, then evaluate on all seen so far.
    reading = job.machine.reading()
    for i, experience in enumerate(train):
        parts.begin_experience(job, strategy, i)
        torch.manual_seed(torch.initial_seed() + 1)  # the same batches, whatever a method has drawn
        started = time.perf_counter()
        strategy.train(experience, eval_streams=[], **reading)
        if job.does.refit:
            statistics.recompute(strategy, train[: i + 1])
        seconds += time.perf_counter() - started
        strategy.eval(test[: i + 1], **reading)
    progress.close()
    numbers = {"trainable_parameters": trained, "train_seconds": round(seconds, 2)}
    numbers["accuracy_matrix"] = accuracy.task_aware
    return parts.record_of(job, benchmark, model, pegp, accuracy, **numbers)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "task_incremental"), run, args.out, args.quiet)


if __name__ == "__main__":
    main()
