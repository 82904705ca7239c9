"""A model is known again by its weights, its settings and what it computes, whatever was trained."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from models import answers, images, small_vit
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet import LoRA, Prefix, attach, trainable_tensors
from avl_pegp.projection import PEGP

X = images(2, seed=1)


def built(*pets, **options):
    model = small_vit(**options)
    attach(model, *(pets or (LoRA(4, alpha=4),)))
    return model


def learned(model, classes=(0, 1), **options):
    pegp = PEGP(model, energy=1.0, **options)
    pegp.begin(set(classes))
    pegp.gather([X])
    pegp.extend()
    return pegp


def squashed(model):
    """Another function in a module of the same class, with the same attributes."""
    mlp = model.blocks[1].mlp
    forward = type(mlp).forward
    mlp.forward = types.MethodType(lambda self, x: forward(self, x).tanh(), mlp)


def quicker(model):
    model.blocks[1].attn.scale *= 3


def without_epsilon(model):
    model.blocks[0].norm1.eps = 1e-3


OTHERS = {
    "lora scale": (lambda: built(LoRA(4, alpha=40)), "qkv:scale was 1.0 and is 10.0"),
    "activation": (lambda: built(act_layer="relu"), "mlp.act was GELU and is ReLU"),
    "attention heads": (lambda: built(num_heads=4), "attn:num_heads was 2 and is 4"),
    "pooling": (lambda: built(global_pool="avg", fc_norm=False), "global_pool was"),
    "attention scale": (quicker, "blocks.1.attn:scale was"),
    "epsilon": (without_epsilon, "blocks.0.norm1:eps was 1e-06 and is 0.001"),
    "forward pass": (squashed, "answers a made input otherwise"),
}


def other_of(case):
    make, message = OTHERS[case]
    if make.__name__ == "<lambda>":
        return make(), message
    model = built()
    make(model)
    return model, message


@pytest.mark.parametrize("case", OTHERS)
def test_a_state_of_a_model_that_computes_something_else_is_refused(case):
    model = built()
    pegp = learned(model)
    other, message = other_of(case)
    other.load_state_dict(model.state_dict())
    fresh = PEGP(other)
    with pytest.raises(ValueError, match=message):
        fresh.load_state_dict(pegp.state_dict())
    assert fresh.memory.experiences == 0


@pytest.mark.parametrize("change", [quicker, without_epsilon])
def test_a_model_that_is_set_up_otherwise_from_one_experience_to_the_next_is_refused(change):
    model = built()
    pegp = learned(model)
    change(model)
    with pytest.raises(ValueError, match="when features were gathered"):
        pegp.begin({2})


SAME = {
    "trained on": lambda model: [p.data.mul_(-2) for p in trainable_tensors(model).values()],
    "in train mode": lambda model: model.train(),
    "without fused attention": lambda model: setattr(model.blocks[0].attn, "fused_attn", False),
    "with checkpoints": lambda model: model.set_grad_checkpointing(),
    "with dropout": lambda model: setattr(model.blocks[0].mlp.drop1, "p", 0.5),
    "counting": lambda model: setattr(model, "steps", 7),
    "with more classes": lambda model: setattr(model, "head", grown(model.head)),
}


def grown(head):
    larger = nn.Linear(64, 8).double()
    larger.weight.data[:6], larger.bias.data[:6] = head.weight.data, head.bias.data
    return larger


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("pets", [(LoRA(4),), (Prefix(4),)])
def test_what_changes_no_old_answer_makes_no_other_model(case, pets):
    model = built(*pets)
    pegp = learned(model, project="none")
    SAME[case](model)
    pegp.begin({2})
    resumed = PEGP(model, project="none")
    resumed.load_state_dict(pegp.state_dict())
    resumed.begin({2})


def test_no_more_is_kept_of_a_sample_than_its_shape_and_range():
    call = learned(built()).memory.call
    (image,) = call["args"]["items"]
    assert image == {
        "shape": [1, 3, 32, 32],
        "dtype": "float64",
        "low": float(X.min()),
        "high": float(X.max()),
    }


class Remembering(nn.Module):
    """It draws in eval mode, and has a buffer that every call changes."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x, scale):
        self.total += x.detach().sum()
        return {"logits": self.out(self.layer(x) * scale + 0 * torch.rand(4))}


def test_a_probe_leaves_no_trace():
    torch.manual_seed(0)
    model, seen = Remembering(), []
    model.requires_grad_(True)
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather([torch.randn(3, 4)], lambda x: model(x, scale=2.0))
    model.register_forward_hook(lambda *_: seen.append(1))
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    tensors = {name: id(p) for name, p in model.named_parameters()}
    pegp.extend()
    assert pegp.memory.call["kwargs"] == {"entries": {"scale": {"value": 2.0}}}
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert {name: id(p) for name, p in model.named_parameters()} == tensors
    assert torch.equal(torch.get_rng_state(), state) and not seen


def test_a_model_that_cannot_be_asked_is_still_known_by_its_settings():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            if len(x) < 2:
                raise RuntimeError("not of one sample")
            return self.layer(x)

    model = Several()
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather([torch.randn(3, 4)])
    pegp.extend()
    assert pegp.state_dict()["probe"] is None and model.layer.weight.requires_grad
    resumed = PEGP(model)
    resumed.load_state_dict(pegp.state_dict())
    model.scale = 2.0
    resumed.begin()  # a setting that libraries added since is none that was changed
    pegp.memory.settings["layer"] = "Conv1x1"
    with pytest.raises(ValueError, match="layer was Conv1x1 and is Linear"):
        pegp.begin()


def test_another_object_in_the_place_of_the_model_is_refused():
    model = built()
    pegp, twin = learned(model), copy.deepcopy(model)
    pegp.model = twin
    before = answers(twin, X)
    with pytest.raises(ValueError, match="learned from another model object"):
        pegp.begin({2})
    with pytest.raises(ValueError, match="learned from another model object"):
        pegp.gather([X])
    assert torch.equal(answers(twin, X), before)
    pegp.load_state_dict(pegp.state_dict())  # one that says it is the same, saved and built again
    pegp.begin({2})


def test_another_object_between_gathering_and_extending_is_refused():
    pegp = PEGP(built(), energy=1.0)
    pegp.begin({0})
    pegp.gather([X])
    pegp.model = built()
    for call in (pegp.extend, lambda: pegp.gather([X])):
        with pytest.raises(ValueError, match="was replaced since"):
            call()


def test_a_copy_of_both_together_goes_on():
    pegp = copy.deepcopy(learned(built()))
    pegp.begin({2})
    pegp.gather([X])
    pegp.extend()
    assert pegp.memory.experiences == 2


def test_peft_scales_count():
    peft = pytest.importorskip("peft", reason="an optional extra; the dev extra has it")
    models = []
    for alpha in (4, 40):
        config = peft.LoraConfig(
            r=4, lora_alpha=alpha, target_modules=["qkv"], modules_to_save=["head"]
        )
        models.append(peft.get_peft_model(small_vit(), config))
    first, second = models
    pegp = learned(first)
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="qkv:"):
        PEGP(second).load_state_dict(pegp.state_dict())


def test_a_power_counts_though_a_rate_of_dropout_has_its_name():
    class Power(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.p, self.layer, self.drop = p, nn.Linear(4, 4), nn.Dropout(0.1)

        def forward(self, x):
            return self.drop(self.layer(x)) ** self.p

    model = Power(2)
    pegp = PEGP(model, energy=1.0, classifier=False)
    pegp.gather([torch.ones(3, 4)])
    pegp.extend()
    model.drop.p = 0.5
    pegp.begin()
    model.p = 3
    with pytest.raises(ValueError, match="p was 2 and is 3"):
        pegp.begin()


def test_a_functional_activation_counts():
    class Gated(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.act, self.layer, self.out = act, nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.act(self.layer(x)))

    torch.manual_seed(0)
    model = Gated(F.gelu)
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather([torch.randn(3, 4)])
    pegp.extend()
    other = Gated(F.relu)
    other.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="act was gelu and is relu"):
        PEGP(other).load_state_dict(pegp.state_dict())
