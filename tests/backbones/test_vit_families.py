"""Eva, DINOv3, BEiT and relative positions by ``create_vit``: built, loaded and transformed for."""

from __future__ import annotations

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from avl_pegp import LoRA, attach, create_vit
from avl_pegp.backbones import WeightsError, transforms_of

SMALL = {"depth": 1, "embed_dim": 32, "num_heads": 2}
FAMILIES = {  # name, whether position embeddings are resampled
    "eva02_tiny_patch14_224": True,
    "eva02_base_patch16_clip_224": True,
    "vit_small_patch16_dinov3": False,
    "vit_pe_core_tiny_patch16_384": True,
    "beit_base_patch16_224": False,
    "beit3_base_patch16_224": True,
    "vit_relpos_small_patch16_224": False,
    "vit_small_patch16_18x2_224": True,
}


def small(name, size=64, **options):
    options = {**SMALL, "img_size": size, "patch_size": 16, **options}
    return create_vit(name, num_classes=3, **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_built_takes_pets_and_has_transforms(name):
    model = small(name)
    attach(model, LoRA(2))
    train, test = transforms_of(model)
    picture = Image.new("RGB", (90, 70))
    assert train(picture).shape == test(picture).shape == (3, 64, 64)
    assert model(test(picture)[None]).shape == (1, 3)
    assert model.weights_source.tag.startswith(name)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_a_family_is_loaded_without_its_head(name, tmp_path):
    torch.manual_seed(1)
    options = {**SMALL, "img_size": 64, "patch_size": 16}
    source = timm.create_model(name, num_classes=3, **options)
    torch.nn.init.normal_(source.head.bias)
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(source.state_dict(), file)
    model = small(name, pretrained=file)
    loaded = model.state_dict()
    for key, value in source.state_dict().items():
        assert torch.equal(loaded[key], value) is not key.startswith("head."), key
    assert set(model.weights_source.dropped) == {"head.weight", "head.bias"}
    assert model.weights_source.file == "model.safetensors"


@pytest.mark.parametrize("name", [name for name, resampled in FAMILIES.items() if resampled])
def test_embeddings_of_another_size_are_resampled_as_timm_does(name, tmp_path):
    options = {**SMALL, "patch_size": 16, "num_classes": 3}
    source = timm.create_model(name, img_size=96, **options)
    torch.nn.init.normal_(source.pos_embed)
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(source.state_dict(), file)
    model = small(name, pretrained=file)
    source.set_input_size(img_size=(64, 64))
    torch.testing.assert_close(model.pos_embed, source.pos_embed)


def test_positions_that_can_not_be_resampled_are_refused(tmp_path):
    source = timm.create_model(
        "beit_base_patch16_224", img_size=96, **SMALL, patch_size=16, num_classes=3
    )
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(source.state_dict(), file)
    with pytest.raises(WeightsError, match=r"of another shape.*relative_position_bias_table"):
        small("beit_base_patch16_224", pretrained=file)


def test_weights_of_the_hub_that_have_no_head_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    tag, options = "vit_small_patch16_dinov3.lvd1689m", {**SMALL, "img_size": 64}
    repository = tmp_path / f"models--timm--{tag}"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    state = timm.create_model(tag, num_classes=0, **options).state_dict()
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    model = create_vit(tag, num_classes=3, pretrained=True, cache_dir=tmp_path, **options)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert model.weights_source.tag == tag
    assert model.weights_source.dropped == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("swin_tiny_patch4_window7_224", "builds a SwinTransformer, not a VisionTransformer, Eva"),
        ("cait_xxs24_224", "builds a Cait, not"),
        ("naflexvit_base_patch16_gap", "builds a NaFlexVit, not"),
        ("deit_tiny_distilled_patch16_224", "get_classifier.. gives 2 modules"),
        ("vit_pwee_patch16_reg1_gap_256", "ParallelScalingBlock without norm1: attach takes"),
    ],
)
def test_other_architectures_are_refused_by_name(name, words):
    with pytest.raises(TypeError, match=f"name='{name}'.*{words}"), torch.device("meta"):
        create_vit(name, num_classes=3)
