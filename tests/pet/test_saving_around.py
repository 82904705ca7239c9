"""Models with PETs inside others: what stands around them is saved where it has tensors."""

from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from heads import Normalised, multitask, tuned_vit
from models import images
from torch import nn
from torch.utils.data import TensorDataset

from avl_pegp.pet import load_pet, save_pet


def with_three_heads():
    """A model for three tasks, as training leaves it, and their experiences."""
    x, y = images(12, seed=3).float(), torch.arange(6).repeat_interleave(2)
    dataset = TensorDataset(x, y)
    dataset.targets = y.tolist()
    tasks = nc_benchmark(dataset, dataset, n_experiences=3, task_labels=True, seed=1)
    torch.manual_seed(0)
    model = multitask().float()
    for experience in tasks.train_stream:
        model.train().head.adaptation(experience)
    return model, tasks.train_stream


def change(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))


@torch.no_grad()
def answers(model, task):
    return model.eval().forward_single_task(images(2, seed=0).float(), task)


def test_heads_for_tasks_come_back_with_the_classes_that_they_know(tmp_path):
    model, _ = with_three_heads()
    change(model)
    save_pet(model, tmp_path)
    other, _ = with_three_heads()
    other.head.active_units_T1.zero_()
    load_pet(other, tmp_path)
    for task in range(3):
        assert torch.equal(answers(other, task), answers(model, task))
        assert (answers(model, task) > -1000).any()


def test_a_model_that_lacks_a_head_is_refused_and_left_as_it_was(tmp_path):
    model, _ = with_three_heads()
    change(model)
    save_pet(model, tmp_path)
    torch.manual_seed(0)
    other = multitask().float()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"Not in the model: \[.*head.classifiers.1"):
        load_pet(other, tmp_path)
    now = other.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)


@pytest.mark.parametrize("wrap", [nn.DataParallel, nn.Sequential])
def test_a_wrapper_without_tensors_makes_no_difference(wrap, tmp_path):
    torch.manual_seed(0)
    model = tuned_vit()
    change(model)
    save_pet(wrap(model), tmp_path)
    torch.manual_seed(0)
    other = tuned_vit()
    load_pet(other, tmp_path)
    assert torch.equal(other.eval()(images(1, seed=0)), model.eval()(images(1, seed=0)))


def test_a_buffer_of_a_wrapper_is_saved_too(tmp_path):
    torch.manual_seed(0)
    model = Normalised(tuned_vit())
    model.mean.fill_(0.5)
    save_pet(model, tmp_path)
    torch.manual_seed(0)
    other = Normalised(tuned_vit())
    load_pet(other, tmp_path)
    assert torch.equal(other.mean, model.mean)
