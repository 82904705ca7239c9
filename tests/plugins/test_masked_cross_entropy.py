from __future__ import annotations

import pytest
import torch
from streams import naive, stream
from torch.nn import functional as F

from avl_pegp.plugins import MaskedCrossEntropy, PEGPPlugin, masked_cross_entropy


def test_it_is_cross_entropy_among_the_classes_given():
    logits, y = torch.randn(5, 6), torch.tensor([2, 4, 4, 2, 2])
    expected = F.cross_entropy(logits[:, [2, 4]], (y == 4).long())
    torch.testing.assert_close(masked_cross_entropy(logits, y, {2, 4}), expected)


def test_it_is_finite_where_avalanches_own_is_not():
    from avalanche.training.losses import MaskedCrossEntropy as Avalanches

    logits, y = torch.tensor([[0.0, 900.0, 0.0]]), torch.tensor([0])
    assert not torch.isfinite(Avalanches(classes={0, 1}, mask="new")(logits, y))
    logits.requires_grad_(True)
    loss = masked_cross_entropy(logits, y, {0, 1})
    loss.backward()
    assert loss == 900
    assert torch.isfinite(logits.grad).all()


def test_a_target_outside_the_mask_is_refused():
    with pytest.raises(ValueError, match=r"targets has classes \[2\], but classes is \[0, 1\]"):
        masked_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]), {0, 1})


@pytest.mark.parametrize("optimizer", ["adamw_decay", "sgd_momentum"])
def test_rows_of_absent_classes_stay_to_the_bit(optimizer):
    # Without projection: it is the criterion that holds them.
    parts = naive(optimizer=optimizer, plugin=PEGPPlugin(project="none", progress=False))
    benchmark = stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    head = {name: p.detach().clone() for name, p in parts.model.head.named_parameters()}
    parts.strategy.train(benchmark.train_stream[1], eval_streams=[])
    for name, p in parts.model.head.named_parameters():
        assert torch.equal(p[[0, 1, 4, 5]], head[name][[0, 1, 4, 5]])
        assert not torch.allclose(p[[2, 3]], head[name][[2, 3]])


def test_evaluation_is_over_all_classes():
    parts, benchmark = naive(), stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    parts.strategy.eval(benchmark.test_stream)
    assert torch.isfinite(parts.strategy.loss).all()


def test_the_temperature_divides_logits_in_training_alone():
    logits, targets = torch.randn(3, 6, dtype=torch.float64), torch.tensor([0, 1, 0])
    criterion = MaskedCrossEntropy(temperature=4.0)
    parts = naive(criterion=criterion)
    parts.strategy.train(stream().train_stream[0], eval_streams=[])  # of classes 0 and 1
    losses = [criterion(logits, targets)]
    criterion.before_eval(parts.strategy)
    losses.append(criterion(logits, targets))
    torch.testing.assert_close(losses[0], F.cross_entropy(logits[:, :2] / 4.0, targets))
    torch.testing.assert_close(losses[1], F.cross_entropy(logits, targets))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_not_above_zero_is_refused(temperature):
    with pytest.raises(ValueError, match="must be above 0"):
        MaskedCrossEntropy(temperature=temperature)
