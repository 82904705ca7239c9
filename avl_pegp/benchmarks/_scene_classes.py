"""Classes of scenes: what the streams of captioned glyphs are made of.

A class is what all its scenes have in common, as values by attribute; the others are drawn at random.
The caption that mentions just these attributes is what the class is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch

from avl_pegp.benchmarks._images import ImageDataset
from avl_pegp.benchmarks.captioned import render_scenes
from avl_pegp.benchmarks.named_characters import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.scenes import Scene, draw_scenes

SceneClass = Mapping[str, Any]

_ANY = Scene("A", "red", "sans", bold=False, italic=False, size="large", position="middle")


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
    """Training and test images, other ones each; test images do not depend on the training ones."""
    train, test = (
        render_classes(classes, count, 2 * seed + part, domain)
        for part, count in enumerate((train_per_class, test_per_class))
    )
    return train, test
