"""A plugin that has learned from one model refuses another, and goes on with its own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from models import OPTIMIZERS
from streams import naive, online, stream
from torch import nn

from avl_pegp.evaluation import MeasuredDrift, ZeroShotRetention, pegp_metrics
from avl_pegp.pet import pet_parameters
from avl_pegp.plugins import (
    ClassStatisticsPlugin,
    EWCPlugin,
    L2Plugin,
    LwFPlugin,
    MaskedCrossEntropy,
    PEGPPlugin,
)
from avl_pegp.plugins.tasks import OneModel

PLUGINS = {
    "PEGP": lambda: PEGPPlugin(energy=1.0, progress=False),
    "EWC": lambda: EWCPlugin(1.0, progress=False),
    "LwF": lambda: LwFPlugin(1.0),
    "L2": lambda: L2Plugin(1.0),
    "class statistics": lambda: ClassStatisticsPlugin(progress=False),
}
every_plugin = pytest.mark.parametrize("kind", PLUGINS)


def evaluator(*metrics):
    return EvaluationPlugin(*metrics, loggers=[BaseLogger()])


def run(plugin=None, **options):
    return naive(plugin=plugin, train_epochs=1, **options)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@every_plugin
def test_another_model_is_refused_and_not_touched(kind):
    benchmark, first = stream(), run(PLUGINS[kind]())
    first.strategy.train(benchmark.train_stream[0], eval_streams=[])
    second = run(first.plugin)
    before = weights(second.model)
    with pytest.raises(ValueError, match="has learned from another model object"):
        second.strategy.train(benchmark.train_stream[0], eval_streams=[])
    now = weights(second.model)
    assert all(torch.equal(before[name], now[name]) for name in before)
    first.strategy.train(benchmark.train_stream[1], eval_streams=[])  # its own goes on


@every_plugin
def test_in_the_midst_of_an_online_task_too(kind):
    first = run(PLUGINS[kind](), train_mb_size=4)
    pieces = iter(online(4))
    first.strategy.train(next(pieces), eval_streams=[])
    second = run(first.plugin, train_mb_size=4)
    with pytest.raises(ValueError, match="has learned from another model object"):
        second.strategy.train(next(iter(online(4))), eval_streams=[])
    first.strategy.train(next(pieces), eval_streams=[])


@every_plugin
@pytest.mark.parametrize("wrapped", [False, True])
def test_another_strategy_around_the_same_model_goes_on(kind, wrapped):
    benchmark, parts = stream(), run(PLUGINS[kind]())
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    one = OneModel()
    one.learned(parts.model)
    one.require("this", nn.DataParallel(parts.model) if wrapped else parts.model)
    again = Naive(
        model=parts.model,
        optimizer=OPTIMIZERS["adamw_decay"](pet_parameters(parts.model)),
        criterion=MaskedCrossEntropy(),
        train_mb_size=4,
        plugins=[parts.plugin],
        evaluator=evaluator(accuracy_metrics(experience=True)),
    )
    again.train(benchmark.train_stream[1], eval_streams=[])


@every_plugin
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_strategy_goes_on(kind, copied):
    benchmark = stream()
    parts = run(PLUGINS[kind](), evaluator=evaluator(accuracy_metrics(experience=True)))
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    twin = copied(parts.strategy)
    twin.train(benchmark.train_stream[1], eval_streams=[])
    parts.strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert all(
        torch.equal(p, q)
        for p, q in zip(parts.model.parameters(), twin.model.parameters(), strict=True)
    )


def test_a_plugin_that_has_learned_nothing_is_free():
    plugin = PEGPPlugin(energy=1.0, progress=False)
    broken = run(plugin)
    broken.model.norm.requires_grad_(True)
    with pytest.raises(ValueError, match="norm.weight"):
        broken.strategy.train(stream().train_stream[0], eval_streams=[])
    run(plugin).strategy.train(stream().train_stream[0], eval_streams=[])
    assert plugin.pegp.memory.experiences == 1


def test_a_state_takes_pegp_to_a_model_that_was_saved_and_built_again():
    benchmark, first = stream(), run()
    first.strategy.train(benchmark.train_stream[0], eval_streams=[])
    second = run(first.plugin)
    second.model.load_state_dict(first.model.state_dict())
    first.plugin.load_state_dict(first.plugin.state_dict())
    second.strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert first.plugin.pegp.memory.experiences == 2


def test_statistics_of_one_model_do_not_judge_another():
    benchmark, first = stream(), run(PLUGINS["class statistics"]())
    first.strategy.train(benchmark.train_stream[0], eval_streams=[])
    second = run(first.plugin)
    with pytest.raises(ValueError, match="ClassStatisticsPlugin has learned from another model"):
        second.strategy.eval(benchmark.test_stream[:1])
    first.plugin.recompute(second.strategy, benchmark.train_stream[:1])  # anew, of this one
    second.strategy.eval(benchmark.test_stream[:1])


METRICS = {
    "sites": pegp_metrics,
    "measured drift": lambda: [MeasuredDrift(samples=1)],
    "retention": lambda: [ZeroShotRetention([lambda model: {"one": 1.0}])],
}


@pytest.mark.parametrize("kind", METRICS)
def test_metrics_of_one_model_do_not_go_on_with_another(kind):
    metrics, benchmark = METRICS[kind](), stream()
    first = run(evaluator=evaluator(*metrics))
    first.strategy.train(benchmark.train_stream[0], eval_streams=[])
    second = run(evaluator=evaluator(*metrics))
    with pytest.raises(ValueError, match="has learned from another model object"):
        second.strategy.train(benchmark.train_stream[0], eval_streams=[])


def test_metrics_are_about_the_plugin_of_the_strategy_at_hand():
    metric, benchmark, first = MeasuredDrift(samples=1), stream(), run()
    for plugin in (PEGPPlugin(progress=False), PEGPPlugin(progress=False)):
        strategy = Naive(
            model=first.model,
            optimizer=OPTIMIZERS["adamw_decay"](pet_parameters(first.model)),
            criterion=MaskedCrossEntropy(),
            train_mb_size=4,
            plugins=[plugin],
            evaluator=evaluator(metric),
        )
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        assert metric.pegp is plugin.pegp


def test_a_criterion_masks_again_after_an_evaluation_that_was_broken_off():
    parts = run(criterion=MaskedCrossEntropy())
    criterion = parts.strategy._criterion
    criterion.before_eval(parts.strategy)  # and no after_eval
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    logits = torch.tensor([[0.0, 0.0, 900.0, 0.0, 0.0, 0.0]])
    assert criterion(logits, torch.tensor([0])).item() == pytest.approx(0.6931472)
