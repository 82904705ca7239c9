"""Classifiers in Avalanche's loop: found or refused, one or one for each task, by every plugin."""

from __future__ import annotations

import pytest
import torch
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from heads import UNTOLD, WRAPPED, LogProbabilities, OwnHead, built, layer_of, multitask
from models import relative_change
from streams import online, strategy_of, stream
from torch import nn

from avl_pegp.evaluation import AccuracyMatrices, MeasuredDrift
from avl_pegp.plugins import ClassStatisticsPlugin, MaskedCrossEntropy, PEGPPlugin

MODELS = {**UNTOLD, **{name: case for name, case in WRAPPED.items() if name != "resnet"}}


def rows_of(layer):
    return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().clone()


@pytest.mark.parametrize("name", MODELS)
def test_pegp_masks_and_statistics_all_find_the_same_classifier(name):
    make, path = MODELS[name]
    model, plugin = built(make), PEGPPlugin(energy=1.0, progress=False)
    statistics = ClassStatisticsPlugin(progress=False)
    strategy, benchmark = strategy_of(model, plugin, statistics), stream(per_class=2)
    for t, experience in enumerate(benchmark.train_stream):
        before = rows_of(layer_of(model, path))
        strategy.train(experience, eval_streams=[])
        own, now = [2 * t, 2 * t + 1], rows_of(layer_of(model, path))
        others = [c for c in range(6) if c not in own]
        assert torch.equal(now[others], before[others])
        assert (now[own] - before[own]).norm() > 1e-2
        strategy.eval(benchmark.test_stream[: t + 1])
    assert list(plugin.pegp.coverage.heads) == [path]
    assert statistics.statistics.counts.tolist() == [2] * 6


@pytest.mark.parametrize("name", ["own fc", "hugging face", "normalised"])
def test_rows_are_held_by_the_masked_loss_alone(name):
    make, path = MODELS[name]
    model = built(make)
    strategy, before = strategy_of(model), rows_of(layer_of(model, path))
    strategy.train(stream(per_class=2).train_stream[1], eval_streams=[])
    assert torch.equal(rows_of(layer_of(model, path))[[0, 1, 4, 5]], before[[0, 1, 4, 5]])


def test_statistics_take_a_frozen_layer_that_nothing_tells_too():
    model, statistics = built(OwnHead), ClassStatisticsPlugin(progress=False)
    model.fc.requires_grad_(False)
    strategy = strategy_of(model, statistics)
    strategy.train(stream(per_class=2).train_stream[0], eval_streams=[])
    assert statistics.of_heads.keys() == {"fc"}


@pytest.mark.parametrize("plugin", [PEGPPlugin, ClassStatisticsPlugin, MaskedCrossEntropy])
def test_what_can_not_be_found_is_refused_and_may_be_named(plugin):
    for classifier in (None, "fc"):
        made = plugin(classifier=classifier)
        model, losses = built(LogProbabilities), {"criterion": nn.NLLLoss()}
        if plugin is MaskedCrossEntropy:
            losses = {"criterion": made}
        strategy = strategy_of(model, *([] if plugin is MaskedCrossEntropy else [made]), **losses)
        if classifier is None:
            with pytest.raises(ValueError, match=r"LogProbabilities is not known.*classifier='fc'"):
                strategy.train(stream(per_class=2).train_stream[0], eval_streams=[])
        else:
            strategy.train(stream(per_class=2).train_stream[0], eval_streams=[])


@pytest.mark.parametrize("boundaries", [True, False])
def test_online_streams_find_it_with_the_first_minibatch(boundaries):
    model, plugin = built(OwnHead), PEGPPlugin(energy=1.0, every=2, progress=False)
    statistics = ClassStatisticsPlugin(progress=False)
    once = {"criterion": nn.CrossEntropyLoss(), "train_epochs": 1}
    strategy = strategy_of(model, plugin, statistics, **once)
    strategy.train(online(4, boundaries), eval_streams=[])
    assert plugin.pegp.memory.heads["fc"].seen == set(range(6))
    assert statistics.statistics.counts.tolist() == [6] * 6


def tasks(ids_from_zero, recurring=False):
    """Three tasks of two classes with task labels; the first comes again at the end if asked for."""
    benchmark = stream(2, task_labels=True, class_ids_from_zero_in_each_exp=ids_from_zero)
    train = list(benchmark.train_stream)
    return train + train[:1] if recurring else train, benchmark.test_stream


def heads_of(model):
    found = model.head.classifiers.items()
    return {task: rows_of(module.classifier) for task, module in found}


def images_of(experience):
    return torch.stack([item[0] for item in experience.dataset.eval()])


@torch.no_grad()
def features(model, experience):
    return model.eval().model(images_of(experience))


@pytest.mark.usefixtures("double")
class TestHeadsForTasks:
    """Avalanche's multi-head models: each head is under the rule of its own."""

    @pytest.mark.parametrize("zeros", [False, True], ids=["no gradients", "zero gradients"])
    @pytest.mark.parametrize("ids_from_zero", [True, False])
    def test_absent_heads_stay_to_the_bit_and_old_features_with_them(self, ids_from_zero, zeros):
        model, plugin = built(multitask), PEGPPlugin(energy=1.0, progress=False)
        statistics = ClassStatisticsPlugin(progress=False)
        drift = MeasuredDrift(plugin, samples=2)
        strategy, (train, tests) = strategy_of(model, plugin, statistics), tasks(ids_from_zero)
        if zeros:  # then decay and momentum reach heads that no sample came to
            clear = strategy.optimizer.zero_grad
            strategy.optimizer.zero_grad = lambda: clear(set_to_none=False)
        strategy.evaluator = EvaluationPlugin(AccuracyMatrices(3), drift, loggers=[BaseLogger()])
        strategy.plugins[-2] = strategy.evaluator
        past, heads = [], {}
        for t, experience in enumerate(train):
            strategy.train(experience, eval_streams=[])
            now = heads_of(model)
            assert all(torch.equal(now[task], rows) for task, rows in heads.items())
            for old, then in past:
                assert relative_change(features(model, old), then) <= 1e-9
            past.append((experience, features(model, experience)))
            heads = now
            strategy.eval(tests[: t + 1])
        assert len(plugin.pegp.memory.heads) == 3
        counts = [s.counts[s.counts > 0].tolist() for s in statistics.of_heads.values()]
        assert counts == [[2, 2]] * 3
        assert not plugin.ranks().keys() & plugin.pegp.memory.heads.keys()

    def test_a_task_that_comes_again_keeps_its_answers_and_the_other_heads(self):
        model, plugin = built(multitask), PEGPPlugin(energy=1.0, progress=False)
        strategy, (train, _) = (
            strategy_of(model, plugin, criterion=nn.CrossEntropyLoss()),
            tasks(True, True),
        )
        strategy.train(train[0], eval_streams=[])
        with torch.no_grad():
            before = model.eval().forward_single_task(images_of(train[0]), 0)
        for experience in train[1:3]:
            strategy.train(experience, eval_streams=[])
        heads = heads_of(model)
        strategy.train(train[3], eval_streams=[])
        now = heads_of(model)
        assert all(torch.equal(now[task], heads[task]) for task in ("1", "2"))
        with torch.no_grad():
            after = model.eval().forward_single_task(images_of(train[0]), 0)
        assert relative_change(after, before) <= 1e-9

    def test_a_state_is_taken_up_again_in_the_middle(self):
        weights = []
        for stops in (False, True):
            model, plugin = built(multitask), PEGPPlugin(energy=1.0, progress=False)
            strategy, (train, _) = strategy_of(model, plugin), tasks(True)
            for experience in train[:2]:
                strategy.train(experience, eval_streams=[])
            if stops:
                state = plugin.state_dict()
                plugin = PEGPPlugin(energy=1.0, progress=False)
                plugin.load_state_dict(state)
                strategy.plugins[0] = plugin
            strategy.train(train[2], eval_streams=[])
            weights.append({n: p.detach().clone() for n, p in model.named_parameters()})
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    def test_statistics_refuse_a_batch_of_several_tasks(self):
        model, statistics = built(multitask), ClassStatisticsPlugin(progress=False)
        strategy, (train, _) = strategy_of(model, statistics), tasks(True)
        for experience in train[:2]:
            strategy.train(experience, eval_streams=[])
        both = torch.cat([images_of(e) for e in train[:2]])
        with statistics._input.watching(model), torch.no_grad():
            model(both, torch.tensor([0] * 4 + [1] * 4))
        with pytest.raises(ValueError, match="need one task in a batch"):
            statistics._input.taken(len(both))
