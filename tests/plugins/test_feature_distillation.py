"""Features of new images that stay near what they were, by a penalty that is computed by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from avalanche.models.dynamic_modules import avalanche_model_adaptation
from heads import multitask
from models import Growing
from streams import features_of, naive, strategy_of, stream

from avl_pegp.plugins import FeatureDistillationPlugin, MaskedCrossEntropy, PEGPPlugin


def trained(strength, tasks=3, **options):
    parts = naive(plugin=FeatureDistillationPlugin(strength), **{"train_epochs": 4, **options})
    for group in parts.strategy.optimizer.param_groups:
        group["lr"] = 1e-3
    for experience in stream(per_class=3).train_stream[:tasks]:
        parts.before = copy.deepcopy(parts.model)
        parts.strategy.train(experience, eval_streams=[])
    return parts


def test_without_strength_it_is_plain_tuning_to_the_bit():
    plain = naive(plugin=PEGPPlugin(project="none", progress=False), train_epochs=4)
    for group in plain.strategy.optimizer.param_groups:
        group["lr"] = 1e-3
    for experience in stream(per_class=3).train_stream:
        plain.strategy.train(experience, eval_streams=[])
    with_it = trained(0.0)
    for one, other in zip(plain.model.parameters(), with_it.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_penalty_is_the_squared_distance_relative_to_what_features_were():
    class Noted(FeatureDistillationPlugin):
        seen = ()

        def penalty(self, strategy):
            found = super().penalty(strategy)
            self.seen = (*self.seen, (strategy.mb_x, copy.deepcopy(strategy.model), found))
            return found

    noted = Noted(3.0)
    parts = naive(plugin=noted, train_epochs=1)
    tasks = stream(per_class=3).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    before = copy.deepcopy(parts.model)
    parts.strategy.train(tasks[1], eval_streams=[])
    for x, model, found in noted.seen[1:]:
        with torch.no_grad():
            now, then = (
                m.forward_head(m.forward_features(x), True) for m in (model, before.eval())
            )
        by_hand = (now - then).square().sum() / then.square().sum()
        assert by_hand > 1e-8
        torch.testing.assert_close(found.detach(), by_hand)
    assert noted.seen[0][2].item() == 0


def moved(parts, t):
    experience = stream(per_class=3).train_stream[t]
    before = features_of(parts.before, experience)[0]
    return (features_of(parts.model, experience)[0] - before).norm().item()


def test_stronger_means_that_new_features_stay_nearer():
    ways = [moved(trained(strength, tasks=2), 1) for strength in (0.0, 3.0, 100.0)]
    assert ways[0] > 1.1 * ways[1]
    assert ways[1] > 1.1 * ways[2]


def test_in_the_first_experience_there_is_nothing_to_stay_near():
    free, strong = trained(0.0, tasks=1), trained(1e3, tasks=1)
    for one, other in zip(free.model.parameters(), strong.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_classifier_that_grows_is_no_hindrance():
    model, plugin = Growing(), FeatureDistillationPlugin(1.0)
    strategy = strategy_of(model, plugin, criterion=MaskedCrossEntropy())
    for experience in stream(per_class=2).train_stream:
        strategy.train(experience, eval_streams=[])
    assert model.classifier.classifier.out_features == 6
    assert not model.classifier.classifier._forward_pre_hooks


@pytest.mark.usefixtures("double")
def test_several_heads_are_refused():
    plugin = FeatureDistillationPlugin(1.0)
    model, tasks = multitask(), stream(task_labels=True).train_stream
    for task in tasks:
        avalanche_model_adaptation(model, task)
    strategy = strategy_of(model, plugin)
    with pytest.raises(ValueError, match="must be one linear layer"):
        strategy.train(tasks[0], eval_streams=[])


@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="strength="):
        FeatureDistillationPlugin(strength)


def test_beside_pegp_old_answers_stay_as_pegp_keeps_them():
    parts = naive(plugin=PEGPPlugin(energy=1.0, progress=False), train_epochs=3)
    parts.strategy.plugins.append(FeatureDistillationPlugin(1.0))
    tasks = stream(per_class=3).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    old = features_of(parts.model, tasks[0])[0]
    new = features_of(parts.model, tasks[1])[0]
    parts.strategy.train(tasks[1], eval_streams=[])
    assert (features_of(parts.model, tasks[0])[0] - old).norm() < 1e-9 * old.norm()
    assert (features_of(parts.model, tasks[1])[0] - new).norm() > 1e-3 * new.norm()
