import pytest
import torch
from timm.data import resolve_data_config
from timm.models.vision_transformer import VisionTransformer

from avl_pegp.backbones import create_vit


def test_our_own_name_gives_the_tiny_vit_with_a_new_head() -> None:
    model = create_vit("tiny_vit_32.latin", num_classes=7, pretrained=True)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert model.weights_source.file == "tiny_vit_32_latin.safetensors"


@pytest.mark.parametrize("pretrained", [None, 1, b"weights.pth"])
def test_pretrained_is_a_bool_or_a_path(pretrained: object) -> None:
    with pytest.raises(
        TypeError, match=f"pretrained={pretrained!r}: must be True, False or the path"
    ):
        create_vit("vit_tiny_patch16_224", num_classes=3, pretrained=pretrained)


def test_timm_finds_size_and_normalisation_of_the_tiny_vit() -> None:
    config = resolve_data_config(model=create_vit("tiny_vit_32.latin", num_classes=7))
    assert config["input_size"] == (3, 32, 32)
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224.augreg_in21k", "deit_tiny_patch16_224", "vit_small_patch14_dinov2"],
)
def test_families_of_timm_build_without_weights(name: str) -> None:
    model = create_vit(name, num_classes=3, depth=1, img_size=56)
    assert isinstance(model, VisionTransformer)
    assert model(torch.zeros(1, 3, 56, 56)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vit_tiny_patch16_242", "vit_tiny_patch16_224"),
        ("vit_tiny_patch16_224.augreg_in22k", "vit_tiny_patch16_224.augreg_in21k"),
        ("tiny_vit_32", "tiny_vit_32.latin"),
    ],
)
def test_an_unknown_name_or_tag_lists_ours_and_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=r"choose tiny_vit_32\.latin") as caught:
        create_vit(name, num_classes=3)
    assert f" {nearest}" in str(caught.value)


def test_another_architecture_is_refused_by_its_class() -> None:
    with pytest.raises(TypeError, match="'resnet10t' builds a ResNet, not a VisionTransformer"):
        create_vit("resnet10t", num_classes=3)


@pytest.mark.parametrize("name", ["tiny_vit_32.latin", "vit_tiny_patch16_224"])
def test_a_head_without_classes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="num_classes=0 must be at least 1"):
        create_vit(name, num_classes=0)
