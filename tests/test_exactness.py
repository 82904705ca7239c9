"""The promise itself: at ``energy=1`` old outputs stay, whatever the PETs and the optimizer."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from models import OPTIMIZERS, PETS, answers, images, relative_change, small_vit, tune

from avl_pegp.pet import LoRA, attach, pet_parameters, trainable_tensors
from avl_pegp.projection import PEGP

MIXTURES = [
    *((name,) for name in PETS),
    *combinations(PETS, 2),
    ("lora", "adapter", "prefix"),
]


def two_experiences(names, optimizer, project="step", dtype=torch.float64, qk_norm=False):
    """Changes over 50 steps on a second experience: old outputs, new outputs, PET weights."""
    model = small_vit(dtype, qk_norm=qk_norm)
    attach(model, *(PETS[name] for name in names))
    optimizer = OPTIMIZERS[optimizer](pet_parameters(model))  # its state is kept, as in Avalanche
    pegp = PEGP(model, energy=1.0, project=project)
    old, new = images(2, seed=1, dtype=dtype), images(8, seed=2, dtype=dtype)

    pegp.begin({0, 1, 2})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=10)
    pegp.gather([old])
    pegp.extend()
    old_answers, new_answers = answers(model, old), answers(model, new)
    old_features = model.forward_features(old).detach()
    weights = pet_weights(model)

    pegp.begin({3, 4, 5})
    tune(model, optimizer, pegp, new, torch.tensor([3, 4, 5, 3, 4, 5, 3, 4]), steps=50)
    return (
        max(
            relative_change(answers(model, old), old_answers),
            relative_change(model.forward_features(old).detach(), old_features),
        ),
        relative_change(answers(model, new), new_answers),
        relative_change(pet_weights(model), weights),
    )


def pet_weights(model):
    tensors = trainable_tensors(model).items()
    return torch.cat([p.detach().flatten() for name, p in tensors if "head" not in name])


@pytest.mark.parametrize("qk_norm", [False, True], ids=["plain_qk", "qk_norm"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_old_outputs_stay_and_new_ones_move(names, optimizer, qk_norm):
    old, new, moved = two_experiences(names, optimizer, qk_norm=qk_norm)
    assert old <= 1e-9
    if {"lora", "adapter"} & set(names):
        assert new > 1e-5
    else:  # the mass on learned tokens is much the same for all inputs: little of it is free
        assert moved > 1e-9


@pytest.mark.parametrize("names", [(name,) for name in PETS], ids="+".join)
def test_projecting_gradients_alone_drifts_under_adamw(names):
    old, *_ = two_experiences(names, "adamw_decay", project="gradient")
    assert old > 1e-3


@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_old_outputs_nearly_stay_in_float32(names):
    old, *_ = two_experiences(names, "adamw_decay", dtype=torch.float32)
    assert old <= 1e-4


def test_plain_sgd_is_exact_with_projected_gradients_alone():
    OPTIMIZERS["sgd"] = lambda p: torch.optim.SGD(p, lr=0.05)
    try:
        old, new, _ = two_experiences(("lora",), "sgd", project="gradient")
    finally:
        del OPTIMIZERS["sgd"]
    assert old <= 1e-9
    assert new > 1e-3


def test_three_experiences_stay_exact():
    model = small_vit()
    attach(model, LoRA(16))
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    pegp = PEGP(model, energy=1.0)
    past = []
    for t in range(3):
        x = images(2, seed=t)
        pegp.begin({2 * t, 2 * t + 1})
        tune(model, optimizer, pegp, x, torch.tensor([2 * t, 2 * t + 1]), steps=15)
        pegp.gather([x])
        pegp.extend()
        past.append((x, answers(model, x, classes=2 * t + 2)))
    for x, then in past:
        assert relative_change(answers(model, x, classes=then.shape[1]), then) <= 1e-9
