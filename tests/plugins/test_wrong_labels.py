"""Labels that are none, all the way through Avalanche: refused by name, and nothing counted."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from models import images
from streams import naive, stream
from torch import nn
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.plugins import ClassStatisticsPlugin, classes_of


class AnyLabel(nn.Module):
    """A loss that takes every label, so that only the statistics can refuse one."""

    def forward(self, logits, labels):
        return logits.mean()


def labelled(labels, told):
    """A stream of one experience of images with these labels, which says that they are others."""
    dataset = TensorDataset(images(len(labels), seed=1), torch.tensor(labels))
    dataset.targets = told
    return benchmark_from_datasets(train=[as_classification_dataset(dataset)]).train_stream


@pytest.mark.parametrize("wrong", [-1, 6, 99])
@pytest.mark.parametrize("online", [False, True])
def test_an_experience_with_a_wrong_label_leaves_the_statistics_as_they_were(wrong, online):
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(
        plugin=head, criterion=AnyLabel(), train_epochs=1, train_mb_size=4, eval_mb_size=4
    )
    parts.strategy.train(stream(per_class=2).train_stream[1], eval_streams=[])
    kept = copy.deepcopy(head.statistics)
    bad = labelled([0, 1, wrong, 0], told=[0, 1, 0, 0])
    bad = split_online_stream(bad, 4, access_task_boundaries=True, seed=0) if online else bad
    with pytest.raises(ValueError, match=rf"labels hold \[{wrong}\]: must be from 0 to 5"):
        parts.strategy.train(bad, eval_streams=[])
    assert torch.equal(head.statistics.counts, kept.counts)
    assert torch.equal(head.statistics.means, kept.means)
    assert torch.equal(head.statistics.scatter, kept.scatter)
    assert not parts.model.head._forward_pre_hooks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_evaluation_gives_logits_in_float32_to_a_model_in_half_precision(dtype):
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(plugin=head, train_epochs=0, eval_mb_size=100)
    benchmark = stream(per_class=3, eval_transform=lambda x: x.to(dtype))
    parts.strategy.model.to(dtype)
    parts.strategy.train(benchmark.train_stream[:2], eval_streams=[])
    seen = []
    parts.model.register_forward_hook(lambda *_: seen.extend(head._input._seen.values()))
    parts.strategy.plugins.append(Outputs())
    parts.strategy.eval(benchmark.test_stream[:2])
    (first, second) = parts.strategy.plugins[-1].logits
    assert first.dtype == second.dtype == torch.float32
    assert seen[0].dtype == dtype
    torch.testing.assert_close(first, head.statistics.logits(seen[0].double()).float())


class Outputs(SimpleNamespace):
    def __init__(self):
        super().__init__(logits=[])

    def after_eval_iteration(self, strategy, **kwargs):
        self.logits.append(strategy.mb_output)


@pytest.mark.parametrize("wrong", [-1, 0.5])
def test_a_class_that_no_logit_can_have_is_refused(wrong):
    with pytest.raises(ValueError, match=f"the label {wrong}: labels must be whole numbers from 0"):
        classes_of(SimpleNamespace(classes_in_this_experience=[0, wrong]))


def test_accuracy_of_a_class_without_a_logit_is_refused():
    accuracy = AccuracyMatrices(1)
    parts = naive(evaluator=EvaluationPlugin(accuracy, loggers=[BaseLogger()]))
    experience = stream().test_stream[0]
    experience.classes_in_this_experience = [0, 6]
    with pytest.raises(ValueError, match="class 6 has no logit, as the model gives 6"):
        parts.strategy.eval(experience)
