"""Weights that act past their layers' own calls are found before anything relies on them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import small_vit
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach
from avl_pegp.projection import PEGP


class Pair(nn.Module):
    """Two layers, and what a subclass does beside calling them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class ReadBefore(Pair):
    def forward(self, x):
        return self.b(torch.tanh(self.a(x)) + F.linear(x**2, self.a.weight))


class ReadAfter(Pair):
    def forward(self, x):
        h = torch.tanh(self.a(x))
        return self.b(h) + h @ self.a.weight.mT


class ForwardItself(Pair):
    def forward(self, x):
        return self.b(torch.tanh(self.a(x))) + self.a.forward(x**2)


class ItsSize(Pair):
    def forward(self, x):
        return super().forward(x) * self.a.weight.norm()


class ItsBias(Pair):
    def forward(self, x):
        return super().forward(x) + self.a.bias


class InADictionary(ReadAfter):
    def forward(self, x):
        return {"features": [super().forward(x)]}


class CalledTwice(Pair):
    def forward(self, x):
        return self.b(torch.tanh(self.a(torch.tanh(self.a(x)))))


class WrittenInto(Pair):
    def forward(self, x):
        y = self.b(torch.tanh(self.a(x)))
        y[..., 0] = 0
        return y


class Noisy(Pair):
    def forward(self, x):
        return self.b(F.dropout(self.a(x), 0.5))


class OtherWeights(Pair):
    def forward(self, x):
        other = {"weight": F.normalize(self.a.weight, dim=-1)}
        return self.b(torch.tanh(functional_call(self.a, other, (x,))))


class NormalisedByAHook(Pair):
    def __init__(self):
        super().__init__()
        self.a.register_forward_hook(lambda layer, _, y: y / layer.weight.norm())


class NormalisedInPlace(Pair):
    def __init__(self):
        super().__init__()
        self.a.register_forward_pre_hook(shorten)


def shorten(layer, _):
    layer.weight.data = torch.renorm(layer.weight.data, 2, 0, 0.5)


class Hooked(Pair):
    """Hooks that change what goes in, and what comes out by a factor alone."""

    def __init__(self):
        super().__init__()
        self.a.register_forward_pre_hook(lambda _, args: (args[0].abs(),))
        self.b.register_forward_hook(lambda _, __, y: 2 * y)


READ_ELSEWHERE = [
    *(ReadBefore, ReadAfter, ForwardItself, ItsSize, ItsBias, InADictionary),
    *(OtherWeights, NormalisedByAHook, NormalisedInPlace),
]
X = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def count_of_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("kind", READ_ELSEWHERE)
def test_a_weight_that_is_read_elsewhere_too_is_refused_by_name(kind):
    model = kind().double()
    hooks = count_of_hooks(model)
    before, pegp = snapshot(model), PEGP(model, energy=1.0)
    pegp.begin()
    with pytest.raises(ValueError, match="the weight of a also acts on the output past"):
        pegp.gather([X])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert count_of_hooks(model) == hooks
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()


@pytest.mark.parametrize("kind", READ_ELSEWHERE)
def test_what_a_loop_shows_in_its_own_way_is_tried_in_that_way(kind):
    model = kind().double()
    pegp = PEGP(model)
    pegp.begin()
    with pytest.raises(ValueError, match="the weight of a also acts"):
        pegp.gather([{"pixels": X}], lambda batch: (model(batch["pixels"]), None)[1])


@pytest.mark.parametrize("kind", [Pair, CalledTwice, WrittenInto, Hooked])
def test_layers_that_act_by_their_calls_alone_pass(kind):
    model = kind().double()
    before, pegp = snapshot(model), PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather([X])
    pegp.extend()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("pet", [LoRA(3), Adapter(4), Prefix(3), Prompt(3)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pets_pass(pet, dtype):
    model = small_vit(dtype)
    attach(model, pet)
    before, pegp = snapshot(model), PEGP(model)
    pegp.begin({0})
    pegp.gather([torch.randn(2, 3, 32, 32, dtype=dtype)])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_frozen_layer_may_be_read_anywhere():
    model = ReadAfter().double()
    model.a.requires_grad_(False)
    pegp = PEGP(model)
    pegp.begin()
    pegp.gather([X])


def test_a_model_that_answers_at_random_has_no_old_answers():
    pegp = PEGP(Noisy().double())
    pegp.begin()
    with pytest.raises(ValueError, match="gives other outputs for the same input in eval mode"):
        pegp.gather([X])


@dataclass
class Answer:
    features: Any


class Opaque:
    def __init__(self, features):
        self.features = features


@pytest.mark.parametrize("wrap", [Answer, Opaque, lambda x: SimpleNamespace(features=x)])
def test_a_weight_read_after_all_calls_is_found_in_outputs_with_fields(wrap):
    class Wrapped(ReadAfter):
        def forward(self, x):
            return wrap(super().forward(x))

    pegp = PEGP(Wrapped().eval(), classifier=False)
    pegp.begin()
    with pytest.raises(ValueError, match="weight of a also acts"):
        pegp.gather([torch.randn(5, 6)])
