"""Every setting, every PET, every control: from nothing to docs/results.md by one command.

    python experiments/study.py results --out runs/results

Several runs at a time, each kept when it is done: run the command again to go on after an
interruption. The page is written once all are there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import class_incremental
import domain_incremental
import online
import task_incremental
from runs.command_line import draw
from runs.job import Job, Run
from runs.resumable import many_runs

from avl_pegp.evaluation import Record, markdown, spread
from studies.page import comparison, grouped, table, winners
from studies.sections import SECTIONS, SMALL, Section

RECIPES: dict[str, Run] = {
    module.__name__: module.run
    for module in (class_incremental, task_incremental, domain_incremental, online)
}
README = Path(__file__).parents[2] / "README.md"
PAGE = README.parent / "docs" / "results.md"
OPENING = (Path(__file__).parent / "results.md").read_text(encoding="utf-8")


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


OF_LORA = ("plain", "plain_tuned", "first_session", "pegp", "joint")
SHOWN = {"frozen": "none", **dict.fromkeys(OF_LORA, "lora")}


def summary(sections: Sequence[tuple[Section, list[Record]]]) -> str:
    """The README's table: final accuracy of LoRA, one line a section."""
    lines = [["", *SHOWN]]
    for section, records in sections:
        rows = grouped(records)
        groups = [rows.get((pet, method), []) for method, pet in SHOWN.items()]
        cells = [spread([r.average_accuracy for r in group]) if group else "" for group in groups]
        lines.append([section.title, *cells])
    return markdown(lines, names=1)


def jobs_of(seeds: list[int]) -> list[Job]:
    """The runs of all sections, one section after another."""
    return [job for section in SECTIONS for job in section.jobs(seeds)]


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, RECIPES)
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
