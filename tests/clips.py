"""A small random CLIP model of open_clip's own classes."""

from __future__ import annotations

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer

from avl_pegp.backbones.clip import CLIPClassifier

NAMES = ("small a", "capital b", "digit three", "capital omega", "small q", "digit seven")
IMAGE = {"layers": 3, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
TEXT = {"layers": 2, "width": 48, "heads": 2, "context_length": 16}


def small_clip(
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    custom_text: bool = False,
    class_names: tuple[str, ...] = NAMES,
    template: str = "a photo of a {}.",
    **text,
) -> CLIPClassifier:
    """Image tower of width 64 with three blocks, text tower of width 48 with two."""
    torch.manual_seed(seed)
    build = CustomTextCLIP if custom_text else CLIP
    clip = build(40, IMAGE, {**TEXT, **text}).to(dtype)
    clip.visual.image_mean = clip.visual.image_std = (0.5, 0.5, 0.5)
    tokenizer = SimpleTokenizer(context_length=TEXT["context_length"])
    return CLIPClassifier(clip, tokenizer, class_names, template).eval()


def pictures(count: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Normalised images of noise."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1).to(
        dtype
    )
