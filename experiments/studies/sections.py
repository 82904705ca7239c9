"""The sections of the results page: every setting, its streams and its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runs.job import Job
from runs.methods import METHODS, PETS
from runs.training import Training

SMALL = {"train_per_class": 20, "test_per_class": 20}
DOMAINS = {"n_classes": 10, "train_per_class": 20, "test_per_class": 10}


@dataclass(frozen=True)
class Section:
    """One setting on one benchmark: its heading in results.md, and its runs.

    Attributes:
        flags: after the script's name, for the command that runs it alone.
        job: what its runs have in common.
        controls: methods beside frozen, plain, first_session and pegp; those with a PET use LoRA.
    """

    title: str
    flags: str
    job: Job
    controls: Sequence[str]

    @property
    def command(self) -> str:
        """Runs this setting alone, with the benchmark's own number of images."""
        methods = " ".join(("pegp", *self.controls))
        shared = f"--batch-size {self.job.training.batch_size} --seeds 1 2 3 --out runs/alone"
        flags = f"--pet {' '.join(PETS)} --methods {methods}"
        return f"python experiments/{self.flags} {shared} \\\n    {flags}"

    def jobs(self, seeds: Sequence[int]) -> list[Job]:
        """All runs: controls without a PET once a seed, trained controls with LoRA."""
        controls = [m for m in ("frozen", *self.controls) if not METHODS[m].has_pet]
        rows = [("none", method) for method in controls]
        for pet in PETS:
            trained = [m for m in self.controls if METHODS[m].has_pet and pet == "lora"]
            rows += [(pet, m) for m in ("plain", "first_session", *trained, "pegp")]
        return self.job.variants(rows, seeds)


def texts_in(page: Path) -> dict[str, str]:
    """What a page says: its opening under ``""``, and its sections under their headings."""
    opening, *parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)
    return {"": opening} | {part.partition("\n")[0]: f"\n## {part.strip()}\n" for part in parts}


def template(setting: str, benchmark: str, **fields: object) -> Job:
    """What the runs of a section share; PET, method and seed are filled in for each."""
    options = {} if benchmark.endswith("digits") else SMALL
    shared = {"options": options, "training": Training(batch_size=16)} | fields
    return Job(setting, benchmark, **shared)


ONE_PASS = Training(epochs=1, batch_size=10)


BASELINES = ("joint", "l2", "ewc", "lwf")
REFITS = ("plain_refit", "pegp_refit")
SECTIONS = (
    Section(
        "Class-incremental: ten experiences of seven glyphs",
        "class_incremental.py --benchmark split_glyphs",
        template("class_incremental", "split_glyphs"),
        ("ncm", "plain_tuned", *BASELINES, *REFITS),
    ),
    Section(
        "Class-incremental: five experiences of two real digits",
        "class_incremental.py --benchmark split_digits",
        template("class_incremental", "split_digits"),
        ("ncm", *BASELINES, *REFITS),
    ),
    Section(
        "Class-incremental with a change of style",
        "class_incremental.py --benchmark shifted_glyphs",
        template("class_incremental", "shifted_glyphs"),
        ("ncm", "plain_tuned", *BASELINES),
    ),
    Section(
        "Task-incremental: the task is known at test",
        "task_incremental.py --benchmark split_digits --head linear",
        template("task_incremental", "split_digits", head="linear"),
        ("ncm", "lda", *BASELINES),
    ),
    Section(
        "Domain-incremental: the same classes in eight domains",
        "domain_incremental.py",
        template(
            "domain_incremental",
            "domain_glyphs",
            head="linear",
            options=DOMAINS,
        ),
        ("ncm", "lda", *BASELINES),
    ),
    Section(
        "Online: one pass, ten images at a time, boundaries known",
        "online.py --benchmark split_glyphs",
        template("online", "split_glyphs", training=ONE_PASS),
        BASELINES,
    ),
    Section(
        "Online without boundaries",
        "online.py --benchmark split_glyphs --no-boundaries",
        template("online", "split_glyphs", training=ONE_PASS, boundaries=False),
        ("joint",),
    ),
    Section(
        "Si-Blurry: classes return, tasks have no sharp ends",
        "online.py --benchmark blurry_glyphs --no-boundaries",
        template("online", "blurry_glyphs", training=ONE_PASS, boundaries=False),
        ("joint",),
    ),
)
