"""Small random models, and the training that tests put them through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import timm
import timm.optim
import torch
from avalanche.models import IncrementalClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, trainable_tensors
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
MORE_OPTIMIZERS: dict[str, Callable[[Iterable], torch.optim.Optimizer]] = {
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-2, weight_decay=0.1),
    "averaged_sgd": lambda p: torch.optim.ASGD(p, lr=0.05),
    "signs": lambda p: timm.optim.Lion(p, lr=1e-3, weight_decay=0.1),
    "orthogonalised": lambda p: timm.optim.Muon(p, lr=2e-2, weight_decay=0.1),
    "layerwise": lambda p: timm.optim.Lamb(p, lr=1e-2, weight_decay=0.1),
    "curvature": lambda p: torch.optim.LBFGS(_all(p), lr=0.01, max_iter=1),
    "two_steps": lambda p: SharpnessAware(p, lr=0.05, momentum=0.9),
}


class SharpnessAware(torch.optim.SGD):
    """SAM (Foret et al., 2021, arXiv 2010.01412): the gradient of where the loss is worst nearby."""

    radius = 0.05

    @torch.no_grad()
    def step(self, closure):
        """``closure`` computes loss and gradients; it is called twice."""
        with torch.enable_grad():
            closure()
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [p.clone() for p in moved]
        length = torch.stack([p.grad.norm() for p in moved]).norm() + 1e-12
        for p in moved:
            p.add_(p.grad, alpha=self.radius / float(length))
        with torch.enable_grad():
            loss = closure()
        for p, start in zip(moved, before, strict=True):
            p.copy_(start)
        super().step()
        return loss


def _all(groups: Iterable) -> list[Tensor]:
    """The parameters of all groups, for an optimizer that takes one."""
    return [
        p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])
    ]


ASKING = (torch.optim.LBFGS, SharpnessAware)  # they ask for gradients themselves


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

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        pegp.project_gradients()
        return loss

    for _ in range(steps):
        if isinstance(optimizer, ASKING):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        pegp.project_step()


@torch.no_grad()
def answers(model: nn.Module, x: Tensor, classes: int = 3) -> Tensor:
    """Logits of the first classes."""
    return model.eval()(x)[:, :classes]


def relative_change(new: Tensor, old: Tensor) -> float:
    new, old = new.detach(), old.detach()
    return float((new - old).norm() / old.norm())


def experiences(
    model, optimizer, pegp: PEGP, taught: Iterable[tuple[int, ...]], steps: int
) -> None:
    """More experiences, from the third on: two images each, of these classes."""
    for t, classes in enumerate(taught, start=2):
        x = images(2, seed=t)
        pegp.begin(classes)
        tune(model, optimizer, pegp, x, torch.tensor(classes), steps=steps)
        pegp.gather([x])
        pegp.extend()


def pet_weights(model: nn.Module) -> Tensor:
    """All trained weights but the head's, in a row."""
    tensors = trainable_tensors(model).items()
    return torch.cat([p.detach().flatten() for name, p in tensors if "head" not in name])


def assert_kept_and_moving(learns: bool, old: float, new: float, moved: float) -> None:
    """Old answers stay while training changes new ones, or at least weights.

    The mass on learned tokens is much the same for all inputs: little of it is free.
    """
    assert old <= 1e-9
    assert new > 1e-5 if learns else moved > 1e-9


class Growing(nn.Module):
    """A model with Avalanche's growing head; in float32, as Avalanche grows heads in nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(3 * 8 * 8, 40)
        self.classifier = IncrementalClassifier(40, initial_out_features=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x.float(), 4)
        return self.classifier(self.features(x.flatten(1)).tanh())
