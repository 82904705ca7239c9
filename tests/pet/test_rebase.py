"""Rebase: the answers stay, old inputs never enter the fresh branch, and nothing is lost on the way."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from models import answers, images, relative_change, small_vit
from safetensors.torch import load_file, save_file

from avl_pegp.pet import (
    Adapter,
    LoRA,
    Prompt,
    Rebasable,
    attach,
    attachment_of,
    load_pet,
    pet_parameters,
    save_pet,
    trainable_tensors,
)
from avl_pegp.pet.rebase import free_part

CASES = {
    "lora": (LoRA(3, targets=("qkv", "proj", "fc1", "fc2"), alpha=6),),
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


def complement_of(rows):
    """The projection of ``(out, d)`` matrices onto what the rows ``(n, d)`` leave free."""
    basis = torch.linalg.qr(rows.mT)[0]
    return lambda matrix: matrix - (matrix @ basis) @ basis.mT


def with_bias_column(layer, x):
    """The features that the first map is contracted with."""
    bias = getattr(layer, layer.first).bias
    return x if bias is None else torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def first_matrix(layer):
    first = getattr(layer, layer.first)
    parts = [first.weight] if first.bias is None else [first.weight, first.bias[:, None]]
    return torch.cat(parts, dim=1).detach()


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model, before):
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)


@every_case
@pytest.mark.parametrize("times", [1, 3])
def test_a_rebase_changes_no_output(case, times):
    model = attached(case)
    blank = answers(model, X)
    for i in range(times):
        learn(model, seed=i)
        before = answers(model, X)
        rebase(model)
        assert relative_change(answers(model, X), before) < 1e-12
    assert relative_change(before, blank) > 1e-3


@every_case
def test_float32_loses_no_more_than_rounding(case):
    model = learned(case, dtype=torch.float32)
    before = answers(model, X.float())
    rebase(model)
    assert relative_change(answers(model, X.float()), before) < 1e-5


@pytest.mark.parametrize("case", ["lora", "adapter", "attention_adapter"])
def test_old_inputs_never_notice_the_fresh_branch(case):
    """However the second map learns, and the first along what is free."""
    torch.manual_seed(1)
    for layer in layers(learned(case)).values():
        first, second = getattr(layer, layer.first), getattr(layer, layer.second)
        old, new = torch.randn(2, 5, first.in_features, dtype=torch.float64)
        free = complement_of(with_bias_column(layer, old))
        layer.rebase(free)
        before = [layer(x[None]) for x in (old, new)]
        step = free(torch.randn_like(first_matrix(layer)))
        first.weight.data += step[:, : first.in_features]
        if first.bias is not None:
            first.bias.data += step[:, -1]
        torch.nn.init.normal_(second.weight)
        assert relative_change(layer(old[None]), before[0]) < 1e-12
        assert relative_change(layer(new[None]), before[1]) > 1e-2


@every_case
def test_the_fresh_branch_starts_at_the_size_of_a_new_one_and_at_zero(case):
    model = learned(case)
    for layer in layers(model).values():
        first, second = getattr(layer, layer.first), getattr(layer, layer.second)
        old = torch.randn(first.in_features * 3 // 4, first.in_features, dtype=torch.float64)
        layer.rebase(complement_of(with_bias_column(layer, old)))
        # a row of nn.Linear's uniform weights has squared norm 1/3
        expected = math.sqrt(first.out_features / 3)
        assert 0.8 < float(first_matrix(layer).norm()) / expected < 1.25
        assert not any(p.any() for p in second.parameters())


@every_case
def test_each_fresh_branch_is_another(case):
    model = attached(case)
    for layer in layers(model).values():
        before = first_matrix(layer)
        layer.rebase(lambda matrix: matrix)
        assert relative_change(first_matrix(layer), before) > 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@every_case
def test_where_nothing_is_free_the_first_map_is_zero(case, dtype):
    """A projector onto nothing leaves rounding noise, and that must not be blown up."""
    for layer in layers(attached(case, dtype)).values():
        d = first_matrix(layer).shape[1]
        everything = complement_of(torch.randn(d, d, dtype=dtype))
        assert everything(torch.randn(2, d, dtype=dtype)).any()  # noise there is
        layer.rebase(everything)
        assert not first_matrix(layer).any()


def test_what_is_left_of_a_matrix_stays_free_when_it_grows():
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))[0]
    old, new = directions[:, :-1], directions[:, -1]
    fresh = (old.sum(1) + 1e-6 * new)[None]
    part = free_part(fresh, complement_of(old.mT))
    assert float((part @ old).norm() / part.norm()) < 1e-14
    torch.testing.assert_close(part.norm(), fresh.norm())


@every_case
def test_optimizers_go_on_holding_the_parameters(case):
    model = learned(case, rebases=0)
    before = dict(model.named_parameters())
    groups = pet_parameters(model, head_lr=0.1)
    rebase(model)
    after = dict(model.named_parameters())
    assert {name: id(p) for name, p in after.items()} == {n: id(p) for n, p in before.items()}
    held = [[id(p) for p in group["params"]] for group in groups]
    assert held == [[id(p) for p in g["params"]] for g in pet_parameters(model, head_lr=0.1)]
    assert not any(tensor.requires_grad for tensor in attachment_of(model).earlier().values())


@every_case
def test_gradients_reach_the_fresh_branch_alone(case):
    model = learned(case)
    model.train()(X).sum().backward()
    assert all(p.grad is not None for p in trainable_tensors(model).values())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert not any(layer.base.training for layer in layers(model).values())


@every_case
def test_detaching_restores_every_bit(case):
    model = small_vit()
    before, y = snapshot(model), answers(model, X)
    with attach(model, *CASES[case]):
        for i in range(2):
            learn(model, seed=i)
            model.head.load_state_dict({k: before[f"head.{k}"] for k in ("weight", "bias")})
            rebase(model)
        assert relative_change(answers(model, X), y) > 1e-3
    assert_unchanged(model, before)
    assert torch.equal(answers(model, X), y)


def test_a_merged_lora_gives_the_same_output_without_it():
    model = learned("lora")
    before = answers(model, X)
    attachment_of(model).merge()
    assert not layers(model)
    assert relative_change(answers(model, X), before) < 1e-12


@every_case
def test_copies_are_of_their_own(case):
    model = learned(case)
    y, before = answers(model, X), snapshot(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(answers(other, X), y)
        rebase(other)
        other.load_state_dict(learned(case, rebases=1).state_dict())
        assert relative_change(answers(other, X), y) > 1e-3
        assert_unchanged(model, before)


@every_case
def test_what_is_kept_follows_the_models_dtype_and_device(case):
    model = learned(case, dtype=torch.float32)
    kept = attachment_of(model).earlier
    assert {tensor.dtype for tensor in kept().values()} == {torch.float32}
    model.double()
    assert {tensor.dtype for tensor in kept().values()} == {torch.float64}
    model.to("meta")
    assert {tensor.device.type for tensor in kept().values()} == {"meta"}


TARGETS = {
    "bare": lambda case: small_vit(),
    "attached": lambda case: learned(case, rebases=0, seed=100),
    "rebased_less": lambda case: learned(case, rebases=1, seed=100),
    "rebased_more": lambda case: learned(case, rebases=3, seed=100),
}
BROKEN = {
    "a_row_that_would_broadcast": (
        "blocks.2.attn.base.qkv.increment",
        lambda tensor: tensor[:1],
        r"blocks.2.attn.base.qkv.increment \(1, 64\): not what rebases leave of LoRALinear\(rank=2",
    ),
    "half_a_branch": (
        "blocks.2.mlp.earlier_up",
        lambda tensor: None,
        r"blocks.2.mlp.earlier_down \(4, 65\): not what .* earlier_down and earlier_up",
    ),
    "other_inner_units": (
        "blocks.2.mlp.earlier_down",
        lambda tensor: tensor[:2],
        r"mlp.earlier_down \(2, 65\), blocks.2.mlp.earlier_up \(64, 5\): not what",
    ),
    "the_other_way_round": (
        "blocks.2.mlp.earlier_down",
        lambda tensor: tensor.mT,
        r"mlp.earlier_down \(65, 4\), blocks.2.mlp.earlier_up \(64, 5\): not what",
    ),
}


class TestSaving:
    @every_case
    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize("rebases", [0, 2])
    def test_a_saved_pet_answers_the_same_wherever_it_is_loaded(
        self, case, target, rebases, tmp_path
    ):
        model, other = learned(case, rebases), TARGETS[target](case)
        save_pet(model, tmp_path)
        load_pet(other, tmp_path)
        assert torch.equal(answers(other, X), answers(model, X))
        assert attachment_of(other).earlier().keys() == attachment_of(model).earlier().keys()

    @every_case
    def test_layers_that_never_rebased_have_nothing_to_save(self, case, tmp_path):
        model = learned(case, rebases=0)
        save_pet(model, tmp_path)
        assert load_file(tmp_path / "pet.safetensors").keys() == trainable_tensors(model).keys()

    def test_layers_may_have_rebased_at_different_times(self, tmp_path):
        model, other = learned("together", rebases=0), small_vit()
        model.blocks[0].mlp.rebase(lambda matrix: matrix)
        learn(model, seed=1)
        save_pet(model, tmp_path)
        load_pet(other, tmp_path)
        assert torch.equal(answers(other, X), answers(model, X))

    def test_another_dtype_is_cast(self, tmp_path):
        save_pet(learned("together"), tmp_path)
        other = small_vit(torch.float32)
        load_pet(other, tmp_path)
        assert {tensor.dtype for tensor in other.state_dict().values()} == {torch.float32}

    @pytest.mark.parametrize("broken", BROKEN)
    @pytest.mark.parametrize("target", TARGETS)
    def test_what_does_not_fit_is_refused_and_changes_nothing(self, broken, target, tmp_path):
        name, change, message = BROKEN[broken]
        save_pet(learned("together"), tmp_path)
        tensors = load_file(tmp_path / "pet.safetensors")
        changed = change(tensors.pop(name))
        if changed is not None:
            tensors[name] = changed.contiguous()
        save_file(tensors, tmp_path / "pet.safetensors")
        model = TARGETS[target]("together")
        before = snapshot(model)
        with pytest.raises(ValueError, match=message):
            load_pet(model, tmp_path)
        assert_unchanged(model, before)

    def test_what_no_layer_could_have_left_is_refused(self, tmp_path):
        save_pet(learned("together"), tmp_path)
        tensors = load_file(tmp_path / "pet.safetensors")
        name = "blocks.1.attn.base.qkv.increment"  # a block without a LoRA
        save_file({**tensors, name: torch.zeros(192, 64)}, tmp_path / "pet.safetensors")
        model = learned("together", rebases=1)
        before = snapshot(model)
        with pytest.raises(ValueError, match=rf"Not in the model: \['{name}'\]"):
            load_pet(model, tmp_path)
        assert_unchanged(model, before)

    @pytest.mark.parametrize("rebases", [0, 1, 3])
    @every_case
    def test_torchs_own_state_dict_carries_it_too(self, case, rebases):
        model, other = learned(case), learned(case, rebases)
        other.load_state_dict(model.state_dict())
        y = answers(model, X)
        assert torch.equal(answers(other, X), y)
        for tensor in attachment_of(other).earlier().values():
            tensor.zero_()  # a copy: the first model does not notice
        assert torch.equal(answers(model, X), y)

    def test_a_state_dict_of_the_head_alone_leaves_it(self):
        model = learned("together")
        before = attachment_of(model).earlier()
        head = {name: t for name, t in model.state_dict().items() if name.startswith("head")}
        model.load_state_dict(head, strict=False)
        assert attachment_of(model).earlier().keys() == before.keys()


@every_case
def test_a_projection_of_another_shape_is_refused_and_changes_nothing(case):
    model = learned(case)
    before = snapshot(model)
    layer = next(iter(layers(model).values()))
    with pytest.raises(ValueError, match=r"free\(matrix\) gave .* must keep the shape"):
        layer.rebase(lambda matrix: matrix[:1])
    assert_unchanged(model, before)
