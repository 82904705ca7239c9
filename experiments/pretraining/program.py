"""What both programs of pretraining do: read flags, train with AdamW, and write one file of weights."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from avl_pegp.evaluation import alone_at

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.05  # of all steps


def flags(doc: str | None, epochs: int) -> argparse.ArgumentParser:
    """The flags that both have."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    return parser


@contextmanager
def alone(parser: argparse.ArgumentParser, out: Path) -> Iterator[None]:
    """Inside, no other program writes that file; where one does, this one ends as at a wrong flag."""
    with ExitStack() as held:
        try:
            held.enter_context(alone_at(out, file=True))
        except ValueError as error:
            parser.error(str(error))
        yield


def train(
    model: nn.Module,
    groups: list[dict[str, object]],
    losses: Callable[[int], Iterator[Tensor]],
    epochs: int,
    steps: int,
) -> None:
    """Train in place: AdamW, linear warm-up, then a cosine down to zero.

    Args:
        model: what ``losses`` come from.
        groups: parameter groups, as the optimizer takes them.
        losses: of an epoch, batch by batch; it goes on when the step is done.
        epochs: how many.
        steps: in all.
    """
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARM_UP, cycle_momentum=False
    )
    model.train()
    with tqdm(total=steps, unit="step", mininterval=5) as bar:
        for epoch in range(epochs):
            for loss in losses(epoch):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_description(f"epoch {epoch + 1}/{epochs}, loss {loss.item():.3f}")
                bar.update()


def write_weights(weights: Mapping[str, Tensor], out: Path) -> str:
    """Write weights as safetensors, whole or not at all.

    Returns:
        The sha256 of the file.
    """
    content = save({name: weight.contiguous() for name, weight in weights.items()})
    temporary = out.with_name(out.name + ".part")
    temporary.write_bytes(content)
    os.replace(temporary, out)
    return hashlib.sha256(content).hexdigest()
