"""CLIP learns class by class, data set by data set, or domain by domain; its classes are names.

    python experiments/clip_incremental.py --pet lora linear_adapter --out runs/clip
    python experiments/clip_incremental.py --benchmark named_datasets --out runs/datasets
    python experiments/clip_incremental.py --benchmark captioned_domains --out runs/captions

Logits are those of all classes seen so far, whatever is in a batch; records have the task-aware view
beside it. They also hold what becomes of the model's zero-shot abilities: accuracy on what is never
trained, retrieval and hallucination, before the stream and after each experience (joint learns before
the stream); and Transfer, Avg and Last of the task-aware view. The control rows (zero_shot, plain,
first_session) run along. DIR then holds results.json, table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from avalanche.training.determinism.rng_manager import RNGManager
from avalanche.training.supervised import Naive
from runs import parts
from runs.clip import measures_of
from runs.command_line import BY_CLASS, flags, jobs_of, run_all
from runs.job import Job
from runs.methods import CLIP, OF_PRETRAINING

from avl_pegp import attach
from avl_pegp.backbones import prompt_names
from avl_pegp.benchmarks import create_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record, ZeroShotRetention, transfer_avg_last
from avl_pegp.pet import trainable_tensors
from avl_pegp.plugins import ProgressPlugin

TEMPLATES = {"named_glyphs": "a {}", "named_datasets": "a {}", "captioned_domains": "{}"}
BENCHMARKS = (*TEMPLATES, *BY_CLASS)


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    from avl_pegp import create_clip  # the extra that CLIP needs

    RNGManager.set_random_seeds(job.seed)
    benchmark = create_benchmark(job.benchmark, **parts.stream_options(job))
    train, test = benchmark.train_stream, benchmark.test_stream
    names = prompt_names(benchmark.class_names)

    options = {"template": job.template, **job.backbone_options}
    model = create_clip(job.backbone, names, job.pretrained, **options).to(job.machine.device)
    if job.does.has_pet:
        attach(model, *parts.pets_of(job))
    else:
        parts.train_classifier_only(model)
    trained = sum(tensor.numel() for tensor in trainable_tensors(model).values())
    optimizer = parts.optimizer_of(job, model)
    seconds = parts.learn_jointly(job, model, optimizer, train)  # where the method does so

    pegp = parts.pegp_of(job)
    retention = ZeroShotRetention(measures_of(benchmark))
    progress = ProgressPlugin(job.title, len(train))
    plugins = [progress, *job.training.schedule_of(optimizer), *parts.baselines_of(job)]
    accuracy = AccuracyMatrices(len(train))
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        plugins=plugins if pegp is None else [*plugins, pegp],
        evaluator=parts.evaluator_of(accuracy, pegp, logs, retention),
        **parts.training_options(job),
    )

    # Evaluation is on all of the test stream, also before anything is learned.
    reading = job.machine.reading()
    strategy.eval(test, **reading)
    for i, experience in enumerate(train):
        parts.begin_experience(job, strategy, i)
        torch.manual_seed(torch.initial_seed() + 1)  # the same batches, whatever a method has drawn
        started = time.perf_counter()
        strategy.train(experience, eval_streams=[], **reading)
        seconds += time.perf_counter() - started
        strategy.eval(test, **reading)
    progress.close()
    zero_shot: dict[str, Any] = dict(retention.history)
    if len(test) > 1:
        zero_shot |= transfer_avg_last(accuracy.measured["task_aware"])._asdict()
    seconds -= retention.seconds
    numbers = {"trainable_parameters": trained, "train_seconds": round(seconds, 2)}
    more = {"config": {"class_names": names}, "zero_shot": zero_shot}
    return parts.record_of(job, benchmark, model, pegp, accuracy, **numbers, **more)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS, menu=CLIP)
    parser.add_argument("--template", help="of class prompts, with one {} for the name")
    args = parser.parse_args()
    shown = sorted(OF_PRETRAINING & {*args.methods})
    if shown and args.backbone != CLIP.backbone:
        parser.error(
            f"--methods {' '.join(shown)} with --backbone {args.backbone}: the reference images and "
            f"words are what {CLIP.backbone} was pretrained on; leave it out, or give its plugin others"
        )
    if args.template is None:
        args.template = TEMPLATES.get(args.benchmark, "a photo of a {}.")
    jobs = jobs_of(parser, args, "clip_incremental", CLIP, template=args.template)
    run_all(jobs, run, args.out, args.quiet)


if __name__ == "__main__":
    main()
