"""Streams seen once, a few samples at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

from avalanche.benchmarks import (
    CLScenario,
    CLStream,
    DatasetExperience,
    FixedSizeExperienceSplitter,
    OnlineCLExperience,
    SequenceCLStream,
)


class OnlineStream(CLStream[OnlineCLExperience[Any]]):
    """A training stream cut into small pieces, each an experience of its own.

    Pieces are made while iterating and then forgotten; every pass gives the same ones in the same
    order. Each carries ``origin_experience``, the experience that it was cut from, and
    ``is_first_subexp``. Do not rely on ``is_last_subexp``: Avalanche leaves it False where the pieces
    come out even.

    Args:
        tasks: the experiences to cut.
        batch_size: samples in a piece; the last one of an experience may have fewer.
        boundaries: ``access_task_boundaries`` of the pieces.
        seed: of the order of the samples within each experience.

    Example:
        >>> from avl_pegp.benchmarks import split_digits
        >>> stream = OnlineStream(split_digits().train_stream, 50, boundaries=True, seed=0)
        >>> len(stream), len(next(iter(stream)).dataset)
        (30, 50)
    """

    def __init__(
        self,
        tasks: SequenceCLStream[DatasetExperience[Any]],
        batch_size: int,
        boundaries: bool,
        seed: int,
    ) -> None:
        super().__init__(name="train", exps_iter=())
        self._length = sum(math.ceil(len(task.dataset) / batch_size) for task in tasks)
        self._splitters = [
            FixedSizeExperienceSplitter(
                task, batch_size, access_task_boundaries=boundaries, seed=seed
            )
            for task in tasks
        ]

    def __len__(self) -> int:
        """The number of pieces."""
        return self._length

    def __iter__(self) -> Iterator[OnlineCLExperience[Any]]:
        """The pieces of all experiences in turn."""
        for i, piece in enumerate(chain.from_iterable(self._splitters)):
            piece.current_experience = i
            piece.origin_stream = self
            yield piece


def online_benchmark(
    benchmark: CLScenario[Any], batch_size: int = 10, boundaries: bool = True, seed: int = 0
) -> CLScenario[Any]:
    """Cut the training stream of a benchmark into pieces that are seen once.

    Train with ``train_epochs=1``, ``train_mb_size=batch_size``, and
    ``strategy.train(online.train_stream, eval_streams=[])``: without the latter Avalanche makes all
    pieces before it starts.

    Args:
        benchmark: any of this package's.
        batch_size: samples in a piece, at least 1; the last one of an experience may have fewer.
        boundaries: whether a learner may know when an experience ends and the next begins.
        seed: of the order of the samples within each experience.

    Returns:
        A benchmark with an ``OnlineStream`` as ``train_stream``, and ``test_stream``,
        ``class_names`` and ``class_order`` of the given one.

    Raises:
        ValueError: ``batch_size`` is below 1.

    Example:
        >>> from avl_pegp.benchmarks import split_digits
        >>> online = online_benchmark(split_digits(), batch_size=50)
        >>> len(online.train_stream), len(online.test_stream)
        (30, 5)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1 sample.")
    train_stream = OnlineStream(benchmark.train_stream, batch_size, boundaries, seed)
    online = CLScenario([train_stream, benchmark.test_stream])
    online.class_names = benchmark.class_names
    online.class_order = benchmark.class_order
    return online
