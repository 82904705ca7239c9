"""The linear adapter against its equation, and against CLIP-Adapter's mixture."""

from __future__ import annotations

import math

import pytest
import torch
from clip_forms import FORMS, IMAGES, stirred
from clips import small_clip
from torch.nn import functional as F

from avl_pegp.pet import LinearAdapter, LoRA, Prompt, attach, trainable_tensors

TOKENS = torch.tensor([[1, 5, 9, 49407]])


def raw(model, tower):
    """The tower's features before the adapter."""
    with torch.no_grad():
        return model.clip.visual(IMAGES) if tower == "image" else model._text.encode(TOKENS)


def adapted(model, tower):
    with torch.no_grad():
        if tower == "image":
            return model.encode_image(IMAGES)
        return model.encode_tokens(TOKENS)


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize("form", FORMS)
def test_features_are_those_of_the_equation_at_unit_length(form, tower):
    model = FORMS[form]()
    attach(model, LinearAdapter(5, scale=0.5, tower=tower))
    t = {n.split(".", 1)[1]: p.detach() for n, p in trainable_tensors(stirred(model)).items()}
    f = raw(model, tower)
    h = f @ t["down.weight"].T + t["down.bias"]
    h = h / 2 * (1 + torch.erf(h / math.sqrt(2)))
    y = f + 0.5 * (h @ t["up.weight"].T + t["up.bias"])
    torch.testing.assert_close(adapted(model, tower), y / y.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("alpha", [0.2, 0.6])
def test_a_scale_of_alpha_over_the_rest_is_clip_adapters_mixture(alpha):
    model = small_clip()
    attach(model, LinearAdapter(5, scale=alpha / (1 - alpha)))
    layer, f = stirred(model).image_features, raw(model, "image")
    with torch.no_grad():
        mixture = alpha * layer.up(F.gelu(layer.down(f))) + (1 - alpha) * f
    torch.testing.assert_close(adapted(model, "image"), F.normalize(mixture, dim=1))


def test_each_tower_has_its_own_beside_other_pets_in_any_order():
    pets = (LinearAdapter(3), Prompt(2, deep=False), LinearAdapter(2, tower="text"), LoRA(2))
    for order in (pets, pets[::-1]):
        model = small_clip()
        attach(model, *order)
        assert model.image_features.down.weight.shape == (3, 40)
        assert model.text_features.down.weight.shape == (2, 40)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bottleneck": 0}, "LinearAdapter.bottleneck=0: must be a whole number of at least 1"),
        (
            {"bottleneck": 2, "scale": 0},
            "LinearAdapter.scale=0: must be a finite number other than 0",
        ),
        ({"bottleneck": 2, "scale": math.nan}, "LinearAdapter.scale=nan"),
    ],
)
def test_fields_outside_their_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LinearAdapter(**fields)
