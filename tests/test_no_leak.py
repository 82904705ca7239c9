"""A prediction depends on its image alone: not on the batch, nor on the order, nor on a label."""

from __future__ import annotations

import functools

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
from avalanche.training.plugins import SupervisedPlugin
from models import images
from streams import naive, stream
from torch.utils.data import TensorDataset

from avl_pegp.heads import HEADS
from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt
from avl_pegp.plugins import ClassStatisticsPlugin

PETS = {"lora": LoRA(4), "adapter": Adapter(4), "prefix": Prefix(6), "prompt": Prompt(6)}
IMAGES = images(12, seed=7)
LABELS = torch.arange(6).repeat_interleave(2)
SHUFFLED = torch.randperm(12, generator=torch.Generator().manual_seed(0))


class Answers(SupervisedPlugin):
    """The logits that a metric would see, in the order in which they come."""

    def before_eval(self, strategy, **kwargs):
        self.logits = []

    def after_eval_iteration(self, strategy, **kwargs):
        self.logits.append(strategy.mb_output)


@functools.cache
def learner(pet, head):
    """A float32 model that has learned two of three experiences; its strategy and its answers."""
    seen = Answers()
    options = {"projection": 100} if head == "ranpac" else {}
    heads = [] if head == "linear" else [ClassStatisticsPlugin(head, progress=False, **options)]
    parts = naive(PETS[pet], plugins=[*heads, seen], train_epochs=2)
    parts.model.float()
    parts.model.register_forward_pre_hook(lambda _, args: (args[0].float(),))
    parts.strategy.train(stream(per_class=6).train_stream[:2], eval_streams=[])
    return parts.strategy, seen


def logits(pet, head, order, batch, labels=LABELS):
    """Of ``IMAGES``, when they are evaluated in this order in batches of this size."""
    dataset = TensorDataset(IMAGES[order], labels[order])
    dataset.targets = labels[order].tolist()
    tests = benchmark_from_datasets(test=[_make_taskaware_classification_dataset(dataset)])
    strategy, seen = learner(pet, head)
    strategy.eval_mb_size = batch
    strategy.eval(tests.test_stream)
    return torch.cat(seen.logits)[order.argsort()]


@pytest.mark.parametrize("head", ["linear", *HEADS])
@pytest.mark.parametrize("pet", PETS)
def test_a_prediction_depends_on_its_image_alone(pet, head):
    in_order = torch.arange(12)
    expected = logits(pet, head, in_order, batch=12)
    assert expected.dtype == torch.float32
    known = expected.isfinite()
    assert known.any(1).all()
    others = {
        "one by one": logits(pet, head, in_order, batch=1),
        "batches that do not come out even": logits(pet, head, in_order, batch=5),
        "shuffled": logits(pet, head, SHUFFLED, batch=4),
        "reversed": logits(pet, head, in_order.flip(0), batch=12),
        "without labels": logits(pet, head, in_order, batch=12, labels=torch.zeros_like(LABELS)),
    }
    size = expected[known].abs().max()
    for how, found in others.items():
        assert torch.equal(found.isfinite(), known), how
        assert torch.equal(found.argmax(1), expected.argmax(1)), how
        assert (found - expected)[known].abs().max() <= 1e-5 * size, how
    assert len({tuple(row.tolist()) for row in expected}) == 12  # and it does depend on that
