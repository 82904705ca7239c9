"""The order in which a benchmark brings its classes or domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from avl_pegp.benchmarks._labels import whole_numbers


def order_of(n: int, order: Sequence[int] | None, order_seed: int | None) -> list[int]:
    """The given class order, or one drawn from a seed, or label order.

    Raises:
        ValueError: both are given, or ``order`` is not a permutation of ``range(n)``, of whole numbers.
    """
    if order is not None and order_seed is not None:
        raise ValueError(
            f"order_seed={order_seed} draws a class order, but class_order={list(order)} already is "
            "one; give one of the two."
        )
    if order_seed is not None:
        return torch.randperm(n, generator=torch.Generator().manual_seed(order_seed)).tolist()
    if order is None:
        return list(range(n))
    numbers = whole_numbers("class_order", order)
    if sorted(numbers) != list(range(n)):
        raise ValueError(
            f"class_order={numbers} is not a permutation of the class labels; "
            f"list each of 0 to {n - 1} exactly once, or pass None for label order."
        )
    return numbers
