"""The promise itself: at ``energy=1`` old outputs stay, whatever the PETs and the optimizer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, cycle, product

import pytest
import torch
from models import (
    MORE_OPTIMIZERS,
    OPTIMIZERS,
    PETS,
    answers,
    assert_kept_and_moving,
    images,
    pet_weights,
    relative_change,
    small_vit,
    tune,
)

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, pet_parameters, trainable_tensors
from avl_pegp.projection import PEGP, Basis, Protection

MIXTURES = [
    *((name,) for name in PETS),
    *combinations(PETS, 2),
    ("lora", "adapter", "prefix"),
]
CASES = [  # every PET with every optimizer; of mixtures and optimizers, each with some of the others
    *product(MIXTURES[: len(PETS)], OPTIMIZERS, [False]),
    *zip(MIXTURES[len(PETS) :], cycle(OPTIMIZERS), cycle([False])),
    *zip(MIXTURES, cycle(reversed(OPTIMIZERS)), cycle([True])),
]
LORA_KV = LoRA(3, targets=("k", "v"))
OTHER_FORMS = {
    "adapter beside attention, LayerScale": (
        [Adapter(4, parallel_to="attention", scale=2.0)],
        {"init_values": 0.5},
    ),
    "scaled lora, no class token": (
        [LoRA(3, alpha=9)],
        {"class_token": False, "global_pool": "avg"},
    ),
    "lora on keys and values, prefix and prompt": ([LORA_KV, Prefix(24), Prompt(24)], {}),
    "lora on queries and values, q- and k-norm": (
        [LoRA(3, targets=("q", "v", "fc1"))],
        {"qk_norm": True},
    ),
    "prefix and prompt, no qkv bias, registers": (
        [Prefix(24), Prompt(24)],
        {"qkv_bias": False, "reg_tokens": 1},
    ),
}


def two_experiences(
    pets,
    optimizer,
    project="step",
    protection=None,
    dtype=torch.float64,
    forget=None,
    gathering=nullcontext,
    steps=25,
    **options,
):
    """Changes over so many steps on a second experience: old outputs, new outputs, PET weights.

    ``forget`` names a site whose basis is emptied in between; ``gathering`` surrounds the pass that
    gathers.
    """
    model = small_vit(dtype, **options)
    attach(model, *pets)
    for name, p in trainable_tensors(model).items():
        if "tokens" in name:  # of a size that attention reacts to
            torch.nn.init.normal_(p)
    make = {**OPTIMIZERS, **MORE_OPTIMIZERS}[optimizer]
    optimizer = make(pet_parameters(model))  # its state is kept, as in Avalanche
    pegp = PEGP(model, energy=1.0, project=project, protection=protection)
    old, new = images(2, seed=1, dtype=dtype), images(8, seed=2, dtype=dtype)

    pegp.begin({0, 1, 2})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=10)
    with gathering():
        pegp.gather([old])
    pegp.extend()
    if forget is not None:
        memory = pegp.memory.sites[forget]
        empty = tuple(Basis.empty(len(basis.columns)) for basis in memory.bases)
        sites = {**pegp.memory.sites, forget: replace(memory, bases=empty)}
        pegp.memory = replace(pegp.memory, sites=sites)
    old_answers, new_answers = answers(model, old), answers(model, new)
    old_features = model.forward_features(old).detach()
    weights = pet_weights(model)

    pegp.begin({3, 4, 5})
    tune(model, optimizer, pegp, new, torch.tensor([3, 4, 5, 3, 4, 5, 3, 4]), steps)
    return (
        max(
            relative_change(answers(model, old), old_answers),
            relative_change(model.forward_features(old).detach(), old_features),
        ),
        relative_change(answers(model, new), new_answers),
        relative_change(pet_weights(model), weights),
    )


def learn(pets):
    """Whether new answers move well, too; tokens are left with little room."""
    return any(isinstance(pet, LoRA | Adapter) for pet in pets)


@pytest.mark.parametrize(("names", "optimizer", "qk_norm"), CASES, ids=str)
def test_old_outputs_stay_and_new_ones_move(names, optimizer, qk_norm):
    pets = [PETS[name] for name in names]
    assert_kept_and_moving(learn(pets), *two_experiences(pets, optimizer, qk_norm=qk_norm))


@pytest.mark.parametrize("optimizer", MORE_OPTIMIZERS)
@pytest.mark.parametrize("names", [*((name,) for name in PETS), MIXTURES[-1]], ids="+".join)
def test_any_optimizer_keeps_old_outputs(names, optimizer):
    pets = [PETS[name] for name in names]
    old, _, moved = two_experiences(pets, optimizer)
    assert old <= 1e-9
    assert (
        moved > 1e-12
    )  # learned tokens are nearly full, and most of these rates are small for them


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_of_pets_and_models_are_exact_too(form):
    pets, options = OTHER_FORMS[form]
    assert_kept_and_moving(learn(pets), *two_experiences(pets, "adamw_decay", **options))


@pytest.mark.parametrize("name", PETS)
def test_projecting_gradients_alone_drifts_under_adamw(name):
    old, *_ = two_experiences([PETS[name]], "adamw_decay", project="gradient")
    assert old > 1e-3


@pytest.mark.parametrize("names", MIXTURES, ids="+".join)
def test_old_outputs_nearly_stay_in_float32(names):
    pets = [PETS[name] for name in names]
    old, *_ = two_experiences(pets, "adamw_decay", dtype=torch.float32)
    assert old <= 1e-4


@pytest.mark.parametrize("optimizer", {**OPTIMIZERS, **MORE_OPTIMIZERS})
def test_any_optimizer_nearly_keeps_old_outputs_in_float32(optimizer):
    options = {"dtype": torch.float32, "steps": 10}
    old, _, moved = two_experiences([PETS["lora"]], optimizer, **options)
    assert old <= 1e-4
    assert moved > 1e-3


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", PETS)
def test_half_precision_around_gathering_leaves_nothing_unprotected(name, half):
    pets, options = [PETS[name]], {"dtype": torch.float32}
    plain, *_ = two_experiences(pets, "adamw_decay", **options)
    options["gathering"] = lambda: torch.autocast("cpu", half)
    old, *_ = two_experiences(pets, "adamw_decay", **options)
    assert old == plain <= 1e-4


SITES = {
    "lora": [f"{layer}.{side}" for layer in ("attn.qkv", "mlp.fc2") for side in "AB"],
    "lora_kv": [f"attn.qkv.{third}.{side}" for third in "kv" for side in "AB"],
    "adapter": ["mlp.down", "mlp.up"],
    "prefix": ["attn.tokens.prefix.keys", "attn.tokens.prefix.values"],
    "prompt": ["attn.tokens.prompt", "attn.tokens.prompt.mass"],
}


@pytest.mark.parametrize(
    ("name", "site"), [(name, site) for name, sites in SITES.items() for site in sites]
)
def test_every_condition_is_needed(name, site):
    """Forgetting the basis of one side of one tensor in one block already disturbs old outputs."""
    pets = [{**PETS, "lora_kv": LORA_KV}[name]]
    old, *_ = two_experiences(pets, "adamw_decay", forget=f"blocks.1.{site}")
    assert old > 1e-6


def test_plain_sgd_is_exact_with_projected_gradients_alone(monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "sgd", lambda p: torch.optim.SGD(p, lr=0.05))
    old, new, _ = two_experiences([PETS["lora"]], "sgd", project="gradient")
    assert old <= 1e-9
    assert new > 1e-3


@pytest.mark.parametrize("name", PETS)
def test_holding_in_part_disturbs_more_than_holding_and_less_than_letting_go(name):
    pets, soft = [PETS[name]], Protection(eta=0.5, alpha=1.0)
    hard, *_ = two_experiences(pets, "adamw_decay")
    part, *_ = two_experiences(pets, "adamw_decay", protection=soft)
    none, *_ = two_experiences(pets, "adamw_decay", project="none")
    assert 1e6 * hard < part < none


PROTECTIONS = {
    "covariance": Protection(memory="covariance"),
    "centred": Protection(centred=True),
    "covariance+centred": Protection(memory="covariance", centred=True),
}
CENTRED = {"about zero": None, "about the mean": Protection(centred=True)}
STARTING_ANEW = {
    "lora": [PETS["lora"]],
    "lora_kv": [LORA_KV],
    "adapter": [PETS["adapter"]],
    "lora+adapter": [PETS["lora"], PETS["adapter"]],
}


def several_experiences(pets, optimizer, count=3, **options):
    """Changes: the largest of old outputs, the smallest of new features, the smallest of weights.

    The features are those of an experience's own inputs, over its training, from the second on.
    """
    model = small_vit(num_classes=2 * count)
    attach(model, *pets)
    optimizer = OPTIMIZERS[optimizer](pet_parameters(model))
    pegp = PEGP(model, energy=1.0, **options)
    past, moves = [], []
    for t in range(count):
        x, y = images(1, seed=t), torch.tensor([2 * t])  # few rows: learned tokens soon fill up
        features, weights = model.forward_features(x), pet_weights(model)
        pegp.begin({2 * t, 2 * t + 1})
        tune(model, optimizer, pegp, x, y, steps=15)
        moved = relative_change(pet_weights(model), weights)
        moves.append((relative_change(model.forward_features(x), features), moved))
        pegp.gather([x])
        pegp.extend()
        past.append((x, answers(model, x, classes=2 * t + 2)))
    old = (relative_change(answers(model, x, then.shape[1]), then) for x, then in past)
    return max(old), *(min(kind) for kind in zip(*moves[1:], strict=True))


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("name", PETS)
def test_every_hard_protection_keeps_three_experiences(name, protection):
    pets = [PETS[name]]
    changes = several_experiences(pets, "adamw_decay", protection=PROTECTIONS[protection])
    assert_kept_and_moving(learn(pets), *changes)


@pytest.mark.parametrize("mean", CENTRED)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("names", STARTING_ANEW)
def test_branches_that_start_anew_keep_three_experiences(names, optimizer, mean):
    pets = STARTING_ANEW[names]
    changes = several_experiences(pets, optimizer, protection=CENTRED[mean], rebase=True)
    assert_kept_and_moving(learn(pets), *changes)


def test_three_experiences_of_the_default_stay_exact():
    pets = [LoRA(16)]
    assert_kept_and_moving(learn(pets), *several_experiences(pets, "adamw_decay"))


@pytest.mark.parametrize("names", [*((name,) for name in PETS), MIXTURES[-1]], ids="+".join)
def test_six_experiences_leave_each_as_it_was_learned(names):
    pets = [{**PETS, "lora": LoRA(24), "adapter": Adapter(24)}[name] for name in names]
    old, new, _ = several_experiences(pets, "adamw_decay", count=6)
    assert old <= 1e-9
    if {"lora", "adapter"} & set(names):  # the others' spaces are full after a few
        assert new > 1e-5
