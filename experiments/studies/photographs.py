"""Class-incremental learning on photographs: every head and every drift correction of every row.

    python experiments/study.py photographs --cifar100 DATA --fashion-mnist DATA --out runs/photographs

The tiny ViT of photographs, tuned on classes of CIFAR-100 and of Fashion-MNIST that come one
experience after another. Each run trains once; all heads look on. Several runs at a time, each kept
when it is done: run it again to go on. Writes docs/photographs.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import class_incremental
from runs import parts
from runs.job import Job
from runs.methods import METHODS, Method, protected, tuned
from runs.resumable import many_runs
from runs.training import Training

from avl_pegp import Adapter, LoRA, PEGPPlugin
from avl_pegp.evaluation import Record, markdown, paired, spread
from avl_pegp.evaluation.tables import signed
from avl_pegp.heads import HEADS
from avl_pegp.plugins import CORRECTIONS
from studies.page import Rows, grouped
from studies.sections import texts_in
from studies.side_by_side import REFIT, STALE, SideBySide, told_apart

PAGE = Path(__file__).parents[2] / "docs" / "photographs.md"
TEXTS = texts_in(Path(__file__).with_suffix(".md"))
DOWNLOADED = {"split_cifar100": "--cifar100", "split_fashion_mnist": "--fashion-mnist"}
FINAL, AVERAGE = "average_accuracy", "average_incremental_accuracy"

PETS = {
    "lora": tuned(LoRA(rank=8, targets=("qkv", "fc1")), 4e-3, 0.95),
    "adapter": tuned(Adapter(bottleneck=16), 2e-3, 0.95),
}
ENERGIES = {f"pegp {e:g}": Method(pegp=protected(e)) for e in (0.9, 0.99)}
ALL = METHODS | ENERGIES
CONTROLS = ("plain_tuned", "plain_ema", "first_session", "lwf", "fd")
ROWS = [
    ("none", "frozen"),
    *((pet, method) for pet in PETS for method in (*CONTROLS, "pegp", "pegp_fd")),
    ("lora", "joint"),
]
LATTICE = ("plain_tuned", "plain_ema", "pegp")  # no projection, damped, PEGP
Pick = tuple[str, str]  # a head and a correction


@dataclass(frozen=True)
class Section:
    """A data set, its stream, and rows beside those that both have."""

    title: str
    benchmark: str
    options: dict[str, int]
    more: Sequence[tuple[str, str]] = ()

    def jobs(self, seeds: Sequence[int]) -> list[Job]:
        """All runs; a seed draws the order of classes, too."""
        base = Job(
            "class_incremental",
            self.benchmark,
            backbone="tiny_vit_32.photos",
            options=self.options,
            training=Training(batch_size=32),
        )
        jobs = base.variants([*ROWS, *self.more], seeds, ALL, pets=PETS)
        return [replace(job, class_order=job.seed) for job in jobs]


SECTIONS = (
    Section(
        "Fashion-MNIST: five experiences of two classes",
        "split_fashion_mnist",
        {"train_per_class": 200, "test_per_class": 200, "n_experiences": 5},
        [("lora", name) for name in ENERGIES],
    ),
    Section(
        "CIFAR-100: ten experiences of ten classes",
        "split_cifar100",
        {"train_per_class": 100, "test_per_class": 50, "n_experiences": 10},
    ),
)


def run(job: Job, logs: Path) -> Record:
    """The recipe, with all heads looking on."""
    drifts = job.does.tunes == "always"
    meter = PEGPPlugin(project="none", progress=False)  # whose moments tell how old inputs drift
    looking_on = [SideBySide([*HEADS], [*CORRECTIONS] if drifts else ())]
    if drifts and parts.pegp_of(job) is None:
        looking_on.insert(0, meter)
    record = class_incremental.run(job, logs, *looking_on)
    return replace(record, config=record.config | {"side_by_side": looking_on[-1].told()})


def by_pick(records: Sequence[Record]) -> dict[Pick, Rows]:
    """Rows of runs by head and correction."""
    apart = [told_apart(record) for record in records]
    picks = dict.fromkeys(pick for told in apart for pick in told)
    return {pick: grouped([told[pick] for told in apart if pick in told]) for pick in picks}


def best_of(tables: dict[Pick, Rows], row: tuple[str, str]) -> tuple[Pick, list[Record]]:
    """The head and correction with which a row ends highest on the mean over seeds; no oracle."""
    found = {pick: rows[row] for pick, rows in tables.items() if row in rows and pick[1] != REFIT}
    pick = max(found, key=lambda pick: mean(r.average_accuracy for r in found[pick]))
    return pick, found[pick]


def heads_table(tables: dict[Pick, Rows], rows: Sequence[tuple[str, str]]) -> str:
    """Final accuracy of each row by each head, of statistics as they were stored."""
    lines = [["PET", "method", *HEADS]]
    for row in rows:
        cells = (tables[head, STALE][row] for head in HEADS)
        lines.append([*row, *(spread([r.average_accuracy for r in records]) for records in cells)])
    return markdown(lines)


def best_table(tables: dict[Pick, Rows], rows: Sequence[tuple[str, str]]) -> str:
    """Each row by its best head, and how far PEGP with the same PET, by its own, is above it."""
    lines = [["PET", "method", "head", "correction", "final", "average", *COMPARED]]
    for row in rows:
        (head, correction), records = best_of(tables, row)
        numbers = [spread([getattr(r, f) for r in records]) for f in (FINAL, AVERAGE)]
        gaps = ["", ""]
        if row[1] != "pegp":
            _, ours = best_of(tables, ("lora" if row[0] == "none" else row[0], "pegp"))
            gaps = [signed(ours, records, f) for f in (FINAL, AVERAGE)]
        lines.append([*row, head, correction, *numbers, *gaps])
    return markdown(lines, names=4)


COMPARED = ("PEGP's final minus it, paired", "PEGP's average minus it, paired")


def lattice_table(tables: dict[Pick, Rows]) -> str:
    """Final accuracy with LoRA: projection by correction, heads as columns."""
    heads = ("lda", "aligned", "ranpac")
    lines = [["tuning", "correction", *heads]]
    for method in LATTICE:
        for correction in (STALE, *CORRECTIONS, REFIT):
            found = (tables[head, correction]["lora", method] for head in heads)
            cells = (spread([r.average_accuracy for r in records]) for records in found)
            lines.append([method, correction, *cells])
    return markdown(lines)


def explained_table(records: Sequence[Record]) -> str:
    """Share of the squared drift of old class means that each correction makes good."""
    lines = [["PET", "method", *CORRECTIONS]]
    for row, group in grouped(records).items():
        told = [r.config["side_by_side"]["explained"] for r in group]
        if CORRECTIONS.keys() <= told[0].keys():
            cells = (spread([t[name] for t in told]) for name in CORRECTIONS)
            lines.append([*row, *cells])
    return markdown(lines)


def bounds(tables: dict[Pick, Rows]) -> str:
    """The two bounds: joint, and the best that features learned one after another could give."""
    sequential = max(
        (
            (mean(r.average_accuracy for r in rows[row]), row, pick, rows[row])
            for pick, rows in tables.items()
            if pick[1] == REFIT
            for row in rows
            if row[1] in ("plain_tuned", "plain_ema", "lwf", "fd", "pegp", "pegp_fd")
        ),
        key=lambda found: found[0],
    )
    _, joint = best_of(tables, ("lora", "joint"))
    _, first = best_of(tables, ("lora", "first_session"))
    _, row, (head, _), records = sequential
    room = mean(paired(records, first, FINAL))
    verdict = "" if room >= 0.02 else ", so that this stream shows stability only"
    return (
        f"`joint` ends at {spread([r.average_accuracy for r in joint])}. The sequential bound is "
        f"{spread([r.average_accuracy for r in records])}: the features of {' '.join(row)} with "
        f"statistics made anew of all old images, by `{head}`. It lies "
        f"{signed(records, first)} above `first_session`{verdict}."
    )


def verdicts(tables: dict[Pick, Rows], rows: Sequence[tuple[str, str]]) -> str:
    """Which controls PEGP passes by more than one deviation of paired differences, and which not."""
    lines = []
    for pet in PETS:
        _, ours = best_of(tables, (pet, "pegp"))
        groups: dict[str, list[str]] = {"above": [], "level with": [], "below": []}
        for row in rows:
            if row[1] in ("frozen", *CONTROLS) and row[0] in ("none", pet):
                gaps = paired(ours, best_of(tables, row)[1], FINAL)
                deviation = stdev(gaps) if len(gaps) > 1 else 0
                beyond = abs(mean(gaps)) > deviation
                kind = "level with" if not beyond else "above" if mean(gaps) > 0 else "below"
                groups[kind].append(f"`{row[1]}`")
        told = "; ".join(f"{kind} {', '.join(names)}" for kind, names in groups.items() if names)
        lines.append(f"- PEGP with {pet}, final accuracy, beyond one deviation: {told}.")
    return "\n".join(lines)


def written(section: Section, records: Sequence[Record]) -> str:
    """A section as Markdown."""
    tables, rows = by_pick(records), [*ROWS, *section.more]
    return TEXTS[section.title].format(
        options=", ".join(f"{name} = {value}" for name, value in section.options.items()),
        heads=heads_table(tables, rows),
        best=best_table(tables, rows),
        lattice=lattice_table(tables),
        explained=explained_table(records),
        bounds=bounds(tables),
        verdicts=verdicts(tables, rows),
    )


def jobs_of(seeds: list[int]) -> list[Job]:
    """The runs of both sections."""
    return [job for section in SECTIONS for job in section.jobs(seeds)]


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, {"class_incremental": run}, downloaded=DOWNLOADED)
    left = iter(records)
    pages = [
        written(section, [next(left) for _ in section.jobs(args.seeds)]) for section in SECTIONS
    ]
    opening = TEXTS[""].format(seeds=", ".join(map(str, args.seeds)))
    PAGE.write_text(opening + "".join(pages))
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
