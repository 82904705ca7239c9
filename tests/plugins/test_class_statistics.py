from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from clip_streams import learner as clip_learner
from clip_streams import tasks, train
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid
from streams import SMALL_HEADS, by_hand, features_of, naive, online, stream

from avl_pegp.heads import HEADS, create_head
from avl_pegp.plugins import ClassStatisticsPlugin, PEGPPlugin


def blobs(seed=0, n=60):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    mix = torch.randn(4, 4, generator=g, dtype=torch.float64)
    centres = torch.randn(3, 4, generator=g, dtype=torch.float64)
    return centres[y] + torch.randn(n, 4, generator=g, dtype=torch.float64) @ mix, y


def test_lda_decides_as_scikit_learns():
    x, y = blobs()
    ours = create_head("lda", 3, 4, shrinkage=0.0)
    ours.update(x, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3).fit(x.numpy(), y.numpy())
    new, _ = blobs(seed=1)
    gaps = theirs.decision_function(new.numpy())
    gaps -= gaps.mean(1, keepdims=True)
    # scikit-learn divides the scatter by n, we by n − classes: the same up to one factor.
    mine = ours.logits(new)
    mine = (mine - mine.mean(1, keepdim=True)).numpy() * 60 / 57
    np.testing.assert_allclose(mine, gaps, atol=1e-9)


def test_ncm_decides_as_scikit_learns():
    x, y = blobs()
    ours = create_head("ncm", 3, 4)
    ours.update(x, y)
    theirs = NearestCentroid().fit(x.numpy(), y.numpy())
    new, _ = blobs(seed=1)
    assert (ours.logits(new).argmax(1).numpy() == theirs.predict(new.numpy())).all()


def test_statistics_in_parts_equal_those_in_one():
    x, y = blobs()
    whole, parts = create_head("lda", 3, 4), create_head("lda", 3, 4)
    whole.update(x, y)
    for piece in torch.arange(60).split(7):  # classes recur in every part and are merged
        parts.update(x[piece], y[piece])
    torch.testing.assert_close(parts.means, whole.means)
    torch.testing.assert_close(parts.scatter, whole.scatter)
    torch.testing.assert_close(parts.counts, whole.counts)


def test_classes_never_seen_are_never_chosen():
    statistics = create_head("lda", 5, 4)
    statistics.update(*blobs())
    assert (statistics.logits(torch.zeros(1, 4))[:, 3:] == float("-inf")).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused_and_nothing_changes(bad):
    statistics = create_head("lda", 3, 4)
    statistics.update(*blobs())
    means = statistics.means.clone()
    with pytest.raises(ValueError, match="NaN or infinite"):
        statistics.update(torch.full((1, 4), bad), torch.tensor([0]))
    assert torch.equal(statistics.means, means)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "knn"}, "head='knn'.*lda, ncm"), ({"shrinkage": 2}, "shrink")],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        create_head(**{"name": "lda", **options}, classes=3, width=4)
    with pytest.raises(ValueError, match=message):  # the plugin at once
        ClassStatisticsPlugin(options.pop("name", "lda"), **options)


class Evaluated(SupervisedPlugin):
    """What a metric would see."""

    def after_eval_iteration(self, strategy, **kwargs):
        self.logits = strategy.mb_output


@pytest.mark.parametrize("name", HEADS)
def test_in_a_stream_old_statistics_are_kept_and_evaluation_uses_them(name):
    evaluated = Evaluated()
    head = ClassStatisticsPlugin(name, progress=False, **SMALL_HEADS.get(name, {}))
    parts = naive(plugins=[head, evaluated], eval_mb_size=100)
    benchmark = stream(per_class=3)
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    kept = copy.deepcopy(head.statistics)
    parts.strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert torch.equal(head.statistics.means[:2], kept.means[:2])
    assert head.statistics.counts.tolist() == [3, 3, 3, 3, 0, 0]

    parts.strategy.eval(benchmark.test_stream[:2])
    x = torch.stack([item[0] for item in benchmark.test_stream[1].dataset])
    features = parts.model.forward_head(parts.model.forward_features(x), pre_logits=True)
    torch.testing.assert_close(evaluated.logits, head.statistics.logits(features))
    assert not parts.model.head._forward_pre_hooks


def test_a_classifier_that_is_not_linear_is_refused():
    parts = naive(plugins=[ClassStatisticsPlugin(classifier="blocks.0", progress=False)])
    with pytest.raises(ValueError, match="classifier='blocks.0' holds 2 linear layers"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


def test_a_clip_has_no_classifier_for_statistics():
    parts = clip_learner(ClassStatisticsPlugin(progress=False))
    with pytest.raises(ValueError, match=r"leave this plugin out where classes are names"):
        train(parts, tasks()[:1])


def assert_same(ours, expected):
    torch.testing.assert_close(ours.counts, expected.counts)
    torch.testing.assert_close(ours.means, expected.means)
    torch.testing.assert_close(ours.scatter, expected.scatter)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("boundaries", [True, False])
def test_from_a_stream_seen_once_they_are_those_of_the_whole_where_nothing_moves(size, boundaries):
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(plugins=[head], train_epochs=1, train_mb_size=size)
    for group in parts.strategy.optimizer.param_groups:
        group["lr"] = 0.0
    parts.strategy.train(online(size, boundaries), eval_streams=[])
    assert_same(head.statistics, by_hand(parts.model, stream(per_class=6).train_stream))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_can_be_recomputed_and_learned_from_a_stream_seen_once(name):
    head = ClassStatisticsPlugin(name, progress=False, **SMALL_HEADS.get(name, {}))
    parts = naive(plugins=[head], train_epochs=1, train_mb_size=4)
    for group in parts.strategy.optimizer.param_groups:
        group["lr"] = 0.0
    parts.strategy.train(online(4), eval_streams=[])
    tasks = stream(per_class=6).train_stream
    features, _ = features_of(parts.model, tasks[1])
    expected = by_hand(parts.model, tasks, name).logits(features)
    torch.testing.assert_close(head.statistics.logits(features), expected)
    head.recompute(parts.strategy, tasks)
    torch.testing.assert_close(head.statistics.logits(features), expected)


def test_from_a_stream_seen_once_they_have_the_features_of_their_time():
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(plugins=[head], train_epochs=1, train_mb_size=4)
    pieces = list(online(4))
    parts.strategy.train(pieces[:3], eval_streams=[])
    kept = copy.deepcopy(head.statistics)
    parts.strategy.train(pieces[3:], eval_streams=[])
    assert torch.equal(head.statistics.means[:2], kept.means[:2])
    assert head.statistics.counts.tolist() == [6] * 6


def test_recomputing_replaces_stale_statistics_by_fresh_ones():
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(plugin=PEGPPlugin(project="none", progress=False), plugins=[head])
    tasks = stream(per_class=3).train_stream
    parts.strategy.train(tasks[:2], eval_streams=[])
    fresh = by_hand(parts.model, tasks[:2])
    assert (head.statistics.means[0] - fresh.means[0]).norm() > 1e-3 * fresh.means[0].norm()
    modes = [module.training for module in parts.model.train().modules()]
    for _ in range(2):
        head.recompute(parts.strategy, tasks[:2])
        assert_same(head.statistics, fresh)
    assert modes == [module.training for module in parts.model.modules()]


def test_statistics_that_cannot_be_recomputed_stay_as_they_were():
    head = ClassStatisticsPlugin(progress=False)
    parts, task = naive(plugins=[head], train_epochs=1), stream().train_stream[0]
    parts.strategy.train(task, eval_streams=[])
    kept = head.statistics
    with torch.no_grad():
        parts.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        head.recompute(parts.strategy, [task])
    assert head.statistics is kept
    assert not parts.model.head._forward_pre_hooks


def test_an_experience_that_breaks_off_leaves_statistics_as_they_were():
    head = ClassStatisticsPlugin(progress=False)
    parts = naive(plugin=head, train_epochs=0, eval_mb_size=1)
    tasks = stream(per_class=2).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    scales = iter([1.0, 1.0, torch.nan])  # two samples go well
    parts.model.norm.register_forward_hook(lambda _, args, output: output * next(scales))
    with pytest.raises(ValueError, match="NaN or infinite"):
        parts.strategy.train(tasks[1], eval_streams=[])
    assert head.statistics.counts.tolist() == [2, 2, 0, 0, 0, 0]


def test_an_evaluation_that_fails_leaves_no_hook():
    parts = naive(plugins=[ClassStatisticsPlugin(progress=False)], train_epochs=1)
    benchmark = stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    broken = parts.model.head.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        parts.strategy.eval(benchmark.test_stream)
    broken.remove()
    assert not parts.model.head._forward_pre_hooks
