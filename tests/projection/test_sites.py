"""Which layers a condition may be relied on for: those whose output depends on W x + b alone."""

from __future__ import annotations

import warnings

import pytest
import torch
from models import relative_change, tune
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from avl_pegp.projection import PEGP


class Cosine(nn.Linear):
    def forward(self, x):
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


class Standardised(nn.Linear):
    def forward(self, x):
        weight = self.weight - self.weight.mean(1, keepdim=True)
        return F.linear(x, weight / weight.std(1, keepdim=True), self.bias)


class FakeQuantised(nn.Linear):
    def forward(self, x):
        step = self.weight.detach().abs().max() / 127
        rounded = (self.weight / step).round() * step
        return F.linear(x, self.weight + (rounded - self.weight).detach(), self.bias)


class Transposed(nn.Linear):
    def forward(self, x):
        return x @ self.weight + self.bias


class OnNormalisedInput(nn.Linear):
    def forward(self, x):
        return F.linear(F.layer_norm(x, x.shape[-1:]), self.weight, self.bias)


class WantsMore(nn.Linear):
    def forward(self, x, mask):
        return super().forward(x) * mask


class Counting(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Scaled(nn.Linear):
    def forward(self, x):
        return 3 * super().forward(x)


class Activated(nn.Linear):
    def forward(self, x):
        return F.gelu(super().forward(x))


class DropsWeights(nn.Linear):
    def forward(self, x):
        return F.linear(x, F.dropout(self.weight, 0.3, self.training), self.bias)


OTHERS = [Cosine, Standardised, FakeQuantised, Transposed, OnNormalisedInput, WantsMore]
AS_ASSUMED = [nn.Linear, Counting, Scaled, Activated, DropsWeights]
COMPUTED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "weight_norm by hooks": weight_norm,
    "spectral_norm by hooks": spectral_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
}


def network(layer):
    """The layer in front of another, float64."""
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(6, 3)).double()


def computed(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # two of them are old, and said to be
        return network(COMPUTED[name](nn.Linear(6, 6)))


def drift_over_two_experiences(model, **options):
    torch.manual_seed(0)
    old, new = torch.randn(2, 6).double(), torch.randn(8, 6).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    pegp = PEGP(model, energy=1.0, **options)
    pegp.begin()
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    pegp.gather([old])
    pegp.extend()
    with torch.no_grad():
        before, other = model.eval()(old), model(new)
    pegp.begin()
    tune(model, optimizer, pegp, new, torch.arange(8) % 3, steps=30)
    with torch.no_grad():
        return relative_change(model.eval()(old), before), relative_change(model(new), other)


@pytest.mark.parametrize("layer", OTHERS)
def test_a_layer_that_uses_its_weight_in_another_way_is_refused_by_name(layer):
    model = network(layer(6, 6))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=rf"trainable 0.weight.*0 \({layer.__name__}\): such a layer"
    ):
        PEGP(model).begin()
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert model[0].training


@pytest.mark.parametrize("layer", AS_ASSUMED)
def test_a_layer_of_another_class_that_depends_on_the_product_alone_is_covered_and_exact(layer):
    old, new = drift_over_two_experiences(network(layer(6, 6)))
    assert old <= 1e-9
    assert new > 1e-3


def test_a_forward_that_was_put_onto_one_layer_is_tried_too():
    model = network(nn.Linear(6, 6))
    model[0].forward = lambda x: F.linear(x, F.normalize(model[0].weight, dim=-1))
    with pytest.raises(ValueError, match=r"0 \(Linear\): such a layer"):
        PEGP(model).begin()


@pytest.mark.parametrize("name", COMPUTED)
def test_tensors_that_a_weight_is_computed_of_are_refused_by_name(name):
    model = computed(name)
    with pytest.raises(
        ValueError, match=r"no condition covers the trainable .*0\.\w*(weight|param)"
    ):
        PEGP(model).begin()


@pytest.mark.parametrize("name", ["weight_norm", "weight_norm by hooks", "pruned"])
def test_or_they_are_held_after_the_first_experience(name):
    old, new = drift_over_two_experiences(computed(name), freeze_uncovered=True)
    assert old <= 1e-9
    assert new > 1e-3


def test_a_layer_whose_shape_is_still_open_is_refused():
    with pytest.raises(ValueError, match=r"0.weight has no shape yet"):
        PEGP(nn.Sequential(nn.LazyLinear(3))).begin()


@pytest.mark.parametrize("layer", AS_ASSUMED)
def test_it_is_tried_within_a_first_forward_pass_and_leaves_its_gradients_alone(layer):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.fc = nn.Linear(6, 6), layer(6, 3)

        def forward(self, x):
            return self.fc(torch.tanh(self.first(x)))

    model = Net().double()
    pegp = PEGP(model)
    pegp.begin({0, 1})  # which layer gives the logits, that pass alone can tell
    F.cross_entropy(model(torch.ones(2, 6).double()), torch.tensor([0, 1])).backward()
    pegp.project_gradients()
    assert list(pegp.coverage.heads) == ["fc"]
    assert model.fc.weight.grad[:2].any()
