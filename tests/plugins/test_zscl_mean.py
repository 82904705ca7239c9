from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.training.plugins import SupervisedPlugin
from clip_streams import TEXTS, learner, tasks, tensors_of, train

from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins import ZSCLPlugin


class Steps(SupervisedPlugin):
    """Keeps the trainable tensors after every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def after_update(self, strategy, **kwargs):
        self.seen.append(tensors_of(strategy.model))


def test_after_a_task_the_weights_are_the_mean_of_its_start_and_every_third_step():
    steps, plugin = Steps(), ZSCLPlugin(TEXTS, ensemble_every=3)
    parts = learner(plugin, plugins=[steps], train_epochs=8)
    for experience in tasks()[:2]:
        start, steps.seen[:] = tensors_of(parts.model), []
        train(parts, [experience])
        entries = [start, steps.seen[2], steps.seen[5]]
        assert len(steps.seen) == 8
        for name, p in trainable_tensors(parts.model).items():
            torch.testing.assert_close(p.detach(), sum(e[name] for e in entries) / 3)
            assert torch.equal(plugin.anchor[name], p)
        assert not torch.allclose(steps.seen[-1][name], p)


def test_the_mean_of_an_online_task_goes_over_its_pieces():
    steps, plugin = Steps(), ZSCLPlugin(TEXTS, ensemble_every=2)
    parts = learner(plugin, plugins=[steps], train_epochs=1)
    start = tensors_of(parts.model)
    pieces = split_online_stream(tasks(6)[:1], 3, access_task_boundaries=True, seed=0)
    train(parts, pieces)
    assert len(steps.seen) == 4
    for name, p in trainable_tensors(parts.model).items():
        by_hand = (start[name] + steps.seen[1][name] + steps.seen[3][name]) / 3
        torch.testing.assert_close(p.detach(), by_hand)


class Breaks(SupervisedPlugin):
    """Stops training after the first step."""

    def after_training_iteration(self, strategy, **kwargs):
        raise KeyboardInterrupt


def test_a_task_that_broke_off_leaves_nothing_in_the_mean_of_the_next():
    steps, breaks, plugin = Steps(), Breaks(), ZSCLPlugin(TEXTS, ensemble_every=1)
    parts = learner(plugin, plugins=[steps, breaks], train_epochs=2)
    first, second, _ = tasks()
    with pytest.raises(KeyboardInterrupt):
        train(parts, [first])
    assert len(steps.seen) == 1
    parts.strategy.plugins.remove(breaks)
    start, steps.seen[:] = tensors_of(parts.model), []
    train(parts, [second])
    for name, p in trainable_tensors(parts.model).items():
        by_hand = (start[name] + steps.seen[0][name] + steps.seen[1][name]) / 3
        torch.testing.assert_close(p.detach(), by_hand)


def test_a_task_too_short_for_the_mean_is_refused_instead_of_undone():
    parts = learner(ZSCLPlugin(TEXTS, ensemble_every=4))
    with pytest.raises(ValueError, match="ensemble_every=4, but the task had 3 iterations"):
        train(parts, tasks()[:1])
