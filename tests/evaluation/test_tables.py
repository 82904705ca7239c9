"""Tables of records."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from avl_pegp.evaluation import paired, spread


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
