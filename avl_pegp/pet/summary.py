"""PETs on a model in a few words: which, where, and how much is trained."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from torch import nn

from avl_pegp.pet.trainable import classifier_of


def summary(model: nn.Module, pets: Sequence[object], parts: Iterable[object]) -> str:
    """What ``print(handle)`` says.

    Args:
        model: with its PETs.
        pets: their configurations.
        parts: what was put into it.

    Example:
        >>> import timm
        >>> from avl_pegp import LoRA, attach
        >>> attach(timm.create_model("test_vit", num_classes=10), LoRA(rank=2))
        Attachment(
          LoRA(rank=2, alpha=None, targets=('qkv',), blocks=None, tower='image')
          at blocks.*.attn.qkv (6)
          trained: 3,722 of 309,962 values (1.2 %), 650 of them in the classifier
        )
    """
    wanted = {id(part) for part in parts}
    paths = [path for path, module in model.named_modules() if id(module) in wanted]
    places = Counter(re.sub(r"\b\d+\b", "*", path) for path in paths)
    counts = {id(p): p.numel() for p in model.parameters()}
    trained = sum(counts[id(p)] for p in model.parameters() if p.requires_grad)
    head = sum(p.numel() for p in classifier_of(model).parameters() if p.requires_grad)
    lines = [
        *map(repr, pets),
        f"at {', '.join(f'{place} ({count})' for place, count in places.items())}",
        f"trained: {trained:,} of {sum(counts.values()):,} values "
        f"({100 * trained / sum(counts.values()):.1f} %), {head:,} of them in the classifier",
    ]
    return "\n  ".join(["Attachment(", *lines]) + "\n)"
