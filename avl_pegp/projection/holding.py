"""Holding gradients and weights of sites to what the past allows."""

from __future__ import annotations

from torch import Tensor

from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.state import Past


def hold_gradients(past: Past, coverage: Coverage, in_part: bool) -> None:
    """Take from the gradients what lies along protected directions, in place.

    Args:
        past: what is protected.
        coverage: whose gradients.
        in_part: whether directions that are held in part count here; if not, their share is taken
            from the step, and it must be taken once.
    """
    for name in past.frozen.keys() & coverage.trained.keys():
        coverage.trained[name].grad = None
    gradients = coverage.gradients()
    for name, memory in (past.memories if past.is_hard or in_part else {}).items():
        site = coverage.sites[name]
        if site.tensors <= gradients.keys():
            site.write(memory.project(site.read(gradients)), gradients)


def hold_weights(past: Past, coverage: Coverage, last: dict[str, Tensor] | None) -> None:
    """Leave of each weight's change what lies in free directions, in place.

    Args:
        past: what is protected.
        coverage: whose weights.
        last: all trained tensors as the last step left them; ``None`` counts the change since the
            bases grew.
    """
    tensors = coverage.tensors()
    for name in past.frozen.keys() & tensors.keys():
        tensors[name].copy_(past.frozen[name])
    for name, memory in past.memories.items():
        site = coverage.sites[name]
        start = None if last is None else site.read(last)
        site.write(memory.kept(site.read(tensors), start), tensors)
