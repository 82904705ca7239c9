"""PEGP in streams of small pieces that are seen once: bases that grow in time, what they keep."""

from __future__ import annotations

import pytest
import torch
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from models import OPTIMIZERS, answers, relative_change
from streams import (
    all_images,
    by_loop,
    by_stream,
    naive,
    online,
    online_learner,
    samples_seen,
    stream,
)

from avl_pegp.pet import LoRA
from avl_pegp.plugins import ClassStatisticsPlugin, PEGPPlugin

PLAIN_LOSS = {"criterion": torch.nn.CrossEntropyLoss()}  # which pushes the rows of all classes


def hooks_of(model):
    return [m for m in model.modules() if m._forward_pre_hooks or m._forward_hooks]


@pytest.mark.parametrize("size", [4, 5])  # 12 samples a task: evenly, and not
@pytest.mark.parametrize("train", [by_stream, by_loop])
def test_bases_grow_once_a_task_when_it_is_complete(size, train):
    parts = online_learner(size)
    train(parts.strategy, online(size))
    assert parts.noted.grown == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert parts.plugin.pegp.memory.experiences == 3
    parts.plugin.consolidate()  # nothing is left
    assert parts.plugin.pegp.memory.experiences == 3
    assert samples_seen(parts.plugin) == 36


def test_a_task_that_stops_halfway_counts_when_the_next_begins():
    parts = online_learner()
    pieces = list(online(4))
    by_loop(parts.strategy, [pieces[0], *pieces[3:6]])
    assert parts.noted.grown == [0, 1, 1, 2]
    assert parts.plugin.pegp.memory.heads["head"].seen == {0, 1, 2, 3}


@pytest.mark.parametrize("train", [by_stream, by_loop])
def test_without_boundaries_bases_grow_every_so_many_iterations_and_at_the_end(train):
    parts = online_learner(every=2)
    train(parts.strategy, online(4, boundaries=False))
    assert parts.noted.grown == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    if train is by_loop:  # a single piece does not tell that it is the last one
        assert parts.plugin.pegp.memory.experiences == 4
        parts.plugin.consolidate()
    assert parts.plugin.pegp.memory.experiences == 5
    assert samples_seen(parts.plugin) == 36


def test_iterations_are_counted_across_pieces_and_within():
    parts = online_learner(2, every=3)  # a piece of four is two iterations
    by_stream(parts.strategy, online(4, boundaries=False))
    assert parts.noted.grown == [0, 1, 2, 2, 3, 4, 4, 5, 6]


def test_an_ordinary_experience_may_follow():
    parts = online_learner()
    by_loop(parts.strategy, [*list(online(4))[:2], stream(per_class=6).train_stream[1]])
    assert parts.noted.grown == [0, 0, 2]
    assert samples_seen(parts.plugin) == 8 + 12


def drift_of_the_first_task(parts, x, boundaries):
    """Relative change of answers on the first task's images, from its end to the stream's."""
    pieces = list(online(4, boundaries))
    by_stream(parts.strategy, pieces[:3])
    before = answers(parts.model, x, 2)
    by_stream(parts.strategy, pieces[3:])
    return relative_change(answers(parts.model, x, 2), before)


@pytest.mark.parametrize("boundaries", [True, False])
def test_old_answers_of_one_linear_layer_stay_exactly(boundaries):
    """Above its inputs nothing trains, so that statistics from the stream itself are exact."""
    first, new = all_images()[:2]
    moved = {}
    for project in ("step", "none"):
        torch.manual_seed(0)
        layers = torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 6)
        model = torch.nn.Sequential(*layers).double()
        options = {"energy": 1.0, "every": 3, "classifier": False, "progress": False}
        plugin = PEGPPlugin(project=project, **options)
        strategy = Naive(
            model=model,
            optimizer=OPTIMIZERS["adamw_decay"](model.parameters()),
            train_mb_size=4,
            plugins=[plugin],
            evaluator=EvaluationPlugin(loggers=[BaseLogger()]),
        )
        pieces = list(online(4, boundaries))
        by_stream(strategy, pieces[:3])
        before = [answers(model, x, 6) for x in (first, new)]
        by_stream(strategy, pieces[3:])
        after = [answers(model, x, 6) for x in (first, new)]
        moved[project] = list(map(relative_change, after, before))
    assert moved["step"][0] <= 1e-9
    assert moved["step"][1] > 1e-2
    assert moved["none"][0] > 1e-2


@pytest.mark.parametrize("boundaries", [True, False])
def test_old_answers_of_a_transformer_move_far_less_than_without(boundaries):
    x = all_images()[0]
    drift = {
        project: drift_of_the_first_task(online_learner(project=project, every=3), x, boundaries)
        for project in ("step", "none")
    }
    assert drift["step"] < 0.02 * drift["none"]


def test_rows_of_classes_that_never_came_stay_bit_for_bit():
    parts = online_learner(every=2, training=PLAIN_LOSS)
    head = parts.model.head
    start = [head.weight.detach().clone(), head.bias.detach().clone()]
    by_stream(parts.strategy, list(online(4, boundaries=False))[:6])  # classes 0 to 3
    for now, then in zip((head.weight, head.bias), start, strict=True):
        assert torch.equal(now[4:], then[4:])
        assert not torch.isclose(now[:4], then[:4]).any()


def test_a_sample_count_is_refused_before_any_step():
    parts = online_learner(samples=6)
    weights = {name: p.clone() for name, p in parts.model.state_dict().items()}
    with pytest.raises(ValueError, match="samples=6 in an online stream"):
        by_stream(parts.strategy, online(4))
    assert all(torch.equal(weights[k], v) for k, v in parts.model.state_dict().items())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_forward_pass_that_fails_leaves_no_hook_and_does_not_count(error):
    parts = online_learner(plugins=[ClassStatisticsPlugin(progress=False)])
    pieces = list(online(4))
    parts.strategy.train(pieces[0], eval_streams=[])

    def fail(*_):
        raise error

    broken = parts.model.blocks[2].register_forward_pre_hook(fail)
    with pytest.raises(error):
        parts.strategy.train(pieces[1], eval_streams=[])
    broken.remove()
    assert hooks_of(parts.model) == []
    by_loop(parts.strategy, pieces[1:3])
    assert parts.noted.grown == [0, 0, 1]
    assert samples_seen(parts.plugin) == 12


def test_training_leaves_no_hook_and_modes_as_they_were():
    parts = online_learner(plugins=[ClassStatisticsPlugin(progress=False)])
    by_stream(parts.strategy, online(4))
    assert hooks_of(parts.model) == []
    assert parts.model.training and not parts.model.blocks[0].training


def test_bases_can_start_anew_after_each_task():
    x = all_images()[0]
    plugin = PEGPPlugin(energy=1.0, rebase=True, progress=False)
    parts = naive(LoRA(4), plugin=plugin, train_epochs=1, train_mb_size=4)
    drift = drift_of_the_first_task(parts, x, boundaries=True)
    assert 0 < drift < 0.05


@pytest.mark.parametrize("every", [0, 2.5, True])
def test_a_wrong_number_of_iterations_is_refused_at_once(every):
    with pytest.raises(ValueError, match=f"every={every}"):
        PEGPPlugin(every=every)
