from __future__ import annotations

import torch

from avl_pegp.plugins.weight_mean import WeightMean


def test_the_mean_is_that_of_all_entries_and_leaves_them_alone():
    g = torch.Generator().manual_seed(0)
    entries = [
        {"a": torch.randn(3, 2, generator=g).double(), "b": torch.randn((), generator=g).double()}
        for _ in range(6)
    ]
    copies = [{name: tensor.clone() for name, tensor in entry.items()} for entry in entries]
    mean = WeightMean(entries[0])
    for entry in entries[1:]:
        mean.add({name: tensor.requires_grad_() for name, tensor in entry.items()})
    assert mean.count == 6
    for name, tensor in mean.tensors.items():
        by_hand = torch.stack([entry[name] for entry in copies]).mean(dim=0)
        torch.testing.assert_close(tensor, by_hand)
        assert not tensor.requires_grad
    for entry, before in zip(entries, copies, strict=True):
        assert all(torch.equal(entry[name], before[name]) for name in entry)
