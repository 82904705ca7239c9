"""How the optimizer goes through an experience, and where: plain values that a record can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from avalanche.training.plugins import LRSchedulerPlugin
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": partial(SGD, momentum=0.9),
}
Schedule = Literal["cosine", "steps", "constant"]


@dataclass(frozen=True)
class Training:
    """One experience's training; the next begins like it.

    Attributes:
        epochs: passes over the experience.
        batch_size: of training; it decides what comes out, that of evaluation does not.
        optimizer: a key of ``OPTIMIZERS``.
        head_lr: the classifier's learning rate.
        weight_decay: as the optimizer takes it.
        schedule: of the learning rate, over the epochs: ``"steps"`` is a tenth of it after half and
            again after four fifths.
        fresh_optimizer: forget momentum and the like at the start of each experience.
        temperature: logits are divided by it in training.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # read from a file

    epochs: int = 5
    batch_size: int = 32
    optimizer: str = "adam"
    head_lr: float = 1e-2
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    fresh_optimizer: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size}: must be at least 1"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: must be above 0")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer={self.optimizer!r}: must be one of {', '.join(OPTIMIZERS)}"
            )
        if self.schedule not in get_args(Schedule):
            allowed = ", ".join(get_args(Schedule))
            raise ValueError(f"schedule={self.schedule!r}: must be one of {allowed}")

    def optimizer_of(self, parameters: Any, lr: float) -> Optimizer:
        """The optimizer of parameters or groups of them."""
        return OPTIMIZERS[self.optimizer](parameters, lr=lr, weight_decay=self.weight_decay)

    def schedule_of(self, optimizer: Optimizer) -> list[LRSchedulerPlugin]:
        """Avalanche's plugin of the schedule, which begins anew in each experience; or none."""
        if self.schedule == "constant":
            return []
        scheduler: LRScheduler = CosineAnnealingLR(optimizer, self.epochs)
        if self.schedule == "steps":
            scheduler = MultiStepLR(optimizer, [self.epochs // 2, self.epochs * 4 // 5])
        return [LRSchedulerPlugin(scheduler)]


@dataclass(frozen=True)
class Machine:
    """Where a run takes place; nothing of it decides what comes out.

    Attributes:
        data_root: the folder of downloaded data; ``None`` for streams made here.
        device: of the model.
        loaders: processes that read images; 0 reads them in between.
    """

    data_root: str | None = None
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    loaders: int = 0

    def reading(self) -> dict[str, Any]:
        """What Avalanche's ``train`` and ``eval`` are told about reading images.

        The processes outlive an epoch, where there are any: starting them takes seconds.
        """
        return {"num_workers": self.loaders, "persistent_workers": self.loaders > 0}
