"""Streams that are not as neat as the usual ones: empty experiences, and labels with gaps."""

from __future__ import annotations

import copy

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from models import answers, images, relative_change
from streams import naive, stream
from torch.utils.data import TensorDataset

from avl_pegp.benchmarks.domain_incremental import from_datasets
from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.plugins import ClassStatisticsPlugin, EWCPlugin, L2Plugin, LwFPlugin, PEGPPlugin

PLUGINS = {
    "pegp": lambda: PEGPPlugin(progress=False),
    "statistics": lambda: ClassStatisticsPlugin(progress=False),
    "l2": lambda: L2Plugin(1.0),
    "ewc": lambda: EWCPlugin(1.0, progress=False),
    "lwf": lambda: LwFPlugin(1.0),
}


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("position", [0, 1])
def test_an_experience_without_samples_is_refused_and_nothing_changes(plugin, position):
    parts, tasks = naive(plugin=PLUGINS[plugin](), train_epochs=1), list(stream().train_stream)
    empty = tasks[position]
    empty.dataset = empty.dataset.subset([])
    parts.strategy.train(tasks[:position], eval_streams=[])
    weights = copy.deepcopy(parts.model.state_dict())
    with pytest.raises(ValueError, match=f"experience {position} has no samples: leave it out"):
        parts.strategy.train(empty, eval_streams=[])
    assert all(torch.equal(weights[k], v) for k, v in parts.model.state_dict().items())
    parts.strategy.train(tasks[position + 1], eval_streams=[])


TASKS = ([0, 2], [5])  # of a classifier with six rows


def dataset_of(classes, seed):
    y = torch.tensor(classes).repeat_interleave(4)
    dataset = TensorDataset(images(len(y), seed), y)
    dataset.targets = y.tolist()
    return dataset


def stream_with_gaps():
    train = [dataset_of(classes, seed=i) for i, classes in enumerate(TASKS)]
    same = {"train_transform": None, "eval_transform": None}
    return from_datasets(train, train, class_names="abcdef", class_order=list(range(6)), **same)


class Answers(SupervisedPlugin):
    """Everything that was predicted in an evaluation."""

    def __init__(self):
        super().__init__()
        self.predicted = []

    def after_eval_iteration(self, strategy, **kwargs):
        self.predicted.append((strategy.mb_output, strategy.mb_y))


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("head", ["linear", "lda", "ncm"])
def test_labels_may_have_gaps(head, online):
    benchmark, accuracy, seen = stream_with_gaps(), AccuracyMatrices(2), Answers()
    heads = [] if head == "linear" else [ClassStatisticsPlugin(head, progress=False)]
    parts = naive(
        plugins=[*heads, seen],
        evaluator=EvaluationPlugin(accuracy, loggers=[BaseLogger()]),
        train_epochs=1 if online else 8,
        eval_mb_size=100,
    )
    rows = parts.model.head.weight.detach().clone()
    old = torch.stack([x for x, *_ in benchmark.train_stream[0].dataset])
    for i, task in enumerate(benchmark.train_stream):
        pieces = split_online_stream([task], 4, access_task_boundaries=True, seed=0)
        parts.strategy.train(pieces if online else task, eval_streams=[])
        if i == 0:
            before = answers(parts.model, old, 6)[:, [0, 2]]
        parts.strategy.eval(benchmark.test_stream[: i + 1])

    assert torch.equal(parts.model.head.weight[[1, 3, 4]], rows[[1, 3, 4]])
    assert not torch.isclose(parts.model.head.weight[[0, 2, 5]], rows[[0, 2, 5]]).all(1).any()
    drift = relative_change(answers(parts.model, old, 6)[:, [0, 2]], before)
    assert drift <= (0.05 if online else 1e-9)
    if heads:
        assert heads[0].statistics.counts.tolist() == [4, 0, 4, 0, 0, 4]
    last = [by_hand(*part) for part in seen.predicted[1:]]  # first comes the first task alone
    assert accuracy.class_incremental[1] == last
    assert accuracy.task_aware[1][1] == 1  # of one class


def by_hand(logits, targets):
    """The share that is right where classes 0, 2 and 5 compete."""
    logits = logits.clone()
    logits[:, [1, 3, 4]] = -torch.inf
    return float((logits.argmax(1) == targets).double().mean())
