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

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from avalanche.training.determinism.rng_manager import RNGManager
from clip_methods import CLIP, OF_PRETRAINING
from command_line import BY_CLASS, flags, jobs_of, run_all
from job import Job
from learning import learn_experiences

from avl_pegp.backbones import prompt_names
from avl_pegp.evaluation import (
    Record,
    ZeroShotRetention,
    matching,
    transfer_avg_last,
    zero_shot_accuracy,
)

TEMPLATES = {"named_glyphs": "a {}", "named_datasets": "a {}", "captioned_domains": "{}"}
BENCHMARKS = (*TEMPLATES, *BY_CLASS)

Measure = Callable[[Any], dict[str, float]]


def measures_of(benchmark: Any) -> list[Measure]:
    """What a benchmark lets us ask of a model that it does not train for."""

    def accuracies(model: Any) -> dict[str, float]:
        return {
            name: zero_shot_accuracy(model, dataset, names)
            for name, (dataset, names) in benchmark.untouched.items()
        }

    def in_domains(model: Any) -> dict[str, float]:
        pairs = zip(benchmark.test_stream, benchmark.foils, strict=True)
        rates = [
            matching(model, e.dataset, benchmark.class_names, foils)["hallucination"]
            for e, foils in pairs
        ]
        return {"hallucination_in_domains": mean(rates)}

    measures: list[Measure] = [accuracies] if hasattr(benchmark, "untouched") else []
    if hasattr(benchmark, "matching"):
        measures.append(partial(matching, **benchmark.matching._asdict()))
    if hasattr(benchmark, "foils"):
        measures.append(in_domains)
    return measures


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = job.stream()
    names = prompt_names(benchmark.class_names)
    learner = job.learner(names)
    learner.settings["class_names"] = names
    retention = ZeroShotRetention(measures_of(benchmark))
    accuracy, seconds = learn_experiences(
        learner, benchmark, title=job.title, logs=logs, ahead=True, metrics=[retention]
    )
    zero_shot: dict[str, Any] = dict(retention.history)
    if len(benchmark.test_stream) > 1:
        zero_shot |= transfer_avg_last(accuracy.measured["task_aware"])._asdict()
    seconds -= retention.seconds
    return job.record(learner, accuracy, seconds, benchmark, zero_shot=zero_shot)


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
    run_all(jobs, args.out, args.quiet)


if __name__ == "__main__":
    main()
