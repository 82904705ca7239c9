"""Domain-incremental learning: the same classes, in one domain after another; one shared head.

    python experiments/domain_incremental.py --pet lora --out runs/domains

The linear head is trained in every domain; under PEGP it is under projection itself. Evaluation is
on all domains, also on those to come: records have forward_transfer. DIR then holds results.json,
table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.supervised import Naive
from runs import parts
from runs.command_line import flags, jobs_of, run_all
from runs.job import Job

from avl_pegp import attach, create_vit
from avl_pegp.benchmarks import create_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record
from avl_pegp.pet import trainable_tensors
from avl_pegp.plugins import ProgressPlugin

BENCHMARKS = ("domain_glyphs", "domainnet", "core50_instances")


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = create_benchmark(job.benchmark, **parts.stream_options(job))
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

    # The stream: train on each domain, and evaluate before and after on all.
    reading = job.machine.reading()
    strategy.eval(test, **reading)
    for i, experience in enumerate(train):
        parts.begin_experience(job, strategy, i)
        torch.manual_seed(torch.initial_seed() + 1)  # the same batches, whatever a method has drawn
        started = time.perf_counter()
        strategy.train(experience, eval_streams=[], **reading)
        if job.does.refit:
            statistics.recompute(strategy, train[: i + 1])
        seconds += time.perf_counter() - started
        strategy.eval(test, **reading)
    progress.close()
    numbers = {"trainable_parameters": trained, "train_seconds": round(seconds, 2)}
    numbers["forward_transfer"] = accuracy.forward_transfer("class_incremental")
    return parts.record_of(job, benchmark, model, pegp, accuracy, **numbers)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS, head="linear")
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "domain_incremental"), run, args.out, args.quiet)


if __name__ == "__main__":
    main()
