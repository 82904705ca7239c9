"""Learning a stream: one model, its optimizer and plugins, and the loop over experiences."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import BaseLogger, TensorboardLogger
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.supervised import Naive
from methods import PETS, Method
from torch.optim.lr_scheduler import CosineAnnealingLR

from avl_pegp import PEGPPlugin, attach, create_vit, pet_parameters
from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.plugins import ClassStatisticsPlugin, MaskedCrossEntropy, ProgressPlugin

HEAD_LR = 1e-2


class Learner:
    """A model with its optimizer and plugins, made for one method; what a recipe trains.

    Args:
        pet: a key of ``PETS``; ignored where the method has none.
        method: how it is trained.
        backbone: a model of ``create_vit``.
        classes: rows of the classifier.
        head: ``"linear"``, ``"lda"`` or ``"ncm"``.
        epochs: passes over an experience.
        lr: of the PET, ``None`` for its own.
        energy: overrides the PET's own.
        every: iterations between two extensions of PEGP's bases, where no boundaries are told.
    """

    def __init__(
        self,
        pet: str,
        method: Method,
        *,
        backbone: str,
        classes: int,
        head: str,
        epochs: int,
        lr: float | None = None,
        energy: float | None = None,
        every: int = 10,
    ) -> None:
        self.method, self.epochs = method, epochs
        self.model = create_vit(backbone, num_classes=classes, pretrained=True)
        self.settings: dict[str, Any] = {"epochs": epochs, "optimizer": "Adam", "head_lr": HEAD_LR}
        self.pegp: PEGPPlugin | None = None
        if method.has_pet:
            tuning = PETS[pet]
            config = method.pet or tuning.config
            attach(self.model, config)
            lr = method.lr_factor * (lr or tuning.lr)
            self.settings |= {"pet_config": repr(config), "lr": lr}
            groups = pet_parameters(self.model, HEAD_LR)
            self.optimizer = torch.optim.Adam(groups, lr=lr)
            if method.pegp is not None:
                chosen = {"every": every} | tuning.pegp | method.pegp
                chosen |= {"energy": energy} if energy else {}
                self.settings["pegp"] = {name: repr(value) for name, value in chosen.items()}
                self.pegp = method.plugin(**chosen)
        else:
            self._train_classifier_only()
            classifier = self.model.get_classifier().parameters()
            self.optimizer = torch.optim.Adam(classifier, lr=HEAD_LR)
        head = method.head or head
        self.statistics = None if head == "linear" else ClassStatisticsPlugin(head)
        self.trained_parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def plugins(self) -> list[Any]:
        """In the order in which Avalanche is to call them: PEGP after what changes gradients."""
        rival = None if self.method.rival is None else self.method.rival()
        return [p for p in (rival, self.pegp, self.statistics) if p is not None]

    def schedule(self) -> LRSchedulerPlugin:
        """A cosine that begins anew in each experience."""
        return LRSchedulerPlugin(CosineAnnealingLR(self.optimizer, self.epochs))

    def begin(self, experience: int) -> None:
        """Freeze the PET where the method has tuned it enough."""
        if self.method.tunes == "first" and experience == 1:
            self._train_classifier_only()

    def epochs_in(self, experience: int, seen_once: bool = False) -> int:
        """How many passes to train in this experience.

        0 where only statistics are stored, unless training is what shows them the data, once.
        """
        tunes = self.method.tunes == "always" or (self.method.tunes == "first" and experience == 0)
        fits_head = self.statistics is None and self.method.tunes != "jointly"
        fits_statistics = seen_once and self.statistics is not None
        return self.epochs if tunes or fits_head or fits_statistics else 0

    def strategy(
        self, accuracy: AccuracyMatrices, batch_size: int, logs: Path, *plugins: Any
    ) -> Naive:
        """Avalanche's plain strategy with all of this, and these plugins before it."""
        logger = TensorboardLogger(str(logs))
        return Naive(
            model=self.model,
            optimizer=self.optimizer,
            criterion=MaskedCrossEntropy(),
            train_mb_size=batch_size,
            eval_mb_size=256,
            plugins=[*plugins, *self.plugins()],
            evaluator=EvaluationPlugin(accuracy, loss_metrics(epoch=True), loggers=[logger]),
        )

    def fit_jointly(self, experiences: Iterable[Any], batch_size: int) -> None:
        """Where the method says so, train on all experiences at once, before the stream begins."""
        if self.method.tunes != "jointly":
            return
        union = reduce(lambda a, b: a.concat(b), (e.dataset for e in experiences))
        strategy = Naive(
            model=self.model,
            optimizer=self.optimizer,
            criterion=MaskedCrossEntropy(),
            train_mb_size=batch_size,
            train_epochs=self.epochs,
            plugins=[self.schedule()],
            evaluator=EvaluationPlugin(loggers=[BaseLogger()]),
        )
        strategy.train(benchmark_from_datasets(train=[union]).train_stream[0], eval_streams=[])
        self._train_classifier_only()

    def refit(self, strategy: Any, experiences: Iterable[Any]) -> None:
        """Where the method says so, compute class statistics anew from all of these."""
        if self.method.refit and self.statistics is not None:
            self.statistics.recompute(strategy, experiences)

    def _train_classifier_only(self) -> None:
        self.model.requires_grad_(False)
        self.model.get_classifier().requires_grad_(True)


def learn_experiences(
    learner: Learner,
    benchmark: CLScenario[Any],
    *,
    batch_size: int,
    title: str,
    logs: Path,
    ahead: bool = False,
) -> tuple[AccuracyMatrices, float]:
    """Train on one experience after another, and evaluate after each on all seen so far.

    Args:
        learner: what to train.
        benchmark: the stream.
        batch_size: samples in a training minibatch.
        title: of the progress bar.
        logs: TensorBoard's folder.
        ahead: evaluate before training too, and always on the whole test stream.

    Returns:
        The accuracies, and the seconds that training took.
    """
    started = time.perf_counter()
    learner.fit_jointly(benchmark.train_stream, batch_size)
    seconds = time.perf_counter() - started
    accuracy = AccuracyMatrices(len(benchmark.train_stream))
    progress = ProgressPlugin(title, len(benchmark.train_stream))
    strategy = learner.strategy(accuracy, batch_size, logs, progress, learner.schedule())
    if ahead:
        strategy.eval(benchmark.test_stream)
    for i, experience in enumerate(benchmark.train_stream):
        learner.begin(i)
        strategy.train_epochs = learner.epochs_in(i)
        torch.manual_seed(torch.initial_seed() + 1)  # the same batches, whatever a method has drawn
        started = time.perf_counter()
        strategy.train(experience, eval_streams=[])
        learner.refit(strategy, benchmark.train_stream[: i + 1])
        seconds += time.perf_counter() - started
        strategy.eval(benchmark.test_stream if ahead else benchmark.test_stream[: i + 1])
    progress.close()
    return accuracy, seconds
