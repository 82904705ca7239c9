"""Characters that look unlike each other, and what each is called.

Images of them are centred and of any size, so that of each group of look-alikes (``O``, ``o`` and
``0``; ``P``, ``p`` and rho) one is in here at most.
"""

from __future__ import annotations

import re
import unicodedata

#: 36 Latin letters.
LATIN = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghimnrt"
#: The ten digits.
DIGITS = "0123456789"

#: 20 Greek letters.
GREEK = "ΓΔΘΛΞΣΦΨΩαβγδζλμξπσω"
#: 18 Cyrillic letters.
CYRILLIC = "БДЖЙЛЦЧШЪЫЭЮЯЂЉЊЎѢ"


def _name_of(character: str) -> str:
    """As Unicode calls it: ``GREEK CAPITAL LETTER GAMMA`` is "capital gamma"."""
    name = unicodedata.name(character).lower()
    return re.sub(r"^\w+ (\w+) letter ", r"\1 ", name)


#: What every character above is called.
NAMES: dict[str, str] = {
    **{character: _name_of(character) for character in LATIN + DIGITS + GREEK + CYRILLIC},
    # Where the usual name is another than Unicode's.
    "Λ": "capital lambda",
    "λ": "small lambda",
    "Ы": "capital yery",
    "Э": "capital reversed e",
}

#: Latin, digits and Greek that pretraining must not show, so that something is left that is new.
HELD_OUT_CHARACTERS = "KQWh47Ξλ"

#: The 58 that it may show.
PRETRAINING_CHARACTERS = "".join(
    character for character in LATIN + DIGITS + GREEK if character not in HELD_OUT_CHARACTERS
)
