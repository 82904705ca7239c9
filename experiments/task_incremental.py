"""Task-incremental learning: new classes arrive in experiences, and the task label is known at test.

    python experiments/task_incremental.py --benchmark split_glyphs --pet lora --out runs/tasks

Experiences carry Avalanche's task labels; in evaluation only the classes of the task that is named
compete. DIR then holds results.json, table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

from pathlib import Path

from avalanche.training.determinism.rng_manager import RNGManager
from command_line import BY_CLASS, MADE_HERE, flags, jobs_of, run_all
from job import Job
from learning import learn_experiences

from avl_pegp.evaluation import Record

BENCHMARKS = (*MADE_HERE, *BY_CLASS)


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = job.stream(task_labels=True)
    learner = job.learner(benchmark.class_names)
    accuracy, seconds = learn_experiences(learner, benchmark, title=job.title, logs=logs)
    return job.record(learner, accuracy, seconds, benchmark, accuracy_matrix=accuracy.task_aware)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "task_incremental"), args.out, args.quiet)


if __name__ == "__main__":
    main()
