from __future__ import annotations

import copy

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.training.plugins import ReplayPlugin
from models import relative_change
from streams import naive, stream, to_noise
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins import PEGPPlugin, masked_cross_entropy
from avl_pegp.plugins.regularization import (
    EWCPlugin,
    L2Plugin,
    diagonal_fisher,
    quadratic_penalty,
)


def ewc(strength=1.0, **options):
    return EWCPlugin(strength, progress=False, **options)


def fisher_by_loop(model, x, y, classes):
    """The oracle: one ``backward`` for each sample."""
    model = copy.deepcopy(model).eval()
    total = {name: torch.zeros_like(p) for name, p in trainable_tensors(model).items()}
    for i in range(len(x)):
        model.zero_grad()
        masked_cross_entropy(model(x[i : i + 1]), y[i : i + 1], classes).backward()
        for name, p in trainable_tensors(model).items():
            if p.grad is not None:
                total[name] += p.grad**2 / len(x)
    return total


@torch.no_grad()
def move(model, step):
    for p in trainable_tensors(model).values():
        p += step


def test_the_penalty_is_the_weighted_sum_of_squares():
    g = torch.Generator().manual_seed(0)
    now, then, weight = (
        {"a": torch.randn(3, 2, generator=g), "b": torch.randn((), generator=g)} for _ in range(3)
    )
    by_hand = sum(
        float(weight[k].flatten()[i] * (now[k].flatten()[i] - then[k].flatten()[i]) ** 2)
        for k in now
        for i in range(now[k].numel())
    )
    assert quadratic_penalty(now, then, weight).item() == pytest.approx(by_hand, rel=1e-5)


def test_rows_that_came_since_are_not_penalised():
    now = {"a": torch.ones(3, 2)}
    assert quadratic_penalty(now, {"a": torch.zeros(2, 2)}, {"a": 1.0}).item() == 4


def test_l2s_gradient_is_added_to_the_losses():
    parts, benchmark = naive(plugin=L2Plugin(0.3), train_epochs=1), stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    then = {name: p.detach().clone() for name, p in trainable_tensors(parts.model).items()}
    move(parts.model, 0.01)

    model = copy.deepcopy(parts.model)
    x = torch.stack([item[0] for item in benchmark.train_stream[1].dataset])
    loss = masked_cross_entropy(model(x), torch.tensor([2, 3]), {2, 3})
    loss += 0.3 * sum(((p - then[n]) ** 2).sum() for n, p in trainable_tensors(model).items())
    model.zero_grad()
    loss.backward()

    parts.strategy.train(benchmark.train_stream[1], eval_streams=[])  # one step: gradients stay
    for name, p in trainable_tensors(model).items():
        torch.testing.assert_close(parts.model.get_parameter(name).grad, p.grad)


class Tiny(nn.Module):
    """With a dropout that eval mode must switch off, a frozen and an unused layer."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.out(self.dropout(self.frozen(x).tanh()))


def test_the_fisher_is_the_mean_squared_gradient_of_each_sample():
    torch.manual_seed(0)
    model, x, y = Tiny().double(), torch.randn(5, 3).double(), torch.tensor([0, 2, 1, 1, 0])
    model.frozen.eval()
    state = copy.deepcopy(model.state_dict())
    samples = [(x[i : i + 1], y[i : i + 1]) for i in range(5)]
    fisher = diagonal_fisher(model, samples, lambda s: F.cross_entropy(model(s[0]), s[1]))
    expected = fisher_by_loop(model, x, y, {0, 1, 2})
    assert fisher.keys() == expected.keys() == {n for n in state if not n.startswith("frozen")}
    for name in expected:
        torch.testing.assert_close(fisher[name], expected[name])
    assert not fisher["unused.weight"].any()

    assert all(p.grad is None for p in model.parameters())
    assert model.dropout.training and not model.frozen.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_fisher_of_no_sample_or_of_no_numbers_is_refused():
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="samples is empty"):
        diagonal_fisher(model, [], lambda x: model(x).sum())
    with pytest.raises(ValueError, match="gradients of weight are NaN or infinite"):
        diagonal_fisher(model, [torch.full((1, 1), torch.inf)], lambda x: model(x).sum())
    assert model.training


@pytest.mark.parametrize("online", [False, True])
def test_fishers_of_tasks_are_summed_each_with_its_own_mask_data_and_weights(online):
    plugin = ewc()
    parts = naive(plugin=plugin, train_epochs=2)
    benchmark = stream(per_class=2, train_transform=None if online else to_noise)
    tasks, expected = list(benchmark.train_stream), []
    for t, task in enumerate(tasks[:2]):
        pieces = split_online_stream([task], 2, access_task_boundaries=True) if online else task
        parts.strategy.train(pieces, eval_streams=[benchmark.test_stream])
        x = torch.stack([item[0] for item in task.dataset.eval()])
        y = torch.tensor([item[1] for item in task.dataset])
        expected.append(fisher_by_loop(parts.model, x, y, {2 * t, 2 * t + 1}))
    assert len(plugin.fisher) == len(trainable_tensors(parts.model))
    for name, value in plugin.fisher.items():
        torch.testing.assert_close(value, expected[0][name] + expected[1][name])
    assert not plugin.fisher["head.weight"][4:].any()


def test_ewcs_penalty_is_half_the_weighted_square():
    parts = naive(plugin=ewc(), train_epochs=1)
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    move(parts.model, 0.1)
    expected = sum(float(f.sum()) for f in parts.plugin.fisher.values()) * 0.1**2 / 2
    assert expected > 0
    assert parts.plugin.penalty(parts.strategy).item() == pytest.approx(expected)


def test_a_sample_count_limits_the_passes():
    seen = []
    parts = naive(plugin=ewc(samples=3), train_epochs=0)
    parts.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    parts.strategy.train(stream(per_class=4).train_stream[0], eval_streams=[])
    assert seen == [1, 1, 1]


def test_the_fisher_leaves_gradients_and_the_optimizer_as_they_are():
    trained = []
    for plugin in (L2Plugin(0.0), ewc(0.0)):
        parts = naive(plugin=plugin)
        parts.strategy.train(stream().train_stream[0], eval_streams=[])
        trained.append((trainable_tensors(parts.model).values(), parts.strategy.optimizer.state))
    (plain, state), (tensors, other) = trained
    for p, q in zip(plain, tensors, strict=True):
        assert torch.equal(p, q) and torch.equal(p.grad, q.grad)
        assert all(torch.equal(value, other[q][key]) for key, value in state[p].items())


def test_replay_and_pegp_together_keep_old_features():
    parts = naive(
        plugin=ewc(),
        plugins=[ReplayPlugin(mem_size=4), PEGPPlugin(energy=1.0, progress=False)],
        criterion=nn.CrossEntropyLoss(),
    )
    benchmark = stream()
    x = torch.stack([item[0] for item in benchmark.train_stream[0].dataset])
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    then = parts.model.eval().forward_features(x)
    parts.strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert relative_change(parts.model.eval().forward_features(x), then) <= 1e-9


@pytest.mark.parametrize("samples", [0, 2.5, True])
def test_a_wrong_sample_count_is_refused(samples):
    with pytest.raises(ValueError, match=f"samples={samples}"):
        EWCPlugin(1.0, samples)
