"""Small random models, and the training that tests put them through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt
from avl_pegp.projection import PEGP

PETS = {
    "lora": LoRA(3, targets=("qkv", "proj", "fc1", "fc2")),
    "adapter": Adapter(4),
    "prefix": Prefix(24),
    "prompt": Prompt(24),
}
OPTIMIZERS: dict[str, Callable[[Iterable], torch.optim.Optimizer]] = {
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw_decay": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2, weight_decay=0.01),
}


def small_vit(dtype: torch.dtype = torch.float64, seed: int = 0, **options) -> nn.Module:
    """timm's ``test_vit`` (width 64, two heads) with three blocks and four patches."""
    torch.manual_seed(seed)
    options = {"num_classes": 6, "depth": 3, "img_size": 32, **options}
    return timm.create_model("test_vit", **options).to(dtype)


def images(count: int, seed: int, dtype: torch.dtype = torch.float64, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64).to(dtype)


def tune(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pegp: PEGP,
    x: Tensor,
    y: Tensor,
    steps: int,
) -> None:
    """Train on one batch under ``pegp``."""
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        pegp.project_gradients()
        optimizer.step()
        pegp.project_step()


@torch.no_grad()
def answers(model: nn.Module, x: Tensor, classes: int = 3) -> Tensor:
    """Logits of the first classes."""
    return model.eval()(x)[:, :classes]


def relative_change(new: Tensor, old: Tensor) -> float:
    new, old = new.detach(), old.detach()
    return float((new - old).norm() / old.norm())
