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
    """One stream: a heading, its runs, what is measured, and what is to be said about it.

    Attributes:
        job: what its runs have in common.
        rows: by PET, methods beside zero_shot, plain, plain_tuned, first_session and pegp.
        columns: of its table.
        why: the reason for what the table shows, written after it was measured.
        final: the title and the field of what rows are compared in.
    """

    title: str
    about: str
    job: Job
    rows: dict[str, Sequence[str]]
    columns: dict[str, Column]
    why: str = ""
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
        "`named_glyphs`: all classes seen so far compete; task-aware, those of the image's own five. "
        "`untouched`: the mean of four accuracies on what no experience trains, other characters, "
        "characters that pretraining never showed, another domain, and colours. The last three columns "
        "match upright characters with captions.",
        template("named_glyphs", train_per_class=40),
        {
            pet: (*(BASELINES if pet == "lora" else ()), *references_for(pet), *softly_for(pet))
            for pet in CLIP.pets
        },
        {**ACCURACIES, "untouched": untouched, **MATCHING},
        "At PEGP's rate plain tuning forgets what it learned in other domains, far beyond what "
        "zero_shot loses as classes join; PEGP forgets at most a third of that with every PET, and "
        "ends above it, but for the Prefix, which is level. That rate is too high for plain tuning: "
        "at a quarter it forgets less, and ends above PEGP with LoRA, Adapter, Prefix and Prompt. Of "
        "what it then still forgets PEGP forgets a quarter at most on the image side, with Prefix two "
        "fifths, at the price of what small steps learn for all domains alike: with LoRA and Adapter "
        "neither lower energies nor a quarter of the rate made up for that on seed 0. "
        "`pegp_90` takes only nine tenths of a step's part along old features away. "
        "It ends within a point of plain_tuned or above it, and "
        "forgets next to nothing beyond zero_shot with LoRA, Prefix and Prompt, but two thirds to "
        "three quarters as much as plain_tuned with the linear adapter and the Adapter; `pegp_75` "
        "ends at most a point higher, and forgets more. What tuning "
        "takes from the rest of what the model knows is another matter: PEGP protects what old "
        "experiences showed, and before the first there is none. `first_session`, which tunes in "
        "that one only, loses as much; plain_tuned loses less than both. `pegp_references` counts "
        "{references} images such as those of pretraining as an experience before the first: then "
        "PEGP forgets at most a fifth of what plain_tuned does and ends above it with LoRA, Prompt and "
        "linear adapter, and with LoRA keeps nearly all. The Adapter alone stays short of that: it "
        "forgets little or ends level, but not both. "
        "`zscl`, given the same images with captions, keeps all of it, and ends as high; `ewc` "
        "learns as well.",
    ),
    Section(
        "Data set by data set",
        "`named_datasets`: letters, colours, Greek, typefaces, positions, Cyrillic and scanned digits, "
        "each judged by its own classes. Transfer: accuracy before a data set is trained; Avg: over all "
        "times; Last: at the end (ZSCL's three numbers).",
        template("named_datasets", train_per_class=20),
        {"lora": ("zscl", *WITH_REFERENCES, *SOFTLY), "linear_adapter": WITH_REFERENCES},
        TRANSFER,
        "Here plain tuning ends below zero_shot at either rate, and PEGP with LoRA above it; on "
        "which data set comes last much depends. A small rate keeps Transfer better than PEGP "
        "does, but not what was learned. With references PEGP keeps nearly all of Transfer, too, "
        "and ends above `zscl`. Data sets have less in common than domains do: soft projection only "
        "gives away. The linear adapter, behind a frozen tower, has little to learn "
        "with; without references it loses much in the first data set.",
        final=("Last", "task_aware_average_accuracy"),
    ),
    Section(
        "Images and captions, domain by domain",
        "`captioned_domains` (captioned glyph domains): 480 captions, the same in five domains; "
        "accuracy is recall@1 among all of them. Hallucination is the share of false captions, wrong in "
        "one attribute, that the model prefers to the true one: in the five domains, and, like the two "
        "columns of retrieval, in the plain domain, which no experience trains.",
        template("captioned_domains", characters="AG25"),
        {"lora": (*WITH_REFERENCES, *SOFTLY), "linear_adapter": ()},
        {
            **{name: ACCURACIES[name] for name in list(ACCURACIES)[:3]},
            "hallucination in domains": at_end("hallucination_in_domains"),
            **MATCHING,
        },
        "Captions recur in every domain, so that tuning pays: PEGP with LoRA gains most, also "
        "over plain tuning at its own rate, and forgets little of any domain, where plain tuning "
        "keeps the last ones; projecting softly costs a point. In the domains "
        "that are trained all tuning makes the model hallucinate less than zero_shot, "
        "PEGP least; in the plain one all add a point or two, "
        "PEGP with LoRA no less than plain tuning. Reference images change nothing in that; why "
        "was not looked into.",
    ),
)
OPENING = (Path(__file__).parent / "clip_results.md").read_text(encoding="utf-8")


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
    above = winners(records, field=section.final[1])
    costs = [
        f"What tuning costs beyond zero_shot, and what it gains, against `{control}`:\n\n"
        + comparison(records, control, losses_of(section), section.final)
        for control in ("plain", "plain_tuned")
    ]
    verdict = f"Above PEGP beyond one deviation: {', '.join(above) or 'no row'}."
    return f"""
## {section.title}

{section.about}

{table(records, columns=section.columns, final=section.final)}

{verdict} {section.why.format(references=REFERENCES)}

{costs[0]}

{costs[1]}
"""


def jobs_of(seeds: list[int]) -> list[Job]:
    """The runs of all sections, one section after another."""
    return [job for section in SECTIONS for job in section.jobs(seeds)]


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, {"clip_incremental": run})
    left = iter(records)
    page = OPENING.format(seeds=", ".join(map(str, args.seeds)), references=REFERENCES)
    for section in SECTIONS:
        page += written(section, [next(left) for _ in section.jobs(args.seeds)])
    PAGE.write_text(page)
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
