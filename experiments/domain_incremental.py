"""Domain-incremental learning: the same classes, in one domain after another; one shared head.

    python experiments/domain_incremental.py --pet lora --out runs/domains

The linear head is trained in every domain; under PEGP it is under projection itself. Evaluation is
on all domains, also on those to come: records have forward_transfer. DIR then holds results.json,
table.md, figures and TensorBoard logs.
"""

from __future__ import annotations

from pathlib import Path

from avalanche.training.determinism.rng_manager import RNGManager
from command_line import flags, jobs_of, run_all
from job import Job
from learning import learn_experiences

from avl_pegp.evaluation import Record

BENCHMARKS = ("domain_glyphs", "domainnet", "core50_instances")


def run(job: Job, logs: Path) -> Record:
    """Train and evaluate one method with one PET over the whole stream."""
    RNGManager.set_random_seeds(job.seed)
    benchmark = job.stream()
    learner = job.learner(benchmark.class_names)
    accuracy, seconds = learn_experiences(
        learner, benchmark, title=job.title, logs=logs, ahead=True
    )
    transfer = accuracy.forward_transfer("class_incremental")
    return job.record(learner, accuracy, seconds, benchmark, forward_transfer=transfer)


def main() -> None:
    parser = flags(__doc__, BENCHMARKS, head="linear")
    args = parser.parse_args()
    run_all(jobs_of(parser, args, "domain_incremental"), args.out, args.quiet)


if __name__ == "__main__":
    main()
