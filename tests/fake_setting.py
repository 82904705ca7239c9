"""A setting that only notes where it was run, and fails while a file tells it to."""

from __future__ import annotations

import os
from pathlib import Path

from runs.job import Job

from avl_pegp.evaluation import Record


def run(job: Job, logs: Path) -> Record:
    folder = Path(job.options["notes"])
    with (folder / "runs.txt").open("a") as notes:
        notes.write(f"{job.name}\n")
    if (folder / "breaks").exists() and job.method == "breaks":
        raise RuntimeError("power cut")
    matrix = [[0.25, None], [0.25, 0.25]]
    return Record.of(
        setting=job.setting,
        benchmark=job.benchmark,
        backbone=job.backbone,
        pet=job.pet,
        method=job.method,
        head=job.head,
        seed=job.seed,
        accuracy_matrix=matrix,
        task_aware_accuracy_matrix=matrix,
        trainable_parameters=1,
        train_seconds=0.0,
        ranks={},
        drift={},
        config={
            "job": job.described(),
            "process": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "logs": str(logs),
        },
    )
