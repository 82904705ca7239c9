"""What is covered, what is refused, and what may be left out."""

from __future__ import annotations

import pytest
import torch
from models import OPTIMIZERS, answers, images, relative_change, small_vit, tune
from torch import nn

from avl_pegp.pet import Adapter, LoRA, Prompt, attach
from avl_pegp.projection import PEGP


def test_any_trainable_linear_layers_are_protected():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    optimizer = OPTIMIZERS["adamw_decay"](model.parameters())
    pegp = PEGP(model, energy=1.0)
    old, new = torch.randn(3, 6).double(), torch.randn(9, 6).double()
    pegp.begin()
    pegp.gather([old])
    pegp.extend()
    before = model(old)
    pegp.begin()
    tune(model, optimizer, pegp, new, torch.arange(9) % 3, steps=50)
    assert relative_change(model(old), before) <= 1e-9
    assert pegp.ranks() == {"0": (3, 7), "2": (3, 13)}  # three rows, biases as a column


def test_sites_that_see_the_same_tensor_share_one_moment_for_good(protected):
    model, pegp, optimizer, old = protected(LoRA(2, targets=("fc1",)), Adapter(2))
    for _ in range(2):
        down = pegp.memory.sites["blocks.0.mlp.down"].moment
        assert pegp.memory.sites["blocks.0.mlp.base.fc1.A"].moment is down
        pegp.begin({2, 3})
        tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 3]), steps=2)
        pegp.gather([images(2, seed=2)])
        pegp.extend()


def test_input_tokens_are_protected_as_far_as_the_papers_condition_goes(protected):
    drift = {}
    for project in ("step", "none"):
        model, pegp, optimizer, old = protected(Prompt(4, deep=False), project=project)
        before = model.forward_features(old)
        pegp.begin({3, 4})
        tune(model, optimizer, pegp, images(8, seed=2), torch.tensor([3, 4] * 4), steps=20)
        drift[project] = relative_change(model.forward_features(old), before)
    assert 1e-9 < drift["step"] < drift["none"]


def test_uncovered_tensors_are_refused_by_name_with_the_ways_out():
    model = small_vit()
    attach(model, LoRA(2))
    model.norm.requires_grad_(True)
    with pytest.raises(ValueError, match=r"norm.weight, norm.bias: freeze.*exclude.*freeze_unc"):
        PEGP(model).begin()


@pytest.mark.parametrize("name", ["norm.weight", "blocks.0.mlp.down.bias", "head.weight"])
def test_excluded_tensors_move_as_they_like_and_nothing_else_does(name):
    model = small_vit()
    attach(model, Adapter(16))
    model.norm.weight.requires_grad_(True)
    exclude = ["norm.weight", name] + (["head.bias"] if name.startswith("head") else [])
    pegp, old = PEGP(model, energy=1.0, exclude=exclude), images(2, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sizes = []
    for t in range(2):
        pegp.begin({2 * t, 2 * t + 1})
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        x = images(2, seed=2 + t)
        tune(model, optimizer, pegp, x, torch.tensor([2 * t, 2 * t + 1]), steps=5)
        sizes.append((model.get_parameter(name) - before[name]).norm().item())
        pegp.gather([old])
        pegp.extend()
    assert sizes[1] > 1e-3
    if name.startswith("head"):
        assert (model.head.weight - before["head.weight"])[:2].norm() > 1e-3  # not even held
    assert (model.head.bias - before["head.bias"])[:2].norm() == 0 or name.startswith("head")


def test_an_exclusion_that_fits_nothing_is_refused():
    model = small_vit()
    attach(model, LoRA(2))
    with pytest.raises(ValueError, match="exclude has 'nrom'"):
        PEGP(model, exclude=("nrom",)).begin()


def test_uncovered_tensors_can_be_held_after_the_first_experience():
    model = small_vit()
    attach(model, LoRA(16))
    model.norm.requires_grad_(True)
    optimizer = OPTIMIZERS["adamw_decay"](model.parameters())
    pegp, old = PEGP(model, energy=1.0, freeze_uncovered=True), images(2, seed=1)
    start = model.norm.weight.clone()
    pegp.begin({0, 1})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    learned = model.norm.weight.clone()
    assert not torch.equal(learned, start)
    pegp.gather([old])
    pegp.extend()
    before = answers(model, old, 2)
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 3]), steps=20)
    assert torch.equal(model.norm.weight, learned)
    assert relative_change(answers(model, old, 2), before) <= 1e-9


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no trainable PET or linear layer"):
        PEGP(small_vit().requires_grad_(False)).begin()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_refused(dtype):
    model = small_vit(dtype)
    attach(model, LoRA(2))
    with pytest.raises(ValueError, match=rf"A.weight is trained in {dtype}"):
        PEGP(model).begin()


def test_a_batch_norm_in_train_mode_is_refused_even_mid_training():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    pegp = PEGP(model)
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) is in train mode"):
        pegp.begin()
    model.eval()
    pegp.begin()
    model.train()
    with pytest.raises(ValueError, match="BatchNorm1d"):
        pegp.project_gradients()


def test_a_shared_weight_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"0.weight and 1.weight are one trainable"):
        PEGP(model).begin()


def test_weights_that_share_their_memory_are_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.data = model[0].weight.data.T
    with pytest.raises(ValueError, match=r"0.weight and 1.weight are one trainable"):
        PEGP(model).begin()


def test_a_layer_tied_to_an_embedding_is_refused():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"0.weight and 1.weight are one trainable tensor"):
        PEGP(model).begin()


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_running_statistics_in_train_mode_are_refused(norm):
    norm = norm(3, affine=False, track_running_stats=True)
    with pytest.raises(ValueError, match=f"{type(norm).__name__}.* is in train mode"):
        PEGP(nn.Sequential(nn.Linear(3, 3), norm)).begin()


def test_a_bias_whose_weight_is_frozen_is_uncovered():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="covers the trainable 1.bias"):
        PEGP(model).begin()


class Averaging(nn.Module):
    """A layer behind the running mean of what came in training, and a frozen one beside it."""

    def __init__(self, in_place=True, share=0.1):
        super().__init__()
        self.layer, self.frozen = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(3))
        self.in_place, self.share = in_place, share

    def forward(self, x):
        if self.training and self.in_place:
            self.mean.lerp_(x.mean(0), self.share)
        elif self.training:
            self.mean = self.mean.lerp(x.mean(0), self.share)
        return self.layer(x - self.mean) + self.frozen(x)


def one_experience_later(model):
    """``model`` and its ``PEGP``, with a second experience begun."""
    pegp = PEGP(model, energy=1.0)
    for _ in range(2):
        pegp.begin()
        model.train()(torch.ones(2, 3)).sum().backward()
        if pegp.memory.experiences == 0:
            pegp.project_gradients()
            pegp.gather([torch.ones(2, 3)])
            pegp.extend()
    return pegp


@pytest.mark.parametrize("in_place", [True, False])
def test_a_buffer_that_changes_in_training_is_refused_after_the_first_experience(in_place):
    model = Averaging(in_place)
    pegp = one_experience_later(model)
    assert model.mean[0] > 0.15  # it has changed twice
    with pytest.raises(ValueError, match="the buffer mean changes while the model is trained"):
        pegp.project_gradients()
    assert torch.allclose(model.mean, torch.full((3,), 0.1))  # as it was between them
    model.eval()(torch.ones(2, 3)).sum().backward()
    pegp.project_gradients()


def thaw(model):
    model.frozen.weight.requires_grad_(True)


def replace(model):
    model.layer.weight = nn.Parameter(model.layer.weight.detach().clone())


@pytest.mark.parametrize(("change", "name"), [(thaw, "frozen.weight"), (replace, "layer.weight")])
def test_what_is_trained_may_not_change_within_a_later_experience(change, name):
    model = Averaging(share=0.0)
    pegp = one_experience_later(model)
    change(model)
    with pytest.raises(ValueError, match=f"{name} was made trainable, or replaced, since begin"):
        pegp.project_gradients()
