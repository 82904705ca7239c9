"""The object for any loop: what it covers, what it refuses, and that errors leave all as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from models import OPTIMIZERS, answers, images, relative_change, small_vit, tune
from torch import nn

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, pet_parameters
from avl_pegp.projection import PEGP


def protected(*pets, energy=1.0, **options):
    """A model after one experience, its PEGP, its optimizer and the old inputs."""
    model = small_vit()
    attach(model, *(pets or (LoRA(4),)))
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    pegp, old = PEGP(model, energy=energy, **options), images(2, seed=1)
    pegp.begin({0, 1})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    pegp.gather([old])
    pegp.extend()
    return model, pegp, optimizer, old


class TestCoverage:
    def test_any_trainable_linear_layers_are_protected(self):
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

    def test_sites_that_see_the_same_tensor_share_one_moment_for_good(self):
        model, pegp, optimizer, old = protected(LoRA(2, targets=("fc1",)), Adapter(2))
        for _ in range(2):
            down = pegp.past.memories["blocks.0.mlp.down"].moment
            assert pegp.past.memories["blocks.0.mlp.base.fc1.A"].moment is down
            pegp.begin({2, 3})
            tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 3]), steps=2)
            pegp.gather([images(2, seed=2)])
            pegp.extend()

    def test_input_tokens_are_protected_as_far_as_the_papers_condition_goes(self):
        drift = {}
        for project in ("step", "none"):
            model, pegp, optimizer, old = protected(Prompt(4, deep=False), project=project)
            before = model.forward_features(old)
            pegp.begin({3, 4})
            tune(model, optimizer, pegp, images(8, seed=2), torch.tensor([3, 4] * 4), steps=20)
            drift[project] = relative_change(model.forward_features(old), before)
        assert 1e-9 < drift["step"] < drift["none"]

    def test_uncovered_tensors_are_refused_by_name_with_the_ways_out(self):
        model = small_vit()
        attach(model, LoRA(2))
        model.norm.requires_grad_(True)
        with pytest.raises(
            ValueError, match=r"norm.weight, norm.bias: freeze.*exclude.*freeze_unc"
        ):
            PEGP(model).begin()

    @pytest.mark.parametrize("name", ["norm.weight", "blocks.0.mlp.down.bias", "head.weight"])
    def test_excluded_tensors_move_as_they_like_and_nothing_else_does(self, name):
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

    def test_an_exclusion_that_fits_nothing_is_refused(self):
        model = small_vit()
        attach(model, LoRA(2))
        with pytest.raises(ValueError, match="exclude has 'nrom'"):
            PEGP(model, exclude=("nrom",)).begin()

    def test_uncovered_tensors_can_be_held_after_the_first_experience(self):
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


class TestOtherHands:
    def test_edits_between_experiences_are_projected_when_the_next_begins(self):
        model, pegp, _, old = protected(LoRA(16), Prefix(30))
        before = model.forward_features(old)
        with torch.no_grad():
            for p in pegp._coverage.trained.values():
                p.add_(torch.randn_like(p))
        assert relative_change(model.forward_features(old), before) > 1e-2
        pegp.begin({2, 3})
        assert relative_change(model.forward_features(old), before) <= 1e-9

    @pytest.mark.parametrize("call", ["gather", "extend"])
    def test_edits_before_statistics_are_gathered_are_projected_too(self, call):
        model, pegp, optimizer, old = protected(LoRA(16))
        new = images(2, seed=2)
        before = model.forward_features(old)
        pegp.begin({2, 3})
        tune(model, optimizer, pegp, new, torch.tensor([2, 3]), steps=3)
        if call == "extend":
            pegp.gather([new])
        with torch.no_grad():
            for p in pegp._coverage.trained.values():
                p.mul_(0.9)
        if call == "gather":
            pegp.gather([new])
        pegp.extend()
        assert relative_change(model.forward_features(old), before) <= 1e-9

    @pytest.mark.parametrize(
        "edit",
        [
            lambda model: model.blocks[0].mlp.fc1.weight.data.mul_(1.1),
            lambda model: model.float(),
        ],
    )
    def test_an_edited_backbone_is_refused(self, edit):
        model, pegp, _, _ = protected()
        edit(model)
        with pytest.raises(ValueError, match="frozen weights are not those that features were"):
            pegp.begin({2, 3})

    @pytest.mark.parametrize("layer", ["blocks.1.mlp.fc1", "norm", "head"])
    def test_what_becomes_trainable_later_is_refused(self, layer):
        model = small_vit()
        attach(model, LoRA(4))
        model.head.requires_grad_(False)
        pegp = PEGP(model, energy=1.0, freeze_uncovered=True)
        pegp.begin()
        pegp.gather([images(2, seed=1)])
        pegp.extend()
        pegp.begin()
        pegp.gather([images(2, seed=1)])
        pegp.extend()
        model.get_submodule(layer).requires_grad_(True)
        with pytest.raises(ValueError, match=rf"newly {layer}"):
            pegp.begin()

    def test_what_is_frozen_later_stays_as_it_is(self):
        model = small_vit()
        attach(model, LoRA(16))
        model.norm.requires_grad_(True)
        pegp, old = PEGP(model, energy=1.0, freeze_uncovered=True), images(2, seed=1)
        pegp.begin({0, 1})
        pegp.gather([old])
        pegp.extend()
        model.norm.requires_grad_(False)
        optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
        before = answers(model, old, 2)
        pegp.begin({2, 3})
        tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 3]), steps=5)
        assert relative_change(answers(model, old, 2), before) <= 1e-9

    def test_a_deep_copy_goes_its_own_way(self):
        model, pegp, _, old = protected()
        weights = copy.deepcopy(model.state_dict())
        twin = copy.deepcopy(pegp)
        assert twin.model is not model
        before = answers(twin.model, old, 2)
        twin.begin({2, 3})
        optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(twin.model))
        tune(twin.model, optimizer, twin, images(2, 2), torch.tensor([2, 3]), steps=20)
        assert relative_change(answers(twin.model, old, 2), before) <= 1e-9
        assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())


class TestClassifierRows:
    def test_absent_rows_stay_to_the_bit_and_recurring_ones_keep_their_answers(self):
        model, pegp, optimizer, old = protected()
        rows = torch.cat([model.head.weight, model.head.bias[:, None]], 1).detach().clone()
        before = answers(model, old, 2)
        pegp.begin({1, 2})
        tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([1, 2]), steps=20)
        now = torch.cat([model.head.weight, model.head.bias[:, None]], 1).detach()
        assert torch.equal(now[[0, 3, 4, 5]], rows[[0, 3, 4, 5]])
        assert not torch.allclose(now[1], rows[1])
        assert not torch.allclose(now[2], rows[2])
        assert relative_change(answers(model, old, 2), before) <= 1e-9

    def test_without_classes_every_row_keeps_its_answers(self):
        model, pegp, optimizer, old = protected()
        pegp.begin()
        pegp.gather([old])
        pegp.extend()
        before = answers(model, old, 6)
        pegp.begin()
        tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([4, 5]), steps=20)
        assert relative_change(answers(model, old, 6), before) <= 1e-9

    def test_a_head_may_grow(self):
        model, pegp, optimizer, old = protected()
        before = answers(model, old, 2)
        wider = nn.Linear(64, 9).double()
        with torch.no_grad():
            wider.weight[:6], wider.bias[:6] = model.head.weight, model.head.bias
        model.head = wider
        optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
        pegp.begin({7, 8})
        tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([7, 8]), steps=20)
        assert relative_change(answers(model, old, 2), before) <= 1e-9

    def test_a_class_without_a_row_is_refused(self):
        model = small_vit()
        attach(model, LoRA(2))
        with pytest.raises(
            ValueError, match=r"classes has \[6\], but the classifier has rows 0 to 5"
        ):
            PEGP(model).begin({5, 6})

    @pytest.mark.parametrize("name", ["nowhere", "blocks"])
    def test_a_classifier_must_be_one_linear_layer(self, name):
        model = small_vit()
        attach(model, LoRA(2))
        with pytest.raises(ValueError, match=f"classifier='{name}'"):
            PEGP(model, classifier=name).begin()


class TestBadInput:
    @pytest.mark.parametrize("energy", [0.0, -1, 1.5, float("nan")])
    def test_energy_out_of_range_is_refused_at_once(self, energy):
        with pytest.raises(ValueError, match="energy="):
            PEGP(nn.Identity(), energy=energy)

    def test_a_schedule_out_of_range_is_refused_before_anything_changes(self):
        model, pegp, _, old = protected(energy=lambda t: 1.0 + t)
        ranks = pegp.ranks()
        pegp.gather([old])
        for call in (pegp.begin, pegp.extend):
            with pytest.raises(ValueError, match=r"energy=2\.0"):
                call()
        assert pegp.ranks() == ranks

    def test_training_without_begin_is_refused_also_after_extend(self):
        model, pegp, _, _ = protected()
        for call in (pegp.project_gradients, pegp.project_step):
            with pytest.raises(RuntimeError, match="call begin"):
                call()

    def test_unknown_projections_are_refused(self):
        with pytest.raises(ValueError, match="project='both': must be one of step, gradient, none"):
            PEGP(nn.Identity(), project="both")

    def test_a_model_with_nothing_to_train_is_refused(self):
        with pytest.raises(ValueError, match="no trainable PET or linear layer"):
            PEGP(small_vit().requires_grad_(False)).begin()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_weights_are_refused(self, dtype):
        model = small_vit(dtype)
        attach(model, LoRA(2))
        with pytest.raises(ValueError, match=rf"A.weight is trained in {dtype}"):
            PEGP(model).begin()

    def test_a_batch_norm_in_train_mode_is_refused_even_mid_training(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
        pegp = PEGP(model)
        with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) is in train mode"):
            pegp.begin()
        model.eval()
        pegp.begin()
        model.train()
        with pytest.raises(ValueError, match="BatchNorm1d"):
            pegp.project_gradients()

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_features_that_are_no_numbers_name_their_site_and_change_nothing(self, value):
        model, pegp, _, old = protected()
        ranks, weights = pegp.ranks(), copy.deepcopy(model.state_dict())
        bad = old.clone()
        bad[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match=r"site blocks.0.attn.qkv.A received NaN or infinite"):
            pegp.gather([old, bad])
        with pytest.raises(RuntimeError, match="without statistics"):
            pegp.extend()
        assert pegp.ranks() == ranks
        assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())

    def test_an_empty_loader_is_refused(self):
        model, pegp, _, _ = protected()
        with pytest.raises(ValueError, match="no batch"):
            pegp.gather([])

    def test_a_layer_that_is_read_but_never_called_is_refused_by_name(self):
        class Attends(nn.Module):
            def __init__(self):
                super().__init__()
                self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
                self.attention.in_proj_weight.requires_grad_(False)
                self.attention.in_proj_bias.requires_grad_(False)
                self.out = nn.Linear(4, 2)

            def forward(self, x):
                return self.out(self.attention(x, x, x)[0])

        pegp = PEGP(Attends())
        pegp.begin()
        with pytest.raises(ValueError, match="never called attention.out_proj"):
            pegp.gather([torch.randn(2, 3, 4)])

    def test_a_shared_weight_is_refused(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
        model[1].weight = model[0].weight
        with pytest.raises(ValueError, match=r"0.weight and 1.weight are one trainable"):
            PEGP(model).begin()

    def test_a_layer_tied_to_an_embedding_is_refused(self):
        model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
        model[1].weight = model[0].weight
        with pytest.raises(ValueError, match=r"0.weight and 1.weight are one trainable tensor"):
            PEGP(model).begin()

    @pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.InstanceNorm1d])
    def test_running_statistics_in_train_mode_are_refused(self, norm):
        norm = norm(3, affine=False, track_running_stats=True)
        with pytest.raises(ValueError, match=f"{type(norm).__name__}.* is in train mode"):
            PEGP(nn.Sequential(nn.Linear(3, 3), norm)).begin()

    def test_a_bias_whose_weight_is_frozen_is_uncovered(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight.requires_grad_(False)
        with pytest.raises(ValueError, match="covers the trainable 1.bias"):
            PEGP(model).begin()

    def test_taking_a_site_away_is_refused(self):
        model, pegp, _, _ = protected()
        model.blocks[0].attn.qkv.A.requires_grad_(False)
        with pytest.raises(ValueError, match="no longer blocks.0.attn.qkv.A, newly nothing"):
            pegp.begin()


class TestState:
    def test_a_restored_state_goes_on_exactly(self, tmp_path):
        model, pegp, optimizer, old = protected(LoRA(8), Adapter(4), Prefix(4), Prompt(4))
        torch.save(pegp.state_dict(), tmp_path / "pegp.pt")
        twin = copy.deepcopy(model)
        resumed = PEGP(twin, energy=1.0)
        resumed.load_state_dict(torch.load(tmp_path / "pegp.pt", weights_only=True))
        assert resumed.ranks() == pegp.ranks()
        results = []
        for m, p in ((model, pegp), (twin, resumed)):
            opt = OPTIMIZERS["adamw_decay"](pet_parameters(m))
            p.begin({2, 3})
            tune(m, opt, p, images(2, seed=2), torch.tensor([2, 3]), steps=5)
            p.gather([images(2, seed=2)])
            p.extend()
            results.append((answers(m, old, 6), p.ranks(), p.drift()))
        assert torch.equal(results[0][0], results[1][0])
        assert results[0][1:] == results[1][1:]

    def test_shared_moments_are_stored_once(self):
        _, pegp, _, _ = protected(LoRA(2, targets=("fc1",)), Adapter(2))
        state = pegp.state_dict()
        assert len(state["moments"]) == len(state["sites"]) - 3

    def test_another_backbone_is_refused(self):
        _, pegp, _, _ = protected()
        other = small_vit(seed=1)
        attach(other, LoRA(4))
        with pytest.raises(
            ValueError, match="frozen weights are not those that features were gathered with"
        ):
            PEGP(other).load_state_dict(pegp.state_dict())

    def test_other_pets_are_refused(self):
        _, pegp, _, _ = protected()
        for other, message in (
            (LoRA(5), "has shape"),
            (LoRA(4, blocks=[0]), "no longer blocks.1.attn.qkv.A"),
        ):
            model = small_vit()
            attach(model, other)
            with pytest.raises(ValueError, match=message):
                PEGP(model).load_state_dict(pegp.state_dict())

    def test_fresh_weights_under_old_bases_are_refused(self):
        _, pegp, _, _ = protected()
        model = small_vit()
        attach(model, LoRA(4))
        fresh = PEGP(model, energy=1.0)
        with pytest.raises(ValueError, match="load the model's weights before the state"):
            fresh.load_state_dict(pegp.state_dict())
        assert fresh.ranks() == {}

    def test_a_model_with_more_pets_is_refused(self):
        _, pegp, _, _ = protected(Prefix(4))
        model = small_vit()
        attach(model, Prefix(4), Prompt(4))
        with pytest.raises(ValueError, match="newly blocks.0.attn.tokens.prompt"):
            PEGP(model).load_state_dict(pegp.state_dict())

    def test_a_smaller_head_is_refused(self):
        model, pegp, _, _ = protected()
        model.head = nn.Linear(64, 3).double()
        with pytest.raises(ValueError, match=r"the classifier head has shape \(3, 65\)"):
            pegp.begin({0, 1})

    def test_other_running_statistics_are_another_model(self):
        def model(mean):
            norm = nn.BatchNorm1d(3, affine=False)
            norm.running_mean.fill_(mean)
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(3, 3), norm).eval()

        first = PEGP(model(0.0))
        first.begin()
        first.gather([torch.randn(4, 3)])
        first.extend()
        with pytest.raises(ValueError, match="frozen weights are not those"):
            PEGP(model(1.0)).load_state_dict(first.state_dict())

    @pytest.mark.parametrize("state", [{"weights": 1}, {"format": 1}, None])
    def test_a_foreign_state_is_refused(self, state):
        _, pegp, _, _ = protected()
        with pytest.raises(ValueError, match="give what state_dict|incomplete or damaged"):
            pegp.load_state_dict(state)
