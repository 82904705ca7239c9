"""Stored class statistics that follow the features: against statistics made anew of old images."""

from __future__ import annotations

import copy

import pytest
import torch
from avalanche.training.supervised import Naive
from streams import by_hand, features_of, naive, online, stream
from torch import nn

from avl_pegp.heads import HEADS
from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt
from avl_pegp.plugins import (
    CORRECTIONS,
    ClassStatisticsPlugin,
    MaskedCrossEntropy,
    MomentsCorrection,
    PEGPPlugin,
    RidgeCorrection,
)

every_correction = pytest.mark.parametrize("name", CORRECTIONS)
FEW = {"pairs": 60}


def learner(correction, *pets, energy=1.0, project="step", head="ncm", pegp=True, **options):
    """A strategy, its model and its class statistics."""
    first = PEGPPlugin(energy=energy, project=project, progress=False)
    statistics = ClassStatisticsPlugin(head, correction=correction, progress=False)
    parts = naive(*pets, plugin=first if pegp else statistics, **options)
    if pegp:
        parts.strategy.plugins.append(statistics)
    parts.statistics = statistics
    return parts


def after_two(correction, **options):
    """The same, two experiences later, and what was stored in between."""
    parts = learner(correction, **options)
    parts.tasks = stream(per_class=4).train_stream
    parts.strategy.train(parts.tasks[0], eval_streams=[])
    parts.kept = copy.deepcopy(parts.statistics.statistics)
    parts.strategy.train(parts.tasks[1], eval_streams=[])
    return parts


PETS = {"lora": LoRA(16), "adapter": Adapter(8), "prefix": Prefix(24), "prompt": Prompt(24)}


@every_correction
@pytest.mark.parametrize("pet", PETS)
def test_at_energy_1_no_statistics_move(name, pet):
    parts = learner(CORRECTIONS[name](**FEW), PETS[pet])
    tasks = stream(per_class=1).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    kept, before = copy.deepcopy(parts.statistics.statistics), features_of(parts.model, tasks[1])[0]
    parts.strategy.train(tasks[1], eval_streams=[])
    moved = (features_of(parts.model, tasks[1])[0] - before).norm() / before.norm()
    assert moved > 1e-10  # new features have moved
    means = parts.statistics.statistics.means[:2]
    assert (means - kept.means[:2]).norm() < (1e-5 * moved + 1e-14) * kept.means[:2].norm()


def error_of(statistics, expected, kept):
    """Distance of the first experience's means from what they should be; of uncorrected ones: 1."""
    truth = expected.means[:2]
    return ((statistics.means[:2] - truth).norm() / (kept.means[:2] - truth).norm()).item()


class Linear(nn.Module):
    """Features are a linear map of the images' mean colours and corners, so that drift is linear."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.features = nn.Linear(12, 12, bias=False)
        self.fc = nn.Linear(12, 6)

    def forward(self, x):
        return self.fc(self.features(self.pool(x).flatten(1)))


def linear_learner(correction):
    model = Linear().double()
    statistics = ClassStatisticsPlugin("lda", correction=correction, progress=False)
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        criterion=MaskedCrossEntropy(),
        plugins=[PEGPPlugin(project="none", progress=False), statistics],
        train_epochs=5,
        train_mb_size=4,
    )
    return strategy, model, statistics


def test_a_drift_that_is_linear_is_made_good_wholly_by_a_ridge_map():
    strategy, model, statistics = linear_learner(RidgeCorrection(pairs=400))
    tasks = stream(per_class=10).train_stream
    strategy.train(tasks[0], eval_streams=[])
    kept = copy.deepcopy(statistics.statistics)
    strategy.train(tasks[1], eval_streams=[])
    with torch.no_grad():
        old = torch.stack([item[0] for item in tasks[0].dataset.eval()])
        features = model.features(model.pool(old).flatten(1))
    truth = torch.stack([features[:10].mean(0), features[10:].mean(0)])
    drift = (kept.means[:2] - truth).norm()
    assert drift > 0.01 * truth.norm()
    assert (statistics.statistics.means[:2] - truth).norm() < 1e-2 * drift


@every_correction
def test_unprotected_statistics_come_nearer_to_the_truth(name):
    parts = after_two(CORRECTIONS[name](pairs=400), project="none")
    truth = by_hand(parts.model, parts.tasks[:1], "ncm")
    assert not torch.equal(parts.statistics.statistics.means[:2], parts.kept.means[:2])
    assert error_of(parts.statistics.statistics, truth, parts.kept) < 1


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.long
def test_every_head_takes_a_correction(head):
    parts = after_two(RidgeCorrection(**FEW), head=head, project="none")
    logits = parts.statistics.statistics.logits(features_of(parts.model, parts.tasks[0])[0])
    assert logits[:, :4].isfinite().all()


@every_correction
def test_without_a_correction_training_is_the_same_to_the_bit(name):
    plain, corrected = (after_two(c, energy=0.9) for c in (None, CORRECTIONS[name](**FEW)))
    for one, other in zip(plain.model.parameters(), corrected.model.parameters(), strict=True):
        assert torch.equal(one, other)
    new = [parts.statistics.statistics.means[2:4] for parts in (plain, corrected)]
    assert torch.equal(*new)


@every_correction
def test_an_experience_that_breaks_off_leaves_statistics_and_weights_as_they_were(name):
    class Broken(RuntimeError):
        pass

    parts = learner(CORRECTIONS[name](**FEW), project="none")
    tasks = stream(per_class=4).train_stream
    parts.strategy.train(tasks[0], eval_streams=[])
    kept = copy.deepcopy(parts.statistics.statistics)
    correction = parts.statistics.correction
    usual, calls = correction._images, []

    def breaking(*args, **kwargs):
        calls.append(1)
        for image in usual(*args, **kwargs):
            yield image
            if len(calls) == 2:
                raise Broken

    correction._images = breaking
    with pytest.raises(Broken):
        parts.strategy.train(tasks[1], eval_streams=[])
    assert torch.equal(parts.statistics.statistics.means, kept.means)
    assert not parts.model.head._forward_pre_hooks
    trained = {n: p.detach().clone() for n, p in parts.model.named_parameters()}
    parts.statistics.correction = None
    parts.strategy.eval(tasks[:1])
    for n, p in parts.model.named_parameters():
        assert torch.equal(p, trained[n])


@every_correction
def test_a_stream_seen_once_is_refused(name):
    parts = learner(CORRECTIONS[name](**FEW), train_epochs=1)
    with pytest.raises(ValueError, match="in an online stream.*leave correction out"):
        parts.strategy.train(next(iter(online(4))), eval_streams=[])


def test_moments_without_pegp_are_refused():
    parts = learner(MomentsCorrection(**FEW), pegp=False)
    with pytest.raises(ValueError, match="without a PEGPPlugin, whose moments it reads"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


def test_moments_that_pegp_gathers_only_behind_are_refused():
    statistics = ClassStatisticsPlugin(correction=MomentsCorrection(**FEW), progress=False)
    parts = naive(plugin=statistics, plugins=[PEGPPlugin(energy=1.0, progress=False)])
    with pytest.raises(ValueError, match="PEGPPlugin behind ClassStatisticsPlugin: .*come before"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


def test_moments_beside_branches_that_start_anew_are_refused():
    statistics = ClassStatisticsPlugin(correction=MomentsCorrection(**FEW), progress=False)
    plugin = PEGPPlugin(energy=1.0, rebase=True, progress=False)
    parts = naive(plugin=plugin, plugins=[statistics])
    with pytest.raises(ValueError, match="rebase=True.*use rebase=False, or RidgeCorrection"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])


@every_correction
def test_a_map_without_features_from_before_is_refused(name):
    with pytest.raises(RuntimeError, match=r"call begin\(\) before training"):
        CORRECTIONS[name]().end(None, None)


@every_correction
@pytest.mark.parametrize("pairs", [0, -1, 2.5, float("nan")])
def test_a_number_of_pairs_out_of_range_is_refused(name, pairs):
    with pytest.raises(ValueError, match="pairs="):
        CORRECTIONS[name](pairs=pairs)


def test_more_pairs_are_made_of_the_images_at_hand():
    counts = []

    class Counted(RidgeCorrection):
        def _encoded(self, *args, **kwargs):
            features, origins = super()._encoded(*args, **kwargs)
            counts.append(len(features))
            return features, origins

    for pairs in (1, 8, 9, 30):
        after_two(Counted(pairs=pairs), project="none", train_epochs=1)
    assert counts == [8, 8, 8, 8, 16, 16, 32, 32]
