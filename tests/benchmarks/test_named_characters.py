import unicodedata

import pytest

from avl_pegp.benchmarks.named_characters import (
    CYRILLIC,
    DIGITS,
    GREEK,
    HELD_OUT_CHARACTERS,
    LATIN,
    NAMES,
    PRETRAINING_CHARACTERS,
)
from avl_pegp.benchmarks.rendering import FONTS, draw_glyph


def test_every_character_has_a_name_of_its_own() -> None:
    assert "".join(NAMES) == LATIN + DIGITS + GREEK + CYRILLIC
    assert (len(LATIN), len(DIGITS), len(GREEK), len(CYRILLIC)) == (36, 10, 20, 18)
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.parametrize(
    ("characters", "script"), [(LATIN, "LATIN"), (GREEK, "GREEK"), (DIGITS, "DIGIT")]
)
def test_names_are_those_of_unicode(characters: str, script: str) -> None:
    for character in characters:
        official = unicodedata.name(character).replace("LAMDA", "LAMBDA").lower()
        said = f"{script.lower()} {NAMES[character].removeprefix('digit ')}"
        assert official.replace(" letter", "") == said


@pytest.mark.parametrize("character", CYRILLIC)
def test_cyrillic_letters_are_cyrillic_capitals(character: str) -> None:
    assert unicodedata.name(character).startswith("CYRILLIC CAPITAL")
    assert NAMES[character].startswith("capital ")


def test_every_font_has_every_character() -> None:
    for font in FONTS:
        for character in NAMES:
            assert draw_glyph(character, font).max() == 255


def test_held_out_characters_are_of_all_three_kinds_and_no_others() -> None:
    for kind in (LATIN, DIGITS, GREEK):
        assert set(HELD_OUT_CHARACTERS) & set(kind)
    assert sorted(HELD_OUT_CHARACTERS + PRETRAINING_CHARACTERS) == sorted(LATIN + DIGITS + GREEK)
