"""CLIP on three streams, every PET, baselines and controls: docs/clip_results.md by one command.

    python experiments/study.py clip_results --out runs/clip_results

Several runs at a time, each kept when it is done: run the command again to go on after an
interruption. The page is written once all are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import mean

from clip_incremental import TEMPLATES, run
from runs.clip import REFERENCES
from runs.job import Job
from runs.methods import CLIP
from runs.resumable import many_runs
from runs.training import Training

from avl_pegp.evaluation import Record, markdown, spread
from studies.page import FINAL, Rows, grouped, signed, table, winners
from studies.sections import texts_in

PAGE = Path(__file__).parents[2] / "docs" / "clip_results.md"
Column = Callable[[Record], float]
UNTOUCHED = ("untouched_characters", "held_out_characters", "other_domain", "colours")


def at_end(name: str) -> Column:
    """A zero-shot number when the stream is over."""

    def last(record: Record) -> float:
        number = record.zero_shot[name]
        return number[-1] if isinstance(number, list) else number

    return last


def untouched(record: Record) -> float:
    """Accuracy on what is never trained, when the stream is over: the mean over its four sets."""
    return mean(at_end(name)(record) for name in UNTOUCHED)


ACCURACIES: dict[str, Column] = {
    "final accuracy": attrgetter("average_accuracy"),
    "average accuracy": attrgetter("average_incremental_accuracy"),
    "forgetting": attrgetter("forgetting"),
    "task-aware final accuracy": attrgetter("task_aware_average_accuracy"),
    "task-aware forgetting": attrgetter("task_aware_forgetting"),
}
MATCHING: dict[str, Column] = {
    "image → text": at_end("image_to_text"),
    "text → image": at_end("text_to_image"),
    "hallucination": at_end("hallucination"),
}
TRANSFER: dict[str, Column] = {
    "Transfer": at_end("transfer"),
    "Avg": at_end("average"),
    "Last": at_end("last"),
}


@dataclass(frozen=True)
class Section:
    """One stream: its heading in clip_results.md, its runs, and what is measured.

    Attributes:
        job: what its runs have in common.
        rows: by PET, methods beside zero_shot, plain, plain_tuned, first_session and pegp.
        columns: of its table.
        final: the title and the field of what rows are compared in.
    """

    title: str
    job: Job
    rows: dict[str, Sequence[str]]
    columns: dict[str, Column]
    final: tuple[str, str] = FINAL

    def jobs(self, seeds: Sequence[int]) -> list[Job]:
        """All runs, the same for every seed."""
        rows = [("none", "zero_shot")]
        for pet, methods in self.rows.items():
            rows += [(pet, m) for m in ("plain", "plain_tuned", "first_session", *methods, "pegp")]
        return self.job.variants(rows, seeds, CLIP.methods, pets=CLIP.pets)


def template(benchmark: str, epochs: int = 5, **options: object) -> Job:
    """What the runs on a stream share."""
    return Job(
        "clip_incremental",
        benchmark,
        head="text",
        backbone=CLIP.backbone,
        template=TEMPLATES[benchmark],
        training=Training(epochs=epochs),
        options=options,
    )


WITH_REFERENCES = ("pegp_references",)
SOFTLY = ("pegp_90", "pegp_75")


def references_for(pet: str) -> Sequence[str]:
    """Reference images say nothing to PETs of the text tower; for the prefix, the prompt will do."""
    return () if pet in ("text_lora", "context", "prefix") else WITH_REFERENCES


def softly_for(pet: str) -> Sequence[str]:
    """Soft projection was tried with the PETs of the image side."""
    return () if pet in ("text_lora", "context") else SOFTLY


BASELINES = ("lwf", "ewc", "zscl")
SECTIONS = (
    Section(
        "Class-incremental: ten experiences of five characters, in changing domains",
        template("named_glyphs", train_per_class=40),
        {
            pet: (*(BASELINES if pet == "lora" else ()), *references_for(pet), *softly_for(pet))
            for pet in CLIP.pets
        },
        {**ACCURACIES, "untouched": untouched, **MATCHING},
    ),
    Section(
        "Data set by data set",
        template("named_datasets", train_per_class=20),
        {"lora": ("zscl", *WITH_REFERENCES, *SOFTLY), "linear_adapter": WITH_REFERENCES},
        TRANSFER,
        final=("Last", "task_aware_average_accuracy"),
    ),
    Section(
        "Images and captions, domain by domain",
        template("captioned_domains", characters="AG25"),
        {"lora": (*WITH_REFERENCES, *SOFTLY), "linear_adapter": ()},
        {
            **{name: ACCURACIES[name] for name in list(ACCURACIES)[:3]},
            "hallucination in domains": at_end("hallucination_in_domains"),
            **MATCHING,
        },
    ),
)
TEXTS = texts_in(Path(__file__).with_suffix(".md"))


def share(kept: Sequence[float], lost: Sequence[float]) -> list[str]:
    """PEGP's loss, the control's, and the one as a share of the other."""
    ratio = f"{mean(kept) / mean(lost):.2f}" if mean(lost) > 0 else "it loses nothing"
    return [spread(kept), spread(lost), ratio]


def beyond(rows: Rows, pet: str, method: str, control: str, of: Column) -> list[str]:
    """How far a number lies above zero_shot's, for a method and its control, paired by seed."""
    zero = {r.seed: of(r) for r in rows["none", "zero_shot"]}
    kept, lost = ([of(r) - zero[r.seed] for r in rows[pet, m]] for m in (method, control))
    return share(kept, lost)


def comparison(
    records: Sequence[Record], control: str, losses: dict[str, Column], final: tuple[str, str]
) -> str:
    """PEGP against plain tuning, by PET: what each loses beyond zero_shot, and what PEGP gains."""
    rows = grouped(records)
    titles = ["PET", "method"]
    for name in losses:
        titles += [f"{name}: its", f"{control}'s", "share"]
    name, field = final
    lines = [[*titles, f"{name} over {control}", "over zero_shot", "over first_session"]]
    for (pet, method), tuned in rows.items():
        if method.startswith("pegp"):
            cells = [c for of in losses.values() for c in beyond(rows, pet, method, control, of)]
            others = (rows[pet, control], rows["none", "zero_shot"], rows[pet, "first_session"])
            lines.append([pet, method, *cells, *(signed(tuned, other, field) for other in others)])
    return markdown(lines)


def losses_of(section: Section) -> dict[str, Column]:
    """What is lost by tuning, as far as the section measures it."""
    losses: dict[str, Column] = {}
    if "forgetting" in section.columns:
        losses["forgetting"] = attrgetter("forgetting")
    if "task-aware forgetting" in section.columns or "Last" in section.columns:
        losses["task-aware forgetting"] = attrgetter("task_aware_forgetting")
    if "untouched" in section.columns:
        losses["untouched lost"] = lambda record: -untouched(record)
    if "Transfer" in section.columns:
        losses["Transfer lost"] = lambda record: -at_end("transfer")(record)
    if "hallucination" in section.columns:
        losses["hallucination added"] = at_end("hallucination")
    return losses


def written(section: Section, records: Sequence[Record]) -> str:
    """A section as Markdown."""
    above = ", ".join(winners(records, field=section.final[1])) or "no row"
    rows = table(records, columns=section.columns, final=section.final)
    results = f"{rows}\n\nAbove PEGP beyond one deviation: {above}."
    costs = [
        f"\nWhat tuning costs beyond zero_shot, and what it gains, against `{control}`:\n\n"
        f"{comparison(records, control, losses_of(section), section.final)}\n"
        for control in ("plain", "plain_tuned")
    ]
    text = TEXTS[section.title].format(results=results, references=REFERENCES)
    return "".join((text, *costs))


def jobs_of(seeds: list[int]) -> list[Job]:
    """The runs of all sections, one section after another."""
    return [job for section in SECTIONS for job in section.jobs(seeds)]


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, {"clip_incremental": run})
    left = iter(records)
    page = TEXTS[""].format(seeds=", ".join(map(str, args.seeds)), references=REFERENCES)
    for section in SECTIONS:
        page += written(section, [next(left) for _ in section.jobs(args.seeds)])
    PAGE.write_text(page)
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
