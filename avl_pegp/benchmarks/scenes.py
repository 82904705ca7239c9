"""Scenes: what an image of a character shows, said in words.

A scene is one character with a colour, a typeface, a weight, a slant, a size and a place. Caption
and image are made from the same record, so that the one is true of the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from avl_pegp.benchmarks.named_characters import NAMES

#: Colours of the ink, red, green and blue from 0 to 1: far apart, and light enough for dark paper.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.95, 0.1, 0.1),
    "green": (0.1, 0.75, 0.1),
    "blue": (0.2, 0.35, 1.0),
    "yellow": (1.0, 0.95, 0.1),
    "white": (1.0, 1.0, 1.0),
    "cyan": (0.1, 0.95, 1.0),
    "magenta": (0.95, 0.1, 0.95),
    "orange": (1.0, 0.55, 0.05),
}
#: Families of fonts, each with a bold, an italic and a bold italic one.
TYPEFACES: tuple[str, ...] = ("sans", "serif", "mono")
#: Range of the scale of each size; 1 is the renderer's full size. "Small" is what letters are.
SIZES: dict[str, tuple[float, float]] = {"large": (0.84, 0.9), "tiny": (0.54, 0.6)}
#: Where the character's centre is: right and down from the image's, in half images.
POSITIONS: dict[str, tuple[float, float]] = {
    "left": (-0.34, 0.0),
    "right": (0.34, 0.0),
    "top": (0.0, -0.34),
    "bottom": (0.0, 0.34),
    "middle": (0.0, 0.0),
}
_VALUES: dict[str, Collection[Any]] = {
    "character": NAMES,
    "colour": COLOURS,
    "typeface": TYPEFACES,
    "bold": (False, True),
    "italic": (False, True),
    "size": SIZES,
    "position": POSITIONS,
}
#: All that a caption may mention.
ATTRIBUTES: tuple[str, ...] = tuple(_VALUES)
#: Pairs of colour and typeface that pretraining must not show.
HELD_OUT_PAIRS = frozenset({("red", "mono"), ("blue", "serif"), ("yellow", "sans")})

_PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
_TRIES = 100  # scenes drawn for one that is kept, before giving up


@dataclass(frozen=True)
class Scene:
    """What an image shows.

    Attributes:
        character: a key of ``NAMES``.
        colour: of the ink, a key of ``COLOURS``.
        typeface: one of ``TYPEFACES``.
        bold: whether strokes are thick.
        italic: whether the character slants.
        size: a key of ``SIZES``.
        position: a key of ``POSITIONS``.

    Raises:
        ValueError: a value is none of those.

    Example:
        >>> scene = Scene("a", "red", "serif", bold=True, italic=False, size="tiny", position="left")
        >>> scene.caption()
        'a tiny bold red serif small a on the left'
        >>> scene.caption(("colour", "position"))
        'a red character on the left'
    """

    character: str
    colour: str
    typeface: str
    bold: bool
    italic: bool
    size: str
    position: str

    def __post_init__(self) -> None:
        for field, allowed in _VALUES.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(
                    f"{field}={value!r} must be one of {', '.join(map(str, allowed))}."
                )

    def caption(self, mention: Collection[str] = ATTRIBUTES) -> str:
        """Say what the image shows, in at most 13 words.

        Args:
            mention: which of ``ATTRIBUTES`` to speak of. Upright and of regular weight go without
                saying; a character that is not mentioned is called "character".

        Returns:
            A phrase such as "a large italic red serif capital b at the top".

        Raises:
            ValueError: ``mention`` names something else.
        """
        unknown = sorted(set(mention) - set(ATTRIBUTES))
        if unknown:
            raise ValueError(
                f"mention={mention!r} names {', '.join(map(repr, unknown))}; "
                f"choose from {', '.join(ATTRIBUTES)}."
            )
        said = {
            "size": self.size,
            "bold": "bold" if self.bold else "",
            "italic": "italic" if self.italic else "",
            "colour": self.colour,
            "typeface": self.typeface,
        }
        words = [word for field, word in said.items() if field in mention and word]
        words.append(NAMES[self.character] if "character" in mention else "character")
        if "position" in mention:
            words.append(_PLACES[self.position])
        article = "an" if words[0][0] in "aeiou" else "a"
        return " ".join((article, *words))


def is_held_out(scene: Scene) -> bool:
    """Whether pretraining must not show a scene's combination of attributes: one in eight."""
    return (scene.colour, scene.typeface) in HELD_OUT_PAIRS


def draw_scenes(
    count: int,
    seed: int,
    characters: Sequence[str],
    keep: Callable[[Scene], bool] = lambda scene: True,
) -> list[Scene]:
    """Draw scenes at random, every attribute uniformly.

    Args:
        count: how many, at least 1.
        seed: of a generator of its own; the same seed gives the same scenes.
        characters: to draw from, keys of ``NAMES``.
        keep: scenes of which it says False are drawn again.

    Raises:
        ValueError: an argument is out of range, or ``keep`` keeps next to nothing.

    Example:
        >>> scenes = draw_scenes(2, seed=0, characters="AB", keep=lambda s: not is_held_out(s))
        >>> [scene.caption(("colour", "character")) for scene in scenes]
        ['a magenta capital b', 'a cyan capital b']
    """
    if count < 1:
        raise ValueError(f"count={count} must be at least 1; ask for one scene or more.")
    if len(characters) == 0:
        raise ValueError("characters is empty; give one or more keys of NAMES.")
    values = [tuple(allowed) for allowed in (_VALUES | {"character": characters}).values()]
    chance = random.Random(seed)
    scenes: list[Scene] = []
    for _ in range(_TRIES * count):
        scene = Scene(*map(chance.choice, values))
        if keep(scene):
            scenes.append(scene)
        if len(scenes) == count:
            return scenes
    raise ValueError(
        f"keep has kept {len(scenes)} of {_TRIES * count} scenes, {count} are needed; "
        "let it keep more, or take other characters."
    )
