"""Courses over streams with models whose every answer is known: what is logged, and counted by hand."""

from __future__ import annotations

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.plugins.experience import classes_of, origin_of

PER_CLASS = 5
LABELS = torch.arange(8).repeat_interleave(PER_CLASS)
VIEWS = {"class_incremental": "ClassIncremental", "task_aware": "TaskAware"}


class Answering(nn.Module):
    """Answers by the number of the sample, which is all that its input holds; nothing is learned."""

    now = 0  # what the answers depend on besides

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.logits()[x.flatten().long()] + self.unused


class Drawn(Answering):
    """Logits that are drawn for each sample anew after each training."""

    def logits(self):
        return torch.randn(len(LABELS), 8, generator=torch.Generator().manual_seed(self.now))


class OnlyTheLast(Answering):
    """Right about the task of this number; takes the two classes of another for each other."""

    def logits(self):
        return F.one_hot(torch.where(self.now == LABELS // 2, LABELS, LABELS ^ 1), 8)


class Right(Answering):
    """Right about everything."""

    def logits(self):
        return F.one_hot(LABELS, 8)


class Kept(BaseLogger):
    """Metrics by name, the last value of each, and where it stands on the x axis."""

    def __init__(self):
        super().__init__()
        self.values, self.at = {}, {}

    def log_metrics(self, metric_values):
        for value in metric_values:
            self.values[value.name], self.at[value.name] = value.value, value.x_plot


def part(first, size, step):
    """Samples, as an Avalanche dataset: each is its own number."""
    chosen = torch.arange(first, min(first + size, len(LABELS)), step)
    dataset = TensorDataset(chosen.float()[:, None], LABELS[chosen])
    dataset.targets = LABELS[chosen].tolist()
    return as_classification_dataset(dataset)


def data():
    return part(0, len(LABELS), 1)


def four_tasks(**options):
    order = {"shuffle": False, "fixed_class_order": list(range(8)), "task_labels": False}
    return nc_benchmark(data(), data(), 4, **order, **options)


class Course:
    """A strategy, what its matrices hold, and what they should, written down beside it."""

    def __init__(self, tasks, model=None, strategy=Naive, metrics=(), **options):
        self.accuracy, self.logged, self.model = AccuracyMatrices(tasks), Kept(), model or Drawn()
        self.strategy = strategy(
            model=self.model,
            optimizer=torch.optim.SGD(self.model.parameters(), lr=0.0),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=3,
            eval_mb_size=4,
            evaluator=EvaluationPlugin(self.accuracy, *metrics, loggers=[self.logged]),
            **options,
        )
        self.seen: set[int] = set()
        self.by_hand: dict[tuple[str, int, int], float] = {}

    def train(self, experience, state=None, eval_streams=()):
        self.strategy.train(experience, eval_streams=list(eval_streams))
        self.model.now = self.model.now + 1 if state is None else state
        self.seen |= classes_of(origin_of(experience))

    def evaluate(self, stream, row):
        self.strategy.eval(stream)
        for e in stream:
            for view in VIEWS:
                self.by_hand[view, row, e.current_experience] = self.count(e, view)

    def count(self, experience, view):
        """The share of right answers, sample by sample."""
        own = classes_of(experience)
        allowed = sorted(own if view == "task_aware" else own | self.seen)
        right = []
        for x, y, *_ in experience.dataset:
            logits = self.model(torch.as_tensor(x).reshape(1, 1))[0]
            right.append(max(allowed, key=lambda c, logits=logits: logits[c].item()) == y)
        return sum(right) / len(right)

    def expected(self, view, order, size):
        """The matrix where row i was written down after ``order[i]``."""
        matrix = [[None] * size for _ in range(size)]
        for i, row in enumerate(order):
            for j, column in enumerate(order[: i + 1]):
                matrix[i][j] = self.by_hand.get((view, row, column))
        return matrix

    def stream_numbers(self, stream="test"):
        """What was logged of a stream, but for the accuracies of each experience and images."""
        end = f"/eval_phase/{stream}_stream"
        return {k.removesuffix(end): v for k, v in self.logged.values.items() if k.endswith(end)}
