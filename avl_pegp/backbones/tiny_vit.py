"""A vision transformer of 1.3 million parameters for 32x32 images, with weights in the package.

It is timm's ``VisionTransformer``, so whatever attaches to a large ViT attaches to this one; only
the patch embedding is ours, because at this size a few strided convolutions learn far faster than
one linear map of 8x8 patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from avl_pegp.backbones.registry import register_vit
from avl_pegp.backbones.weights import WeightsSource, read_weights

#: The name under which ``create_vit`` knows this model.
TINY_VIT = "tiny_vit_32.latin"

#: What the shipped weights were trained on: images of these characters and of no others.
PRETRAINING_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

WEIGHTS_FILE = Path(__file__).parent / "weights" / "tiny_vit_32_latin.safetensors"
WEIGHTS_SHA256 = "33313f0764cfc7776da163d7ceac9dd58b9dbba4cbd1267bc41c856c8d79eda2"

_RATES = ("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
_PIXELS = {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Stem(nn.Module):
    """Image to patch tokens by convolutions with three strides of 2; a drop-in for timm's PatchEmbed.

    No normalisation layer: batch statistics would drift with the stream.

    Args:
        img_size: height and width of the images in pixels, divisible by 8.
        patch_size: pixels of one token in each direction; the three strides fix it at 8.
        in_chans: channels of the images.
        embed_dim: channels of a token, divisible by 4.
        bias, dynamic_img_pad: as timm passes them; padding is not supported.
        device, dtype: of the parameters.

    Raises:
        ValueError: ``img_size``, ``patch_size``, ``embed_dim`` or ``dynamic_img_pad`` is not one
            that three strides of 2 allow.
    """

    def __init__(
        self,
        img_size: int = 32,
        patch_size: int = 8,
        in_chans: int = 3,
        embed_dim: int = 128,
        bias: bool = True,
        dynamic_img_pad: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if patch_size != 8 or img_size % 8 or embed_dim % 4 or dynamic_img_pad:
            raise ValueError(
                f"{type(self).__name__} got img_size={img_size}, patch_size={patch_size}, "
                f"embed_dim={embed_dim}, dynamic_img_pad={dynamic_img_pad}; it needs patch_size=8, "
                "img_size a multiple of 8, embed_dim a multiple of 4 and no padding. Resize the "
                "images, or use PatchEmbed."
            )
        self.img_size = (img_size, img_size)
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        widths = (in_chans, embed_dim // 4, embed_dim // 2, embed_dim)
        self.convs = nn.ModuleList(
            nn.Conv2d(wide, wider, 3, stride=2, padding=1, bias=bias, device=device, dtype=dtype)
            for wide, wider in pairwise(widths)
        )


class ConvStem(Stem):
    """Three convolutions of stride 2.

    Example:
        >>> ConvStem()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 16, 128])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, img_size, img_size) to tokens (B, num_patches, embed_dim)."""
        first, second, third = self.convs
        x = nn.functional.gelu(first(x))
        x = nn.functional.gelu(second(x))
        tokens: Tensor = third(x)
        return tokens.flatten(2).transpose(1, 2)


@register_vit(TINY_VIT)
def _create_by_name(_: str, num_classes: int, pretrained: bool, **rates: Any) -> VisionTransformer:
    return create_tiny_vit(num_classes, pretrained, **rates)


def create_tiny_vit(num_classes: int, pretrained: bool = False, **rates: Any) -> VisionTransformer:
    """Build the tiny ViT: 6 blocks, 128 channels, 4 heads, a class token and 16 patch tokens.

    Inputs are float images (B, 3, 32, 32) normalised with mean 0.5 and standard deviation 0.5.
    ``model.weights_source`` says which weights it has.

    Args:
        num_classes: outputs of the new, randomly initialised head, at least 1.
        pretrained: load the shipped weights (Latin letters) into everything but the head.
        rates: timm's ``drop_rate``, ``pos_drop_rate``, ``proj_drop_rate``, ``attn_drop_rate`` and
            ``drop_path_rate``, 0 each by default.

    Raises:
        ValueError: ``num_classes`` is below 1 or a rate has another name.
        WeightsError: the shipped file is missing, damaged or a different one.

    Example:
        >>> create_tiny_vit(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    architecture = {"embed_dim": 128, "depth": 6, "num_heads": 4, "embed_layer": ConvStem}
    shipped = (WEIGHTS_FILE, WEIGHTS_SHA256) if pretrained else None
    return build_shipped(TINY_VIT, architecture, num_classes, shipped, rates)


def build_shipped(
    name: str,
    architecture: Mapping[str, Any],
    num_classes: int,
    weights: tuple[Path, str] | None,
    rates: Mapping[str, Any],
    crop: float = 0.875,
) -> VisionTransformer:
    """A vision transformer for 32x32 images in patches of 8, with weights of this package or random.

    Args:
        name: under which ``create_vit`` knows it.
        architecture: timm's arguments that make it what it is.
        num_classes: outputs of the new head, at least 1.
        weights: the file for everything but the head, and its sha256; ``None`` for random ones.
        rates: what the caller may choose.
        crop: the share of each side that is kept of an image to be tested on.

    Raises:
        ValueError: ``num_classes`` is below 1 or a rate has another name.
        WeightsError: the file is missing, damaged or a different one.

    Example:
        >>> architecture = {"embed_dim": 8, "depth": 1, "num_heads": 2, "embed_layer": ConvStem}
        >>> build_shipped("mine", architecture, 3, None, {})(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 3])
    """
    if num_classes < 1:
        raise ValueError(
            f"num_classes={num_classes} must be at least 1; give the head its classes."
        )
    unknown = sorted(set(rates) - set(_RATES))
    if unknown:
        raise ValueError(
            f"{unknown[0]}={rates[unknown[0]]!r} is not an option of {name}, whose architecture "
            f"is fixed; leave it out, or choose from {', '.join(_RATES)}."
        )
    # Read first: a bad file must not cost the caller random numbers or leave a model behind.
    body = read_weights(*weights) if weights else {}
    model = VisionTransformer(
        img_size=32, patch_size=8, num_classes=num_classes, **architecture, **rates
    )
    # Where timm's data utilities look for size and normalisation.
    model.pretrained_cfg = {"architecture": name, **_PIXELS, "crop_pct": crop}  # type: ignore[assignment]
    if weights:
        head = {f"head.{key}": value for key, value in model.head.state_dict().items()}
        model.load_state_dict({**body, **head})
    shipped = (weights[0].name, weights[1]) if weights else ()
    model.weights_source = WeightsSource(name, *shipped)  # type: ignore[assignment]
    return model
