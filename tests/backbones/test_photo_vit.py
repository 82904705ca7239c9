"""The tiny ViT of photographs: its parts, that every PET goes into it, and that PEGP keeps it."""

from __future__ import annotations

import pytest
import torch
from models import PETS, answers, images, relative_change, tune
from timm.models.vision_transformer import VisionTransformer
from torchvision.transforms.functional import to_pil_image

from avl_pegp.backbones import WeightsSource, create_vit, photo_vit, transforms_of
from avl_pegp.backbones.photo_vit import ResidualStem
from avl_pegp.backbones.state_dicts import WeightsError
from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.projection import PEGP

PARAMETERS = 6_100_000


def blank(num_classes: int = 6, **options) -> VisionTransformer:
    torch.manual_seed(0)
    return create_vit(photo_vit.PHOTO_VIT, num_classes, **options)


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in blank().parameters()) <= PARAMETERS


def test_it_sees_a_class_token_and_16_patches() -> None:
    model = blank()
    assert model.forward_features(images(2, seed=0, dtype=torch.float32)).shape == (2, 17, 256)


def test_no_layer_keeps_batch_statistics() -> None:
    assert not list(blank().buffers())


def test_images_of_32_pixels_are_tested_whole() -> None:
    _, test = transforms_of(blank())
    pixels = torch.arange(32 * 32).reshape(32, 32).remainder(256).byte()
    image = to_pil_image(pixels.expand(3, 32, 32))
    torch.testing.assert_close(test(image)[0], pixels / 127.5 - 1)


def test_random_weights_say_that_they_are() -> None:
    assert blank().weights_source == WeightsSource(photo_vit.PHOTO_VIT)


def test_options_but_rates_are_refused() -> None:
    assert blank(proj_drop_rate=0.5).blocks[0].attn.proj_drop.p == 0.5
    with pytest.raises(ValueError, match=r"depth=12 is not an option of tiny_vit_32.photos"):
        blank(depth=12)


@pytest.mark.parametrize("geometry", [{"img_size": 30}, {"patch_size": 16}, {"embed_dim": 6}])
def test_the_stem_refuses_what_three_strides_cannot_give(geometry: dict) -> None:
    with pytest.raises(ValueError, match="ResidualStem got .* it needs patch_size=8"):
        ResidualStem(**geometry)


@pytest.mark.parametrize("pet", PETS)
def test_every_pet_goes_into_it_and_leaves_what_it_computes_or_can_be_trained(pet: str) -> None:
    model = blank().eval()
    x = images(2, seed=1, dtype=torch.float32)
    before = model(x)
    attach(model, PETS[pet])
    if pet in ("lora", "adapter"):
        torch.testing.assert_close(model(x), before)
    model(x).sum().backward()
    assert all(p.grad is not None for group in pet_parameters(model) for p in group["params"])
    assert all(p.grad is None for p in model.patch_embed.parameters())


def test_at_energy_1_old_outputs_stay() -> None:
    model = blank().double()
    attach(model, LoRA(3))
    optimizer = torch.optim.AdamW(pet_parameters(model), lr=1e-2, weight_decay=0.1)
    pegp = PEGP(model, energy=1.0)
    old, new = images(2, seed=1), images(8, seed=2)
    pegp.begin({0, 1, 2})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=3)
    pegp.gather([old])
    pegp.extend()
    before = answers(model, old), answers(model, new)
    pegp.begin({3, 4, 5})
    tune(model, optimizer, pegp, new, torch.tensor([3, 4, 5, 3, 4, 5, 3, 4]), steps=8)
    assert relative_change(answers(model, old), before[0]) <= 1e-9
    assert relative_change(answers(model, new), before[1]) > 1e-5


def test_weights_that_are_not_shipped_are_refused_with_the_way_to_make_them() -> None:
    with pytest.raises(WeightsError, match=r"tiny_vit_photos.py, and give the file as pretrained"):
        create_vit(photo_vit.PHOTO_VIT, 3, pretrained=True)
