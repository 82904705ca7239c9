"""The registry of PETs, and a PET of one's own in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from models import images, small_vit
from torch import nn

import avl_pegp.pet
from avl_pegp.pet import PETS, attach, load_pet, save_pet, trainable_tensors


class Scaled(nn.Module):
    """A norm whose output a learned diagonal map changes."""

    def __init__(self, base, width, like):
        super().__init__()
        self.base = base
        self.map = nn.Linear(width, width, bias=False, device=like.device, dtype=like.dtype)
        nn.init.eye_(self.map.weight)

    def forward(self, x):
        return self.map(self.base(x))


@dataclass(frozen=True)
class Rescale:
    """A PET in a file of its own, as a contributor writes one."""

    width: int
    blocks: tuple[int, ...] | None = None
    tower: str = "image"
    depth: ClassVar[int] = 0

    def install(self, tower):
        for i in tower.indices(self):
            norm = tower.find(i, "norm1")
            tower.put(i, "norm1", Scaled(norm, self.width, norm.weight))


def test_every_configuration_is_registered_by_its_name():
    assert list(PETS) == ["adapter", "lora", "prefix", "prompt", "linear_adapter", "context"]
    for kind in PETS.values():
        assert getattr(avl_pegp.pet, kind.__name__) is kind


def test_a_pet_of_ones_own_is_attached_saved_and_loaded(monkeypatch, tmp_path):
    monkeypatch.setitem(PETS, "rescale", Rescale)
    model, x = small_vit().eval(), images(2, seed=0)
    before = model(x)
    handle = attach(model, Rescale(64))
    assert "blocks.0.norm1.map.weight" in trainable_tensors(model)
    with torch.no_grad():
        model.blocks[1].norm1.map.weight.mul_(2)
    tuned = model(x)
    assert not torch.equal(tuned, before)
    save_pet(model, tmp_path)
    other = small_vit().eval()
    load_pet(other, tmp_path)
    assert torch.equal(other(x), tuned)
    handle.detach()
    assert torch.equal(model(x), before)


def test_what_is_not_registered_is_refused_when_it_is_loaded(monkeypatch, tmp_path):
    model = small_vit()
    attach(model, Rescale(64))
    save_pet(model, tmp_path)
    with pytest.raises(
        ValueError, match="'Rescale' is unknown: must be one of Adapter, Context, LinearAdapter"
    ):
        load_pet(small_vit(), tmp_path)
