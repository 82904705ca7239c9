"""Features and attention mass, taken from models as they run."""

from __future__ import annotations

import pytest
import torch
from models import images, small_vit
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import classifier_features, token_mass
from avl_pegp.pet import LoRA, Prefix, Prompt, attach

DATA = TensorDataset(images(7, seed=1), torch.arange(7))


def hooks_of(model):
    return [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]


@pytest.mark.parametrize("batch_size", [2, 7])
def test_features_are_what_the_classifier_makes_its_logits_of(batch_size):
    model = small_vit().train()
    features, targets = classifier_features(model, DATA, batch_size)
    assert model.training
    assert not hooks_of(model)
    assert not features.requires_grad
    assert targets.tolist() == list(range(7))
    with torch.no_grad():
        logits = model.eval()(DATA.tensors[0])
    torch.testing.assert_close(model.get_classifier()(features), logits)


def test_features_of_nothing_and_of_a_model_without_its_classifier_are_refused():
    model = small_vit()
    with pytest.raises(ValueError, match="the data set has no samples"):
        classifier_features(model, TensorDataset(torch.zeros(0, 3, 32, 32), torch.zeros(0)))
    model.forward = model.forward_features
    with pytest.raises(RuntimeError, match="never called the classifier"):
        classifier_features(model, DATA)
    assert not hooks_of(model)


def mass_by_hand(model, block, x):
    """Softmax over own and learned keys of one block, written out; the part on learned ones."""
    seen = []
    attention = model.blocks[block].attn
    hook = attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(x)
    hook.remove()
    base, (tokens,) = attention.base, attention.tokens.values()
    qkv = base.qkv(seen[0]).unflatten(-1, (3, base.num_heads, -1)).permute(2, 0, 3, 1, 4)
    keys, _ = tokens.keys_values(base)
    q, k = base.q_norm(qkv[0]), base.k_norm(qkv[1])
    scores = torch.cat([q @ keys.mT, q @ k.mT], -1) * q.shape[-1] ** -0.5
    return F.softmax(scores, -1)[..., : keys.shape[-2]].mean(dim=(0, 2))


@pytest.mark.parametrize("pet", [Prefix(5), Prompt(5), Prompt(5, blocks=[1])])
@pytest.mark.parametrize("batch_size", [2, 7])
def test_mass_is_the_mean_share_of_attention_on_learned_tokens(pet, batch_size):
    model = small_vit()
    attach(model, pet)
    found = token_mass(model, DATA, batch_size)
    assert not hooks_of(model)
    blocks = range(3) if pet.blocks is None else pet.blocks
    kind = type(pet).__name__.lower()
    assert list(found) == [f"blocks.{i}.attn.tokens.{kind}" for i in blocks]
    for i, mass in zip(blocks, found.values(), strict=True):
        torch.testing.assert_close(mass, mass_by_hand(model, i, DATA.tensors[0]))


@pytest.mark.parametrize("pet", [LoRA(2), Prompt(3, deep=False)])
def test_a_model_without_such_tokens_is_refused(pet):
    model = small_vit()
    attach(model, pet)
    with pytest.raises(ValueError, match="has no prefix and no deep prompt"):
        token_mass(model, DATA)


def test_hooks_are_gone_where_a_model_fails():
    model = small_vit()
    attach(model, Prefix(2))
    model.norm = nn.Linear(1, 1)
    with pytest.raises(RuntimeError):
        token_mass(model, DATA)
    assert not hooks_of(model)
