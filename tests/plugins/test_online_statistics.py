"""What feeds the statistics in a stream that is seen once: each of its samples, and nothing else."""

from __future__ import annotations

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.storage_policy import ReservoirSamplingBuffer
from streams import (
    all_images,
    by_loop,
    by_stream,
    online,
    online_learner,
    samples_seen,
    stream,
)
from torch.utils.data import TensorDataset

from avl_pegp.plugins import ClassStatisticsPlugin
from avl_pegp.projection import PEGP

PLAIN_LOSS = {"criterion": torch.nn.CrossEntropyLoss()}  # which pushes the rows of all classes


@pytest.mark.parametrize("boundaries", [True, False])
def test_each_sample_is_fetched_and_learned_once(monkeypatch, boundaries):
    """The first of each task, or of those between two extensions, is shown twice to try the layers."""
    fetched, shown = [], []
    get = TensorDataset.__getitem__
    monkeypatch.setattr(
        TensorDataset, "__getitem__", lambda self, i: (fetched.append(int(i)), get(self, i))[1]
    )
    parts = online_learner(5, plugins=[ClassStatisticsPlugin(progress=False)], every=2)
    parts.model.register_forward_pre_hook(lambda _, args: shown.append(len(args[0])))
    by_loop(parts.strategy, online(5, boundaries))
    assert sorted(fetched) == list(range(36))
    assert [size for size in shown if size > 1] == 3 * [5, 5, 2]
    assert shown.count(1) == 2 * (3 if boundaries else 5)


@pytest.mark.parametrize("boundaries", [True, False])
@pytest.mark.parametrize("in_memory", [None, 3])
def test_what_is_replayed_feeds_no_statistics(boundaries, in_memory):
    buffer = ReservoirSamplingBuffer(max_size=4)
    replay = ReplayPlugin(mem_size=4, batch_size_mem=in_memory, storage_policy=buffer)
    head = ClassStatisticsPlugin(progress=False)
    parts = online_learner(2, plugins=[replay, head], training=PLAIN_LOSS)
    by_stream(parts.strategy, online(5, boundaries))  # minibatches of 2, 2 and 1, and memory
    assert max(parts.noted.sizes) > 2  # something was
    assert samples_seen(parts.plugin) == 36
    assert head.statistics.counts.tolist() == [6] * 6
    own, given = torch.cat(parts.noted.own).flatten(1), torch.cat(all_images()).flatten(1)
    assert len(own) == 36
    assert torch.equal(own[own[:, 0].argsort()], given[given[:, 0].argsort()])


def test_evaluation_in_between_feeds_no_statistics():
    parts, tests = online_learner(), stream().test_stream
    for piece in online(4):
        parts.strategy.train(piece, eval_streams=[tests])
        parts.strategy.eval(tests)
    assert samples_seen(parts.plugin) == 36


@pytest.mark.parametrize("boundaries", [True, False])
def test_moments_are_those_of_an_explicit_pass_where_nothing_trains(boundaries):
    parts = online_learner(5, every=2)
    for group in parts.strategy.optimizer.param_groups:
        group["lr"] = 0.0
    by_stream(parts.strategy, online(5, boundaries))
    explicit = PEGP(parts.model, energy=1.0)
    explicit.begin()
    explicit.gather(all_images())
    explicit.extend()
    ours, theirs = parts.plugin.pegp.memory, explicit.memory
    assert ours.sites.keys() == theirs.sites.keys()
    for name, memory in theirs.sites.items():
        torch.testing.assert_close(ours.sites[name].moment.matrix, memory.moment.matrix)
    ours, theirs = ours.heads["head"], theirs.heads["head"]
    torch.testing.assert_close(ours.moment.matrix, theirs.moment.matrix)
