"""Class-incremental learning: new classes arrive in experiences, no task label at test time.

    python experiments/class_incremental.py --benchmark split_glyphs --pet lora --out runs/glyphs

Trains a PET and a linear head on one experience after another, other classes masked, and evaluates
after each on all seen so far. The control rows (frozen, plain, first_session) run along. DIR then
holds results.json, table.md, figures and TensorBoard logs: tensorboard --logdir DIR/tensorboard
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
    benchmark = job.stream()
    learner = job.learner(benchmark.class_names)
    accuracy, seconds = learn_experiences(learner, benchmark, title=job.title, logs=logs)
    return job.record(learner, accuracy, seconds, benchmark)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS)
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "class_incremental"), args.out, args.quiet)


if __name__ == "__main__":
    main()
