import pytest
import timm

from avl_pegp.backbones import create_vit
from avl_pegp.backbones.timm_vit import todays_names


def test_the_name_that_meant_two_checkpoints_is_refused_with_both_and_with_the_published_one() -> (
    None
):
    with pytest.raises(ValueError, match="older versions of timm") as caught:
        create_vit("vit_base_patch16_224_in21k", num_classes=3, pretrained=True)
    message = str(caught.value)
    assert "vit_base_patch16_224.orig_in21k or vit_base_patch16_224.augreg_in21k" in message
    assert "imagenet21k/ViT-B_16.npz and its like, which are .orig_in21k today" in message


def test_an_old_name_with_one_meaning_is_refused_without_a_word_on_published_code() -> None:
    with pytest.raises(ValueError, match=r"mean: vit_small_patch16_224\.dino\.$"):
        create_vit("vit_small_patch16_224_dino", num_classes=3)


@pytest.mark.parametrize("name", ["vit_base_patch16_224_in21k.foo", "vit_base_resnet50_384"])
def test_an_old_name_is_refused_with_a_tag_and_in_other_files_of_timm(name: str) -> None:
    with pytest.raises(ValueError, match="older versions of timm"):
        create_vit(name, num_classes=3)


@pytest.mark.parametrize(
    ("successor", "names"),
    [
        ("vit_base_patch16_224.augreg_in21k", ["orig_in21k", "augreg_in21k"]),
        ("vit_large_patch32_224.orig_in21k", ["orig_in21k"]),
        ("vit_base_patch16_224.sam", ["sam_in1k"]),
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", ["fb_in22k_ft_in1k"]),
    ],
)
def test_the_same_data_by_another_recipe_may_be_meant(successor: str, names: list[str]) -> None:
    architecture = successor.split(".")[0]
    assert todays_names(successor) == [f"{architecture}.{tag}" for tag in names]


def test_every_old_vision_transformer_has_names_that_timm_knows_today() -> None:
    old = timm.models.get_deprecated_models("vision_transformer")
    assert len(old) >= 20
    for successor in old.values():
        names = todays_names(successor)
        assert names
        assert set(names) <= set(timm.list_models(pretrained=True))


def test_a_removed_model_has_no_name_today() -> None:
    assert todays_names(None) == ["none, it was removed"]
