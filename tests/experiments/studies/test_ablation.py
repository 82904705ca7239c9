"""The published code's statistics, re-created: their bases span samples, not channels."""

from __future__ import annotations

import pytest
import torch
from models import PETS
from streams import naive, stream
from studies.ablation import SampleAxisPlugin

from avl_pegp import PEGPPlugin

SAMPLES = 2  # in each experience of the stream


def trained(pet, *more, experiences=2):
    """Bases after some experiences, by site; with more plugins behind PEGP's."""
    plugin = PEGPPlugin(energy=0.999, progress=False)
    made = naive(PETS[pet], plugin=plugin, plugins=more, train_epochs=2)
    torch.manual_seed(0)
    for experience in stream().train_stream[:experiences]:
        made.strategy.train(experience, eval_streams=[])
    return made.plugin.pegp.past.memories


@pytest.mark.parametrize("pet", ["lora", "adapter"])
def test_bases_have_the_shape_of_channels_and_span_samples(pet):
    for memory in trained(pet, SampleAxisPlugin()).values():
        (basis,) = memory.bases
        assert basis.columns.shape == (memory.dimension, basis.rank)
        eye = torch.eye(basis.rank, dtype=torch.float64)
        torch.testing.assert_close(basis.columns.mT @ basis.columns, eye)
        assert basis.is_hard
        assert 1 <= basis.rank <= SAMPLES
        # What was drawn are copies of two samples, which no entry of a column tells apart.
        assert all(len(column.round(decimals=6).unique()) <= SAMPLES for column in basis.columns.T)


@pytest.mark.parametrize("pet", ["lora", "adapter"])
def test_bases_are_others_than_pegps_at_the_same_sites(pet):
    wrong, right = (trained(pet, *more, experiences=1) for more in ([SampleAxisPlugin()], []))
    assert wrong.keys() == right.keys()
    wide = {name: memory for name, memory in right.items() if memory.dimension > 60}
    assert wide  # in the others PEGP protects every direction
    for name, memory in wide.items():
        U = memory.bases[0].columns
        V = wrong[name].bases[0].columns
        assert len(U) == len(V)
        assert (V - U @ (U.mT @ V)).norm() > 0.1
        assert torch.equal(memory.reference, wrong[name].reference)  # trained alike until then


def test_a_bias_counts_as_a_channel():
    memories = trained("adapter", SampleAxisPlugin(), experiences=1).values()
    assert {memory.dimension for memory in memories} == {64 + 1, 4 + 1}  # width and bottleneck
