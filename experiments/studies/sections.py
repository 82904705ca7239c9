"""The sections of the results page: every setting, its streams, its rows, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runs.job import Job
from runs.methods import METHODS, PETS
from runs.training import Training

SMALL = {"train_per_class": 20, "test_per_class": 20}
DOMAINS = {"n_classes": 10, "train_per_class": 20, "test_per_class": 10}


@dataclass(frozen=True)
class Section:
    """One setting on one benchmark: a heading, its runs, and what is to be said about them.

    Attributes:
        flags: after the script's name, for the command that runs it alone.
        about: what the setting is.
        job: what its runs have in common.
        controls: methods beside frozen, plain, first_session and pegp; those with a PET use LoRA.
        why: the reason for what the table shows, written after it was measured.
    """

    title: str
    flags: str
    about: str
    job: Job
    controls: Sequence[str]
    why: str = ""

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
        "All classes seen so far compete; the head is class statistics (`lda`), stored once.",
        template("class_incremental", "split_glyphs"),
        ("ncm", "plain_tuned", *BASELINES, *REFITS),
        "There is little to gain here: the frozen backbone tells these letters apart already, and "
        "`joint`, which sees everything at once, is the upper bound. What PEGP buys is that "
        "tuning does no harm. Plain tuning loses its accuracy to stale statistics, not to lost "
        "features: `plain_refit` wins it back, and so does a sixteenth of the learning rate "
        "(`plain_tuned`), which hardly tunes. `pegp_refit` wins a point more: at 95 % of the energy "
        "features still drift a little.",
    ),
    Section(
        "Class-incremental: five experiences of two real digits",
        "class_incremental.py --benchmark split_digits",
        "The same with scikit-learn's handwritten digits.",
        template("class_incremental", "split_digits"),
        ("ncm", *BASELINES, *REFITS),
        "`joint` sees everything at once. `pegp_refit` tells where LoRA's missing points are: at "
        "95 % of the energy its features are better than those of the first session, and drift by "
        "just so much that the statistics stored early no longer fit. That share was chosen on "
        "other streams, where it pays.",
    ),
    Section(
        "Class-incremental with a change of style",
        "class_incremental.py --benchmark shifted_glyphs",
        "Each experience has new classes *and* another style (plain, inverted, blurred, rotated, "
        "striped).",
        template("class_incremental", "shifted_glyphs"),
        ("ncm", "plain_tuned", *BASELINES),
        "`joint` sees all styles and classes at once. One experience, of seven classes in one "
        "style, teaches little that helps the others: also without any constraint (`plain`, when "
        "new) there are only three points to be learned over `first_session`, of which PEGP with LoRA "
        "learns one.",
    ),
    Section(
        "Task-incremental: the task is known at test",
        "task_incremental.py --benchmark split_digits --head linear",
        "Only the classes of the test image's own task compete; the head is the trained linear one.",
        template("task_incremental", "split_digits", head="linear"),
        ("ncm", "lda", *BASELINES),
        "Where the task is known, tuning pays, and PEGP with LoRA stands above every baseline. "
        "`joint` alone, which sees all tasks at once, is higher.",
    ),
    Section(
        "Domain-incremental: the same classes in eight domains",
        "domain_incremental.py",
        "One linear head for all domains, trained in each; under PEGP it is projected, too.",
        template(
            "domain_incremental",
            "domain_glyphs",
            head="linear",
            options=DOMAINS,
        ),
        ("ncm", "lda", *BASELINES),
        "Every domain trains the same rows of one linear head, so that forgetting is large even "
        "on the frozen backbone; PEGP, which holds the head to its old answers as well, forgets "
        "less than that. `joint` sees all domains at once. `lda` on the frozen backbone adds each "
        "domain to its class means and trains nothing: a linear head trained in turn does not "
        "reach it.",
    ),
    Section(
        "Online: one pass, ten images at a time, boundaries known",
        "online.py --benchmark split_glyphs",
        "Statistics of PEGP and of the head come from the training minibatches themselves.",
        template("online", "split_glyphs", training=ONE_PASS),
        BASELINES,
        "One pass over so few images teaches the features little: PEGP, `first_session` and the frozen "
        "backbone are level. `joint` sees all tasks mixed.",
    ),
    Section(
        "Online without boundaries",
        "online.py --benchmark split_glyphs --no-boundaries",
        "The learner is not told where a task ends; bases grow every so many iterations.",
        template("online", "split_glyphs", training=ONE_PASS, boundaries=False),
        ("joint",),
        "The first bases come after ten iterations, before the first task of 14 is over; from then on "
        "old features stay, and PEGP is level with the rows that stop tuning there, LoRA a third of a "
        "point above. `joint` sees all tasks mixed.",
    ),
    Section(
        "Si-Blurry: classes return, tasks have no sharp ends",
        "online.py --benchmark blurry_glyphs --no-boundaries",
        "Half of the classes belong to one task; of the others a tenth of the images strays.",
        template("online", "blurry_glyphs", training=ONE_PASS, boundaries=False),
        ("joint",),
        "Classes return, so that tuning on pays a little: PEGP is one or two points above "
        "`first_session`, LoRA and Adapter also half a point above the frozen backbone.",
    ),
)
