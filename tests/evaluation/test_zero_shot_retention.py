"""When zero-shot numbers are measured in a strategy's life, and of which weights."""

from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.logging import BaseLogger, TensorboardLogger
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from clip_streams import TEXTS, learner, tasks, tensors_of, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_pegp.evaluation import ZeroShotRetention
from avl_pegp.pet import Context, LoRA
from avl_pegp.plugins import ContextPerExperiencePlugin, ZSCLPlugin


class Kept(BaseLogger):
    """Every value that comes, in its order."""

    def __init__(self):
        super().__init__()
        self.values = []

    def log_metrics(self, metric_values):
        self.values += [(v.name, v.value, v.x_plot) for v in metric_values]


class Watched:
    """A measure that keeps the weights which it saw, and counts."""

    def __init__(self):
        self.seen = []

    def __call__(self, model):
        self.seen.append(tensors_of(model))
        return {"calls": float(len(self.seen)), "share": 0.5}


def measured(watched, plugin, *pets, **options):
    """A learner with the metric beside it, and a logger."""
    retention, kept = ZeroShotRetention([watched]), Kept()
    evaluator = EvaluationPlugin(retention, loggers=[kept])
    return learner(plugin, *pets, evaluator=evaluator, **options), retention, kept


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def one_by_one(strategy, experiences):
    for experience in experiences:
        strategy.train(experience, eval_streams=[])


def at_once(strategy, experiences):
    strategy.train(experiences, eval_streams=[])


@pytest.mark.parametrize("train", [one_by_one, at_once])
def test_it_measures_before_training_and_after_each_experience_and_logs(train):
    watched = Watched()
    parts, retention, kept = measured(watched, SupervisedPlugin(), LoRA(4), train_epochs=2)
    before, states = tensors_of(parts.model), []
    parts.plugin.after_training_exp = lambda strategy: states.append(tensors_of(strategy.model))
    assert retention.history == retention.result() == {}
    train(parts.strategy, tasks())
    assert retention.history == {"calls": [1.0, 2.0, 3.0, 4.0], "share": [0.5] * 4}
    assert all(map(same, watched.seen, [before, *states]))
    assert not any(map(same, watched.seen, watched.seen[1:]))
    iterations = [0, 2, 4, 6]  # one a pass
    assert [v for v in kept.values if v[0] == "ZeroShot/calls"] == [
        ("ZeroShot/calls", i + 1.0, at) for i, at in enumerate(iterations)
    ]
    assert [v[2] for v in kept.values if v[0] == "ZeroShot/share"] == iterations


@pytest.mark.parametrize(
    ("plugin", "pets"),
    [
        (lambda: ZSCLPlugin(TEXTS, ensemble_every=1), (LoRA(4),)),  # puts the mean in the place
        (ContextPerExperiencePlugin, (Context(2),)),  # begins another context
    ],
)
def test_a_measure_sees_the_weights_that_plugins_leave(plugin, pets):
    last_step = []

    class Steps(SupervisedPlugin):
        def after_update(self, strategy, **kwargs):
            last_step[:] = [tensors_of(strategy.model)]

    watched = Watched()
    parts, *_ = measured(watched, plugin(), *pets, plugins=[Steps()])
    for i, experience in enumerate(tasks()[:2]):
        train(parts, [experience])
        assert same(watched.seen[i + 1], tensors_of(parts.model))
        assert not same(watched.seen[i + 1], last_step[0])


def test_a_piece_of_an_online_stream_counts_as_an_experience():
    parts, retention, _ = measured(Watched(), SupervisedPlugin(), LoRA(4), train_epochs=1)
    pieces = split_online_stream(tasks(2), 2, access_task_boundaries=True, seed=0)
    train(parts, pieces)
    assert retention.history["calls"] == [float(i + 1) for i in range(1 + 6)]


def test_numbers_reach_tensorboard_as_scalars(tmp_path):
    retention, logger = ZeroShotRetention([Watched()]), TensorboardLogger(str(tmp_path))
    evaluator = EvaluationPlugin(retention, loggers=[logger])
    parts = learner(SupervisedPlugin(), LoRA(4), evaluator=evaluator, train_epochs=1)
    train(parts, tasks()[:2])
    logger.writer.flush()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("ZeroShot/calls")] == [(0, 1), (1, 2), (2, 3)]


def test_several_measures_have_their_numbers_side_by_side_and_the_time_is_known(monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr("avl_pegp.evaluation.zero_shot.time.perf_counter", lambda: next(clock))
    retention = ZeroShotRetention([lambda model: {"a": 0.25, "b": 0.5}, lambda model: {"c": 1.0}])
    parts = learner(SupervisedPlugin(), LoRA(4))
    values = retention.before_training(parts.strategy)
    assert [(v.name, v.value) for v in values] == [
        ("ZeroShot/a", 0.25),
        ("ZeroShot/b", 0.5),
        ("ZeroShot/c", 1.0),
    ]
    assert retention.seconds == 2.5


def test_two_measures_with_one_name_are_refused():
    retention = ZeroShotRetention([lambda model: {"a": 0.1, "b": 0.2}, lambda model: {"b": 0.3}])
    with pytest.raises(ValueError, match=r"measures gives \['b'\] twice"):
        retention.before_training(learner(SupervisedPlugin(), LoRA(4)).strategy)
