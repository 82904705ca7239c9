"""The tiny ViT of photographs: its parts, that every PET goes into it, and that PEGP keeps it."""

from __future__ import annotations

import hashlib

import pytest
import safetensors.torch
import torch
from models import PETS, answers, images, relative_change, tune
from timm.models.vision_transformer import VisionTransformer
from torchvision.transforms.functional import to_pil_image

from avl_pegp.backbones import WeightsSource, create_vit, photo_vit, transforms_of
from avl_pegp.backbones.photo_vit import ResidualStem
from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.projection import PEGP

PARAMETERS = 6_100_000
MEGABYTES = 16


def blank(num_classes: int = 6, **options) -> VisionTransformer:
    torch.manual_seed(0)
    return create_vit(photo_vit.PHOTO_VIT, num_classes, **options)


def test_model_and_file_stay_small() -> None:
    assert sum(parameter.numel() for parameter in blank().parameters()) <= PARAMETERS
    assert photo_vit.WEIGHTS_FILE.stat().st_size <= MEGABYTES * 2**20


def test_pretrained_weights_fill_everything_but_the_head_in_full_precision() -> None:
    plain, loaded = (blank(pretrained=p).state_dict() for p in (False, True))
    shipped = safetensors.torch.load_file(photo_vit.WEIGHTS_FILE)
    assert set(shipped) == {key for key in loaded if not key.startswith("head.")}
    for key, value in loaded.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, shipped[key].float() if key in shipped else plain[key])
    assert {value.dtype for value in shipped.values()} == {torch.float16}


def test_they_are_the_ones_that_are_meant() -> None:
    digest = hashlib.sha256(photo_vit.WEIGHTS_FILE.read_bytes()).hexdigest()
    assert digest == photo_vit.WEIGHTS_SHA256
    source = WeightsSource(photo_vit.PHOTO_VIT, photo_vit.WEIGHTS_FILE.name, digest)
    assert blank(pretrained=True).weights_source == source


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


@pytest.mark.parametrize("pretrained", [False, True])
def test_at_energy_1_old_outputs_stay(pretrained: bool) -> None:
    model = blank(pretrained=pretrained).double()
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
