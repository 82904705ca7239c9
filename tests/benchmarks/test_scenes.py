from collections import Counter
from dataclasses import astuple, replace
from itertools import product

import pytest

from avl_pegp.benchmarks.scenes import (
    ATTRIBUTES,
    COLOURS,
    HELD_OUT_PAIRS,
    POSITIONS,
    SIZES,
    TYPEFACES,
    Scene,
    draw_scenes,
    is_held_out,
)

SCENE = Scene("b", "orange", "mono", bold=True, italic=True, size="large", position="top")

#: What other value each attribute can have.
OTHERS = {
    "character": "Ω",
    "colour": "cyan",
    "typeface": "serif",
    "bold": False,
    "italic": False,
    "size": "tiny",
    "position": "middle",
}


@pytest.mark.parametrize(
    ("mention", "caption"),
    [
        (ATTRIBUTES, "a large bold italic orange mono small b at the top"),
        (("character",), "a small b"),
        (("colour",), "an orange character"),
        (("italic", "colour"), "an italic orange character"),
        (("position", "typeface"), "a mono character at the top"),
        ((), "a character"),
    ],
)
def test_a_caption_says_what_is_to_be_mentioned(mention, caption: str) -> None:
    assert SCENE.caption(mention) == caption


def test_upright_and_regular_go_without_saying() -> None:
    plain = replace(SCENE, bold=False, italic=False)
    assert plain.caption() == "a large orange mono small b at the top"


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_changes_the_captions_that_mention_it_and_no_others(attribute: str) -> None:
    other = replace(SCENE, **{attribute: OTHERS[attribute]})
    rest = set(ATTRIBUTES) - {attribute}
    assert other.caption((attribute,)) != SCENE.caption((attribute,))
    assert other.caption(rest) == SCENE.caption(rest)


def test_no_two_scenes_have_the_same_caption_and_none_is_long() -> None:
    scenes = [
        Scene(*values)
        for values in product(
            "BbΩ3", COLOURS, TYPEFACES, (False, True), (False, True), SIZES, POSITIONS
        )
    ]
    captions = {scene.caption() for scene in scenes}
    assert len(captions) == len(scenes) == 4 * 8 * 3 * 2 * 2 * 2 * 5
    assert max(len(caption.split()) for caption in captions) <= 13


def test_scenes_are_drawn_from_the_seed_alone() -> None:
    first, again, other = (draw_scenes(50, seed, "ABC") for seed in (3, 3, 4))
    assert first == again != other


def test_every_value_is_drawn_about_equally_often() -> None:
    scenes = draw_scenes(3000, 0, "ABC")
    for values in zip(*map(astuple, scenes), strict=True):
        counts = Counter(values)
        assert min(counts.values()) > 0.8 * len(scenes) / len(counts)
    kinds = [len(set(values)) for values in zip(*map(astuple, scenes), strict=True)]
    assert kinds == [3, 8, 3, 2, 2, 2, 5]


def test_what_is_not_to_be_kept_is_drawn_again() -> None:
    scenes = draw_scenes(2000, 0, "AB", keep=lambda scene: not is_held_out(scene))
    assert len(scenes) == 2000
    pairs = {(scene.colour, scene.typeface) for scene in scenes}
    assert pairs == set(product(COLOURS, TYPEFACES)) - HELD_OUT_PAIRS


def test_about_a_tenth_of_scenes_is_held_out() -> None:
    scenes = draw_scenes(4000, 0, "AB")
    assert 0.08 < sum(map(is_held_out, scenes)) / len(scenes) < 0.15


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("character", "o"),
        ("character", "AB"),
        ("colour", "pink"),
        ("typeface", "gothic"),
        ("bold", "yes"),
        ("italic", None),
        ("size", "small"),
        ("position", "centre"),
    ],
)
def test_a_value_that_cannot_be_shown_is_refused(field: str, value) -> None:
    with pytest.raises(ValueError, match=f"{field}={value!r} must be one of "):
        replace(SCENE, **{field: value})


def test_an_unknown_attribute_is_not_mentioned() -> None:
    with pytest.raises(ValueError, match="names 'weight'; choose from character, colour"):
        SCENE.caption(("weight", "colour"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"characters": ""}, "characters is empty"),
        ({"characters": "o"}, "character='o'"),
        ({"keep": lambda scene: False}, "keep has kept 0 of 200 scenes, 2 are needed"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_scenes(**{"count": 2, "seed": 0, "characters": "AB", **arguments})
