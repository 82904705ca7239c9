"""A strategy that tunes a small CLIP on a stream of random images."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from clips import small_clip
from models import OPTIMIZERS
from streams import stream

from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins import MaskedCrossEntropy

BOTH = (LoRA(4), LoRA(2, tower="text"))
TEXTS = ["a red key", "a blue house", "the sky is green", "an old fox", "cars"]


def learner(plugin, *pets, plugins=(), **options):
    """A strategy over a small CLIP; ``untouched`` is what the model was before its PETs."""
    model, untouched = small_clip(), small_clip()
    attach(model, *(pets or BOTH))
    metrics = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[BaseLogger()])
    usual = {"criterion": MaskedCrossEntropy(), "train_epochs": 3, "train_mb_size": 4}
    strategy = Naive(
        model=model,
        optimizer=OPTIMIZERS["adamw_decay"](pet_parameters(model)),
        plugins=[plugin, *plugins],
        **{"evaluator": metrics, **usual, **options},
    )
    return SimpleNamespace(strategy=strategy, model=model, plugin=plugin, untouched=untouched)


def tasks(per_class=2):
    """Three experiences of two classes, of normalised images."""
    return list(
        stream(per_class, train_transform=torch.tanh, eval_transform=torch.tanh).train_stream
    )


def train(parts, experiences):
    for experience in experiences:
        parts.strategy.train(experience, eval_streams=[])


def tensors_of(model):
    """Copies of the trainable tensors."""
    return {name: p.detach().clone() for name, p in trainable_tensors(model).items()}
