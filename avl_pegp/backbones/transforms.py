"""From images to what a model takes: the transforms for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision import transforms
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

#: For training, and for evaluation: each from a PIL image to a tensor (3, height, width).
Transforms = tuple[Callable[..., Any], Callable[..., Any]]

_ENLARGED = 256 / 224  # images are resized to so many times what is then cut from their middle
_CROPS = {"shortest": "center", "squash": "squash"}  # open_clip's words for timm's


def transforms_of(model: nn.Module, recipe: str | None = None) -> Transforms:
    """The transforms that go with a model, by a recipe; both take RGB images of PIL.

    All give images of the model's own size; evaluation is deterministic; DataLoader workers can be
    sent all of them.

    - ``timm``: random crop of 8 to 100 % of the area, flip; evaluated with the resize and crop of the
      model's configuration. Normalised.
    - ``published``, by L2P, DualPrompt, PGP and LAE: random crop of 5 to 100 %, flip; evaluated on
      the centre after a resize to 8/7. *Not* normalised, though the weights expect it.
    - ``autoaugment``, by VPT-NSP² for ImageNet-R and DomainNet: ImageNet's AutoAugment policy, random
      crop of 8 to 100 %; evaluated on the centre after squaring to 8/7. Normalised.
    - ``autoaugment_cifar``, by VPT-NSP² for CIFAR-100: the same with CIFAR-10's policy; evaluated
      after squaring to the model's size. Normalised.
    - ``open_clip``, by open_clip for fine-tuning: random crop of 90 to 100 %, no flip, so that what a
      caption says of sides stays true; evaluated as in ``timm``. Normalised.

    timm's random crop draws from Python's ``random``, all else from torch.

    Args:
        model: a vision transformer, or a ``CLIPClassifier``. Mean, standard deviation and
            interpolation are those of ``model.pretrained_cfg``, or of open_clip's preprocess
            configuration.
        recipe: one of ``TRANSFORMS``; ``None`` is ``open_clip`` for CLIP and ``timm`` for others.

    Raises:
        ValueError: an unknown recipe.

    Example:
        >>> from PIL import Image
        >>> from avl_pegp.backbones import create_vit
        >>> train, test = transforms_of(create_vit("tiny_vit_32.latin", num_classes=10))
        >>> train(Image.new("RGB", (50, 40))).shape, test(Image.new("RGB", (50, 40))).shape
        (torch.Size([3, 32, 32]), torch.Size([3, 32, 32]))
    """
    is_clip = hasattr(model, "clip")
    recipe = recipe or ("open_clip" if is_clip else "timm")
    if recipe not in _MAKERS:
        raise ValueError(f"recipe={recipe!r} is not known; choose from {', '.join(TRANSFORMS)}")
    return _MAKERS[recipe](_config_of_clip(model) if is_clip else _config_of_vit(model))


def _config_of_vit(model: Any) -> dict[str, Any]:
    """What timm's factory of transforms takes."""
    config = resolve_model_data_config(model)
    # The configuration has the size of the weights; the model may have been built for another one.
    height, width = model.patch_embed.img_size
    return {**config, "input_size": (config["input_size"][0], height, width)}


def _config_of_clip(model: Any) -> dict[str, Any]:
    """The same from open_clip's configuration."""
    pixels = model.clip.visual.preprocess_cfg
    return {
        "input_size": (3, *model.clip.visual.image_size),
        "mean": pixels["mean"],
        "std": pixels["std"],
        "interpolation": pixels["interpolation"],
        "crop_pct": 1.0,
        "crop_mode": _CROPS[pixels["resize_mode"]],
    }


def _timm(config: dict[str, Any]) -> Transforms:
    training: dict[str, Any] = {"is_training": True, "color_jitter": None}
    return create_transform(**config, **training), create_transform(**config)


def _open_clip(config: dict[str, Any]) -> Transforms:
    """As open_clip does it in ``transform.py``, with no more augmentation than its default."""
    interpolation = InterpolationMode(config["interpolation"])
    train = [
        transforms.RandomResizedCrop(
            config["input_size"][1:], scale=(0.9, 1.0), interpolation=interpolation
        ),
        transforms.ToTensor(),
        transforms.Normalize(config["mean"], config["std"]),
    ]
    return transforms.Compose(train), create_transform(**config)


def _published(config: dict[str, Any]) -> Transforms:
    """As l2p-pytorch does it in ``datasets.py``, which PGP and its kin share."""
    size = config["input_size"][1:]
    train = [
        transforms.RandomResizedCrop(size, scale=(0.05, 1.0), ratio=(3 / 4, 4 / 3)),
        transforms.RandomHorizontalFlip(),
    ]
    enlarged = int(max(size) * _ENLARGED)
    test = [
        transforms.Resize(enlarged, InterpolationMode.BICUBIC),
        transforms.CenterCrop(size),
    ]
    to_tensor = transforms.ToTensor()
    return transforms.Compose([*train, to_tensor]), transforms.Compose([*test, to_tensor])


def _autoaugment(
    config: dict[str, Any],
    policy: AutoAugmentPolicy,
    interpolation: InterpolationMode,
    enlarged: float,
) -> Transforms:
    """As VPT-NSP² does it in ``utils/dataset_builder.py``: no flip besides what the policy does."""
    size = config["input_size"][1:]
    last = [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    train = [
        transforms.AutoAugment(policy, InterpolationMode.BILINEAR),
        transforms.RandomResizedCrop(size, interpolation=interpolation),
    ]
    test = [
        transforms.Resize([int(side * enlarged) for side in size], interpolation),
        transforms.CenterCrop(size),
    ]
    return transforms.Compose([*train, *last]), transforms.Compose([*test, *last])


_MAKERS: dict[str, Callable[[dict[str, Any]], Transforms]] = {
    "timm": _timm,
    "published": _published,
    "autoaugment": partial(
        _autoaugment,
        policy=AutoAugmentPolicy.IMAGENET,
        interpolation=InterpolationMode.BILINEAR,
        enlarged=_ENLARGED,
    ),
    "autoaugment_cifar": partial(
        _autoaugment,
        policy=AutoAugmentPolicy.CIFAR10,
        interpolation=InterpolationMode.BICUBIC,
        enlarged=1.0,
    ),
    "open_clip": _open_clip,
}

#: What ``transforms_of`` knows.
TRANSFORMS = tuple(_MAKERS)
