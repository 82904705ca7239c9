"""A small Avalanche stream of random images, and a strategy over a small model."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from models import OPTIMIZERS, images, small_vit
from torch.utils.data import TensorDataset

from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.plugins import MaskedCrossEntropy, PEGPPlugin


def to_noise(x):
    """A training transform that no statistics may see."""
    return torch.full_like(x, 1e3)


def stream(per_class: int = 1, train_transform=None):
    """Three experiences of two classes in float64."""
    x, y = images(6 * per_class, seed=3), torch.arange(6).repeat_interleave(per_class)
    dataset = TensorDataset(x, y)
    dataset.targets = y.tolist()
    return nc_benchmark(
        dataset,
        dataset,
        n_experiences=3,
        task_labels=False,
        shuffle=False,
        fixed_class_order=list(range(6)),
        train_transform=train_transform,
    )


def naive(*pets, plugin=None, optimizer="adamw_decay", head_lr=None, plugins=(), **options):
    """A strategy whose parts are at hand: ``strategy``, ``model``, ``plugin``."""
    model = small_vit()
    attach(model, *(pets or (LoRA(16),)))
    plugin = plugin or PEGPPlugin(energy=1.0, progress=False)
    options = {"criterion": MaskedCrossEntropy(), "train_epochs": 8, "train_mb_size": 4, **options}
    strategy = Naive(
        model=model,
        optimizer=OPTIMIZERS[optimizer](pet_parameters(model, head_lr)),
        plugins=[plugin, *plugins],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[BaseLogger()]),
        **options,
    )
    return SimpleNamespace(strategy=strategy, model=model, plugin=plugin)
