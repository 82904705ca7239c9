"""Tables against numbers worked out by hand."""

from __future__ import annotations

import pytest
from studies.page import comparison, signed, table, winners

ACCURACIES = {  # over seeds 1, 2, 3; in points above PEGP:
    ("none", "frozen"): (0.70, 0.70, 0.70),  # -10, -11, -12
    ("lora", "plain"): (0.70, 0.73, 0.73),  # -10, -8, -9
    ("lora", "joint"): (0.90, 0.91, 0.95),  # 10, 10, 13
    ("lora", "l2"): (0.90, 0.71, 0.85),  # 10, -10, 3: above, within one deviation
    ("lora", "pegp"): (0.80, 0.81, 0.82),
    ("adapter", "plain"): (0.60, 0.60, 0.60),  # 10 above its own PEGP, below LoRA's
    ("adapter", "pegp"): (0.50, 0.50, 0.50),
    ("prefix", "plain"): (0.99, 0.99, 0.99),  # no PEGP to compare with
}
GAPS = dict.fromkeys(ACCURACIES, "") | {
    ("none", "frozen"): "-11.0 ± 1.0",
    ("lora", "plain"): "-9.0 ± 1.0",
    ("lora", "joint"): "+11.0 ± 1.7",
    ("lora", "l2"): "+1.0 ± 10.1",
    ("adapter", "plain"): "+10.0 ± 0.0",
}
FORGETTING = {
    ("none", "frozen"): (0.02, 0.03, 0.04),
    ("lora", "plain"): (0.22, 0.23, 0.24),  # 20 beyond frozen
    ("lora", "pegp"): (0.03, 0.05, 0.07),  # 1, 2, 3 beyond frozen
}


@pytest.fixture
def records(record):
    return [
        record(pet, method, seed, accuracy, FORGETTING.get((pet, method), (0.0,) * 3)[seed - 1])
        for (pet, method), values in ACCURACIES.items()
        for seed, accuracy in enumerate(values, start=1)
    ]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_last_column_is_paired_with_pegp_on_the_same_pet(records):
    lines = [cells(line) for line in table(records).splitlines()[2:]]
    assert {tuple(line[:2]): line[-1] for line in lines} == GAPS


def test_a_table_has_a_column_a_number_and_seeds_in_any_order(records):
    header, rule, *lines = table(records).splitlines()
    assert cells(header)[-1] == "final accuracy minus pegp's, paired"
    assert [len(cells(line)) for line in lines] == [len(cells(header))] * 8
    assert cells(rule)[2:] == ["---:"] * 7
    assert cells(lines[1])[:3] == ["lora", "plain", "72.0 ± 1.7"]
    assert cells(lines[1])[-3] == "23.0 ± 1.0"
    by_row = sorted(records, key=lambda r: (list(ACCURACIES).index((r.pet, r.method)), -r.seed))
    assert table(by_row) == table(records)


def test_another_row_may_be_the_reference(records):
    first = table(records, reference="plain").splitlines()
    assert cells(first[0])[-1] == "final accuracy minus plain's, paired"
    assert cells(first[6])[:2] == ["lora", "pegp"]
    assert cells(first[6])[-1] == "+9.0 ± 1.0"


def test_winners_lie_above_pegp_beyond_one_deviation(records):
    assert winners(records) == ["lora joint (+11.0 ± 1.7)", "adapter plain (+10.0 ± 0.0)"]
    assert winners(records, reference="joint") == []


def test_one_seed_has_no_deviation(records):
    alone = [r for r in records if r.seed == 1]
    above = ["lora joint (+10.0)", "lora l2 (+10.0)", "adapter plain (+10.0)"]
    assert winners(alone) == above


def test_a_tie_has_a_plus_and_does_not_win(record):
    ties = [record("lora", method, 1, 0.5) for method in ("plain", "pegp")]
    assert signed(ties[:1], ties[1:]) == "+0.0"
    assert winners(ties) == []


def test_pegp_is_set_against_plain_and_first_session(record):
    values = {  # accuracy and forgetting
        ("none", "frozen"): (0.5, 0.1),
        ("lora", "plain"): (0.6, 0.3),
        ("lora", "first_session"): (0.65, 0.1),
        ("lora", "pegp"): (0.7, 0.12),
    }
    records = [
        record(pet, method, seed, accuracy + 0.01 * seed * (method == "pegp"), forgotten)
        for (pet, method), (accuracy, forgotten) in values.items()
        for seed in (1, 2)
    ]
    header, _, line = comparison(records).splitlines()
    assert len(cells(header)) == len(cells(line))
    assert cells(line)[:4] == ["lora", "2.0 ± 0.0", "20.0 ± 0.0", "0.10"]
    assert cells(line)[4:6] == ["+11.5 ± 0.7", "+6.5 ± 0.7"]


def test_where_plain_forgets_no_more_than_frozen_there_is_no_share(record):
    rows = (("frozen", 0.1), ("plain", 0.05), ("first_session", 0.1), ("pegp", 0.1))
    records = [record("none" if m == "frozen" else "lora", m, 1, 0.5, f) for m, f in rows]
    assert cells(comparison(records).splitlines()[2])[1:4] == ["0.0", "-5.0", "plain loses nothing"]
