"""Names for prompts: those of CIFAR-100 and of ImageNet's folders, as published code has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from avl_pegp.backbones import prompt_names

LISTED = Path(__file__).parents[3] / "experiments/reproduction/clip_imagenet100/classes.txt"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("apple", "apple"),
        ("pickup_truck", "pickup truck"),
        ("capital a", "capital a"),
        ("n01494475", "hammerhead"),
        ("n01755581", "diamondback"),
        ("n02077923", "sea lion"),
        ("n04399382", "teddy"),
        ("n0144076", "n0144076"),
    ],
)
def test_a_name_is_as_a_sentence_has_it(given, name):
    assert prompt_names([given]) == [name]


def test_names_keep_their_order_and_number():
    assert prompt_names(["n01443537", "lawn_mower", "n01440764", "n01443537"]) == [
        "goldfish",
        "lawn mower",
        "tench",
        "goldfish",
    ]
    assert prompt_names([]) == []


def test_an_id_of_no_class_is_refused_with_how_many():
    with pytest.raises(ValueError, match=r"has 2 WordNet ids .*: n00000001, n99999999; give"):
        prompt_names(["n01440764", "n00000001", "n99999999"])


def test_the_published_hundred_have_the_published_names():
    names = prompt_names(LISTED.read_text().split())
    assert len(names) == len(set(names)) == 100
    known = {0: "tench", 4: "hammerhead", 14: "water ouzel", 31: "Komodo dragon", 90: "crane"}
    assert {i: names[i] for i in known} == known
    assert names[-3:] == ["pelican", "albatross", "sea lion"]
    assert "construction crane" not in names
