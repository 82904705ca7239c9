"""A training loop on the CPU in bfloat16 that goes on where it was stopped, as if it had not been."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from program import WARM_UP, WEIGHT_DECAY
from timm.optim import Muon
from tiny_photographs import rate
from torch import Tensor, nn
from tqdm import tqdm

LARGEST_GRADIENT = 1.0
OTHERS_RATE = 0.25  # of the rate of the blocks' matrices


@dataclass(frozen=True)
class Settings:
    """What makes a run what it is.

    A checkpoint of other settings is not gone on with, but of more or fewer epochs: the learning rate
    then follows the new schedule from there on.
    """

    epochs: int
    batch_size: int
    parts: int
    learning_rate: float
    seed: int
    images: int

    @property
    def steps(self) -> int:
        """In all."""
        return self.epochs * (self.images // self.batch_size)


class Checkpoint:
    """A file with all that a run needs to go on, written whole by a rename.

    What a step draws depends on the seed and its number alone, so there is no random state to keep.

    Args:
        path: the file.
        settings: of the run.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings

    def write(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep what there is after so many steps."""
        temporary = self.path.with_name(self.path.name + ".part")
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({"settings": asdict(self.settings), "step": step, **states}, temporary)
        os.replace(temporary, self.path)

    def read(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load what is there, and say how many steps it has behind it; 0 if nothing is there.

        Raises:
            ValueError: it is of a run with other settings.
        """
        if not self.path.exists():
            return 0
        found = torch.load(self.path, weights_only=True)
        before, now = found["settings"], asdict(self.settings)
        if before | {"epochs": now["epochs"]} != now:
            raise ValueError(
                f"{self.path} is of a run with {before}, this one has {now}: give the same flags, or "
                "delete the file to begin anew"
            )
        if before != now:
            print(f"from step {found['step']} on {now['epochs']} epochs, not {before['epochs']}")
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        return int(found["step"])


def optimizer_of(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for all else; neither vectors nor numbers decay."""
    named = dict(model.named_parameters())
    inside = {n: p for n, p in named.items() if p.ndim == 2 and n.startswith("blocks.")}
    others = [p for n, p in named.items() if n not in inside]
    adamw = {"use_fallback": True, "fallback_lr_scale": OTHERS_RATE}
    groups = [
        {"params": [*inside.values()]},
        {"params": [p for p in others if p.ndim > 1], **adamw},
        {"params": [p for p in others if p.ndim <= 1], **adamw, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return Muon(groups, lr=lr, weight_decay=WEIGHT_DECAY, nesterov=True, betas=(0.9, 0.999))


def train_resumable(
    model: nn.Module,
    batch: Callable[[int, int], tuple[Tensor, Tensor]],
    settings: Settings,
    checkpoint: Checkpoint,
    every: int,
    last: int | None = None,
) -> None:
    """Train in place: linear warm-up, then a cosine down to zero, labels smoothed by 0.1.

    Matrices of the blocks take orthogonalised steps (Muon: in the first half epoch, 130 of them come
    farther than 200 of AdamW's), all else AdamW's at a quarter of the rate.

    The parts of a batch are computed side by side, a thread each, and their gradients are added in
    order: threads that meet once a step do not wait for each other as those of one operation do,
    where other programs take turns on the same cores. Nothing that the parts share may change in a
    forward pass.

    Args:
        model: from images to logits; matrices and filters decay, the rest does not.
        batch: images and labels of a step and part, by their numbers alone.
        settings: of the run.
        checkpoint: what is gone on with, and written.
        every: after so many steps it is written.
        last: stop before this step.

    Raises:
        ValueError: the checkpoint is of a run with other settings.
    """
    parameters = [*model.parameters()]
    optimizer = optimizer_of(model, settings.learning_rate)
    first = checkpoint.read(model, optimizer)
    steps, warm_up = settings.steps, max(1, int(WARM_UP * settings.steps))
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)

    def part_of(step: int, part: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        images, labels = batch(step, part)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            logits = model(images)
        loss = loss_of(logits.float(), labels) / settings.parts
        return loss.detach(), torch.autograd.grad(loss, parameters)

    model.train()
    bar = tqdm(total=steps, initial=first, unit="step", mininterval=10)
    with bar, ThreadPoolExecutor(settings.parts) as pool:
        for step in range(first, min(steps, last or steps)):
            losses, gradients = zip(
                *pool.map(part_of, [step] * settings.parts, range(settings.parts)), strict=True
            )
            for parameter, of_parts in zip(parameters, zip(*gradients, strict=True), strict=True):
                parameter.grad = sum(of_parts[1:], of_parts[0])
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate(step, steps, warm_up)
            optimizer.step()
            bar.set_description(f"loss {sum(losses).item():.3f}", refresh=False)
            bar.update()
            if (step + 1) % every == 0 or step + 1 == steps:
                checkpoint.write(step + 1, model, optimizer)
