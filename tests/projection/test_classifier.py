"""The rule of every row: absent, new or seen before."""

from __future__ import annotations

import pytest
import torch
from models import OPTIMIZERS, answers, experiences, images, relative_change, small_vit, tune
from torch import nn

from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.projection import PEGP, Protection


def rows_of(model):
    return torch.cat([model.head.weight, model.head.bias[:, None]], 1).detach()


def test_absent_rows_stay_to_the_bit_and_recurring_ones_keep_their_answers(protected):
    model, pegp, optimizer, old = protected()
    rows = rows_of(model)
    before = answers(model, old, 2)
    pegp.begin({1, 2})
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([1, 2]), steps=20)
    now = rows_of(model)
    assert torch.equal(now[[0, 3, 4, 5]], rows[[0, 3, 4, 5]])
    assert not torch.allclose(now[1], rows[1])
    assert not torch.allclose(now[2], rows[2])
    assert relative_change(answers(model, old, 2), before) <= 1e-9


@pytest.mark.parametrize("memory", ["union", "covariance"])
def test_recurring_rows_keep_their_answers_of_all_experiences(protected, memory):
    model, pegp, optimizer, old = protected(protection=Protection(memory=memory))
    before, start = answers(model, old, 2), rows_of(model)
    experiences(model, optimizer, pegp, [(2, 3), (0, 1)], steps=5)
    assert not torch.allclose(rows_of(model)[:2], start[:2])
    assert relative_change(answers(model, old, 2), before) <= 1e-9


def test_without_classes_every_row_keeps_its_answers(protected):
    model, pegp, optimizer, old = protected()
    pegp.begin()
    pegp.gather([old])
    pegp.extend()
    before = answers(model, old, 6)
    pegp.begin()
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([4, 5]), steps=20)
    assert relative_change(answers(model, old, 6), before) <= 1e-9


def test_a_head_may_grow(protected):
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


def test_a_class_without_a_row_is_refused():
    model = small_vit()
    attach(model, LoRA(2))
    with pytest.raises(ValueError, match=r"classes has \[6\], but the classifier has rows 0 to 5"):
        PEGP(model).begin({5, 6})


@pytest.mark.parametrize("classes", [{0.5}, {"cat"}, 3, torch.tensor([0.0])], ids=str)
def test_classes_must_be_whole_numbers_and_what_was_begun_goes_on(classes, protected):
    model, pegp, optimizer, old = protected()
    before = answers(model, old, 2)
    pegp.begin({2})
    with pytest.raises(ValueError, match="must be a collection of whole numbers"):
        pegp.begin(classes)
    with pytest.raises(ValueError, match="must be a collection of whole numbers"):
        pegp.admit(classes)
    held = rows_of(model)[[0, 1, 3, 4, 5]]
    tune(model, optimizer, pegp, images(2, seed=2), torch.tensor([2, 2]), steps=5)
    assert torch.equal(rows_of(model)[[0, 1, 3, 4, 5]], held)
    assert relative_change(answers(model, old, 2), before) <= 1e-9


@pytest.mark.parametrize("name", ["nowhere", "blocks"])
def test_a_classifier_must_be_one_linear_layer(name):
    model = small_vit()
    attach(model, LoRA(2))
    with pytest.raises(ValueError, match=f"classifier='{name}'"):
        PEGP(model, classifier=name).begin()


class TestAdmission:
    """Classes that turn up after an experience has begun."""

    def test_rows_wait_to_the_bit_until_their_classes_occur(self, protected):
        model, pegp, optimizer, old = protected()
        x, y = images(2, seed=2), torch.tensor([1, 2])
        start, old_logits = rows_of(model), answers(model, old, 6)
        pegp.begin(set())
        tune(model, optimizer, pegp, x, y, steps=5)
        assert torch.equal(rows_of(model), start)
        pegp.admit({2})
        tune(model, optimizer, pegp, x, y, steps=5)
        between = rows_of(model)
        assert torch.equal(between[[0, 1, 3, 4, 5]], start[[0, 1, 3, 4, 5]])
        assert not torch.allclose(between[2], start[2])
        pegp.admit([1, 2])
        tune(model, optimizer, pegp, x, y, steps=5)
        now, new_logits = rows_of(model), answers(model, old, 6)
        assert torch.equal(now[[0, 3, 4, 5]], start[[0, 3, 4, 5]])
        assert not torch.allclose(now[1], start[1])
        assert not torch.allclose(now[2], between[2])
        assert relative_change(new_logits[:, :2], old_logits[:, :2]) <= 1e-9  # seen: projected
        assert relative_change(new_logits[:, 2], old_logits[:, 2]) > 1e-3  # new: free

    def test_admitted_classes_are_seen_ones_in_the_next_experience(self, protected):
        model, pegp, optimizer, _ = protected()
        x, y = images(2, seed=2), torch.tensor([3, 3])
        pegp.begin(set())
        pegp.admit({3})
        tune(model, optimizer, pegp, x, y, steps=5)
        pegp.gather([x])
        pegp.extend()
        before, start = answers(model, x, 6), rows_of(model)
        pegp.begin({3, 4})
        tune(model, optimizer, pegp, images(2, seed=3), torch.tensor([3, 4]), steps=5)
        assert relative_change(answers(model, x, 6)[:, 3], before[:, 3]) <= 1e-9
        assert not torch.allclose(rows_of(model)[3], start[3])

    @pytest.mark.parametrize("classes", [{6}, {2, -1}])
    def test_a_class_without_a_row_is_refused_and_none_is_admitted(self, protected, classes):
        model, pegp, _, _ = protected()
        pegp.begin({2})
        with pytest.raises(ValueError, match=r"classes has .*but the classifier has rows 0 to 5"):
            pegp.admit(classes | {3})
        before = rows_of(model)
        with torch.no_grad():
            model.head.weight.add_(1)
        pegp.project_step()
        assert (rows_of(model) != before).any(1).nonzero().flatten().tolist() == [2]

    def test_it_takes_an_experience_that_has_begun(self, protected):
        _, pegp, _, _ = protected()
        with pytest.raises(RuntimeError, match="call begin"):
            pegp.admit({2})

    def test_without_a_classifier_any_class_may_come(self):
        pegp = PEGP(nn.Sequential(nn.Linear(3, 3)))
        pegp.begin()
        pegp.admit({99})
