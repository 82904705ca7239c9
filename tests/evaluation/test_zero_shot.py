from __future__ import annotations

import pytest
import torch
from clips import pictures, small_clip
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import (
    encoded_classes,
    encoded_images,
    encoded_texts,
    zero_shot_accuracy,
)
from avl_pegp.pet import Context, LoRA, attach

OWN, OTHERS = ("red fox", "blue sky"), ("green tree", "old car", "big house", "key")
IMAGES = pictures(9, seed=1)


class Centred(torch.nn.Module):
    """Takes off what an untrained tower gives for any image: else all are nearest to one prompt."""

    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, features):
        return features - self.mean


@pytest.fixture
def model():
    model = small_clip(class_names=OWN, template="a {}.")
    with torch.no_grad():
        model.image_features = Centred(model.clip.visual(IMAGES).mean(dim=0))
    return model


def labelled(targets):
    return TensorDataset(IMAGES, torch.tensor(targets))


@torch.no_grad()
def nearest(model, names):
    """The oracle: each image and each prompt alone."""
    prompts = torch.cat([model.encode_text([f"a {name}."]) for name in names])
    return [int((model.encode_image(x[None]) @ prompts.T).argmax()) for x in IMAGES]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("names", [OTHERS, (*OTHERS, *OWN), OWN])
def test_accuracy_is_the_share_of_images_nearest_to_their_own_prompt(model, names, batch_size):
    answers = nearest(model, names)
    assert len(set(answers)) > 1
    wrong = [(a + 1) % len(names) for a in answers]
    for right in range(len(IMAGES) + 1):
        targets = answers[:right] + wrong[right:]
        accuracy = zero_shot_accuracy(model, labelled(targets), names, batch_size)
        assert accuracy == right / len(IMAGES)


def test_features_are_in_the_data_sets_order_whatever_the_batches(model):
    features, targets = encoded_images(model, labelled(list(range(9))), batch_size=4)
    assert targets.tolist() == list(range(9))
    assert not features.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(features, model.encode_image(IMAGES))
        texts = encoded_texts(model, OTHERS, batch_size=3)
        torch.testing.assert_close(texts, model.encode_text(OTHERS))


def test_classes_and_modes_are_afterwards_what_they_were_also_on_errors(model):
    attach(model, LoRA(2))
    model.train()
    modes = [module.training for module in model.modules()]
    assert set(modes) == {True, False}
    before = model(IMAGES[:2])
    zero_shot_accuracy(model, labelled([0] * 9), OTHERS)
    too_long = " ".join(["key"] * 20)
    for names, targets in ((OTHERS, [4] * 9), ((*OTHERS, too_long), [0] * 9)):
        with pytest.raises(ValueError):
            zero_shot_accuracy(model, labelled(targets), names)
    assert model.class_names == OWN
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(model(IMAGES[:2]), before)


@torch.no_grad()
def test_names_that_differ_from_the_models_own_in_capitals_alone_have_the_same_prompt(model):
    torch.testing.assert_close(
        encoded_classes(model, ["KEY", "Red Fox"])[1], model.encode_classes()[0]
    )


def test_a_learned_context_stands_before_the_names_of_other_data_sets_too(model):
    attach(model, Context(2))
    with torch.no_grad():
        plain = encoded_classes(model, OTHERS)
        weight = model.clip.token_embedding.vectors.weight
        weight.add_(torch.randn_like(weight))
        learned = encoded_classes(model, (*OTHERS, OWN[0]))
        own = model.encode_classes([0])
        assert not torch.allclose(learned[:4], plain)
        model.settle_context([0, 1])  # the live context is the template's words again
        settled = encoded_classes(model, (*OTHERS, OWN[0]))
    torch.testing.assert_close(settled[:4], plain)
    torch.testing.assert_close(settled[4:], own)


@pytest.mark.parametrize(
    ("targets", "names", "message"),
    [
        ([4] * 9, OTHERS, "targets go from 4 to 4: must be indices of the 4 class_names"),
        ([-1] * 9, OTHERS, "targets go from -1 to -1"),
        ([0] * 9, ("key", "key"), r"class_names has \['key'\] more than once"),
        ([0] * 9, (), "class_names has nothing"),
        ([0] * 9, "ab", "class_names='ab': must be a list of texts"),
        ([0] * 9, ("key", " "), "none empty"),
    ],
)
def test_names_that_do_not_fit_the_targets_are_refused(model, targets, names, message):
    with pytest.raises(ValueError, match=message):
        zero_shot_accuracy(model, labelled(targets), names)


@pytest.mark.parametrize("texts", ["ab", ["fox", ""], []])
def test_texts_that_are_no_list_of_words_are_refused(model, texts):
    with pytest.raises(ValueError, match="texts.* must be"):
        encoded_texts(model, texts)


def test_an_empty_data_set_is_refused(model):
    with pytest.raises(ValueError, match="the data set has no samples"):
        encoded_images(model, TensorDataset(IMAGES[:0], torch.arange(0)))
