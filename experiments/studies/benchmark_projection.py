"""What projection costs: steps and gathering passes with PEGP and without, in turn, in one run.

    python experiments/study.py benchmark_projection --repeat 20 --seeds 0 1

A tiny vision transformer with LoRA learns a second experience. In turn are timed a plain training
step and one under PEGP, then a plain pass in eval mode and one that gathers, and the same where every
second moment is kept as a factor by QR, with no squaring. Printed are the medians, and the median and
quartiles over turns of the time over that of the plain one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from rich.console import Console
from torch.nn import functional as F

from avl_pegp import LoRA, attach, create_vit, pet_parameters
from avl_pegp.projection import PEGP, moments

BATCH, CLASSES = 32, 10


class Bench:
    """A model after one experience, in the midst of the second, and what is timed of it."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = create_vit("tiny_vit_32.latin", num_classes=CLASSES, pretrained=True)
        attach(self.model, LoRA(4))
        self.optimizer = torch.optim.AdamW(pet_parameters(self.model), lr=1e-4)
        self.x, self.y = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
        self.pegp = PEGP(self.model, energy=0.97)
        self.pegp.gather([self.x])
        self.pegp.extend()
        self.pegp.begin()

    def plain_step(self) -> None:
        """One step of the optimizer."""
        self.model.train()
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.x), self.y).backward()
        self.optimizer.step()

    def projected_step(self) -> None:
        """The same under PEGP."""
        self.model.train()
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.x), self.y).backward()
        self.pegp.project_gradients()
        self.optimizer.step()
        self.pegp.project_step()

    @torch.no_grad()
    def plain_pass(self) -> None:
        """Four batches in eval mode."""
        self.model.eval()
        for _ in range(4):
            self.model(self.x)

    def gathering(self) -> None:
        """The same, gathered."""
        self.pegp.gather([self.x] * 4)

    def gathering_factors(self) -> None:
        """The same, with every moment as a factor."""
        with mock.patch.object(moments, "_needs_factor", lambda *_: True):
            self.pegp.gather([self.x] * 4)


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=20, help="turns that each seed is timed for")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of weights and images")
    args = parser.parse_args()
    if args.repeat < 2:
        parser.error(f"--repeat {args.repeat}: must be at least 2, to tell how much turns differ")
    pairs = [
        ("plain_step", "projected_step"),
        ("plain_pass", "gathering"),
        ("gathering", "gathering_factors"),
    ]
    for seed in args.seeds:
        bench = Bench(seed)
        for names in pairs:
            plain, other = (getattr(bench, name) for name in names)
            turns = [(seconds(plain), seconds(other)) for _ in range(args.repeat + 2)][2:]
            low, middle, high = statistics.quantiles((b / a for a, b in turns), n=4)
            first, second = (1000 * statistics.median(times) for times in zip(*turns, strict=True))
            Console().print(
                f"seed {seed}: {names[0]} {first:.1f} ms, {names[1]} {second:.1f} ms: {middle:.3f} "
                f"times that (half of {len(turns)} turns between {low:.3f} and {high:.3f})"
            )


if __name__ == "__main__":
    main()
