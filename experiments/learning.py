"""Learning a stream: one model, its optimizer and plugins, and the loop over experiences."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import BaseLogger, TensorboardLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from methods import Method, Tuning
from torch import nn
from training import Machine, Training

from avl_pegp import PEGPPlugin, attach, pet_parameters
from avl_pegp.evaluation import AccuracyImage, AccuracyMatrices, pegp_metrics
from avl_pegp.pet import freeze
from avl_pegp.plugins import ClassStatisticsPlugin, MaskedCrossEntropy, ProgressPlugin


class Learner:
    """A model with its optimizer and plugins, made for one method; what a recipe trains.

    Args:
        model: a vision transformer or a CLIP; it is changed.
        method: how it is trained.
        tuning: the PET and how to protect it, where the method has a PET.
        training: how the optimizer goes through an experience.
        machine: the device, and how images are read.
        head: ``"linear"``, ``"lda"`` or ``"ncm"``; of a CLIP ``"text"``, which is not trained.
        energy: overrides the tuning's own.
        every: iterations between two extensions of PEGP's bases, where no boundaries are told.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        tuning: Tuning | None,
        training: Training,
        machine: Machine,
        *,
        head: str,
        energy: float | None = None,
        every: int = 10,
    ) -> None:
        self.model, self.method = model.to(machine.device), method
        self.training, self.machine = training, machine
        self.settings: dict[str, Any] = {}
        self.pegp: PEGPPlugin | None = None
        self.of_pet = tuning.plugins if tuning is not None and method.tunes == "always" else ()
        if method.has_pet and tuning is not None:
            config = method.pet or tuning.config
            attach(model, *(config if isinstance(config, tuple) else (config,)))
            lr = method.lr_factor * tuning.lr
            self.settings |= {"pet_config": repr(config), "lr": lr}
            self.optimizer = training.optimizer_of(pet_parameters(model, training.head_lr), lr)
            if method.pegp is not None:
                chosen = {"every": every} | tuning.pegp | method.pegp
                chosen |= {"energy": energy} if energy else {}
                self.settings["pegp"] = {name: repr(value) for name, value in chosen.items()}
                self.pegp = method.plugin(**chosen)
        else:
            self._train_classifier_only()
            classifier = list(model.get_classifier().parameters())  # a CLIP has none to be stepped
            self.optimizer = training.optimizer_of(
                classifier or model.parameters(), training.head_lr
            )
        head = method.head or head
        self.trains_head = head == "linear"
        self.statistics = None if head in ("linear", "text") else ClassStatisticsPlugin(head)
        self.trained_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def plugins(self) -> list[Any]:
        """In the order in which Avalanche is to call them: PEGP after what changes gradients."""
        rival = None if self.method.rival is None else self.method.rival()
        own = [make() for make in self.of_pet]
        return [p for p in (*own, rival, self.pegp, self.statistics) if p is not None]

    def begin(self, experience: int) -> None:
        """Forget the optimizer's state if so asked, and freeze the PET where it is tuned enough."""
        if self.training.fresh_optimizer:
            self.optimizer.state.clear()
        if self.method.tunes == "first" and experience == 1:
            self._train_classifier_only()

    def epochs_in(self, experience: int, seen_once: bool = False) -> int:
        """How many passes to train in this experience.

        0 where only statistics are stored, unless training is what shows them the data, once.
        """
        tunes = self.method.tunes == "always" or (self.method.tunes == "first" and experience == 0)
        fits_head = self.trains_head and self.method.tunes != "jointly"
        fits_statistics = seen_once and self.statistics is not None
        return self.training.epochs if tunes or fits_head or fits_statistics else 0

    def strategy(
        self, accuracy: AccuracyMatrices, logs: Path, *plugins: Any, metrics: Sequence[Any] = ()
    ) -> Naive:
        """Avalanche's plain strategy with all of this, these plugins before it, and more metrics."""
        looks = [AccuracyImage()] if self.pegp is None else pegp_metrics(self.pegp)
        metrics = (accuracy, loss_metrics(epoch=True), *looks, *metrics)
        evaluator = EvaluationPlugin(*metrics, loggers=[TensorboardLogger(str(logs))])
        return self._naive([*plugins, *self.plugins()], evaluator)

    def fit_jointly(self, experiences: Iterable[Any], title: str) -> None:
        """Where the method says so, train on all experiences at once, before the stream begins."""
        if self.method.tunes != "jointly":
            return
        union = reduce(lambda a, b: a.concat(b), (e.dataset for e in experiences))
        schedule = self.training.schedule_of(self.optimizer)
        progress = ProgressPlugin(f"{title}, all at once", experiences=1)
        strategy = self._naive([progress, *schedule], EvaluationPlugin(loggers=[BaseLogger()]))
        strategy.train_epochs = self.training.epochs
        everything = benchmark_from_datasets(train=[union]).train_stream[0]
        strategy.train(everything, eval_streams=[], **self.machine.reading())
        progress.close()
        self._train_classifier_only()

    def refit(self, strategy: Any, experiences: Iterable[Any]) -> None:
        """Where the method says so, compute class statistics anew from all of these."""
        if self.method.refit and self.statistics is not None:
            self.statistics.recompute(strategy, experiences)

    def _naive(self, plugins: list[Any], evaluator: EvaluationPlugin) -> Naive:
        return Naive(
            model=self.model,
            optimizer=self.optimizer,
            criterion=MaskedCrossEntropy(temperature=self.training.temperature),
            train_mb_size=self.training.batch_size,
            eval_mb_size=256,
            device=self.machine.device,
            plugins=plugins,
            evaluator=evaluator,
        )

    def _train_classifier_only(self) -> None:
        freeze(self.model.parameters())
        self.model.get_classifier().requires_grad_(True)


def learn_experiences(
    learner: Learner,
    benchmark: CLScenario[Any],
    *,
    title: str,
    logs: Path,
    ahead: bool = False,
    metrics: Sequence[Any] = (),
) -> tuple[AccuracyMatrices, float]:
    """Train on one experience after another, and evaluate after each on all seen so far.

    Args:
        learner: what to train.
        benchmark: the stream.
        title: of the progress bar.
        logs: TensorBoard's folder.
        ahead: evaluate before training too, and always on the whole test stream.
        metrics: more than accuracy and loss.

    Returns:
        The accuracies, and the seconds that training took.
    """
    started = time.perf_counter()
    learner.fit_jointly(benchmark.train_stream, title)
    seconds = time.perf_counter() - started
    accuracy = AccuracyMatrices(len(benchmark.train_stream))
    progress = ProgressPlugin(title, len(benchmark.train_stream))
    schedule = learner.training.schedule_of(learner.optimizer)
    strategy = learner.strategy(accuracy, logs, progress, *schedule, metrics=metrics)
    reading = learner.machine.reading()
    if ahead:
        strategy.eval(benchmark.test_stream, **reading)
    for i, experience in enumerate(benchmark.train_stream):
        learner.begin(i)
        strategy.train_epochs = learner.epochs_in(i)
        torch.manual_seed(torch.initial_seed() + 1)  # the same batches, whatever a method has drawn
        started = time.perf_counter()
        strategy.train(experience, eval_streams=[], **reading)
        learner.refit(strategy, benchmark.train_stream[: i + 1])
        seconds += time.perf_counter() - started
        seen = benchmark.test_stream if ahead else benchmark.test_stream[: i + 1]
        strategy.eval(seen, **reading)
    progress.close()
    return accuracy, seconds
