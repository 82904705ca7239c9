"""The meter of a few kept inputs against what happens to them."""

from __future__ import annotations

import pytest
import torch
from inspected import inspected, run
from models import PETS, answers
from streams import by_loop, online, stream

from avl_pegp import Adapter, LoRA, PEGPPlugin
from avl_pegp.evaluation import MeasuredDrift

FIRST_A = "blocks.0.attn.qkv.A"


def controlled(*pets, samples=4, train_epochs=8, **options):
    plugin = PEGPPlugin(progress=False, **options)
    control = MeasuredDrift(samples=samples)
    return inspected(*pets, plugin=plugin, metrics=[control], train_epochs=train_epochs)


@pytest.mark.parametrize("project", ["none", "step"])
def test_meter_and_measurement_agree_at_the_first_trained_tensor(project):
    logger = run(controlled(LoRA(16), project=project, energy=0.9))
    measured, metered = logger.of("MeasuredDrift"), logger.of("MeteredDrift")
    assert len(measured[FIRST_A]) == 2
    for i, true in measured[FIRST_A].items():
        assert true > 1e-4
        assert metered[FIRST_A][i] == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("pet", PETS)
@pytest.mark.long
def test_nothing_drifts_where_all_energy_is_kept(pet):
    logger = run(controlled(PETS[pet], energy=1.0))
    measured, metered = logger.latest("MeasuredDrift"), logger.latest("MeteredDrift")
    assert measured.keys() >= {"features", "logits"}
    assert max(measured.values()) < 1e-20
    assert max(metered.values()) < 1e-12
    moved = run(controlled(PETS[pet], project="none")).latest("MeasuredDrift")
    assert min(moved.values()) > 1e-6


def test_features_and_logits_change_as_a_test_sees_them_change():
    """All samples of the first experience are kept, so that a test can know which ones."""
    parts = controlled(LoRA(16), project="none", samples=4)
    benchmark = stream(2)
    x = [torch.stack([item[0] for item in e.dataset]) for e in benchmark.train_stream]
    known = []
    for i, experience in enumerate(benchmark.train_stream):
        parts.strategy.train(experience, eval_streams=[])
        known.append((x[i], *made_of(parts.model, x[i], 2 * i + 2)))
    then = known[:2]
    now = [made_of(parts.model, x, logits.shape[1]) for x, _, logits in then]
    measured = parts.logger.latest("MeasuredDrift")
    for kind, name in enumerate(("features", "logits")):
        pairs = [(a[kind], b[kind + 1]) for a, b in zip(now, then, strict=True)]
        changed = sum((new - old).square().sum() for new, old in pairs)
        energy = sum(old.square().sum() for _, old in pairs)
        assert measured[name] == pytest.approx(float(changed / energy), rel=1e-9)


@torch.no_grad()
def made_of(model, x, classes):
    features = model.eval().forward_head(model.forward_features(x), pre_logits=True)
    return features, answers(model, x, classes)


def test_it_only_looks():
    models = []
    for metrics in ([], [MeasuredDrift()]):
        parts = inspected(Adapter(4), metrics=metrics, train_mb_size=2)
        run(parts, evaluate=True)
        models.append(parts.model)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    assert not any(module._forward_pre_hooks for module in models[1].modules())


def test_where_branches_start_anew_features_and_logits_alone_are_told():
    logger = run(controlled(LoRA(16), energy=1.0, rebase=True))
    measured = logger.latest("MeasuredDrift")
    assert measured.keys() == {"features", "logits"} and max(measured.values()) < 1e-20
    assert not logger.of("MeteredDrift")


@pytest.mark.parametrize("boundaries", [True, False])
def test_online_streams_are_looked_at_where_bases_were_extended(boundaries):
    parts = controlled(LoRA(16), energy=0.9, every=2, train_epochs=1)
    by_loop(parts.strategy, online(4, boundaries))
    metered, measured = parts.logger.of("MeteredDrift"), parts.logger.of("MeasuredDrift")
    assert measured[FIRST_A] == pytest.approx(metered[FIRST_A], rel=1e-6)
    assert len(measured[FIRST_A]) >= 2 - boundaries


def test_features_are_measured_where_the_classifier_is_left_unprotected():
    logger = run(controlled(LoRA(16), energy=1.0, exclude="head*"))
    measured = logger.latest("MeasuredDrift")
    assert measured["features"] < 1e-20


def test_a_task_that_comes_in_pieces_is_kept_as_a_whole():
    parts = controlled(LoRA(16), samples=4, train_epochs=1)
    control = next(m for m in parts.strategy.evaluator.metrics if isinstance(m, MeasuredDrift))
    by_loop(parts.strategy, online(3, boundaries=True))
    assert [len(kept.batch[0]) for kept in control._kept] == [4] * len(control._kept)


@pytest.mark.parametrize("samples", [0, -1, 1.5, True])
def test_a_wrong_number_of_samples_is_refused(samples):
    with pytest.raises(ValueError, match=r"MeasuredDrift.samples=.* must be a whole number"):
        MeasuredDrift(samples=samples)
