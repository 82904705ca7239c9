"""Every setting, every PET, every control: from nothing to docs/results.md by one command.

    python experiments/results.py --out runs/results

Several runs at a time, each kept when it is done: run the command again to go on after an
interruption. The page is written once all are there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from command_line import draw
from job import Job
from page import comparison, grouped, table, winners
from resumable import many_runs
from sections import SECTIONS, SMALL, Section

from avl_pegp.evaluation import Record, markdown, spread

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs" / "results.md"
OPENING = """# Results

Made by `python experiments/results.py --out runs/results`, which runs everything below again and
writes this page. Percent, mean ± standard deviation over seeds {seeds}; a seed draws the order of
classes or domains, the initial weights and the batches, the same for every row. The backbone is the
tiny ViT that ships with the package. Glyph streams are small ({images} training images a class), so
that all of it takes about an hour on two cores.

- **final accuracy**: mean over all experiences at the end. **average accuracy**: mean over time of
  the mean over the experiences seen so far. **forgetting**: best earlier accuracy minus the last.
  **task-aware**: only the classes of the test experience's own task compete. **when new**: right after
  an experience was learned, mean over all but the first; what a method can still learn.
- `frozen`: the backbone untouched. `plain`: the PET without PEGP. `first_session`: the PET tuned in
  the first experience only. `joint`: tuned on all data at once, then the same head; an upper bound.
  `ncm`, `lda`: those heads on the frozen backbone. `l2`, `ewc`, `lwf`: rivals on the same PET.
  `plain_tuned`: that control at the learning rate that suits it best, a sixteenth of PEGP's.
  `..._refit`: class statistics computed anew from all old training data, which separates stale
  statistics from lost features.
- Settings were searched by `experiments/search.py` on other seeds and images, of the stream whose style
  shifts and that of domains: eight candidates each, of PEGP's energy and protection for every PET, of
  the rivals' strength and learning rate, and of the rate alone for `plain` and `first_session`, which
  have nothing else (`plain_tuned`; `first_session` is best at the PET's own). Those rates come from
  earlier trials on seed 0.
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
