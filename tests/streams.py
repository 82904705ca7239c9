"""A small Avalanche stream of random images, and strategies over a small model."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from avalanche.benchmarks import nc_benchmark, split_online_stream
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from avalanche.training.supervised import Naive
from models import OPTIMIZERS, images, small_vit
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.heads import create_head
from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.plugins import MaskedCrossEntropy, PEGPPlugin
from avl_pegp.plugins.experience import own_samples

SMALL_HEADS = {"ranpac": {"projection": 50}}  # options that make them quick


def to_noise(x):
    """A training transform that no statistics may see."""
    return torch.full_like(x, 1e3)


def stream(per_class: int = 1, task_labels=False, **options):
    """Three experiences of two classes in float64."""
    x, y = images(6 * per_class, seed=3), torch.arange(6).repeat_interleave(per_class)
    dataset = TensorDataset(x, y)
    dataset.targets = y.tolist()
    return nc_benchmark(
        dataset,
        dataset,
        n_experiences=3,
        task_labels=task_labels,
        shuffle=False,
        fixed_class_order=list(range(6)),
        **options,
    )


def online(size: int, boundaries: bool = True, per_class: int = 6):
    """Three tasks of two classes, in pieces that are seen once; made while iterating, only once."""
    tasks = stream(per_class).train_stream
    return split_online_stream(tasks, size, access_task_boundaries=boundaries, seed=0)


def naive(*pets, plugin=None, optimizer="adamw_decay", head_lr=None, plugins=(), **options):
    """A strategy whose parts are at hand: ``strategy``, ``model``, ``plugin``."""
    model = small_vit()
    attach(model, *(pets or (LoRA(16),)))
    plugin = plugin or PEGPPlugin(energy=1.0, progress=False)
    metrics = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[BaseLogger()])
    usual = {"criterion": MaskedCrossEntropy(), "train_epochs": 8, "train_mb_size": 4}
    strategy = Naive(
        model=model,
        optimizer=OPTIMIZERS[optimizer](pet_parameters(model, head_lr)),
        plugins=[plugin, *plugins],
        **{"evaluator": metrics, **usual, **options},
    )
    return SimpleNamespace(strategy=strategy, model=model, plugin=plugin)


def strategy_of(model, *plugins, criterion=None, **options):
    usual = {"train_mb_size": 4, "train_epochs": 4}
    return Naive(
        model=model,
        optimizer=OPTIMIZERS["adamw_decay"]([p for p in model.parameters() if p.requires_grad]),
        criterion=criterion or MaskedCrossEntropy(),
        plugins=list(plugins),
        evaluator=EvaluationPlugin(AccuracyMatrices(3), loggers=[BaseLogger()]),
        **{**usual, **options},
    )


class Noted(SupervisedPlugin):
    """How often bases had grown when each piece was over, and which samples were own ones."""

    def __init__(self, plugin):
        super().__init__()
        self.plugin, self.grown, self.own, self.sizes = plugin, [], [], []

    def after_forward(self, strategy, **kwargs):
        self.own.append(strategy.mb_x[: own_samples(strategy)])
        self.sizes.append(len(strategy.mb_x))

    def after_training_exp(self, strategy, **kwargs):
        self.grown.append(self.plugin.pegp.memory.experiences)


def online_learner(size=4, plugins=(), training=None, **options):
    """A strategy for pieces of this size, ``noted`` beside it."""
    plugin = PEGPPlugin(energy=1.0, progress=False, **options)
    noted, training = Noted(plugin), {"train_epochs": 1, "train_mb_size": size, **(training or {})}
    parts = naive(plugin=plugin, plugins=[*plugins, noted], **training)
    parts.noted = noted
    return parts


def by_stream(strategy, pieces):
    strategy.train(pieces, eval_streams=[])


def by_loop(strategy, pieces):
    for piece in pieces:
        strategy.train(piece, eval_streams=[])


def samples_seen(plugin) -> int:
    """How many samples a plugin's statistics hold, of five tokens each."""
    moment = plugin.pegp.memory.sites["blocks.0.attn.qkv.A"].moment
    return int(moment.matrix[0, -1, -1]) // 5


def all_images() -> list[torch.Tensor]:
    """The images of each task of ``online``."""
    return [torch.stack([x for x, *_ in e.dataset]) for e in stream(per_class=6).train_stream]


def features_of(model, experience):
    """What the classifier receives for an experience's images, and their labels."""
    x = torch.stack([item[0] for item in experience.dataset.eval()])
    y = torch.tensor([item[1] for item in experience.dataset])
    with torch.no_grad():
        return model.eval().forward_head(model.forward_features(x), pre_logits=True), y


def by_hand(model, experiences, name="lda"):
    """Statistics of these experiences under the model as it is now."""
    expected = create_head(name, 6, 64, **SMALL_HEADS.get(name, {}))
    for experience in experiences:
        expected.update(*features_of(model, experience))
    return expected
