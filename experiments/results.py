"""Every setting, every PET, every control: from nothing to docs/results.md by one command.

    python experiments/results.py --out runs/results

Several runs at a time, each kept when it is done: run the command again to go on after an
interruption. The page is written once all are there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from command_line import draw
from job import Job
from methods import METHODS, PETS
from page import comparison, grouped, table, winners
from resumable import many_runs

from avl_pegp.evaluation import Record, spread

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs" / "results.md"
SMALL = {"train_per_class": 20, "test_per_class": 20}


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
        shared = f"--batch-size {self.job.batch_size} --seeds 1 2 3 --out runs/alone"
        flags = f"--pet {' '.join(PETS)} --methods {methods}"
        return f"python experiments/{self.flags} {shared} \\\n    {flags}"

    def jobs(self, seeds: Sequence[int]) -> list[Job]:
        """All runs: controls without a PET once a seed, trained controls with LoRA."""
        controls = [m for m in ("frozen", *self.controls) if not METHODS[m].has_pet]
        rows = [("none", method) for method in controls]
        for pet in PETS:
            trained = [m for m in self.controls if METHODS[m].has_pet and pet == "lora"]
            rows += [(pet, m) for m in ("plain", "first_session", *trained, "pegp")]
        return [replace(self.job, pet=p, method=m, seed=s) for s in seeds for p, m in rows]


def template(setting: str, benchmark: str, **fields: object) -> Job:
    """What the runs of a section share; PET, method and seed are filled in for each."""
    options = {} if benchmark.endswith("digits") else SMALL
    shared = {"options": options, "batch_size": 16, **fields}
    return Job(setting, benchmark, pet="", method="", seed=0, **shared)


TUNED = ("plain_tuned", "first_session_tuned")
RIVALS = ("joint", "l2", "ewc", "lwf")
REFITS = ("plain_refit", "pegp_refit")
SECTIONS = (
    Section(
        "Class-incremental: ten experiences of seven glyphs",
        "class_incremental.py --benchmark split_glyphs",
        "All classes seen so far compete; the head is class statistics (`lda`), stored once.",
        template("class_incremental", "split_glyphs"),
        ("ncm", *TUNED, *RIVALS, *REFITS),
    ),
    Section(
        "Class-incremental: five experiences of two real digits",
        "class_incremental.py --benchmark split_digits",
        "The same with scikit-learn's handwritten digits.",
        template("class_incremental", "split_digits"),
        ("ncm", *RIVALS, *REFITS),
    ),
    Section(
        "Class-incremental with a change of style",
        "class_incremental.py --benchmark shifted_glyphs",
        "Each experience has new classes *and* another style (plain, inverted, blurred, rotated, "
        "striped): to stand still after the first is not enough here.",
        template("class_incremental", "shifted_glyphs"),
        ("ncm", *TUNED, *RIVALS),
    ),
    Section(
        "Task-incremental: the task is known at test",
        "task_incremental.py --benchmark split_digits --head linear",
        "Only the classes of the test image's own task compete; the head is the trained linear one.",
        template("task_incremental", "split_digits", head="linear"),
        ("ncm", "lda", *RIVALS),
    ),
    Section(
        "Domain-incremental: the same classes in eight domains",
        "domain_incremental.py",
        "One linear head for all domains, trained in each; under PEGP it is projected, too.",
        template(
            "domain_incremental",
            "domain_glyphs",
            head="linear",
            options={"n_classes": 10, "train_per_class": 20, "test_per_class": 10},
        ),
        ("ncm", "lda", *RIVALS),
    ),
    Section(
        "Online: one pass, ten images at a time, boundaries known",
        "online.py --benchmark split_glyphs",
        "Statistics of PEGP and of the head come from the training minibatches themselves.",
        template("online", "split_glyphs", epochs=1, batch_size=10),
        RIVALS,
    ),
    Section(
        "Online without boundaries",
        "online.py --benchmark split_glyphs --no-boundaries",
        "The learner is not told where a task ends; bases grow every so many iterations.",
        template("online", "split_glyphs", epochs=1, batch_size=10, boundaries=False),
        ("joint",),
    ),
    Section(
        "Si-Blurry: classes return, tasks have no sharp ends",
        "online.py --benchmark blurry_glyphs --no-boundaries",
        "Half of the classes belong to one task; of the others a tenth of the images strays.",
        template("online", "blurry_glyphs", epochs=1, batch_size=10, boundaries=False),
        ("joint",),
    ),
)


OPENING = """# Results

Made by `python experiments/results.py --out runs/results`, which runs everything below again and
writes this page. Percent, mean ± standard deviation over seeds {seeds}; a seed draws the order of
classes or domains and the initial weights, the same for every row, and the batches. The backbone is the
tiny ViT that ships with the package. Glyph streams are small ({images} training images a class), so
that all of it takes about an hour on two cores.

- **final accuracy**: mean over all experiences at the end. **average accuracy**: mean over time of
  the mean over the experiences seen so far. **forgetting**: best earlier accuracy minus the last.
  **task-aware**: only the classes of the test experience's own task compete. **when new**: right after
  an experience was learned, mean over all but the first; what a method can still learn.
- `frozen`: the backbone untouched. `plain`: the PET without PEGP. `first_session`: the PET tuned in
  the first experience only. `joint`: tuned on all data at once, then the same head; an upper bound.
  `ncm`, `lda`: those heads on the frozen backbone. `l2`, `ewc`, `lwf`: rivals on the same PET.
  `..._tuned`: that control at the learning rate that suits it best, not at PEGP's.
  `..._refit`: class statistics computed anew from all old training data, which separates stale
  statistics from lost features.
- Settings were searched on seed 0 of the stream whose style shifts, by `experiments/search.py`: four
  candidates each of PEGP's energy and protection and of the rivals' strengths, at the PET's learning
  rate; for `plain` and `first_session`, which have nothing else, of that rate (`..._tuned`). The PETs'
  learning rates come from earlier trials with PEGP on that seed. The images of all seeds are the same.
- Last column: the row's final accuracy minus that of PEGP with the same PET (rows without a PET: with
  LoRA), paired by seed. Above 0 the row beats PEGP.
- The second table of a section sets PEGP against `plain` and `first_session`: task-aware forgetting
  beyond that of `frozen`, PEGP's as a share of plain's, and paired gains in accuracy.
"""


def written(section: Section, records: Sequence[Record]) -> str:
    """A section as Markdown."""
    above = winners(records)
    verdict = (
        f"Above PEGP beyond one deviation: {', '.join(above)}."
        if above
        else ("No row lies above PEGP beyond one deviation.")
    )
    return f"""
## {section.title}

{section.about}

On its own, with the benchmark's own number of images:

```bash
{section.command}
```

{table(records)}

{verdict} {section.why}

{comparison(records)}
"""


SHOWN = {"frozen": "none", **dict.fromkeys(("plain", "first_session", "pegp", "joint"), "lora")}


def summary(sections: Sequence[tuple[Section, list[Record]]]) -> str:
    """The README's table: final accuracy of LoRA, one line a section."""
    lines = [["", *SHOWN], ["---", *["---:"] * len(SHOWN)]]
    for section, records in sections:
        rows = grouped(records)
        cells = [spread([r.average_accuracy for r in rows[pet, m]]) for m, pet in SHOWN.items()]
        lines.append([section.title, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def jobs_of(seeds: list[int]) -> list[Job]:
    """The runs of all sections, one section after another."""
    return [job for section in SECTIONS for job in section.jobs(seeds)]


def main() -> None:
    args, records = many_runs(__doc__, jobs_of)
    left = iter(records)
    sections = [(s, [next(left) for _ in s.jobs(args.seeds)]) for s in SECTIONS]
    opening = OPENING.format(seeds=", ".join(map(str, args.seeds)), images=SMALL["train_per_class"])
    PAGE.write_text(opening + "".join(written(*section) for section in sections))
    before, _, after = re.split(
        r"(?<=begin -->\n)(.*?)(?=<!-- results: end)", README.read_text(), flags=re.S
    )
    README.write_text(before + summary(sections) + "\n" + after)
    draw(sections[0][1], "lora", PAGE.parent)
    print(f"Wrote {PAGE}, its figure, and the table of {README}")


if __name__ == "__main__":
    main()
