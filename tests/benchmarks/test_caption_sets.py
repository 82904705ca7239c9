"""Sets of images with captions and foils, and those that two benchmarks have beside their streams."""

from __future__ import annotations

import pytest
import torch

from avl_pegp.benchmarks import CAPTION_DOMAINS, captioned_domains, named_glyphs
from avl_pegp.benchmarks.captioned import render_classes
from avl_pegp.benchmarks.captioned_domains import caption_classes, caption_set, foils_of, values_of
from avl_pegp.benchmarks.data import ImageDataset, normalise
from avl_pegp.benchmarks.named_characters import NAMES
from avl_pegp.benchmarks.named_glyphs import UNTOUCHED_CHARACTERS
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

CHARACTERS = "AS3π"
ATTRIBUTES = ("character", "colour", "typeface", "position")


@pytest.fixture(scope="module")
def captions():
    return caption_set(CHARACTERS, 0)


def caption(character, colour, typeface, position):
    """Written by hand: what a class of these values is called."""
    side = "in the middle" if position == "middle" else f"at the {position}"
    side = f"on the {position}" if position in ("left", "right") else side
    return f"a {colour} {typeface} {NAMES[character]} {side}".replace("a orange", "an orange")


def test_there_is_one_image_of_each_distinct_caption(captions):
    dataset, texts, _ = captions
    expected = [
        caption(character, colour, typeface, position)
        for character in CHARACTERS
        for colour in COLOURS
        for typeface in TYPEFACES
        for position in POSITIONS
    ]
    assert list(texts) == expected
    assert len(set(texts)) == len(texts) == 480
    assert list(dataset.targets) == list(range(480))
    image, label = dataset[7]
    assert (image.shape, image.dtype, label) == ((3, 32, 32), torch.float32, 7)
    assert dataset.images.min() >= -1 and dataset.images.max() <= 1


def test_a_foil_is_wrong_in_one_attribute_and_each_column_in_its_own(captions):
    classes = caption_classes(CHARACTERS)
    assert tuple(values_of(CHARACTERS)) == ATTRIBUTES
    assert (captions.foils.dtype, captions.foils.shape) == (torch.int64, (480, 4))
    for label, row in enumerate(captions.foils.tolist()):
        for attribute, foil in zip(ATTRIBUTES, row, strict=True):
            differ = [key for key in ATTRIBUTES if classes[label][key] != classes[foil][key]]
            assert differ == [attribute]


def test_every_other_value_is_drawn_about_as_often():
    labels = torch.zeros(8_000, dtype=torch.long).tolist()
    counts = foils_of(labels, CHARACTERS, seed=0)[:, 1].bincount()
    drawn = counts[counts > 0] / 8_000
    assert len(drawn) == len(COLOURS) - 1
    assert (drawn - 1 / 7).abs().max() < 0.02


def test_the_seed_decides_images_and_foils(captions):
    again, other = (caption_set(CHARACTERS, seed) for seed in (0, 1))
    assert torch.equal(captions.dataset.images, again.dataset.images)
    assert torch.equal(captions.foils, again.foils)
    assert not torch.equal(captions.dataset.images, other.dataset.images)
    assert not torch.equal(captions.foils, other.foils)
    assert captions.captions == other.captions


def test_the_matching_set_of_named_glyphs_is_upright_and_of_untouched_characters(captions):
    benchmark = named_glyphs(train_per_class=1, test_per_class=1)
    dataset, texts, foils = benchmark.matching
    assert texts == captions.captions and set(CHARACTERS) <= set(UNTOUCHED_CHARACTERS)
    assert torch.equal(dataset.images, captions.dataset.images)
    assert torch.equal(foils, captions.foils)
    assert not [name for name in benchmark.class_names if any(name in text for text in texts)]


def plain(characters, seed):
    """Images as pretraining has them."""
    rendered = render_classes(caption_classes(characters), 1, seed, "plain")
    return ImageDataset(normalise(rendered.images), torch.tensor(rendered.targets))


def test_the_matching_set_of_captioned_domains_is_of_the_domain_that_no_experience_has():
    benchmark = captioned_domains(("noisy", "pale"), characters="AΩ", seed=3)
    dataset, texts, foils = benchmark.matching
    assert "plain" not in CAPTION_DOMAINS
    assert texts == tuple(benchmark.class_names)
    assert torch.equal(dataset.images, plain("AΩ", 3).images)
    assert foils.shape == (240, 4)
    for experience in (*benchmark.train_stream, *benchmark.test_stream):
        learned = torch.stack([item[0] for item in experience.dataset])
        nearest = torch.cdist(dataset.images.flatten(1), learned.flatten(1)).min()
        assert nearest > 2  # no picture is one of theirs
