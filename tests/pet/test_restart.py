"""Rebase: the answers stay, old inputs never enter the fresh branch, and nothing is lost on the way."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from models import answers, relative_change, small_vit
from rebased import (
    CASES,
    X,
    assert_unchanged,
    attached,
    every_case,
    layers,
    learn,
    learned,
    rebase,
    snapshot,
)

from avl_pegp.pet import attach, attachment_of, pet_parameters, trainable_tensors
from avl_pegp.pet.restart import free_part


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
    assert not any(m.training for path, m in model.named_modules() if path.endswith(".base"))


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


@every_case
def test_a_projection_of_another_shape_is_refused_and_changes_nothing(case):
    model = learned(case)
    before = snapshot(model)
    layer = next(iter(layers(model).values()))
    with pytest.raises(ValueError, match=r"free\(matrix\) gave .* must keep the shape"):
        layer.rebase(lambda matrix: matrix[:1])
    assert_unchanged(model, before)
