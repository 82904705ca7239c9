from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from clip_streams import learner as clip_learner
from clip_streams import tasks, tensors_of
from streams import naive, stream

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt
from avl_pegp.plugins.distillation import LwFPlugin, distillation_loss


def softmax_by_hand(logits, temperature):
    powers = [math.exp(value / temperature) for value in logits]
    return [value / sum(powers) for value in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_loss_is_the_divergence_of_softened_answers(temperature):
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, generator=g, dtype=torch.float64)
    by_hand = 0.0
    for now, then in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax_by_hand(then, temperature), softmax_by_hand(now, temperature)
        by_hand += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    loss = distillation_loss(student, teacher, temperature)
    assert loss.item() == pytest.approx(temperature**2 * by_hand)


class Compared(LwFPlugin):
    """Holds the teacher against a copy of the model that is taken at the end of every task."""

    moved = ()

    def learn(self, strategy, task, **kwargs):
        super().learn(strategy, task, **kwargs)
        self.copied = copy.deepcopy(strategy.model).eval()
        self.moved = []

    def penalty(self, strategy):
        modes = [module.training for module in strategy.model.modules()]
        taught, loss = self.teach(strategy), super().penalty(strategy)
        assert modes == [module.training for module in strategy.model.modules()]
        assert loss.requires_grad and not taught.requires_grad

        expected, old = self.copied(strategy.mb_x).detach(), sorted(self.classes)
        torch.testing.assert_close(taught, expected)
        by_hand = distillation_loss(strategy.mb_output[:, old], expected[:, old], self.temperature)
        torch.testing.assert_close(loss, by_hand)
        self.moved.append(loss.item())
        return loss


@pytest.mark.parametrize(
    "pets",
    [
        (LoRA(4, targets=("qkv", "fc1")),),
        (Adapter(4),),
        (Prefix(5),),
        (Prompt(5),),
        (Prompt(5, deep=False),),
        (LoRA(4), Adapter(4), Prefix(3), Prompt(3)),
    ],
)
def test_the_teacher_is_the_last_tasks_model_for_every_pet(pets):
    plugin = Compared(1.0, temperature=3.0)
    parts, benchmark = naive(*pets, plugin=plugin, train_epochs=4), stream()
    for t, experience in enumerate(benchmark.train_stream):
        moved = plugin.moved
        parts.strategy.train(experience, eval_streams=[])
        assert plugin.classes == set(range(2 * t + 2))
        assert len(moved) == (4 if t else 0)
        assert not moved or moved[0] < 1e-9 < moved[-1]  # before the first step nothing has moved


def test_an_online_streams_classes_are_those_of_its_tasks():
    plugin = LwFPlugin(1.0)
    parts, tasks = naive(plugin=plugin, train_epochs=1), stream(per_class=2).train_stream
    for t, piece in enumerate(split_online_stream(tasks, 2, access_task_boundaries=True)):
        parts.strategy.train(piece, eval_streams=[])
        assert plugin.classes == set(range((t + 1) // 2 * 2))


@pytest.mark.parametrize(("only", "gone"), [([2, 3], [0, 1]), ([1, 2, 3], [0])])
def test_old_classes_that_a_clip_leaves_out_are_refused_instead_of_nan(only, gone):
    parts = clip_learner(LwFPlugin(1.0))
    first, second, _ = tasks()
    parts.strategy.train(first, eval_streams=[])
    message = re.escape(f"the logits of old classes {gone} are −∞") + ".*train outside model.only"
    with pytest.raises(ValueError, match=message), parts.model.only(only):
        parts.strategy.train(second, eval_streams=[])


def test_a_clip_is_taught_the_same_where_only_classes_to_come_are_left_out():
    everything, some = clip_learner(Compared(1.0)), clip_learner(LwFPlugin(1.0))
    first, second, _ = tasks()
    for parts in (everything, some):
        parts.strategy.train(first, eval_streams=[])
    moved = everything.plugin.moved
    everything.strategy.train(second, eval_streams=[])
    with some.model.only([0, 1, 2, 3]):
        some.strategy.train(second, eval_streams=[])
    assert moved[0] < 1e-9 < moved[-1]
    torch.testing.assert_close(tensors_of(some.model), tensors_of(everything.model))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature}"):
        LwFPlugin(1.0, temperature)
