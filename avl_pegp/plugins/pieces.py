"""Counting the pieces of an online task, to know when it is over."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks import DatasetExperience

from avl_pegp.plugins.experience import is_online


class Pieces:
    """Tells where one task ends and the next begins, by the experiences that are trained on.

    An ordinary experience is a task, which ends with it. In an online stream the task is what its
    pieces were cut from; it ends with as many pieces as it was cut into, or else when a piece of
    another task comes. (The pieces' own ``is_last_subexp`` is never true where sizes divide evenly,
    and the end of ``strategy.train`` says nothing, as pieces may be given to it one by one.)

    Attributes:
        task: what is being learned, ``None`` in between, and where the learner must not know it.
        count: how many of its pieces have been learned.

    Example:
        >>> from avl_pegp.benchmarks import online_benchmark, split_digits
        >>> first, second, *_ = online_benchmark(split_digits(), batch_size=150).train_stream
        >>> pieces = Pieces()
        >>> for piece in (first, second):  # of one task
        ...     print(pieces.begin(piece.origin_experience), pieces.end(piece))
        True False
        False True
    """

    def __init__(self) -> None:
        self.task: DatasetExperience[Any] | None = None
        self.count = 0

    def begin(self, task: DatasetExperience[Any] | None) -> bool:
        """A piece of this task comes. Returns whether it is another than that of the last piece."""
        if task is self.task:
            return False
        self.task, self.count = task, 0
        return True

    def end(self, experience: DatasetExperience[Any]) -> bool:
        """The piece has been learned. Returns whether its task is over with it."""
        self.count += 1
        if is_online(experience):
            known = self.task is not None
            if not known or self.count != experience.sub_stream_length:
                return False
        self.task, self.count = None, 0  # no reference: plugins are copied, and saved
        return True
