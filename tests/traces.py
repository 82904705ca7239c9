"""A model with all that can change about it, to tell whether anything did."""

from __future__ import annotations

import torch


def trace(model, values=True):
    """Everything of a model by identity, in its order, with the values of tensors."""
    parts = []
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            held = list(value.items()) if isinstance(value, dict) else [("", value)]
            parts.append((path, name, [(key, id(one), isinstance(one, bool)) for key, one in held]))
    tensors = [(n, p.requires_grad, id(p.grad)) for n, p in model.named_parameters()]
    state = model.state_dict() if values else {}
    return (
        parts,
        tensors,
        [m.training for m in model.modules()],
        {name: tensor.clone() for name, tensor in state.items()},
    )


def assert_untouched(model, before):
    now = trace(model)
    assert now[:3] == before[:3]
    assert now[3].keys() == before[3].keys()
    assert all(torch.equal(now[3][name], before[3][name]) for name in now[3])
