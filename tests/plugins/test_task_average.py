"""The average of the PET over tasks, against one that is written down beside it."""

from __future__ import annotations

import math

import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from models import Growing
from streams import by_hand, naive, online, strategy_of, stream

from avl_pegp.pet import trainable_tensors
from avl_pegp.plugins import ClassStatisticsPlugin, PEGPPlugin, TaskAveragePlugin


def tensors_of(model):
    return {n: p.detach().clone() for n, p in trainable_tensors(model).items()}


class Noted(SupervisedPlugin):
    """The weights as training leaves them, and as it finds them."""

    def __init__(self):
        super().__init__()
        self.left, self.found = [], []

    def after_training_epoch(self, strategy, **kwargs):
        self.last = tensors_of(strategy.model)

    def after_training_exp(self, strategy, **kwargs):
        self.left.append(self.last)

    def before_training_epoch(self, strategy, **kwargs):
        if len(self.found) == len(self.left):
            self.found.append(tensors_of(strategy.model))


def trained(plugin, experiences, **options):
    noted = Noted()
    parts = naive(plugin=plugin, plugins=[noted], **{"train_epochs": 2, **options})
    parts.noted, parts.after = noted, []
    for experience in experiences:
        parts.strategy.train(experience, eval_streams=[])
        parts.after.append(tensors_of(parts.model))
    return parts


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_evaluation_has_the_average_and_training_goes_on_from_what_it_left(alpha):
    parts = trained(TaskAveragePlugin(alpha), stream(per_class=3).train_stream)
    for name, start in parts.after[0].items():
        average = parts.noted.left[0][name]
        assert torch.equal(start, average)
        for t in (1, 2):
            left = parts.noted.left[t][name]
            assert torch.equal(parts.noted.found[t][name], parts.noted.left[t - 1][name])
            average = average + alpha * (left - average)
            is_head = name.startswith("head.")
            torch.testing.assert_close(parts.after[t][name], left if is_head else average)


def test_a_share_of_1_is_plain_tuning_to_the_bit():
    experiences = stream(per_class=3).train_stream
    averaged = trained(TaskAveragePlugin(1.0), experiences)
    plain = trained(PEGPPlugin(project="none", progress=False), experiences)
    for name, tensor in plain.after[-1].items():
        assert torch.equal(averaged.after[-1][name], tensor)


def test_class_statistics_behind_it_are_of_the_averaged_model():
    statistics = ClassStatisticsPlugin("ncm", progress=False)
    parts = naive(plugin=TaskAveragePlugin(0.3), plugins=[statistics], train_epochs=2)
    tasks = stream(per_class=3).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    parts.strategy.train(tasks[1], eval_streams=[])
    expected = by_hand(parts.model, tasks[:2], "ncm")
    torch.testing.assert_close(statistics.statistics.means[2:4], expected.means[2:4])


def test_in_a_stream_of_pieces_a_task_is_averaged_once_when_it_ends():
    plugin = TaskAveragePlugin(0.5)
    pieces = list(online(4))
    parts = trained(plugin, pieces, train_epochs=1, train_mb_size=4)
    ends = [parts.noted.left[i] for i in (2, 5, 8)]
    assert len(pieces) == 9
    for name, average in plugin.average.items():
        by_hand = ends[0][name]
        for end in ends[1:]:
            by_hand = by_hand.lerp(end[name], 0.5)
        torch.testing.assert_close(average, by_hand)


@pytest.mark.parametrize("alpha", [0, -0.1, 1.5, math.nan])
def test_a_share_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha=.*must be above 0 and at most 1"):
        TaskAveragePlugin(alpha)


@pytest.mark.parametrize("project", ["step", "gradient"])
def test_a_projection_beside_it_is_refused(project):
    beside = PEGPPlugin(project=project, progress=False)
    parts = naive(plugin=TaskAveragePlugin(), plugins=[beside])
    with pytest.raises(ValueError, match="TaskAveragePlugin beside a PEGPPlugin"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


def test_meters_beside_it_are_welcome():
    beside = PEGPPlugin(project="none", progress=False)
    parts = naive(plugin=TaskAveragePlugin(), plugins=[beside], train_epochs=1)
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    assert beside.pegp.memory.experiences == 1


def test_a_model_of_ones_own_with_a_growing_classifier_is_averaged_too():
    model, plugin = Growing(), TaskAveragePlugin(0.5)
    strategy = strategy_of(model, plugin)
    ends = []
    for experience in stream(per_class=2).train_stream:
        strategy.train(experience, eval_streams=[])
        ends.append(plugin._trained["features.weight"])
    by_hand = ends[0].lerp(ends[1], 0.5).lerp(ends[2], 0.5)
    torch.testing.assert_close(model.features.weight.detach(), by_hand)
    assert plugin.average.keys() == {"features.weight", "features.bias"}


def test_a_model_that_trains_its_classifier_alone_is_refused():
    model = Growing()
    model.features.requires_grad_(False)
    strategy = strategy_of(model, TaskAveragePlugin())
    with pytest.raises(ValueError, match="Growing trains nothing below its classifier"):
        strategy.train(stream().train_stream[0], eval_streams=[])


def test_class_statistics_before_it_are_refused():
    parts = naive(plugin=ClassStatisticsPlugin(progress=False), plugins=[TaskAveragePlugin()])
    with pytest.raises(ValueError, match="TaskAveragePlugin behind ClassStatisticsPlugin"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])
