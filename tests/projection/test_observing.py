"""What sites are seen to receive: in a pass of its own, or while the model trains."""

from __future__ import annotations

import pytest
import torch
from models import PETS, images, small_vit
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet import LoRA, Prompt, attach, trainable_tensors
from avl_pegp.projection import PEGP, Moment
from avl_pegp.projection.observing import Observer
from avl_pegp.projection.running import inference_state


class Twice(nn.Module):
    """One layer called twice, and two others that see what the first call saw."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(x) + self.c(input=x) + self.a(self.a(x))[..., :2]


def observe(model, batches):
    observer = Observer({name: (getattr(model, name), 1) for name in "abc"}, {})
    with inference_state(model), observer.watching():
        for batch in batches:
            model(batch)
            observer.end_of_batch()
    return observer.moments


def test_every_call_counts_and_equal_inputs_share_one_moment():
    model, batches = Twice(), [torch.randn(4, 3), torch.randn(2, 3)]
    moments = observe(model, batches)
    assert moments["b"] is moments["c"]
    assert moments["a"] is not moments["b"]
    with torch.no_grad():
        rows = torch.cat([torch.cat([x, model.a(x)]) for x in batches])
    torch.testing.assert_close(moments["a"].matrix, Moment.of(rows).matrix)
    torch.testing.assert_close(moments["b"].matrix, Moment.of(torch.cat(batches)).matrix)


def test_a_tensor_changed_in_place_is_another_tensor():
    class InPlace(Twice):
        def forward(self, x):
            y = self.b(x)
            x.mul_(2)
            return y + self.c(x) + self.a(x)[..., :2]

    x = torch.randn(4, 3)
    moments = observe(InPlace(), [x.clone()])
    torch.testing.assert_close(moments["b"].matrix, Moment.of(x).matrix)
    torch.testing.assert_close(moments["c"].matrix, Moment.of(2 * x).matrix)
    assert moments["a"] is moments["c"]


def test_no_hook_and_no_mode_stays_behind_even_after_an_error():
    model = Twice().train()
    model.b.eval()
    with pytest.raises(ValueError, match="site b received NaN"):
        observe(model, [torch.full((1, 3), float("nan"))])
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.training
    assert not model.b.training


IN_TRAINING = {
    **{name: [pet] for name, pet in PETS.items()},
    "input tokens": [Prompt(4, deep=False)],
    "all": list(PETS.values()),
}


def begun(*pets):
    model = small_vit()
    attach(model, *pets)
    for p in trainable_tensors(model).values():
        nn.init.normal_(p, std=0.1)
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    return model.train(), pegp


def gradients(model, x, watch=None):
    """Of a loss whose forward pass may be watched."""
    model.zero_grad()
    if watch is None:
        y = model(x)
    else:
        with watch:
            y = model(x)
    F.cross_entropy(y, torch.zeros(len(x), dtype=torch.long)).backward()
    return {name: p.grad.clone() for name, p in trainable_tensors(model).items()}


def matrices(pegp):
    return {name: moment.matrix for name, moment in pegp._features.moments.items()}


def hooks_of(model):
    return [h for m in model.modules() for h in (*m._forward_pre_hooks, *m._forward_hooks)]


@pytest.mark.parametrize("case", IN_TRAINING)
def test_training_forwards_give_what_a_pass_of_its_own_would_while_weights_rest(case):
    model, pegp = begun(*IN_TRAINING[case])
    batches = [images(3, seed=0), images(2, seed=1)]
    for x in batches:
        gradients(model, x, pegp.gathering())
    assert model.training and not hooks_of(model)
    apart = PEGP(model, energy=1.0)
    apart.gather(batches)
    torch.testing.assert_close(matrices(pegp), matrices(apart))
    pegp.extend()
    apart.extend()
    assert pegp.ranks() == apart.ranks()


@pytest.mark.parametrize("case", IN_TRAINING)
def test_gradients_are_the_same_watched_or_not(case):
    model, pegp = begun(*IN_TRAINING[case])
    x = images(3, seed=0)
    watched, plain = gradients(model, x, pegp.gathering()), gradients(model, x)
    torch.testing.assert_close(watched, plain, rtol=0, atol=0)
    assert all(gradient.norm() > 0 for gradient in plain.values())
    assert not any(matrix.requires_grad for matrix in matrices(pegp).values())


@pytest.mark.parametrize("case", ["all", "input tokens"])
def test_only_the_first_samples_of_a_batch_count(case):
    model, pegp = begun(*IN_TRAINING[case])
    x = images(5, seed=0)
    gradients(model, x, pegp.gathering(samples=2))
    apart = PEGP(model, energy=1.0)
    apart.gather([x[:2]])
    torch.testing.assert_close(matrices(pegp), matrices(apart))


@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_an_error_inside_leaves_no_hook_and_what_was_gathered_before(error):
    model, pegp = begun(LoRA(2))
    x = images(2, seed=0)
    gradients(model, x, pegp.gathering())
    before = matrices(pegp)
    with pytest.raises(error), pegp.gathering():
        if error is KeyError:
            model(x)
            raise KeyError
        model(torch.full_like(x, float("nan")))
    assert not hooks_of(model)
    assert matrices(pegp).keys() == before.keys()
    assert all(matrices(pegp)[name] is matrix for name, matrix in before.items())


def test_watching_before_begin_is_refused():
    model = small_vit()
    attach(model, LoRA(2))
    with pytest.raises(RuntimeError, match="call begin"), PEGP(model).gathering():
        model(images(1, seed=0))


def test_a_layer_that_no_forward_called_is_refused_when_bases_would_grow():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.always, self.rarely = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x, rarely=False):
            return self.rarely(self.always(x)) if rarely else self.always(x)

    model, x = Sometimes(), torch.randn(4, 3)
    pegp = PEGP(model)
    pegp.begin()
    with pegp.gathering():
        model(x)
    with pytest.raises(ValueError, match="never called rarely"):
        pegp.extend()
    assert pegp.ranks() == {}
    with pegp.gathering():
        model(x, rarely=True)
    pegp.extend()
    assert pegp.ranks().keys() == {"always", "rarely"}


def test_bases_from_training_forwards_keep_old_answers_of_weights_that_rest():
    model, pegp = begun(LoRA(8))
    old, new = images(2, seed=0), images(4, seed=1)
    with pegp.gathering():
        before = model(old)
    pegp.extend()
    pegp.begin()
    optimizer = torch.optim.AdamW(trainable_tensors(model).values(), lr=1e-2)
    for _ in range(10):
        gradients(model, new)
        pegp.project_gradients()
        optimizer.step()
        pegp.project_step()
    torch.testing.assert_close(model(old), before, rtol=0, atol=1e-9)


def test_a_classifier_that_grew_since_begin_is_refused():
    model = small_vit()
    attach(model, LoRA(2))
    pegp = PEGP(model)
    pegp.begin()
    model.head = nn.Linear(64, 7, dtype=torch.float64)
    refusal = r"head.weight, head.bias was replaced since begin\(\)"
    with pytest.raises(ValueError, match=refusal), pegp.gathering():
        model(images(1, seed=0))
