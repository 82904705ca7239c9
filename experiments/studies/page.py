"""Records as Markdown: tables with paired differences, and what they say about PEGP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from avl_pegp.evaluation import Record, markdown, paired, spread
from avl_pegp.evaluation.tables import MEASURED, Column, cells, signed
from avl_pegp.evaluation.tables import grouped as by_fields

FINAL = ("final accuracy", "average_accuracy")
COMPARED = (
    "PET",
    "PEGP's forgetting beyond frozen's",
    "plain's",
    "share",
    "final accuracy over plain",
    "final accuracy over first_session",
    "average accuracy over first_session",
)
Rows = dict[tuple[str, ...], list[Record]]


def grouped(records: Sequence[Record]) -> Rows:
    """Records by PET and method, in their order."""
    return by_fields(records, "pet", "method")


def compared(rows: Rows, reference: str | None) -> Rows:
    """By row the one that it is compared with: the same PET's reference, without a PET LoRA's."""
    others = {
        (pet, method): rows.get(("lora" if pet == "none" else pet, str(reference)))
        for pet, method in rows
        if method != reference
    }
    return {row: other for row, other in others.items() if other}


def table(
    records: Sequence[Record],
    reference: str | None = "pegp",
    columns: Mapping[str, Column] = MEASURED,
    final: tuple[str, str] = FINAL,
) -> str:
    """One row a PET and method; the last column is paired with the same PET's reference.

    Rows without a PET are compared with LoRA's. ``None`` leaves that column out. What is compared is
    the title and the field of ``final``.
    """
    rows = grouped(records)
    others = compared(rows, reference)
    lines = [["PET", "method", *columns]]
    lines += [[*row, *cells(group, columns)] for row, group in rows.items()]
    if reference:
        gaps = (signed(rows[r], others[r], final[1]) if r in others else "" for r in rows)
        for line, gap in zip(
            lines, (f"{final[0]} minus {reference}'s, paired", *gaps), strict=True
        ):
            line.append(gap)
    return markdown(lines)


def winners(records: Sequence[Record], reference: str = "pegp", field: str = FINAL[1]) -> list[str]:
    """Rows whose final accuracy lies above the reference of the same PET beyond one deviation."""
    rows = grouped(records)
    found = []
    for row, other in compared(rows, reference).items():
        gaps = paired(rows[row], other, field)
        if mean(gaps) > (stdev(gaps) if len(gaps) > 1 else 0):
            found.append(f"{' '.join(row)} ({signed(rows[row], other, field)})")
    return found


def comparison(records: Sequence[Record]) -> str:
    """PEGP against plain and against first_session, one row a PET, paired by seed.

    Forgetting is task-aware and beyond frozen's; the share is PEGP's of plain's.
    """
    rows = grouped(records)
    lines = [list(COMPARED)]
    for pet in dict.fromkeys(pet for pet, method in rows if method == "pegp"):
        tuned, plain, first = (rows[pet, m] for m in ("pegp", "plain", "first_session"))
        kept, lost = (
            paired(side, rows["none", "frozen"], "task_aware_forgetting") for side in (tuned, plain)
        )
        share = f"{mean(kept) / mean(lost):.2f}" if mean(lost) > 0 else "plain loses nothing"
        over_first = (signed(tuned, first), signed(tuned, first, "average_incremental_accuracy"))
        lines.append([pet, spread(kept), spread(lost), share, signed(tuned, plain), *over_first])
    return markdown(lines, names=1)
