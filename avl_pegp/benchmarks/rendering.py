"""Characters as small images, rendered from the fonts that matplotlib ships.

Each (character, font) pair is drawn once, large, with Pillow. An image of the data set is that
drawing under a random rotation, size and shift, in two random colours, with pixel noise; all images
of a call are made together on tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from avl_pegp.benchmarks.data import ImageDataset

#: The DejaVu families, each regular, bold, slanted and both: others of matplotlib lack most scripts.
FAMILIES: dict[str, tuple[str, ...]] = {
    name: (family, f"{family}-Bold", f"{family}-{slanted}", f"{family}-Bold{slanted}")
    for name, family, slanted in (
        ("sans", "DejaVuSans", "Oblique"),
        ("serif", "DejaVuSerif", "Italic"),
        ("mono", "DejaVuSansMono", "Oblique"),
    )
}
#: The fonts of all families.
FONTS: tuple[str, ...] = tuple(chain.from_iterable(FAMILIES.values()))

_OVERSAMPLING = 2  # masters and warped images have this many pixels for one final pixel
_EM = 0.8  # font size, as a fraction of the image: the widest letters just fit
_DARK, _LIGHT = (0.0, 0.35), (0.6, 1.0)  # ink and paper are one of each, so that they never meet
_CHUNK = 1024  # images worked on at a time: bounds memory, and is part of what a seed means


@dataclass(frozen=True)
class Variation:
    """How much images of one character differ; every value is drawn uniformly for each image.

    Attributes:
        rotation: at most this many degrees, to either side.
        scale: range of the size, 1 fills the image.
        shift: at most this share of the image, in each direction.
        noise: range of the pixel noise's standard deviation; pixels go from 0 to 1.
        inverted: share of images with light ink on dark paper.
    """

    rotation: float = 20.0
    scale: tuple[float, float] = (0.6, 1.0)
    shift: float = 0.1
    noise: tuple[float, float] = (0.02, 0.12)
    inverted: float = 0.5


def render_glyphs(
    characters: Sequence[str],
    per_class: int,
    seed: int,
    size: int = 32,
    fonts: Sequence[str] = FONTS,
    variation: Variation | None = None,
) -> tuple[Tensor, Tensor]:
    """Render ``per_class`` random images of each character.

    The images depend on the arguments alone (and on the installed versions of Pillow, matplotlib and
    torch); torch's global random state is neither read nor changed.

    Args:
        characters: distinct single characters; the label of an image is its index in here.
        per_class: images of each character, at least 1.
        seed: of a generator of its own; the same seed gives the same pixels.
        size: height and width of the images in pixels, at least 8.
        fonts: names out of ``FONTS``, drawn from uniformly for each image.
        variation: how much images differ; None for the defaults.

    Returns:
        Images, uint8 ``(len(characters) * per_class, 3, size, size)``, sorted by label, and labels,
        int64 ``(len(characters) * per_class,)``.

    Raises:
        ValueError: an argument is out of range, or a font has no drawing of a character.

    Example:
        >>> images, labels = render_glyphs("ΔΩ", per_class=3, seed=0)
        >>> images.shape, labels.tolist()
        (torch.Size([6, 3, 32, 32]), [0, 0, 0, 1, 1, 1])
    """
    _check(characters, per_class, size, fonts)
    masters = torch.stack(
        [draw_glyph(character, font, size) for character in characters for font in fonts]
    )
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(characters)).repeat_interleave(per_class)
    chosen = torch.randint(len(fonts), labels.shape, generator=generator)
    drawings = labels * len(fonts) + chosen
    variation = variation or Variation()
    chunks = [
        _photograph(masters[part], variation, generator) for part in torch.split(drawings, _CHUNK)
    ]
    return torch.cat(chunks), labels


def _check(characters: Sequence[str], per_class: int, size: int, fonts: Sequence[str]) -> None:
    odd = [character for character in characters if len(character) != 1]
    if odd or len(characters) == 0 or len(set(characters)) != len(characters):
        raise ValueError(
            f"characters={characters!r} must be one or more distinct single characters; "
            f"remove repeated and longer ones{f' such as {odd[0]!r}' if odd else ''}."
        )
    if per_class < 1:
        raise ValueError(f"per_class={per_class} must be at least 1; ask for one image or more.")
    if size < 8:
        raise ValueError(f"size={size} must be at least 8 pixels, below that no letter is legible.")
    unknown = sorted(set(fonts) - set(FONTS))
    if unknown or len(fonts) == 0:
        raise ValueError(f"fonts={fonts!r} must be one or more of {', '.join(FONTS)}.")


def draw_glyph(character: str, font: str, size: int = 32) -> Tensor:
    """Draw one character upright in full size, its ink centred.

    Args:
        character: a single character.
        font: one of ``FONTS``.
        size: of the images that the drawing is for, in pixels; it has twice as many each way.

    Returns:
        uint8 ``(1, 2 * size, 2 * size)``, 255 where there is ink.

    Raises:
        ValueError: the font has no drawing of the character.

    Example:
        >>> draw_glyph("Ω", "DejaVuSerif").shape
        torch.Size([1, 64, 64])
    """
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if FT2Font(str(path)).get_char_index(ord(character)) == 0:
        raise ValueError(
            f"font {font} has no drawing of {character!r} (U+{ord(character):04X}); "
            "leave the character out of `characters` or the font out of `fonts`."
        )
    side = size * _OVERSAMPLING
    em = round(_EM * side)
    # BASIC layout: the only one that is present in, and draws alike with, every build of Pillow.
    typeface = ImageFont.truetype(str(path), em, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = typeface.getbbox(character)
    extent = max(right - left, bottom - top)
    room = side - 2  # an empty rim, so that nothing smears over the edge when the drawing is warped
    if extent > room:  # a few wide bold letters; cutting their ends off would change what they are
        typeface = typeface.font_variant(size=math.floor(em * room / extent))
        left, top, right, bottom = typeface.getbbox(character)
    canvas = Image.new("L", (side, side))
    corner = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, character, fill=255, font=typeface)
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).view(1, side, side)


def place(drawings: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn, resize and move drawings.

    Args:
        drawings: as of ``draw_glyph``, uint8 ``(B, 1, 2 S, 2 S)``.
        angle: in radians, ``(B,)``, anticlockwise.
        scale: 1 is as drawn, ``(B,)``.
        shift: how far to the left and up on the result, in half images, ``(B, 2)``.

    Returns:
        How much of each pixel is ink, float 0 to 1, ``(B, 1, S, S)``.
    """
    zoom = 1 / scale
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    affine = torch.cat([linear, linear @ shift[..., None]], 2)
    grid = F.affine_grid(affine, list(drawings.shape), align_corners=False)
    warped = F.grid_sample(drawings.float() / 255, grid, align_corners=False)
    return F.avg_pool2d(warped, _OVERSAMPLING)


def _photograph(drawings: Tensor, variation: Variation, generator: Generator) -> Tensor:
    """Drawings uint8 (B, 1, S, S) to images uint8 (B, 3, S / 2, S / 2), each varied at random."""
    turn, shift = math.radians(variation.rotation), 2 * variation.shift
    count = (len(drawings),)
    ink = place(
        drawings,
        uniform(count, (-turn, turn), generator),
        uniform(count, variation.scale, generator),
        uniform((*count, 2), (-shift, shift), generator),
    )
    paper, colour = _random_colours(len(drawings), variation.inverted, generator)
    return expose(paper, colour, ink, variation.noise, generator)


def expose(
    paper: Tensor, colour: Tensor, ink: Tensor, noise: tuple[float, float], generator: Generator
) -> Tensor:
    """Images of ink on paper under pixel noise, uint8 ``(B, 3, S, S)``.

    Args:
        paper: its colours, float 0 to 1, ``(B, 3, 1, 1)``.
        colour: those of the ink.
        ink: as of ``place``.
        noise: range of the standard deviation.
        generator: of the noise.
    """
    images = torch.lerp(paper, colour, ink)
    deviation = uniform((len(images), 1, 1, 1), noise, generator)
    images += deviation * torch.randn(images.shape, generator=generator)
    return (images.clamp_(0, 1) * 255).round_().to(torch.uint8)


def _random_colours(
    count: int, share_inverted: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Colours of paper and ink, (count, 3, 1, 1) each: one dark, one light, either way round."""
    dark = uniform((count, 3, 1, 1), _DARK, generator)
    light = uniform((count, 3, 1, 1), _LIGHT, generator)
    inverted = torch.rand((count, 1, 1, 1), generator=generator) < share_inverted
    return torch.where(inverted, dark, light), torch.where(inverted, light, dark)


def uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: Generator) -> Tensor:
    """Random numbers within bounds."""
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator)


def render_both(
    render: Callable[[int, int], ImageDataset], train_per_class: int, test_per_class: int, seed: int
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test images, other ones each; test images do not depend on the training ones.

    Args:
        render: makes so many images of each class of a seed.
        train_per_class: how many are training images.
        test_per_class: how many are test images.
        seed: of two seeds, one for each part.

    Raises:
        ValueError: a count is below 1.
    """
    counts = {"train_per_class": train_per_class, "test_per_class": test_per_class}
    for field, count in counts.items():
        if count < 1:
            raise ValueError(f"{field}={count} must be at least 1; ask for one image or more.")
    return render(train_per_class, 2 * seed), render(test_per_class, 2 * seed + 1)
