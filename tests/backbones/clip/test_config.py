"""Configurations of CLIP models: what is refused before anything is built, and with what advice."""

import open_clip
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from avl_pegp.backbones.clip.config import (
    check_activation,
    check_towers,
    config_of,
    pixels_of,
)

TAGS = [(name, tag) for name, tag in open_clip.list_pretrained() if "ViT" in name]
TRUNKS = sorted(
    {
        open_clip.get_model_config(name)["vision_cfg"].get("timm_model_name", "")
        for name in open_clip.list_models()
    }
    - {""}
)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_towers_of_timm_are_told_apart_without_building_them(trunk: str) -> None:
    config = config_of("ViT-B-16-SigLIP", {"vision_cfg": {"timm_model_name": trunk}})
    with torch.device("meta"):
        model = timm.create_model(trunk)
    if isinstance(model, VisionTransformer):
        check_towers("mine", config)
    else:
        with pytest.raises(TypeError, match=f"timm's {trunk} as its image tower, which is not a V"):
            check_towers("mine", config)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("coca_ViT-B-32", "is a CoCa"),
        ("coca_roberta-ViT-B-32", "is a CoCa"),
        ("RN50", "has a ModifiedResNet"),
        ("RN101-quickgelu", "has a ModifiedResNet"),
        ("convnext_base", "has timm's convnext_base"),
        ("EVA02-B-16", "has timm's eva02_base_patch16_clip_224"),
        ("PE-Core-B-16", "has timm's vit_pe_core_base_patch16_224"),
        ("xlm-roberta-base-ViT-B-32", "has the text tower xlm-roberta-base"),
        ("nllb-clip-base-siglip", "has the text tower facebook/nllb-200-distilled-600M"),
    ],
)
def test_other_towers_are_refused_with_what_they_are(name: str, reason: str) -> None:
    with pytest.raises(TypeError, match=f"name='{name}' {reason}.* for example ViT-B-16 or"):
        check_towers(name, config_of(name, {}))


def test_options_replace_values_key_by_key() -> None:
    own = open_clip.get_model_config("ViT-B-32-quickgelu")
    config = config_of("ViT-B-32-quickgelu", {"quick_gelu": False, "text_cfg": {"layers": 3}})
    assert config == {**own, "quick_gelu": False, "text_cfg": {**own["text_cfg"], "layers": 3}}
    assert open_clip.get_model_config("ViT-B-32-quickgelu") == own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, r"depth=3 is not an option of open_clip's CLIP: .*embed_dim"),
        ({"vision_cfg": {"depth": 3}}, r"depth=3 .* CLIPVisionCfg: .*layers"),
        ({"text_cfg": {"patch_size": 3}}, r"patch_size=3 .* CLIPTextCfg: .*context_length"),
    ],
)
def test_other_options_are_refused_with_the_possible_ones(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of("ViT-B-32", options)


@pytest.mark.parametrize("tower", ["vision_cfg", "text_cfg"])
def test_options_of_a_tower_that_are_no_dict_are_refused(tower: str) -> None:
    with pytest.raises(TypeError, match=f"{tower}=None: must be a dict of values to replace"):
        config_of("ViT-B-32", {tower: None})


@pytest.mark.parametrize("name", ["ViT-B32", "vit-b-32", "", "tiny_clip_32.glyph"])
def test_an_unknown_name_is_refused_with_the_nearest(name: str) -> None:
    near = "tiny_clip_32.glyphs" if name.startswith("tiny") else "ViT-B-32"
    with pytest.raises(ValueError, match=f"name='{name}' is not a known model;.*{near}"):
        config_of(name, {})


@pytest.mark.parametrize(("name", "tag"), TAGS)
def test_the_advice_on_a_wrong_activation_can_be_followed(name: str, tag: str) -> None:
    config = config_of(name, {})
    wanted = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    if config.get("quick_gelu", False) == wanted:
        check_activation(name, config, tag)
        return
    with pytest.raises(ValueError, match=f"quick_gelu={wanted}: pass ") as caught:
        check_activation(name, config, tag)
    key, value = str(caught.value).rpartition("pass ")[2].split("=")
    other, options = (value.strip("'"), {}) if key == "name" else (name, {key: value == "True"})
    assert open_clip.get_pretrained_cfg(other, tag)
    check_activation(other, config_of(other, options), tag)


def test_a_wrong_activation_is_refused_with_both_values_in_either_direction() -> None:
    both = r"name='ViT-B-32' has quick_gelu=False and .*pretrained='openai' .*quick_gelu=True"
    with pytest.raises(ValueError, match=f"{both}: pass name='ViT-B-32-quickgelu'"):
        check_activation("ViT-B-32", config_of("ViT-B-32", {}), "openai")
    with pytest.raises(ValueError, match=r"has quick_gelu=True .*: pass quick_gelu=False"):
        check_activation("ViT-B-32", config_of("ViT-B-32", {"quick_gelu": True}), "laion2b_e16")


@pytest.mark.parametrize(("name", "tag"), TAGS)
def test_pixels_are_those_of_the_tag(name: str, tag: str) -> None:
    pixels, own = pixels_of(name, tag), open_clip.get_pretrained_cfg(name, tag)
    assert all(pixels[key] == own[key] for key in ("mean", "std", "interpolation", "resize_mode"))


def test_pixels_without_a_tag_are_those_of_the_first_or_of_openai() -> None:
    assert pixels_of("ViT-B-16-SigLIP") == pixels_of("ViT-B-16-SigLIP", "webli")
    assert pixels_of("ViT-S-32")["mean"] == open_clip.OPENAI_DATASET_MEAN
