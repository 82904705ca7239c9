"""Task-incremental learning: new classes arrive in experiences, and the task label is known at test.

    python experiments/task_incremental.py --benchmark split_glyphs --pet lora --out runs/tasks

Experiences carry Avalanche's task labels; in evaluation only the classes of the task that is named
compete. DIR then holds results.json, table.md, figures and TensorBoard logs.
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
    benchmark = create_benchmark(
        job.benchmark, order_seed=job.seed, task_labels=True, **job.options
    )
    learner = job.learner(classes=len(benchmark.class_names))
    accuracy, seconds = learn_experiences(
        learner, benchmark, batch_size=job.batch_size, title=job.title, logs=logs
    )
    return job.record(learner, accuracy, seconds, benchmark, accuracy_matrix=accuracy.task_aware)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "task_incremental"), args.out)


if __name__ == "__main__":
    main()
