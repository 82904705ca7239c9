"""A vision transformer of 6 million parameters for photographs of 32x32 pixels.

It differs from the tiny ViT of letters in width and in its stem: between the strides stand residual
blocks, without which so small a model learns little from a hundred thousand photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from avl_pegp.backbones.registry import register_vit
from avl_pegp.backbones.tiny_vit import Stem, build_shipped

#: The name under which ``create_vit`` knows this model.
PHOTO_VIT = "tiny_vit_32.photos"

#: In half precision; made by experiments/pretraining/tiny_vit_photos.py.
WEIGHTS_FILE = Path(__file__).parent / "weights" / "tiny_vit_32_photos.safetensors"
WEIGHTS_SHA256 = "5092ee77a9407b8f8cb7aa54cafebb33e07778883178a4f778a1819e9c1d4ed0"

_BLOCKS = 2  # residual blocks behind each of the first two strides


class Residual(nn.Module):
    """``relu(x + conv(relu(conv(x))))``.

    Args:
        width: channels.
        like: further arguments of both convolutions.

    Example:
        >>> import torch
        >>> Residual(8)(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(self, width: int, **like: Any) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, **like) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        first, second = self.convs
        y: Tensor = x + second(nn.functional.relu(first(x)))
        return nn.functional.relu(y)


class ResidualStem(Stem):
    """Three convolutions of stride 2, and two residual blocks behind each but the last.

    It has no normalisation layer either: pretraining puts batch norm behind each convolution, and at
    its end into the convolution.

    Example:
        >>> import torch
        >>> ResidualStem()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 16, 128])
    """

    def __init__(self, embed_dim: int = 128, bias: bool = True, **rest: Any) -> None:
        super().__init__(embed_dim=embed_dim, bias=bias, **rest)
        like = {"bias": bias, "device": rest.get("device"), "dtype": rest.get("dtype")}
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(embed_dim // part, **like) for _ in range(_BLOCKS)))
            for part in (4, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, img_size, img_size) to tokens (B, num_patches, embed_dim)."""
        *strides, last = self.convs
        for stride, blocks in zip(strides, self.blocks, strict=True):
            x = blocks(nn.functional.relu(stride(x)))
        tokens: Tensor = last(x)
        return tokens.flatten(2).transpose(1, 2)


@register_vit(PHOTO_VIT)
def _create_by_name(_: str, num_classes: int, pretrained: bool, **rates: Any) -> VisionTransformer:
    return create_photo_vit(num_classes, pretrained, **rates)


def create_photo_vit(num_classes: int, pretrained: bool = False, **rates: Any) -> VisionTransformer:
    """Build the tiny ViT of photographs: 6 blocks, 256 channels, 4 heads, a class token and 16 patches.

    Arguments, inputs and errors are those of ``create_tiny_vit``; the shipped weights have learned
    Tiny ImageNet's 200 classes at 32 pixels.

    Example:
        >>> import torch
        >>> create_photo_vit(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    architecture = {"embed_dim": 256, "depth": 6, "num_heads": 4, "embed_layer": ResidualStem}
    shipped = (WEIGHTS_FILE, WEIGHTS_SHA256) if pretrained else None
    return build_shipped(PHOTO_VIT, architecture, num_classes, shipped, rates, crop=1.0)
