"""Characters that look unlike each other, and what each is called.

Images of them are centred and of any size, so that of each group of look-alikes (``O``, ``o`` and
``0``; ``P``, ``p`` and rho) one is in here at most.
"""

from __future__ import annotations

__all__ = [
    "CYRILLIC",
    "DIGITS",
    "GREEK",
    "HELD_OUT_CHARACTERS",
    "LATIN",
    "NAMES",
    "PRETRAINING_CHARACTERS",
]

#: 36 Latin letters.
LATIN = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghimnrt"
#: The ten digits.
DIGITS = "0123456789"

_GREEK = {
    "Γ": "capital gamma",
    "Δ": "capital delta",
    "Θ": "capital theta",
    "Λ": "capital lambda",
    "Ξ": "capital xi",
    "Σ": "capital sigma",
    "Φ": "capital phi",
    "Ψ": "capital psi",
    "Ω": "capital omega",
    "α": "small alpha",
    "β": "small beta",
    "γ": "small gamma",
    "δ": "small delta",
    "ζ": "small zeta",
    "λ": "small lambda",
    "μ": "small mu",
    "ξ": "small xi",
    "π": "small pi",
    "σ": "small sigma",
    "ω": "small omega",
}
_CYRILLIC = {
    "Б": "capital be",
    "Д": "capital de",
    "Ж": "capital zhe",
    "Й": "capital short i",
    "Л": "capital el",
    "Ц": "capital tse",
    "Ч": "capital che",
    "Ш": "capital sha",
    "Ъ": "capital hard sign",
    "Ы": "capital yery",
    "Э": "capital reversed e",
    "Ю": "capital yu",
    "Я": "capital ya",
    "Ђ": "capital dje",
    "Љ": "capital lje",
    "Њ": "capital nje",
    "Ў": "capital short u",
    "Ѣ": "capital yat",
}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: 20 Greek letters.
GREEK = "".join(_GREEK)
#: 18 Cyrillic letters.
CYRILLIC = "".join(_CYRILLIC)

#: What every character above is called.
NAMES: dict[str, str] = {
    **{letter: f"capital {letter.lower()}" for letter in LATIN if letter.isupper()},
    **{letter: f"small {letter}" for letter in LATIN if letter.islower()},
    **{digit: f"digit {_DIGITS[int(digit)]}" for digit in DIGITS},
    **_GREEK,
    **_CYRILLIC,
}

#: Latin, digits and Greek that pretraining must not show, so that something is left that is new.
HELD_OUT_CHARACTERS = "KQWh47Ξλ"

#: The 58 that it may show.
PRETRAINING_CHARACTERS = "".join(
    character for character in LATIN + DIGITS + GREEK if character not in HELD_OUT_CHARACTERS
)
