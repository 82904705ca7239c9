"""The report's table: what is best in a column."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reporting.tables import rows_of, table_of

#: What the table calls these numbers of a record.
TITLES = {
    "average_accuracy": "final accuracy",
    "forgetting": "forgetting",
    "task_aware_forgetting": "task-aware forgetting",
    "hallucination": "zero-shot hallucination",
    "text_to_image": "zero-shot text to image",
}


@pytest.mark.parametrize(
    ("name", "of_plain", "of_pegp", "best"),
    [
        ("forgetting", 0.4, 0.1, "10.0"),
        ("task_aware_forgetting", 0.1, 0.4, "10.0"),
        ("average_accuracy", 0.4, 0.1, "40.0"),
        ("hallucination", 0.25, 0.125, "12.5"),
        ("text_to_image", 0.25, 0.125, "25.0"),
        ("average_accuracy", 0.4, 0.4, "40.0 40.0"),
    ],
)
def test_the_best_is_the_lowest_of_what_should_be_low(record, name, of_plain, of_pegp, best):
    def run(method, value):
        made = record("lora", method, 1, 0.5)
        if name in ("hallucination", "text_to_image"):
            return replace(made, zero_shot={name: [0.0, value]})
        return replace(made, **{name: value})

    table = table_of(rows_of({"": [run("plain", of_plain), run("pegp", of_pegp)]}))
    column = table.titles.index(TITLES[name])
    marked = [line[column].text for line in table.cells if line[column].best]
    assert " ".join(marked) == best


def test_one_row_is_not_the_best_of_anything(record):
    table = table_of(rows_of({"": [record("lora", "pegp", 1, 0.5)]}))
    assert not any(cell.best for line in table.cells for cell in line)
