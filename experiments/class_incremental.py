"""Class-incremental learning: new classes arrive in experiences, no task label at test time.

    python experiments/class_incremental.py --benchmark split_glyphs --pet lora --out runs/glyphs

Trains a PET and a linear head on one experience after another, other classes masked, and evaluates
after each on all seen so far. The control rows (frozen, plain, first_session) run along. DIR then
holds results.json, table.md, figures and TensorBoard logs: tensorboard --logdir DIR/tensorboard
"""

from __future__ import annotations

from pathlib import Path

import torch
from command_line import flags, jobs_of, run_all
from job import Job
from learning import learn_experiences

from avl_pegp.benchmarks import create_benchmark
from avl_pegp.evaluation import Record

BENCHMARKS = ("split_glyphs", "split_digits", "shifted_glyphs")


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    torch.manual_seed(job.seed)
    benchmark = create_benchmark(job.benchmark, order_seed=job.seed, **job.options)
    learner = job.learner(classes=len(benchmark.class_names))
    accuracy, seconds = learn_experiences(
        learner, benchmark, batch_size=job.batch_size, title=job.title, logs=logs
    )
    return job.record(learner, accuracy, seconds, benchmark)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "class_incremental"), args.out)


if __name__ == "__main__":
    main()
