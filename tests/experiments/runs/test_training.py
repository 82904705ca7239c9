"""How the optimizer goes through an experience."""

from __future__ import annotations

import pytest
import torch
from avalanche.training.plugins import LRSchedulerPlugin
from runs.training import OPTIMIZERS, Machine, Training


@pytest.fixture
def parameter():
    return torch.nn.Parameter(torch.ones(1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_take_rate_and_decay(name, parameter):
    made = Training(optimizer=name, weight_decay=0.25).optimizer_of([parameter], lr=0.5)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("steps", [1.0] * 5 + [0.1] * 3 + [0.01] * 2),
        ("cosine", [(1 + torch.cos(torch.tensor(i * torch.pi / 10))) / 2 for i in range(10)]),
    ],
)
def test_schedules_go_over_the_epochs(schedule, rates, parameter):
    training = Training(epochs=10, schedule=schedule, optimizer="sgd")
    optimizer = training.optimizer_of([parameter], lr=1.0)
    (plugin,) = training.schedule_of(optimizer)
    assert isinstance(plugin, LRSchedulerPlugin)
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plugin.scheduler.step()
    assert found == pytest.approx([float(rate) for rate in rates])


def test_a_constant_rate_needs_no_schedule(parameter):
    training = Training(schedule="constant")
    assert training.schedule_of(training.optimizer_of([parameter], lr=1.0)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs=0, batch_size=32: must be at least 1"),
        ({"batch_size": 0}, "epochs=5, batch_size=0: must be at least 1"),
        ({"temperature": 0.0}, "temperature=0.0: must be above 0"),
        ({"optimizer": "lion"}, "optimizer='lion': must be one of adam, adamw, sgd"),
        ({"schedule": "step"}, "schedule='step': must be one of cosine, steps, constant"),
    ],
)
def test_impossible_values_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Training(**fields)


def test_a_machine_has_a_device_and_no_data_unless_told():
    assert Machine() == Machine(None, "cuda" if torch.cuda.is_available() else "cpu", 0)


def test_processes_that_read_images_outlive_an_epoch():
    assert Machine(loaders=3).reading() == {"num_workers": 3, "persistent_workers": True}
    assert Machine().reading() == {"num_workers": 0, "persistent_workers": False}
