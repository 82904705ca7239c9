"""Accuracies by what was trained when and by test experience, and the matrices that they make."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

Matrix = list[list[float | None]]
Line = list[float | None]
JOINT = -1  # in the place of an experience's number: several were trained as one


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
