"""Wrappers are seen through, and models that are none are left alone."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from heads import Normalised
from models import images, small_vit
from torch import nn
from torch.optim.swa_utils import AveragedModel

from avl_pegp.wrappers import path_of, unwrapped


class HandsOn(Normalised):
    """One that hands on what it does not have, as torch's and peft's wrappers do."""

    def __getattr__(self, name):
        if name in self._buffers or name not in dir(self._modules.get("model")):
            return super().__getattr__(name)
        return getattr(super().__getattr__("model"), name)


class OwnHead(nn.Module):
    """A model with a classifier that nothing names."""

    def __init__(self):
        super().__init__()
        self.backbone = small_vit(num_classes=0)
        self.fc = nn.Linear(64, 6).double()

    def forward(self, x):
        return self.fc(self.backbone(x))


def with_peft(model):
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["qkv"]))


def as_ddp(model):
    """The shape of it, without a process group."""
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = model
    return wrapped


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "data_parallel": (nn.DataParallel, "module"),
    "ddp": (as_ddp, "module"),
    "averaged": (AveragedModel, "module"),
    "compiled": (compiled, "_orig_mod"),
    "peft": (with_peft, "base_model.model"),
    "peft's tuner alone": (lambda model: with_peft(model).base_model, "model"),
    "normalised": (Normalised, "model"),
    "hands on": (HandsOn, "model"),
    "in sequence": (lambda model: nn.Sequential(nn.Identity(), model, nn.Identity()), "1"),
    "twice": (lambda model: as_ddp(compiled(Normalised(model))), "module._orig_mod.model"),
    "compiled peft": (lambda model: compiled(with_peft(model)), "_orig_mod.base_model.model"),
    "peft, normalised": (lambda model: Normalised(with_peft(model)), "model.base_model.model"),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_model_inside_a_wrapper_is_found_with_its_place(name):
    wrap, path = WRAPPERS[name]
    model = small_vit()
    wrapped = wrap(model)
    inner = unwrapped(wrapped)
    assert type(inner) is type(model)
    assert path_of(wrapped, inner) == path
    assert wrapped.get_submodule(path) is inner
    assert {f"{path}.{key}" for key in inner.state_dict()} <= wrapped.state_dict().keys()
    if name != "averaged":  # it holds a copy
        assert inner is model


@pytest.mark.parametrize("wrap", [nn.DataParallel, as_ddp, compiled])
def test_torchs_own_wrappers_come_off_whatever_is_inside(wrap):
    model = OwnHead()
    assert unwrapped(wrap(model)) is model


def test_models_that_are_no_wrappers_are_themselves():
    own_parameter = Normalised(small_vit())
    own_parameter.temperature = nn.Parameter(torch.ones(()))
    pair = nn.ModuleDict({"student": small_vit(), "teacher": small_vit()})
    named = Normalised(small_vit())
    named.get_classifier = lambda: named.model.head
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for model in (small_vit(), OwnHead(), own_parameter, pair, named, layers, nn.Linear(2, 2)):
        assert unwrapped(model) is model
        assert path_of(model, model) == ""


def test_looking_inside_changes_nothing():
    model = Normalised(small_vit())
    before, x = copy.deepcopy(model), images(1, seed=0)
    unwrapped(model)
    assert torch.equal(model(x), before(x))
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]


def test_a_module_from_elsewhere_has_no_path():
    with pytest.raises(ValueError, match="this Linear is no part of the VisionTransformer"):
        path_of(small_vit(), nn.Linear(2, 2))
