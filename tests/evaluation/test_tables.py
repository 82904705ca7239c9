"""Tables of records."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from recorded import record
from rich.console import Console

from avl_pegp.evaluation import console_table, markdown_table, paired, spread


def records(**values):
    """Records by seed, as far as ``paired`` looks at them."""
    return [SimpleNamespace(seed=int(s[1:]), average_accuracy=v) for s, v in values.items()]


def test_differences_are_paired_by_seed_whatever_the_order():
    gaps = paired(records(s1=0.5, s2=0.8, s4=0.1), records(s2=0.6, s1=0.2), "average_accuracy")
    assert gaps == pytest.approx([0.3, 0.2])


def test_nothing_in_common_is_refused():
    with pytest.raises(ValueError, match="have no seed in common: run both with the same seeds"):
        paired(records(s1=0.5), records(s2=0.5), "average_accuracy")


def test_a_seed_given_twice_is_refused():
    twice = [*records(s1=0.5), *records(s1=0.6)]
    for sides in ((twice, records(s1=0.5)), (records(s1=0.5), twice)):
        with pytest.raises(ValueError, match="a seed occurs twice"):
            paired(*sides, "average_accuracy")


def test_one_value_has_no_spread():
    assert spread([0.5]) == "50.0"
    assert spread([0.5, 0.7]) == "60.0 ± 14.1"


def ended(last, **fields):
    """A record whose first task ended at this accuracy."""
    return record(accuracy_matrix=[[0.9, None], [last, 0.7]], **fields)


def test_zero_shot_numbers_of_the_end_are_in_the_markdown_table_where_there_are_any():
    numbers = [{"accuracy": [0.8, end], "recall_at_1": [0.1, 0.2]} for end in (0.5, 0.7)]
    records = [
        *(record(seed=s, zero_shot=n) for s, n in enumerate(numbers)),
        record(method="plain"),
    ]
    titles, _, pegp, plain = markdown_table(records).splitlines()
    assert titles.endswith("| zero-shot accuracy | zero-shot recall at 1 |")
    assert pegp.endswith("| 60.0 ± 14.1 | 20.0 ± 0.0 |")
    assert plain.endswith("| – | – |")
    assert "zero-shot" not in markdown_table([record()])


def test_tables_show_mean_and_spread_over_seeds():
    records = [ended(0.5), ended(0.7, seed=1), ended(0.3, method="plain")]
    assert "| lora | pegp | 65.0 ± 7.1 |" in markdown_table(records)
    assert "| lora | plain | 50.0 |" in markdown_table(records)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(records))
    text = console.export_text()
    assert "65.0 ± 7.1" in text
    assert "…" not in text  # it fits a terminal of 80 columns
