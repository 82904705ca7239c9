"""From images to what a model takes: the transforms for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision import transforms
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

#: For training, and for evaluation: each from a PIL image to a tensor (3, height, width).
Transforms = tuple[Callable[..., Any], Callable[..., Any]]


@runtime_checkable
class TellsPixels(Protocol):
    """A model that says itself what its images are like, as a ``CLIPClassifier`` does."""

    def pixels(self) -> dict[str, Any]:
        """What timm's factory of transforms takes: ``input_size``, ``mean``, ``std`` and the like."""


_ENLARGED = 256 / 224  # images are resized to so many times what is then cut from their middle


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
    is_clip = isinstance(model, TellsPixels)
    recipe = recipe or ("open_clip" if is_clip else "timm")
    if recipe not in _MAKERS:
        raise ValueError(f"recipe={recipe!r} is not known; choose from {', '.join(TRANSFORMS)}")
    return _MAKERS[recipe](model.pixels() if isinstance(model, TellsPixels) else _pixels_of(model))


def _pixels_of(model: Any) -> dict[str, Any]:
    """What timm's factory of transforms takes."""
    config = resolve_model_data_config(model)
    # The configuration has the size of the weights; the model may have been built for another one.
    height, width = model.patch_embed.img_size
    return {**config, "input_size": (config["input_size"][0], height, width)}


def _timm(config: dict[str, Any]) -> Transforms:
    training: dict[str, Any] = {"is_training": True, "color_jitter": None}
    return create_transform(**config, **training), create_transform(**config)


def _open_clip(config: dict[str, Any]) -> Transforms:
    """As open_clip does it in ``transform.py``, with no more augmentation than its default."""
    mode = InterpolationMode(config["interpolation"])
    size = config["input_size"][1:]
    crop = transforms.RandomResizedCrop(size, scale=(0.9, 1.0), interpolation=mode)
    return _as_tensor([crop], config), create_transform(**config)


def _published(config: dict[str, Any]) -> Transforms:
    """As l2p-pytorch does it in ``datasets.py``, which PGP and its kin share."""
    size = config["input_size"][1:]
    train = [
        transforms.RandomResizedCrop(size, scale=(0.05, 1.0), ratio=(3 / 4, 4 / 3)),
        transforms.RandomHorizontalFlip(),
    ]
    enlarged = transforms.Resize(int(max(size) * _ENLARGED), InterpolationMode.BICUBIC)
    return _as_tensor(train), _as_tensor([enlarged, transforms.CenterCrop(size)])


def _autoaugment(
    policy: AutoAugmentPolicy, mode: InterpolationMode, enlarged: float, config: dict[str, Any]
) -> Transforms:
    """As VPT-NSP² does it in ``utils/dataset_builder.py``: no flip besides what the policy does."""
    size = config["input_size"][1:]
    train = [
        transforms.AutoAugment(policy, InterpolationMode.BILINEAR),
        transforms.RandomResizedCrop(size, interpolation=mode),
    ]
    test = [
        transforms.Resize([int(side * enlarged) for side in size], mode),
        transforms.CenterCrop(size),
    ]
    return _as_tensor(train, config), _as_tensor(test, config)


def _as_tensor(steps: list[Any], config: dict[str, Any] | None = None) -> Any:
    """Steps on images, and the tensor; normalised with the mean and deviation of a configuration."""
    last = [transforms.Normalize(config["mean"], config["std"])] if config else []
    return transforms.Compose([*steps, transforms.ToTensor(), *last])


_MAKERS: dict[str, Callable[[dict[str, Any]], Transforms]] = {
    "timm": _timm,
    "published": _published,
    "autoaugment": partial(
        _autoaugment, AutoAugmentPolicy.IMAGENET, InterpolationMode.BILINEAR, _ENLARGED
    ),
    "autoaugment_cifar": partial(
        _autoaugment, AutoAugmentPolicy.CIFAR10, InterpolationMode.BICUBIC, 1.0
    ),
    "open_clip": _open_clip,
}

#: What ``transforms_of`` knows.
TRANSFORMS = tuple(_MAKERS)
