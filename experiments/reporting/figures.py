"""The report's figures of one part, as images that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from avl_pegp.evaluation import (
    accuracy_and_forgetting,
    accuracy_heat_map,
    by_block,
    new_task_accuracy,
    stability_plasticity,
)
from reporting.tables import REFERENCE, Row

OVER_TIME = (
    "Accuracy over the experiences learned so far, and forgetting of the old ones. Accuracy falls "
    "as more classes compete; what counts is the gap between the lines."
)
BY_EXPERIENCE = (
    "Accuracy on each experience (across) after each (down). A column that keeps its colour on "
    "the way down is kept knowledge."
)
PLASTICITY = (
    "Stability against plasticity: up and left is better. Above: learns what is new. Left: "
    "keeps what is old."
)
PROTECTED = (
    "Share of directions that are protected at the end, by block. At 100 % nothing more "
    "can be learned there."
)
DRIFT = "Relative squared change of each site's map on old features, by block: the meter."


@dataclass(frozen=True)
class Picture:
    """An image within the page, what it shows, and its width in CSS pixels."""

    uri: str
    caption: str
    width: int


def pictures_of(rows: Sequence[Row], title: str) -> list[Picture]:
    """Every figure that the records of a part have numbers for."""
    return [picture(figure, caption) for figure, caption in figures_of(rows, title)]


def figures_of(rows: Sequence[Row], title: str) -> Iterator[tuple[Figure, str]]:
    """Each figure and its caption: PET by PET, beside the rows that have none, then the sites'."""
    pets = [pet for pet in dict.fromkeys(row.pet for row in rows) if pet != "none"] or ["none"]
    points: dict[str, dict[str, Any]] = {}
    for pet in pets:
        beside = [row for row in rows if row.pet in (pet, "none")]
        name = title if pet == "none" else f"{pet}: {title}"
        matrices = {row.name: [r.accuracy_matrix for r in row.records] for row in beside}
        yield accuracy_and_forgetting(matrices, name), OVER_TIME
        shown = [row.name for row in rows if row.pet == pet and row.method in ("plain", REFERENCE)]
        if shown:
            yield accuracy_heat_map({row: matrices[row] for row in shown}, name), BY_EXPERIENCE
        points[pet] = {f"*{row.name}": point(row) for row in beside}
    yield stability_plasticity(points, title), PLASTICITY
    runs = {row.label: row.records for row in rows if row.method == REFERENCE}
    ranks = {
        label: means([{site: k / d for site, (k, d) in r.ranks.items()} for r in records])
        for label, records in runs.items()
    }
    if any(ranks.values()):
        yield by_block(ranks, title, "protected directions"), PROTECTED
    drifts = {label: means([r.drift for r in records]) for label, records in runs.items()}
    if any(value for drift in drifts.values() for value in drift.values()):
        yield by_block(drifts, title, "drift", log=True), DRIFT


def means(runs: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The mean over runs for each site, of those that have a number."""
    sites = dict.fromkeys(site for run in runs for site in run)
    known = {s: [run[s] for run in runs if run.get(s) is not None] for s in sites}
    return {site: mean(values) if values else None for site, values in known.items()}


def point(row: Row) -> tuple[list[float], list[float]]:
    """Forgetting and accuracy when new, both task-aware, one a run."""
    return (
        [r.task_aware_forgetting for r in row.records],
        [new_task_accuracy(r.task_aware_accuracy_matrix) for r in row.records],
    )


def picture(figure: Figure, caption: str) -> Picture:
    """The figure as part of the page itself."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    data = base64.b64encode(image.getvalue()).decode()
    return Picture(f"data:image/png;base64,{data}", caption, round(96 * figure.get_figwidth()))
