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


def moves_of(
    past: Past, coverage: Coverage, last: dict[str, Tensor] | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """By site: where the weight started, and how far it is from there.

    Args:
        past: what is protected.
        coverage: whose weights.
        last: all trained tensors as the last step left them, where directions are held in part only:
            that must be applied to each step once. ``None`` starts where the bases grew, which serves
            projections: rounding then never adds up.
    """
    tensors, moves = coverage.tensors(), {}
    for name, memory in past.memories.items():
        site = coverage.sites[name]
        weight = site.read(tensors)
        start = memory.reference_like(weight) if last is None else site.read(last)
        moves[name] = start, weight - start
    return moves


def hold_weights(past: Past, coverage: Coverage, moves: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Leave of each weight's move what lies in free directions, in place."""
    tensors = coverage.tensors()
    for name in past.frozen.keys() & tensors.keys():
        tensors[name].copy_(past.frozen[name])
    written: set[str] = set()
    for name, (start, move) in moves.items():
        site = coverage.sites[name]
        if (
            site.weight in written
        ):  # the other side of a prompt: what its first side left of the move
            move = site.read(tensors) - start
        site.write(start + past.memories[name].project(move), tensors)
        written.add(site.weight)
