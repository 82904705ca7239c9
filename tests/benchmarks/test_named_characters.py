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
    ("character", "name"),
    [
        ("A", "capital a"),
        ("t", "small t"),
        ("7", "digit seven"),
        ("Γ", "capital gamma"),
        ("λ", "small lambda"),
        ("μ", "small mu"),
        ("Й", "capital short i"),
        ("Ъ", "capital hard sign"),
        ("Э", "capital reversed e"),
    ],
)
def test_names_are_those_in_use(character: str, name: str) -> None:
    assert NAMES[character] == name


@pytest.mark.parametrize("character", NAMES)
def test_names_tell_capital_from_small_letters(character: str) -> None:
    kind, _, _ = NAMES[character].partition(" ")
    assert kind == (
        "digit" if character.isdigit() else "capital" if character.isupper() else "small"
    )


def test_every_font_has_every_character() -> None:
    for font in FONTS:
        for character in NAMES:
            assert draw_glyph(character, font).max() == 255


def test_held_out_characters_are_of_all_three_kinds_and_no_others() -> None:
    for kind in (LATIN, DIGITS, GREEK):
        assert set(HELD_OUT_CHARACTERS) & set(kind)
    assert sorted(HELD_OUT_CHARACTERS + PRETRAINING_CHARACTERS) == sorted(LATIN + DIGITS + GREEK)
