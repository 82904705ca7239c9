"""What steps do to old inputs, as their moments tell it: on a linear layer, where that is exact."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from avl_pegp.projection import PEGP
from avl_pegp.projection.foretelling import as_the_past_feels, transport


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25)
@given(d=st.integers(1, 8), rank=st.integers(0, 8), seed=st.integers(0, 99))
def test_a_transport_is_symmetric_and_carries_the_moment_of_one_to_the_other(d, rank, seed):
    root = drawn(2, d, d, seed=seed)
    source = root @ root.mT + 0.1 * torch.eye(d)
    half = drawn(2, d, rank, seed=seed + 100)
    target = half @ half.mT
    T = transport(source, target)
    torch.testing.assert_close(T, T.mT)
    torch.testing.assert_close(T @ source @ T, target, atol=1e-4, rtol=1e-4)
    assert torch.linalg.eigvalsh(T).min() > -1e-6


def test_to_itself_nothing_is_carried():
    root = drawn(1, 5, 5)
    moment = root @ root.mT
    unit = torch.eye(5, dtype=torch.float64)[None]
    torch.testing.assert_close(transport(moment, moment), unit, atol=1e-4, rtol=0)


def test_moments_without_energy_give_no_nan():
    nothing = torch.zeros(1, 3, 3, dtype=torch.float64)
    assert transport(nothing, torch.eye(3, dtype=torch.float64)[None]).isfinite().all()
    assert not transport(torch.eye(3, dtype=torch.float64)[None], nothing).any()


def learned(energy, old, new, seed=0):
    """A linear layer that met old inputs, then new ones: as it was, as it is, as the past feels it."""
    torch.manual_seed(seed)
    model = nn.Linear(old.shape[1], 3, bias=False).double()
    pegp = PEGP(model, energy=energy, classifier=False)
    pegp.begin()
    pegp.gather([old])
    pegp.extend()
    before, memory = model.weight.detach().clone(), pegp.memory
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    pegp.begin()
    for _ in range(5):
        optimizer.zero_grad()
        model(new).square().sum().backward()
        pegp.project_gradients()
        optimizer.step()
        pegp.project_step()
    pegp.gather([new])
    pegp.extend()
    (felt,) = as_the_past_feels(pegp.coverage, memory, pegp.memory).values()
    return before, model.weight.detach(), felt


def test_where_old_inputs_are_protected_wholly_they_feel_nothing():
    old = drawn(10, 3) @ drawn(3, 6, seed=1)  # of three directions
    before, now, felt = learned(1.0, old, drawn(20, 6, seed=2))
    assert (now - before).norm() > 1e-2 * before.norm()
    assert (felt - before).norm() < 1e-6 * (now - before).norm()


def test_the_energy_of_the_change_on_new_inputs_becomes_that_on_old_ones():
    old, new = drawn(40, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.2]), drawn(40, 6, seed=2)
    before, now, felt = learned(0.9, old, new)
    on_old = ((now - before) @ old.mT).square().sum() / len(old)
    foretold = ((felt - before) @ new.mT).square().sum() / len(new)
    torch.testing.assert_close(foretold, on_old, rtol=1e-4, atol=0)
    assert 0 < on_old < ((now - before) @ new.mT).square().sum() / len(new)
