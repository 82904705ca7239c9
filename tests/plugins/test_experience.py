from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from streams import online, stream
from torch.utils.data import DataLoader, TensorDataset, default_collate

from avl_pegp.plugins import classes_of, statistics_loader
from avl_pegp.plugins.experience import (
    is_online,
    origin_of,
    own_samples,
    require_samples,
    task_of,
)


def test_classes_come_as_a_list_or_a_set_or_from_the_targets():
    experience = stream().train_stream[1]
    for told in ([2, 3], {2, 3}, torch.tensor([3, 2])):
        assert classes_of(SimpleNamespace(classes_in_this_experience=told)) == {2, 3}
    assert classes_of(experience) == {2, 3}
    assert classes_of(SimpleNamespace(dataset=experience.dataset)) == {2, 3}


def test_an_experience_that_tells_nothing_is_refused():
    with pytest.raises(ValueError, match="no `classes_in_this_experience`"):
        classes_of(SimpleNamespace(dataset=[1, 2]))


@pytest.mark.parametrize("samples", [None, 2])
def test_the_datasets_own_collate_function_is_honoured(samples):
    calls = []

    def collate(batch):
        calls.append(len(batch))
        return default_collate(batch)

    dataset = stream(per_class=2).train_stream[0].dataset
    dataset.collate_fn = collate
    loader = statistics_loader(SimpleNamespace(dataset=dataset), samples=samples, batch_size=2)
    assert len(list(loader)) == len(calls) == (2 if samples is None else 1)


def test_the_order_is_shuffled_and_repeatable():
    experience = stream(per_class=20).train_stream[0]

    def order(seed):
        return torch.cat([batch[1] for batch in statistics_loader(experience, seed=seed)]).tolist()

    assert order(0) == order(0) != order(1)
    assert order(0) != sorted(order(0))


def test_an_ordinary_experience_is_its_own_task():
    experience = stream().train_stream[1]
    assert not is_online(experience)
    assert task_of(experience) is origin_of(experience) is experience


@pytest.mark.parametrize("boundaries", [True, False])
def test_the_task_of_a_piece_is_told_only_where_it_may_be_known(boundaries):
    *_, piece = online(4, boundaries)
    assert is_online(piece)
    assert origin_of(piece).classes_in_this_experience == [4, 5]
    assert task_of(piece) is (origin_of(piece) if boundaries else None)
    assert classes_of(piece) == ({4, 5} if boundaries else set(piece.dataset.targets))


def minibatches(own, replayed=0, size=4, in_memory=4, drop_last=False):
    """As a strategy has them, of data that is 1 and memory that is 0."""
    data = AvalancheDataset([TensorDataset(torch.ones(own))])
    loader = DataLoader(data, batch_size=size)
    if replayed:
        memory = AvalancheDataset([TensorDataset(torch.zeros(replayed))])
        loader = ReplayDataLoader(
            data, memory, batch_size=size, batch_size_mem=in_memory, drop_last=drop_last
        )
    for i, (x,) in enumerate(loader):
        clock = SimpleNamespace(train_epoch_iterations=i)
        yield SimpleNamespace(dataloader=loader, mb_x=x, clock=clock)


@pytest.mark.parametrize(
    "options",
    [
        {"own": 8},
        {"own": 10},
        {"own": 8, "replayed": 6},
        {"own": 10, "replayed": 6, "in_memory": 1},
        {"own": 3, "replayed": 50, "in_memory": 7},
        {"own": 10, "replayed": 2, "in_memory": 7},
        {"own": 10, "replayed": 6, "drop_last": True},
    ],
)
def test_own_samples_stand_first_and_what_is_replayed_after_them(options):
    seen = 0
    for strategy in minibatches(**options):
        own = own_samples(strategy)
        assert strategy.mb_x[:own].all() and not strategy.mb_x[own:].any()
        seen += own
    assert seen == (8 if options.get("drop_last") else options["own"])


def test_an_experience_without_samples_is_named():
    experience = stream().train_stream[1]
    require_samples(experience)
    experience.dataset = experience.dataset.subset([])
    with pytest.raises(ValueError, match="experience 1 has no samples: leave it out"):
        require_samples(experience)
