from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from streams import stream
from torch.utils.data import default_collate

from avl_pegp.plugins import classes_of, statistics_loader


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
