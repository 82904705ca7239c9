"""The promise for CLIP: at ``energy=1`` old images and old class prompts keep their features."""

from __future__ import annotations

from itertools import combinations, cycle, product

import pytest
import torch
from clips import NAMES, pictures, small_clip
from models import OPTIMIZERS, relative_change, tune

from avl_pegp.pet import (
    Adapter,
    LinearAdapter,
    LoRA,
    Prefix,
    Prompt,
    attach,
    pet_parameters,
    trainable_tensors,
)
from avl_pegp.projection import PEGP

ALL = ("qkv", "proj", "fc1", "fc2")
PETS = {
    "image lora": LoRA(3, targets=ALL),
    "image adapter": Adapter(4),
    "image prefix": Prefix(24),
    "image prompt": Prompt(24),
    "linear adapter": LinearAdapter(4),
    "text lora": LoRA(3, targets=ALL, tower="text"),
    "text adapter": Adapter(4, tower="text"),
}
CASES = [  # every PET with every optimizer; of pairs and optimizers, each with some of the others
    *product([(name,) for name in PETS], OPTIMIZERS),
    *zip(combinations(PETS, 2), cycle(OPTIMIZERS)),
]
OTHER_FORMS = {
    "lora on keys and values, adapter beside attention, both towers": (
        LoRA(3, targets=("k", "v")),
        Adapter(4, parallel_to="attention"),
        LoRA(2, targets=("q", "v"), tower="text"),
        Adapter(2, parallel_to="attention", tower="text"),
    ),
    "prefix and prompt in the text tower": (Prefix(24, tower="text"), Prompt(24, tower="text")),
    "linear adapters on both": (LinearAdapter(4), LinearAdapter(3, tower="text")),
    "everything": tuple(PETS.values()),
}
OLD, NEW = [0, 1, 2], [3, 4, 5]


def two_experiences(pets, optimizer, project="step", custom_text=False, dtype=torch.float64):
    """Changes over 25 steps on a second experience: old features, new logits, weights."""
    model = small_clip(dtype, custom_text=custom_text)
    attach(model, *pets)
    for name, p in trainable_tensors(model).items():
        if "tokens" in name:  # of a size that attention reacts to
            torch.nn.init.normal_(p)
    optimizer = OPTIMIZERS[optimizer](pet_parameters(model))
    pegp = PEGP(model, energy=1.0, project=project)
    old, new = pictures(2, seed=1, dtype=dtype), pictures(8, seed=2, dtype=dtype)

    pegp.begin(OLD)
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=10)
    pegp.gather([old])
    pegp.extend()
    before, new_before, weights = old_features(model, old), answers(model, new), flat(model)

    pegp.begin(NEW)
    tune(model, optimizer, pegp, new, torch.tensor([3, 4, 5, 3, 4, 5, 3, 4]), steps=25)
    changes = zip(old_features(model, old), before, strict=True)
    return (
        max(relative_change(now, then) for now, then in changes),
        relative_change(answers(model, new), new_before),
        relative_change(flat(model), weights),
    )


@torch.no_grad()
def old_features(model, old):
    """Of old images, of old class prompts, and what they say of each other."""
    images, texts = model.eval().encode_image(old), model.encode_classes(OLD)
    return images, texts, model(old)[:, OLD]


@torch.no_grad()
def answers(model, images):
    return model.eval()(images)


def flat(model):
    return torch.cat([p.detach().flatten() for p in trainable_tensors(model).values()])


@pytest.mark.parametrize(("names", "optimizer"), CASES, ids=str)
def test_old_images_and_prompts_stay_and_new_ones_move(names, optimizer):
    old, new, moved = two_experiences([PETS[name] for name in names], optimizer)
    assert old <= 1e-9
    learned_tokens = {"image prefix", "image prompt"}
    assert moved > 1e-9 if set(names) <= learned_tokens else new > 1e-5


@pytest.mark.parametrize("custom_text", [False, True], ids=["CLIP", "CustomTextCLIP"])
@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_are_exact_too(form, custom_text):
    old, _, moved = two_experiences(OTHER_FORMS[form], "adamw_decay", custom_text=custom_text)
    assert old <= 1e-9
    assert moved > 1e-9


@pytest.mark.parametrize("names", [("image lora", "text lora"), ("linear adapter",)], ids="+".join)
def test_projecting_gradients_alone_drifts_under_adamw(names):
    old, *_ = two_experiences([PETS[n] for n in names], "adamw_decay", project="gradient")
    assert old > 1e-3


def test_old_features_nearly_stay_in_float32():
    old, *_ = two_experiences(OTHER_FORMS["everything"], "adamw_decay", dtype=torch.float32)
    assert old <= 1e-4


def test_prompts_of_classes_to_come_are_not_protected():
    def protected(classes, names=NAMES):
        model = small_clip(class_names=names)
        torch.manual_seed(1)
        attach(model, PETS["text lora"])
        pegp = PEGP(model, energy=1.0)
        pegp.begin(classes)
        pegp.gather([pictures(2, seed=1)])
        pegp.extend()
        return pegp.ranks()

    assert protected(OLD) == protected(OLD, NAMES[:3])
    assert protected(OLD) != protected(None) == protected([*OLD, *NEW])


def test_training_minibatches_cannot_feed_statistics_of_the_text_side():
    model = small_clip()
    attach(model, PETS["text lora"])
    pegp = PEGP(model)
    pegp.begin(OLD)
    with pytest.raises(ValueError, match="the text side is trained"), pegp.gathering():
        model(pictures(2, seed=1))
