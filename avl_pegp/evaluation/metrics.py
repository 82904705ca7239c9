"""Numbers of an accuracy matrix, as the literature of continual learning defines them.

``matrix[i][j]`` is the accuracy (0..1) on test experience j after training experience i, ``None``
where j > i.
"""

from __future__ import annotations

from collections.abc import Sequence

AccuracyMatrix = Sequence[Sequence[float | None]]


def average_accuracy(matrix: AccuracyMatrix) -> float:
    """Mean of the last row: accuracy over all experiences at the end.

    Example:
        >>> average_accuracy([[0.9, None], [0.5, 0.7]])
        0.6
    """
    return _mean(_row(matrix, len(matrix) - 1))


def average_incremental_accuracy(matrix: AccuracyMatrix) -> float:
    """Mean over training experiences of the mean accuracy on those seen so far.

    Example:
        >>> average_incremental_accuracy([[0.9, None], [0.5, 0.7]])
        0.75
    """
    return _mean([_mean(_row(matrix, i)) for i in range(len(matrix))])


def new_task_accuracy(matrix: AccuracyMatrix) -> float:
    """Mean over experiences from the second on of the accuracy right after learning: plasticity.

    The first is learned before anything constrains it; alone it counts itself.

    Example:
        >>> new_task_accuracy([[0.9, None], [0.5, 0.7]])
        0.7
    """
    learned = [_row(matrix, i)[i] for i in range(len(matrix))]
    return _mean(learned[1:] or learned)


def forgetting(matrix: AccuracyMatrix) -> float:
    """Mean over old experiences of the best earlier accuracy minus the last; 0 for one experience.

    Chaudhry et al., 2018, arXiv 1801.10112. (Avalanche's own metric takes the first accuracy instead
    of the best: it is another number.)

    Example:
        >>> round(forgetting([[0.6, None, None], [0.9, 0.8, None], [0.5, 0.7, 0.7]]), 3)
        0.25
    """
    last = len(matrix) - 1
    final = _row(matrix, last)
    best = [max(_row(matrix, i)[j] for i in range(j, last)) for j in range(last)]
    return _mean([b - f for b, f in zip(best, final, strict=False)]) if best else 0.0


def backward_transfer(matrix: AccuracyMatrix) -> float:
    """Mean over old experiences of the last accuracy minus the one right after learning.

    Lopez-Paz & Ranzato, 2017, arXiv 1706.08840; below 0 where knowledge is lost, 0 for one
    experience.

    Example:
        >>> round(backward_transfer([[0.6, None, None], [0.9, 0.8, None], [0.5, 0.7, 0.7]]), 3)
        -0.1
    """
    last = len(matrix) - 1
    learned = [_row(matrix, j)[j] for j in range(last)]
    final = _row(matrix, last)
    gains = [f - a for f, a in zip(final, learned, strict=False)]
    return _mean(gains) if gains else 0.0


def forward_transfer(
    ahead: Sequence[float | None], initial: Sequence[float | None]
) -> float | None:
    """Mean over later experiences of what the ones before them gave, before they were learned.

    Lopez-Paz & Ranzato, 2017, arXiv 1706.08840.

    Args:
        ahead: accuracy on experience j right before it is learned.
        initial: accuracy on experience j before any training.

    Returns:
        ``None`` where an entry of either is missing, but for those of experience 0, or where there
        is one experience only.

    Example:
        >>> round(forward_transfer([None, 0.5, 0.6], [0.1, 0.1, 0.2]), 3)
        0.4
    """
    pairs = list(zip(ahead[1:], initial[1:], strict=True))
    gains = [a - b for a, b in pairs if a is not None and b is not None]
    return _mean(gains) if pairs and len(gains) == len(pairs) else None


def _row(matrix: AccuracyMatrix, i: int) -> list[float]:
    row = list(matrix[i][: i + 1])
    missing = [j for j, value in enumerate(row) if value is None]
    if missing or len(row) != i + 1:
        raise ValueError(
            f"accuracy matrix row {i} lacks {missing or 'columns'}: evaluate on every experience "
            "seen so far after each training experience"
        )
    return [value for value in row if value is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
