"""One pass over an experience: whatever surrounds it, whatever a batch is, whatever is not called."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from models import PETS, answers, images, relative_change, small_vit, tune
from torch import nn
from torch.nn import functional as F

from avl_pegp.pet import LoRA, Prompt, attach, pet_parameters, trainable_tensors
from avl_pegp.projection import PEGP

SURROUNDINGS = {
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", torch.float16),
    "inference mode": torch.inference_mode,
}


def with_pets(*pets, dtype=torch.float32):
    model = small_vit(dtype)
    attach(model, *pets)
    for p in trainable_tensors(model).values():
        nn.init.normal_(p, std=0.1)
    return model


def gathered(model, x, surroundings=nullcontext, energy=1.0):
    pegp = PEGP(model, energy=energy)
    pegp.begin()
    with surroundings():
        pegp.gather([x])
        pegp.extend()
    return pegp


@pytest.mark.parametrize("pet", PETS)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_surroundings_change_nothing_of_what_is_gathered(surroundings, pet):
    model, x = with_pets(PETS[pet]), images(4, seed=1, dtype=torch.float32)
    plain, pegp = gathered(model, x), gathered(model, x, SURROUNDINGS[surroundings])
    assert pegp.ranks() == plain.ranks()
    for site, memory in pegp.memory.sites.items():
        assert torch.equal(memory.moment.matrix, plain.memory.sites[site].moment.matrix)
        assert not memory.bases[0].columns.is_inference()


@pytest.mark.parametrize("rebase", [False, True])
def test_after_inference_mode_training_goes_on_and_old_answers_stay(rebase):
    model, old = with_pets(LoRA(8), dtype=torch.float64), images(2, seed=1)
    pegp = PEGP(model, energy=1.0, rebase=rebase)
    pegp.begin({0, 1})
    with torch.inference_mode():
        pegp.gather([old.clone()])
        pegp.extend()
    before = answers(model, old)
    pegp.begin({3, 4})
    optimizer = torch.optim.AdamW(pet_parameters(model), lr=1e-2)
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([3, 4]), steps=5)
    assert relative_change(answers(model, old), before) <= 1e-9


class InPlace(nn.Module):
    """Two layers that see the same tensor, once before and once after it was changed in place."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.a(x) + self.b(x.mul_(2))


@pytest.mark.parametrize("own_forward", [False, True])
def test_inference_tensors_are_gathered_as_they_are(own_forward):
    with torch.inference_mode():
        x = torch.randn(5, 3)
    model, twin = InPlace(), x.clone()

    @torch.inference_mode()
    def forward(batch):
        return model(batch.clone())

    pegp = PEGP(model)
    pegp.begin()
    pegp.gather([x], forward if own_forward else None)
    a, b = (pegp._features.moments[name].matrix[0, :3, :3] for name in "ab")
    torch.testing.assert_close(b, 4 * a)
    torch.testing.assert_close(a, (twin.mT @ twin).double())
    assert torch.equal(x, twin)


COMPILED = {
    "whole": lambda model: torch.compile(model, backend="eager"),
    "a block": lambda model: model.blocks[1].compile(backend="eager") or model,
}


@pytest.mark.parametrize("part", COMPILED)
@pytest.mark.parametrize("online", [False, True])
def test_what_was_compiled_and_run_before_is_seen_all_the_same(part, online):
    model, x = with_pets(LoRA(2)), images(3, seed=0, dtype=torch.float32)
    expected = gathered(model, x).ranks()
    with warnings.catch_warnings():  # the compiler's own
        warnings.simplefilter("ignore")
        compiled = COMPILED[part](model)
        with torch.no_grad():
            compiled.eval()(x)
        pegp = PEGP(compiled, energy=1.0)
        pegp.begin()
        if online:
            with pegp.gathering():
                compiled(x)
        else:
            pegp.gather([x])
        pegp.extend()
    ranks = {name.removeprefix("_orig_mod."): rank for name, rank in pegp.ranks().items()}
    assert ranks == expected


BATCHES = {
    "numpy": (np.zeros((2, 3)), r"a batch is a ndarray;.*forward=lambda batch: model"),
    "a list of numpy": ([np.zeros((2, 3)), 1], "a list that begins with a ndarray"),
    "a dict": (
        {"x": torch.zeros(2, 3)},
        r"a mapping with x;.*forward=lambda batch: model\(\*\*batch",
    ),
    "an empty list": ([], "a batch is a list"),
    "nothing": (None, "a batch is a NoneType"),
}


@pytest.mark.parametrize("case", BATCHES)
def test_batches_that_are_no_tensors_are_refused_and_change_nothing(case):
    batch, message = BATCHES[case]
    model = nn.Sequential(nn.Linear(3, 2))
    pegp = PEGP(model)
    pegp.begin()
    with pytest.raises(TypeError, match=rf"gather\(loader\): .*{message}"):
        pegp.gather([torch.ones(2, 3), batch])
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()
    assert not model[0]._forward_pre_hooks


def test_a_dict_is_gathered_by_a_forward_of_ones_own():
    model, x = nn.Sequential(nn.Linear(3, 2)), torch.randn(4, 3)
    pegp, plain = PEGP(model), PEGP(model)
    pegp.gather([{"input": x}], forward=lambda batch: model(**batch))
    plain.gather([x])
    assert torch.equal(pegp._features.moments["0"].matrix, plain._features.moments["0"].matrix)


def test_labels_in_the_place_of_the_input_are_refused_by_name():
    pegp = PEGP(nn.Sequential(nn.Linear(3, 2)))
    pegp.begin()
    with pytest.raises(ValueError, match=r"site 0 received torch.int64.*forward=lambda batch"):
        pegp.gather([(torch.arange(3), torch.randn(1, 3))])


def test_a_forward_that_leaves_out_the_classifier_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    pegp = PEGP(model, classifier="1")
    pegp.begin({0})
    with pytest.raises(ValueError, match=r"the classifier 1 was never called.*call the model"):
        pegp.gather([torch.randn(4, 3)], forward=model[0])
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()


def test_a_batch_without_samples_is_passed_over_unless_there_is_no_other():
    model, x, none = nn.Sequential(nn.Linear(3, 2)), torch.randn(4, 3), torch.zeros(0, 3)
    pegp, plain = PEGP(model), PEGP(model)
    plain.gather([x])
    pegp.gather([none, x, none])
    assert torch.equal(pegp._features.moments["0"].matrix, plain._features.moments["0"].matrix)
    for forward in (None, model):
        with pytest.raises(ValueError, match="no batch had a sample, so that nothing would be"):
            PEGP(model).gather([none, none], forward)
    with pytest.raises(ValueError, match="the loader gave no batch"):
        pegp.gather([])


def test_minibatches_without_own_samples_protect_nothing_by_name():
    model = nn.Sequential(nn.Linear(3, 2))
    pegp = PEGP(model)
    pegp.begin()
    with pegp.gathering(samples=0):
        model(torch.randn(4, 3))
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()


class Experts(nn.Module):
    """Inputs go to the expert that their first feature's sign names; ``reads`` reads one's weight."""

    def __init__(self, reads=None):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 3)
        self.reads = reads

    def forward(self, x):
        y = torch.zeros_like(x)
        for sign, expert in zip((-1, 1), self.experts, strict=True):
            taken = x[:, 0].sign() == sign
            if taken.any():
                y = y.index_put((taken,), expert(x[taken]))
        if self.reads is not None and (x[:, 1] > 5).any():
            y = y + F.linear(x, self.experts[self.reads].weight)
        return self.head(y)


def rows(count, sign, seed):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)).double()
    return torch.cat([sign * x[:, :1].abs(), x[:, 1:]], dim=1)


@pytest.mark.parametrize("first", [-1, 1])
def test_an_expert_that_an_experience_does_not_use_has_nothing_to_protect_in_it(first):
    model = Experts().double()
    pegp = PEGP(model, energy=1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    past = []
    for t, sign in enumerate((first, -first, first)):
        x = rows(2, sign, seed=t)
        pegp.begin()
        tune(model, optimizer, pegp, x, torch.tensor([0, 1]), steps=5)
        weights = {name: p.clone() for name, p in model.named_parameters()}
        pegp.gather([x[:1], x[1:]])
        pegp.extend()
        past.append((x, model(x).detach()))
        if t == 0:
            assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
            used, unused = ("experts.0", "experts.1")[::-first]
            assert pegp.ranks()[used][0] == 2
            assert pegp.ranks()[unused] == (0, 5)
    for x, then in past:
        assert relative_change(model(x), then) <= 1e-9


@pytest.mark.parametrize("batches", [1, 3])
def test_an_expert_that_is_read_beside_its_calls_is_refused_in_whichever_batch(batches):
    model = Experts(reads=1).double()
    pegp, weights = PEGP(model), [p.clone() for p in model.parameters()]
    pegp.begin()
    reading = rows(2, -1, seed=0)
    reading[0, 1] = 6
    loader = [rows(2, -1, seed=1)] * (batches - 1) + [reading]
    with pytest.raises(ValueError, match=r"never called experts\.1, but its answers depend on it"):
        pegp.gather(loader)
    assert all(map(torch.equal, weights, model.parameters()))
    with pytest.raises(RuntimeError, match="without statistics"):
        pegp.extend()


def test_a_forward_that_returns_nothing_cannot_clear_an_unused_expert():
    model = Experts().double()
    pegp = PEGP(model)
    with pytest.raises(ValueError, match=r"never called experts.1.*returns no tensor"):
        pegp.gather([rows(2, -1, seed=0)], forward=lambda x: [model(x)].clear())


CHECKPOINTED = {
    "prefix": [PETS["prefix"]],
    "prompt": [PETS["prompt"]],
    "lora": [PETS["lora"]],
    "input tokens": [Prompt(4, deep=False)],
    "all": list(PETS.values()),
}


@pytest.mark.parametrize("backward_inside", [False, True])
@pytest.mark.parametrize("case", CHECKPOINTED)
def test_checkpointed_blocks_are_seen_once_in_training(case, backward_inside):
    model = with_pets(*CHECKPOINTED[case], dtype=torch.float64)
    x, y = images(3, seed=0), torch.tensor([0, 1, 2])
    plain = PEGP(model, energy=1.0)
    plain.gather([x])
    model.set_grad_checkpointing(True)
    pegp = PEGP(model.train(), energy=1.0)
    pegp.begin()
    if backward_inside:
        with pegp.gathering():
            F.cross_entropy(model(x), y).backward()
    else:
        with pegp.gathering():
            loss = F.cross_entropy(model(x), y)
        loss.backward()
    assert all(p.grad is not None for p in trainable_tensors(model).values())
    for name, moment in plain._features.moments.items():
        torch.testing.assert_close(pegp._features.moments[name].matrix, moment.matrix)
