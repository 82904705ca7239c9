"""Models whose PETs have started anew, with something learned before and since."""

from __future__ import annotations

import pytest
import torch
from models import images, small_vit

from avl_pegp.pet import Adapter, LoRA, Prompt, Rebasable, attach, trainable_tensors

CASES = {
    "lora": (LoRA(3, targets=("qkv", "proj", "fc1", "fc2"), alpha=6),),
    "lora_kv": (LoRA(3, targets=("k", "v"), alpha=6),),
    "adapter": (Adapter(4, scale=0.5),),
    "attention_adapter": (Adapter(4, parallel_to="attention"),),
    "together": (LoRA(2, blocks=[0, 2]), Adapter(2), Prompt(2)),
}
X = images(2, seed=0)
every_case = pytest.mark.parametrize("case", CASES)


def attached(case, dtype=torch.float64):
    model = small_vit(dtype)
    attach(model, *CASES[case])
    return model


def layers(model):
    return {path: m for path, m in model.named_modules() if isinstance(m, Rebasable)}


def learn(model, seed):
    """Random weights in the place of trained ones."""
    generator = torch.Generator().manual_seed(seed)
    for p in trainable_tensors(model).values():
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.data.add_(0.1 * noise.to(p.dtype))


def rebase(model, free=lambda matrix: matrix):
    for layer in layers(model).values():
        layer.rebase(free)


def learned(case, rebases=2, dtype=torch.float64, seed=0):
    """A model that has rebased, with something learned after each time."""
    model = attached(case, dtype)
    learn(model, seed)
    for i in range(rebases):
        rebase(model)
        learn(model, seed + i + 1)
    return model


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model, before):
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
