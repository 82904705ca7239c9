"""What looking inside costs: steps with PEGP's metrics and steps without, in turn, in one run.

    python experiments/study.py benchmark_inspection

A tiny vision transformer learns a second experience under PEGP. Blocks of as many steps as lie
between two looks are timed, one with ``pegp_metrics()`` and TensorBoard's logger, one without, and
so on: both see the same machine. Printed are the median and the quartiles over pairs of blocks of the
time with metrics over that without, and the seconds that histograms and images take once an evaluation.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.supervised import Naive
from rich.console import Console
from runs import parts
from runs.job import Job
from runs.methods import PETS

from avl_pegp import attach
from avl_pegp.evaluation import AccuracyImage, AccuracyMatrices
from avl_pegp.evaluation.site_metrics import SiteMetric


class Turns(SupervisedPlugin[Any]):
    """Blocks of ``steps`` training steps take turns with these metrics and without."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self._began: float | None = None
        self._looking = True

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Metrics hear of every experience."""
        self._metrics = list(strategy.evaluator.metrics)
        self._began = None

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Where a block ends, the next begins."""
        if strategy.clock.train_iterations % self.steps:
            return
        now = time.perf_counter()
        if self._began is not None:
            self.seconds[self._looking].append(now - self._began)
        self._looking = not self._looking
        strategy.evaluator.metrics = [m for m in self._metrics if self._looking or not looks(m)]
        self._began = time.perf_counter()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """All metrics again."""
        strategy.evaluator.metrics = self._metrics

    def ratios(self) -> list[float]:
        """The time of each block with metrics over that of the block beside it."""
        pairs = zip(self.seconds[True], self.seconds[False], strict=False)
        return [a / b for a, b in pairs]


def looks(metric: Any) -> bool:
    """Whether a metric is one of those that ``pegp_metrics`` gives."""
    return isinstance(metric, SiteMetric | AccuracyImage)


def measure(pet: str, pairs: int, every: int, logs: Path) -> tuple[Turns, float]:
    """The turns that steps took, and the seconds of what is drawn for one evaluation."""
    (job,) = Job("class_incremental", "split_glyphs").variants([(pet, "pegp")], [0])
    torch.manual_seed(0)
    benchmark, turns = parts.stream_of(job), Turns(every)
    model = parts.model_of(job, benchmark.class_names)
    attach(model, *parts.pets_of(job))
    pegp, accuracy = parts.pegp_of(job), AccuracyMatrices(len(benchmark.train_stream))
    strategy = Naive(
        model=model,
        optimizer=parts.optimizer_of(job, model),
        plugins=[turns, pegp, parts.statistics_of(job)],
        evaluator=parts.evaluator_of(accuracy, pegp, logs),
        **parts.training_options(job) | {"device": "cpu"},
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    turns.seconds = {True: [], False: []}
    steps = math.ceil(len(benchmark.train_stream[1].dataset) / job.training.batch_size)
    strategy.train_epochs = math.ceil((2 * pairs + 2) * every / steps)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    started = time.perf_counter()
    for event in ("before_eval", "after_eval"):
        for metric in filter(looks, strategy.evaluator.metrics):
            getattr(metric, event)(strategy)
    return turns, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pet", choices=PETS, default="lora")
    parser.add_argument("--pairs", type=int, default=20, help="blocks with metrics, and without")
    args = parser.parse_args()
    if args.pairs < 2:
        parser.error(f"--pairs {args.pairs}: must be at least 2, to tell how much they differ")
    with tempfile.TemporaryDirectory() as logs:
        turns, drawing = measure(args.pet, args.pairs, every=50, logs=Path(logs))
    step = 1000 * statistics.median(turns.seconds[False]) / turns.steps
    low, middle, high = statistics.quantiles(turns.ratios(), n=4)
    Console().print(
        f"{args.pet}: a step takes {step:.1f} ms, with metrics {middle:.3f} times that (half of "
        f"{len(turns.ratios())} pairs of {turns.steps} steps lie between {low:.3f} and {high:.3f}); "
        f"an evaluation {drawing:.2f} s more"
    )


if __name__ == "__main__":
    main()
