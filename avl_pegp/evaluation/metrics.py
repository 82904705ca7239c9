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


def forgetting(matrix: AccuracyMatrix) -> float:
    """Mean over old experiences of the best earlier accuracy minus the last; 0 for one experience.

    (Avalanche's own metric takes the first instead of the best: it is another number.)

    Example:
        >>> round(forgetting([[0.6, None, None], [0.9, 0.8, None], [0.5, 0.7, 0.7]]), 3)
        0.25
    """
    last = len(matrix) - 1
    final = _row(matrix, last)
    best = [max(_row(matrix, i)[j] for i in range(j, last)) for j in range(last)]
    return _mean([b - f for b, f in zip(best, final, strict=False)]) if best else 0.0


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
