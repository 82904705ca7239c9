"""peft's methods: what acts through linear layers is kept exactly, all else refused by name."""

from __future__ import annotations

import peft
import pytest
import torch
from models import OPTIMIZERS, answers, images, relative_change, small_vit, tune
from peft import LoraConfig

from avl_pegp.projection import PEGP

QKV = ["qkv"]
COVERED = {
    "lora": LoraConfig(r=4, target_modules=["qkv", "fc1"], modules_to_save=["head"]),
    "rank-stabilised": LoraConfig(r=4, target_modules=QKV, use_rslora=True),
    "with biases": LoraConfig(r=4, target_modules=QKV, lora_bias=True),
}
NOT_COVERED = {  # and what of each is named
    "dora": (LoraConfig(r=2, target_modules=QKV, use_dora=True), "lora_magnitude_vector"),
    "all biases": (LoraConfig(r=2, target_modules=QKV, bias="all"), "patch_embed.proj.bias"),
    "convolution": (LoraConfig(r=2, target_modules=["proj"]), "patch_embed.proj.lora_A"),
    "ia3": (peft.IA3Config(target_modules=["qkv", "fc2"], feedforward_modules=["fc2"]), "ia3_l"),
    "vera": (peft.VeraConfig(r=2, target_modules=QKV), "vera_lambda_b"),
    "adalora": (peft.AdaLoraConfig(target_modules=QKV, total_step=10), "lora_A.default"),
    "loha": (peft.LoHaConfig(r=2, target_modules=QKV), "hada_w1_a"),
    "lokr": (peft.LoKrConfig(r=2, target_modules=QKV), "lokr_w"),
    "hra": (peft.HRAConfig(r=2, target_modules=QKV), "hra_u"),
}


def wrapped(config):
    torch.manual_seed(0)
    return peft.get_peft_model(small_vit(), config).double()


@pytest.mark.parametrize("name", COVERED)
def test_old_answers_stay_under_lora(name):
    model = wrapped(COVERED[name])
    optimizer = OPTIMIZERS["adamw_decay"]([p for p in model.parameters() if p.requires_grad])
    pegp, old, new = PEGP(model, energy=1.0), images(2, seed=1), images(8, seed=2)
    pegp.begin({0, 1})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    pegp.gather([old])
    pegp.extend()
    before, ahead = answers(model, old, 2), answers(model, new, 6)
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, new, torch.tensor([2, 3] * 4), steps=20)
    assert relative_change(answers(model, old, 2), before) <= 1e-9
    assert relative_change(answers(model, new, 6), ahead) > 1e-3


@pytest.mark.parametrize("name", NOT_COVERED)
def test_what_no_condition_covers_is_named_first(name):
    config, tensor = NOT_COVERED[name]
    with pytest.raises(ValueError, match=rf"^no condition covers the trainable .*{tensor}"):
        PEGP(wrapped(config)).begin({0})


def test_a_lora_on_an_embedding_is_named_first():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 2))
    pegp = PEGP(peft.get_peft_model(model, LoraConfig(r=2, target_modules=["0", "1"])))
    with pytest.raises(ValueError, match=r"^no condition covers the trainable .*lora_embedding_A"):
        pegp.begin({0})


def test_a_weight_that_peft_reads_from_outside_is_refused():
    config = LoraConfig(r=2, target_parameters=["blocks.0.attn.qkv.weight"], target_modules=[])
    pegp = PEGP(wrapped(config))
    pegp.begin({0})
    with pytest.raises(ValueError, match=r"never called .*lora_B.default, but its answers depend"):
        pegp.gather([images(2, seed=1)])


def test_two_layers_of_a_lora_on_the_classifier_are_refused_by_name():
    pegp = PEGP(wrapped(LoraConfig(r=2, target_modules=["qkv", "head"])))
    with pytest.raises(ValueError, match=r"2 linear layers .*lora_A.default, lora_B.default"):
        pegp.begin({0})


def test_adapters_that_were_merged_while_gathering_are_noticed():
    model = wrapped(COVERED["lora"])
    for module in model.modules():
        if hasattr(module, "lora_B"):
            torch.nn.init.normal_(module.lora_B["default"].weight)
    pegp = PEGP(model, energy=1.0)
    pegp.begin({0, 1})
    model.merge_adapter()
    pegp.gather([images(2, seed=1)])
    model.unmerge_adapter()
    with pytest.raises(ValueError, match=r"changed since gather\(\), as when peft's merging"):
        pegp.extend()


def test_a_classifier_under_lora_is_refused_with_the_choice():
    model = wrapped(LoraConfig(r=2, target_modules=["qkv", "head"]))
    with pytest.raises(
        ValueError, match=r"what get_classifier\(\) gives \(Linear\) .*lora_B.*classifier=False"
    ):
        PEGP(model).begin({0, 1})
