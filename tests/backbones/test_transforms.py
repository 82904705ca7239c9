import pickle

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

from avl_pegp.backbones import TRANSFORMS, create_clip, create_vit, transforms_of

MODELS = {
    "tiny_vit_32.latin": {},
    "vit_tiny_patch16_224.augreg_in21k": {"depth": 1},
    "deit_tiny_patch16_224": {"depth": 1, "img_size": (48, 64)},
}


def model_of(name: str) -> torch.nn.Module:
    return create_vit(name, num_classes=2, **MODELS[name])


def picture(width: int = 90, height: int = 70) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def plain(level: int) -> Image.Image:
    return Image.new("RGB", (300, 260), (level, level, level))


@pytest.mark.parametrize("recipe", TRANSFORMS)
@pytest.mark.parametrize("name", MODELS)
def test_images_of_any_shape_get_the_size_that_the_model_takes(name: str, recipe: str) -> None:
    model = model_of(name).eval()
    for transform in transforms_of(model, recipe):
        for image in (picture(), picture(8, 40), picture(300, 260)):
            assert model(transform(image)[None]).shape == (1, 2)


@pytest.mark.parametrize("recipe", TRANSFORMS)
def test_evaluation_is_deterministic_and_training_is_not(recipe: str) -> None:
    train, test = transforms_of(model_of("tiny_vit_32.latin"), recipe)
    assert torch.equal(test(picture()), test(picture()))
    assert any(not torch.equal(train(picture()), train(picture())) for _ in range(5))


@pytest.mark.parametrize("recipe", TRANSFORMS)
def test_workers_can_be_sent_both(recipe: str) -> None:
    train, test = pickle.loads(pickle.dumps(transforms_of(model_of("tiny_vit_32.latin"), recipe)))
    expected = transforms_of(model_of("tiny_vit_32.latin"), recipe)[1](picture())
    assert torch.equal(test(picture()), expected)
    assert train(picture()).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("recipe", "black", "white"),
    [("timm", -1, 1), ("published", 0, 1), ("autoaugment", -1, 1), ("autoaugment_cifar", -1, 1)],
)
@pytest.mark.parametrize("name", ["tiny_vit_32.latin", "vit_tiny_patch16_224.augreg_in21k"])
def test_all_but_the_published_recipe_normalise(name: str, recipe: str, black, white) -> None:
    _, test = transforms_of(model_of(name), recipe)
    assert (test(plain(0)) == black).all()
    assert (test(plain(255)) == white).all()


@pytest.mark.parametrize(("recipe", "black", "white"), [("timm", -1, 1), ("published", 0, 1)])
def test_training_has_the_range_of_evaluation(recipe: str, black, white) -> None:
    train, _ = transforms_of(model_of("tiny_vit_32.latin"), recipe)
    assert (train(plain(0)) == black).all()
    assert (train(plain(255)) == white).all()


def test_evaluation_is_that_of_the_published_code() -> None:
    image = picture(500, 300)
    name = "vit_tiny_patch16_224.augreg_in21k"
    shorter_to_256 = F.resize(image, 256, transforms.InterpolationMode.BICUBIC)
    squared = F.resize(image, [256, 256], transforms.InterpolationMode.BILINEAR)
    cifar = F.resize(image, [224, 224], transforms.InterpolationMode.BICUBIC)
    expected = {
        "published": F.to_tensor(F.center_crop(shorter_to_256, 224)),
        "autoaugment": F.to_tensor(F.center_crop(squared, 224)) * 2 - 1,
        "autoaugment_cifar": F.to_tensor(cifar) * 2 - 1,
    }
    for recipe, tensor in expected.items():
        torch.testing.assert_close(transforms_of(model_of(name), recipe)[1](image), tensor)


def test_training_has_the_steps_and_ranges_of_the_published_code() -> None:
    model = model_of("vit_tiny_patch16_224.augreg_in21k")
    steps = {recipe: transforms_of(model, recipe)[0].transforms for recipe in TRANSFORMS}
    crop, flip, _ = steps["published"]
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.05, 1.0), (3 / 4, 4 / 3))
    assert flip.p == 0.5
    assert [type(step).__name__ for step in steps["timm"]] == [
        "RandomResizedCropAndInterpolation", "RandomHorizontalFlip", "MaybeToTensor", "Normalize"
    ]  # fmt: skip
    for recipe, policy, interpolation in (
        ("autoaugment", "imagenet", "bilinear"),
        ("autoaugment_cifar", "cifar10", "bicubic"),
    ):
        augment, crop, _, _ = steps[recipe]
        assert augment.policy.value == policy
        assert (crop.scale, crop.interpolation.value) == ((0.08, 1.0), interpolation)


def clip_of(name: str, **options) -> torch.nn.Module:
    with torch.device("meta"):
        return create_clip(
            name, ["a"], tokenizer=lambda t: torch.zeros(len(t), 16).long(), **options
        )


CLIPS = {
    "tiny_clip_32.glyphs": {},
    "ViT-B-16": {"vision_cfg": {"layers": 1}},
    "ViT-B-16-SigLIP": {"vision_cfg": {"image_size": 96}},  # squashes, and is centred on 0.5
}


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("image", [picture(), picture(8, 40), picture(300, 260)])
def test_evaluation_of_clip_is_that_of_open_clip(name: str, image: Image.Image) -> None:
    model = clip_of(name, **CLIPS[name])
    pixels = PreprocessCfg(**model.clip.visual.preprocess_cfg)
    expected = image_transform_v2(pixels, is_train=False)(image)
    torch.testing.assert_close(transforms_of(model)[1](image), expected)


@pytest.mark.parametrize("name", CLIPS)
def test_training_of_clip_has_the_steps_of_open_clip_and_no_flip(name: str) -> None:
    model = clip_of(name, **CLIPS[name])
    crop, to_tensor, normalise = transforms_of(model)[0].transforms
    own = image_transform_v2(PreprocessCfg(**model.clip.visual.preprocess_cfg), is_train=True)
    assert (crop.scale, crop.interpolation) == (
        own.transforms[0].scale,
        own.transforms[0].interpolation,
    )
    assert tuple(crop.size) == tuple(model.clip.visual.image_size)
    assert (normalise.mean, normalise.std) == (own.transforms[-1].mean, own.transforms[-1].std)


@pytest.mark.parametrize("recipe", TRANSFORMS)
def test_clip_has_all_recipes(recipe: str) -> None:
    for transform in transforms_of(clip_of("tiny_clip_32.glyphs"), recipe):
        assert transform(picture()).shape == (3, 32, 32)


def test_the_default_recipe_is_the_models_own() -> None:
    for model, recipe in (
        (model_of("tiny_vit_32.latin"), "timm"),
        (clip_of("ViT-B-16"), "open_clip"),
    ):
        for found, expected in zip(transforms_of(model), transforms_of(model, recipe), strict=True):
            assert repr(found) == repr(expected)


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    known = "timm, published, autoaugment, autoaugment_cifar, open_clip"
    with pytest.raises(ValueError, match=f"recipe='strong' is not known; choose from {known}"):
        transforms_of(model_of("tiny_vit_32.latin"), "strong")
