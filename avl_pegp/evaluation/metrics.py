"""Accuracy matrices of a stream, and their numbers, as the literature of continual learning has them.

``matrix[i][j]`` is the accuracy (0..1) on test experience j after training experience i, ``None``
where j > i.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import torch

AccuracyMatrix = Sequence[Sequence[float | None]]
Matrix = list[list[float | None]]
Line = list[float | None]
JOINT = -1  # in the place of an experience's number: several were trained as one


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


class TransferAvgLast(NamedTuple):
    """The three numbers of a stream of several data sets, each a share (0..1)."""

    transfer: float
    average: float
    last: float


def transfer_avg_last(matrix: AccuracyMatrix) -> TransferAvgLast:
    """Transfer, Avg and Last of a stream of T data sets.

    Transfer = mean over j > 0 of mean over i < j of R[i, j]: accuracy on data sets not trained yet.
    Avg = mean of all R[i, j]. Last = mean over j of R[T−1, j].

    Reference: Zheng et al., Preventing zero-shot transfer degradation in continual learning of
    vision-language models (2023), arXiv 2303.06628, section 4.

    Args:
        matrix: ``(T, T)``, complete: R[i, j] is the accuracy on data set j after training i. Above the
            diagonal it is zero-shot.

    Raises:
        ValueError: fewer than two data sets, or the matrix is not square or has missing entries.

    Example:
        >>> transfer_avg_last([[0.9, 0.4], [0.7, 0.8]])
        TransferAvgLast(transfer=0.4, average=0.7, last=0.75)
    """
    size = len(matrix)
    if size < 2:
        raise ValueError(f"matrix has {size} rows: Transfer is defined from two data sets on")
    for i, row in enumerate(matrix):
        missing = [j for j, value in enumerate(row) if value is None]
        if missing or len(row) != size:
            raise ValueError(
                f"matrix row {i} has {len(row)} of {size} entries and lacks {missing or 'none'}: "
                "evaluate on every data set after each, also on those yet to come"
            )
    r = torch.tensor(matrix, dtype=torch.float64)
    ahead = [r[:j, j].mean() for j in range(1, size)]
    return TransferAvgLast(float(torch.stack(ahead).mean()), float(r.mean()), float(r[-1].mean()))


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


class TasksTrained:
    """Which tasks were trained, in which order, and what was measured after each.

    A task is named by the number of its experience. Row i of a matrix is what was measured after
    the i-th task, and column j is the test experience of the j-th: one of the same number, and
    without other classes. So the diagonal is what was measured right after learning, whatever the
    order. A task that is trained again moves to the end: its row is the one after its last training.

    Args:
        size: rows and columns of a matrix; those of tasks not trained yet hold ``None``.

    Example:
        >>> tasks = TasksTrained(2)
        >>> for task, accuracy in ((1, 0.9), (0, 0.5)):
        ...     tasks.begin(task, {task})
        ...     tasks.enter("test", 1, {1}, {"task_aware": accuracy})
        >>> tasks.matrix("task_aware", "test")
        [[0.9, None], [0.5, None]]
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._classes: dict[int, set[int]] = {}
        self._visits: list[int] = []
        self._tests: dict[tuple[str, int], set[int]] = {}
        # Before any training, then after each visit: accuracies by view, stream and experience.
        self._measured: list[dict[tuple[str, str, int], float]] = [{}]

    def begin(self, task: int, classes: set[int]) -> None:
        """Training on a task begins, or goes on: what was measured of it half learned is dropped.

        Raises:
            ValueError: it is one task more than there are rows, or had none of these classes before.
        """
        known = self._classes.get(task)
        if known is None and len(self._classes) == self.size:
            raise ValueError(
                f"tasks={self.size}, but here is number {self.size + 1}, experience {task}: give "
                "AccuracyMatrices the number of tasks"
            )
        if known is not None and not known & classes:
            raise ValueError(
                f"experience {task} has the classes {sorted(classes)} and had {sorted(known)}: it is "
                "of another stream; give each stream AccuracyMatrices of its own"
            )
        if self._visits[-1:] != [task]:
            self._visits.append(task)
            self._measured.append({})
        self._measured[-1].clear()
        self._classes[task] = classes | (known or set())

    def enter(self, stream: str, test: int, classes: set[int], accuracy: dict[str, float]) -> None:
        """What was measured now on a test experience of these classes, by view."""
        self._tests[stream, test] = classes
        self._measured[-1].update({(view, stream, test): a for view, a in accuracy.items()})

    @property
    def seen(self) -> set[int]:
        """The classes of all tasks trained so far."""
        return set().union(*self._classes.values())

    @property
    def trained(self) -> list[int]:
        """The tasks in the order of their last training."""
        return list(dict.fromkeys(reversed(self._visits)))[::-1]

    def matrix(self, view: str, stream: str) -> Matrix:
        """``[i][j]``: after the i-th task, on the j-th one's experience; ``None`` for j > i."""
        rows = enumerate(self.measured(view, stream))
        return [[value if j <= i else None for j, value in enumerate(row)] for i, row in rows]

    def measured(self, view: str, stream: str) -> Matrix:
        """As ``matrix``, with what was measured ahead in j > i."""
        after = {task: moment for moment, task in enumerate(self._visits, start=1)}
        rows = [self._line(view, stream, repeat(after[t])) for t in self.trained]
        return rows + [[None] * self.size for _ in range(self.size - len(rows))]

    def initial(self, view: str, stream: str) -> Line:
        """On each task's experience before any training."""
        return self._line(view, stream, repeat(0))

    def ahead(self, view: str, stream: str) -> Line:
        """On each task's experience right before it was trained for the first time."""
        return self._line(view, stream, map(self._visits.index, self.trained))

    def _line(self, view: str, stream: str, moments: Iterable[int]) -> Line:
        """What was measured of each task's own test experience, each at a moment."""
        line: Line = [None] * self.size
        for j, (task, moment) in enumerate(zip(self.trained, moments, strict=False)):
            if self._tests.get((stream, task), set()) <= self._classes[task]:
                line[j] = self._measured[moment].get((view, stream, task))
        return line
