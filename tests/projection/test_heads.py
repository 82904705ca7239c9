"""The classifier is found wherever it stands, or the model is refused: its rows are never forgotten."""

from __future__ import annotations

import pytest
import torch
from heads import (
    CLASSES,
    UNTOLD,
    WRAPPED,
    LogProbabilities,
    OwnHead,
    SecondHead,
    built,
    layer_of,
    tuned_vit,
)
from models import OPTIMIZERS, images, relative_change, small_vit
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet import LoRA, Prompt, attach, pet_parameters
from avl_pegp.projection import PEGP
from avl_pegp.projection.heads import find_heads, logits_of

MODELS = {**UNTOLD, **{name: case for name, case in WRAPPED.items() if name != "resnet"}}


def learn(model, pegp, optimizer, x, classes, steps=10):
    """One experience, with every logit in the loss."""
    pegp.begin(set(classes))
    y = torch.tensor(classes).repeat(len(x))[: len(x)]
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(logits_of(model(x)), y).backward()
        pegp.project_gradients()
        optimizer.step()
        pegp.project_step()
    pegp.gather([x])
    pegp.extend()


def rows_of(layer):
    return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().clone()


@torch.no_grad()
def answers(model, x):
    return logits_of(model.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_absent_classes_stay_to_the_bit_and_old_answers_with_them(name):
    make, path = MODELS[name]
    model = built(make)
    optimizer = OPTIMIZERS["adamw_decay"]([p for p in model.parameters() if p.requires_grad])
    pegp, old, new = PEGP(model, energy=1.0), images(2, seed=1), images(8, seed=2)
    learn(model, pegp, optimizer, old, [0, 1])
    before, rows = answers(model, old)[:, :2], rows_of(layer_of(model, path))
    learn(model, pegp, optimizer, new, [3, 4], steps=20)
    now = rows_of(layer_of(model, path))
    assert torch.equal(now[[0, 1, 2, 5]], rows[[0, 1, 2, 5]])
    assert (now[[3, 4]] - rows[[3, 4]]).norm() > 1e-2  # new rows are free
    assert relative_change(answers(model, old)[:, :2], before) <= 1e-9
    assert path not in pegp.ranks()


@pytest.mark.parametrize("name", MODELS)
def test_naming_it_is_the_same_as_having_it_found(name):
    make, path = MODELS[name]
    weights = []
    for classifier in (None, path):
        model = built(make)
        optimizer = OPTIMIZERS["adamw_decay"]([p for p in model.parameters() if p.requires_grad])
        pegp = PEGP(model, energy=1.0, classifier=classifier)
        for t in range(2):
            learn(model, pegp, optimizer, images(2, seed=t), [2 * t, 2 * t + 1], steps=3)
        weights.append({n: p.detach() for n, p in model.named_parameters()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_linear_probe_has_a_classifier_alone():
    make, path = WRAPPED["resnet"]
    model = built(make)
    model.requires_grad_(False)
    layer_of(model, path).requires_grad_(True)
    optimizer = OPTIMIZERS["adamw_decay"](layer_of(model, path).parameters())
    pegp, old = PEGP(model, energy=1.0), images(2, seed=1, size=64)
    learn(model, pegp, optimizer, old, [0, 1])
    before = answers(model, old)[:, :2]
    learn(model, pegp, optimizer, images(2, seed=2, size=64), [2, 3])
    assert torch.equal(answers(model, old)[:, :2], before)
    assert pegp.ranks() == {}


def test_convolutions_that_are_trained_are_named_first():
    model = built(WRAPPED["resnet"][0])
    with pytest.raises(ValueError, match=r"no condition covers the trainable \S*conv\S*weight"):
        PEGP(model).begin({0})


def test_logits_that_are_no_layers_output_are_refused_in_the_first_forward_pass():
    model = built(LogProbabilities)
    pegp = PEGP(model)
    pegp.begin({0, 1})
    with pytest.raises(
        ValueError, match=r"LogProbabilities is not known: .*classifier='fc'.*=False"
    ):
        model(images(1, seed=0))
    assert not any(m._forward_hooks for m in model.modules())
    named = PEGP(model, classifier="fc")
    named.begin({0, 1})
    model(images(1, seed=0))
    assert list(named.coverage.heads) == ["fc"]


def test_a_bare_layer_has_no_path_and_is_to_be_wrapped():
    layer, x = nn.Linear(3, 2), torch.zeros(1, 3)
    PEGP(layer).begin({0})
    with pytest.raises(ValueError, match=r"it is the layer itself.* nn.Sequential\(layer\)"):
        layer(x)
    with pytest.raises(ValueError, match=r"classifier='': .* nn.Sequential\(layer\)"):
        PEGP(layer, classifier="").begin({0})
    model = nn.Sequential(layer)
    pegp = PEGP(model)
    pegp.begin({0})
    model(x)
    assert list(pegp.coverage.heads) == ["0"]


def test_a_step_before_any_forward_pass_of_the_model_is_refused():
    model = built(OwnHead)
    pegp = PEGP(model)
    pegp.begin({0, 1})
    model.fc(torch.ones(1, 64).double()).sum().backward()
    with pytest.raises(ValueError, match="no forward pass of the model has shown it"):
        pegp.project_gradients()


def test_another_layer_than_get_classifier_gives_is_noticed():
    model = built(SecondHead)
    pegp = PEGP(model)
    pegp.begin({0, 1})
    with pytest.raises(ValueError, match=r"gives vit.head, but its logits are the output of fc"):
        model(images(1, seed=0))


class OwnHeadUnderTwoNames(OwnHead):
    def __init__(self):
        super().__init__()
        self.head = self.fc


@pytest.mark.parametrize("name", ["fc", "head"])
def test_a_named_classifier_may_have_several_paths(name):
    model = built(OwnHeadUnderTwoNames)
    pegp = PEGP(model, classifier=name)
    pegp.begin({0, 1})
    model(images(1, seed=0))
    assert len(pegp.coverage.heads) == 1


def test_another_layer_than_the_named_one_is_noticed():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    pegp = PEGP(model, classifier="0")
    pegp.begin({0, 1})
    with pytest.raises(ValueError, match=r"classifier='0'.* output of 2: .*classifier='2'"):
        model(torch.ones(1, 4))


def test_a_model_may_be_said_to_have_none():
    model = built(OwnHead)
    pegp = PEGP(model, energy=1.0, classifier=False)
    pegp.begin({0, 1})
    model(images(1, seed=0))
    assert "fc" in pegp.coverage.sites
    assert find_heads(model, False) == {}


def test_where_classes_are_never_told_the_last_layer_is_one_of_the_sites():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather([torch.eye(4)[:1]])
    pegp.extend()
    assert pegp.ranks().keys() == {"0", "2"}
    pegp.begin({0})
    with pytest.raises(ValueError, match="no longer 2, newly 2"):
        model(torch.eye(4))


def test_a_frozen_layer_that_gives_the_logits_needs_no_rule():
    model = built(OwnHead)
    model.fc.requires_grad_(False)
    pegp = PEGP(model, energy=1.0)
    pegp.begin({0, 1})
    model(images(1, seed=0))
    assert pegp.coverage.heads == {}


def test_names_are_the_models_own_in_torchs_wrappers():
    plain, wrapped = PEGP(built(tuned_vit)), PEGP(nn.DataParallel(built(tuned_vit)))
    for pegp in (plain, wrapped):
        pegp.begin({0})
        pegp.gather([images(2, seed=0)])
        pegp.extend()
    assert wrapped.ranks() == plain.ranks()
    wrapped.load_state_dict(plain.state_dict())
    assert len(wrapped.memory.heads["head"].reference) == CLASSES


@pytest.mark.parametrize("pet", [LoRA(4), Prompt(4)], ids=repr)
@pytest.mark.parametrize("used_before", [False, True])
def test_a_compiled_model_is_trained_and_gathered_without_a_word(pet, used_before, caplog):
    torch.manual_seed(0)
    inner = small_vit()
    attach(inner, pet)
    model = torch.compile(inner, backend="eager")
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    pegp, old = PEGP(model, energy=1.0), images(2, seed=1)
    if used_before:
        answers(model, old)
    learn(model, pegp, optimizer, old, [0, 1], steps=3)
    before = answers(model, old)[:, :2]
    learn(model, pegp, optimizer, images(4, seed=2), [2, 3], steps=3)
    assert relative_change(answers(model, old)[:, :2], before) <= 1e-9
    assert not any("_orig_mod" in name for name in pegp.ranks())
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


@pytest.mark.parametrize("output", [torch.zeros(1, 2), {"logits": torch.zeros(1, 2)}, None, [1]])
def test_logits_are_tensors_or_have_that_name(output):
    logits = logits_of(output)
    assert (logits is None) == (output in (None, [1]) if not torch.is_tensor(output) else False)


@pytest.mark.parametrize("answer", [None, "fc"])
def test_a_get_classifier_that_gives_no_module_says_nothing(answer):
    class Net(nn.Sequential):
        def get_classifier(self):
            return answer

    model = Net(nn.Linear(3, 3), nn.Linear(3, 2))
    pegp = PEGP(model)
    pegp.begin({0})
    model(torch.ones(1, 3)).sum().backward()
    pegp.project_gradients()
    assert list(pegp.coverage.heads) == ["1"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("part", [False, True])
def test_torchscript_is_refused_by_name(part):
    model = torch.jit.trace(nn.Sequential(nn.Linear(3, 2)), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"0 is a TorchScript module"):
        PEGP(nn.Sequential(model, nn.Linear(2, 2)) if part else model).begin({0})
