"""Captioned glyphs: small images of characters, of which captions say only what they show.

A class of scenes is what all of them have in common, as values by attribute; the others are drawn at
random. The caption that mentions just these attributes is what the class is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Generator, Tensor

from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.data import ImageDataset
from avl_pegp.benchmarks.named_characters import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.rendering import (
    FAMILIES,
    draw_glyph,
    expose,
    place,
    render_both,
    uniform,
)
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, SIZES, Scene, draw_scenes

SceneClass = Mapping[str, Any]

_ANY = Scene("A", "red", "sans", bold=False, italic=False, size="large", position="middle")
_SIZE = 32  # height and width of the images
_ROOM = 21  # pixels that a character at scale 1 may take, so that it is whole at either side too
_LEAN = 0.1  # radians that a character may lean to either side
_SWAY = 0.05  # how far off its place it may be, in half images
_TINT = 0.05  # how far off its colour
_NOISE = (0.02, 0.05)  # range of the pixel noise's standard deviation
_CHUNK = 1024  # images worked on at a time: bounds memory, and is part of what a seed means


@dataclass(frozen=True)
class _Domain:
    """How images of a domain differ from plain ones; none makes a caption untrue.

    So characters are tilted, not images, which would move what is on the left; and the paper is
    made paler, not inverted, which would change the colours.
    """

    paper: tuple[float, float] = (0.0, 0.2)
    tilt: float = 0.0
    corruption: str = "plain"


_DOMAINS = {
    "plain": _Domain(),
    "tilted": _Domain(tilt=math.radians(30)),
    "pale": _Domain(paper=(0.25, 0.4)),
    "noisy": _Domain(corruption="noisy"),
    "striped": _Domain(corruption="striped"),
    "blurred": _Domain(corruption="blurred"),
}

#: Characters on dark paper; tilted to the left by 30 degrees; on paler paper; under noise; behind
#: stripes; out of focus. Not so far from plain that what was learned there is of no use.
SCENE_DOMAINS: tuple[str, ...] = tuple(_DOMAINS)


def render_scenes(scenes: Sequence[Scene], seed: int, domain: str = "plain") -> Tensor:
    """Make an image of each scene.

    The images depend on the arguments alone (and on the installed versions of Pillow, matplotlib and
    torch); torch's global random state is neither read nor changed.

    Args:
        scenes: what to show, one or more.
        seed: of small differences in tilt, size, place, tint, paper and noise.
        domain: one of ``SCENE_DOMAINS``.

    Returns:
        Images, uint8 ``(len(scenes), 3, 32, 32)``.

    Raises:
        ValueError: there is no scene, or the domain is not known.

    Example:
        >>> from avl_pegp.benchmarks import draw_scenes
        >>> render_scenes(draw_scenes(3, seed=0, characters="AB"), seed=0).shape
        torch.Size([3, 3, 32, 32])
    """
    if len(scenes) == 0:
        raise ValueError("scenes is empty; give one or more.")
    if domain not in _DOMAINS:
        raise ValueError(f"domain={domain!r} must be one of {', '.join(SCENE_DOMAINS)}.")
    look = _DOMAINS[domain]
    masters = {key: draw_glyph(*key, _SIZE) for key in dict.fromkeys(map(_drawing, scenes))}
    generator = torch.Generator().manual_seed(seed)
    chunks = [scenes[start : start + _CHUNK] for start in range(0, len(scenes), _CHUNK)]
    images = torch.cat([_paint(chunk, masters, look, generator) for chunk in chunks])
    return CORRUPTIONS[look.corruption](images, corruption_generator(seed))


def _drawing(scene: Scene) -> tuple[str, str]:
    """The character and the font that it is drawn in."""
    return scene.character, FAMILIES[scene.typeface][scene.bold + 2 * scene.italic]


def _paint(
    scenes: Sequence[Scene],
    masters: dict[tuple[str, str], Tensor],
    look: _Domain,
    generator: Generator,
) -> Tensor:
    """Images of one domain before its corruption, uint8 (B, 3, 32, 32)."""
    count = len(scenes)
    drawings = torch.stack([masters[_drawing(scene)] for scene in scenes])
    low, high = torch.tensor([SIZES[scene.size] for scene in scenes]).unbind(1)
    ink = place(
        drawings,
        look.tilt + _about_zero((count,), _LEAN, generator),
        _fit(drawings) * torch.lerp(low, high, torch.rand(count, generator=generator)),
        _about_zero((count, 2), _SWAY, generator)
        - torch.tensor([POSITIONS[scene.position] for scene in scenes]),
    )
    colour = torch.tensor([COLOURS[scene.colour] for scene in scenes])[..., None, None]
    colour = colour + _about_zero((count, 3, 1, 1), _TINT, generator)
    paper = uniform((count, 3, 1, 1), look.paper, generator)
    return expose(paper, colour, ink, _NOISE, generator)


def _fit(drawings: Tensor) -> Tensor:
    """The scale at which a drawing uint8 (B, 1, S, S) has room at every place, (B,)."""
    inked = drawings[:, 0] > 0
    extent = torch.maximum(inked.any(1).sum(1), inked.any(2).sum(1))
    return (_ROOM * drawings.shape[-1] / _SIZE / extent).clamp(max=1)


def _about_zero(shape: tuple[int, ...], most: float, generator: Generator) -> Tensor:
    return most * (2 * torch.rand(shape, generator=generator) - 1)


def classes_by(**values: Iterable[str]) -> list[SceneClass]:
    """A class for each combination of the attributes' values, the last attribute's fastest."""
    return [
        dict(zip(values, combination, strict=True)) for combination in product(*values.values())
    ]


def caption_of(scene_class: SceneClass) -> str:
    """Such as "a capital b" or "a red character at the top"."""
    return replace(_ANY, **scene_class).caption(tuple(scene_class))


def name_of(scene_class: SceneClass) -> str:
    """The caption without its article, for a prompt such as "a {}"."""
    return caption_of(scene_class).split(" ", 1)[1]


def render_classes(
    classes: Sequence[SceneClass], per_class: int, seed: int, domain: str
) -> ImageDataset:
    """Images of so many random scenes of each class; an image's label is its class's index."""
    labels = torch.arange(len(classes)).repeat_interleave(per_class)
    scenes = draw_scenes(len(labels), seed, PRETRAINING_CHARACTERS)
    of_class = [
        replace(scene, **classes[label])
        for scene, label in zip(scenes, labels.tolist(), strict=True)
    ]
    return ImageDataset(render_scenes(of_class, seed, domain), labels)


def render_parts(
    classes: Sequence[SceneClass],
    train_per_class: int,
    test_per_class: int,
    seed: int,
    domain: str,
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test images of random scenes of each class, see ``render_both``."""
    render = partial(render_classes, classes, domain=domain)
    return render_both(render, train_per_class, test_per_class, seed)
