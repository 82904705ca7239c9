"""Progress bars, in a terminal only: over a run and its evaluations, and over what gathers something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from tqdm.auto import tqdm

_SHOWN = ContextVar("shown", default=True)
_EXPERIENCES = "{l_bar}{bar}| {n:.1f}/{total} experiences [{elapsed} < {remaining}]"


@contextmanager
def bars(shown: bool) -> Iterator[None]:
    """A block with bars where someone watches, or without any.

    Example:
        >>> with bars(shown=False):
        ...     bar = ProgressPlugin("PEGP, seed 0", experiences=10)  # never to be seen
    """
    before = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(before)


def watched(batches: Iterable[Any], title: str, shown: bool) -> Iterable[Any]:
    """The same batches, with a bar over them where it is shown and someone watches.

    Example:
        >>> list(watched([1, 2], "gathering", shown=False))
        [1, 2]
    """
    bar: Iterable[Any] = tqdm(batches, desc=title, leave=False, disable=_disabled(shown))
    return bar


class ProgressPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Bars with the time left, in a terminal only: over the run, and over each evaluation meanwhile.

    They count experiences in fractions of their iterations.

    Args:
        title: shown before the bar.
        experiences: how many the run has.

    Example:
        >>> bar = ProgressPlugin("PEGP, seed 0", experiences=10)  # Naive(..., plugins=[bar])
        >>> bar.close()
    """

    def __init__(self, title: str, experiences: int) -> None:
        super().__init__()
        self._bar = _bar_of_experiences(title, experiences)
        self._share = 0.0
        self._evaluation: Any = None

    def after_training_iteration(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """One more iteration of this experience is done."""
        share = 1 / (len(strategy.dataloader) * strategy.train_epochs)
        self._share += share
        self._bar.update(share)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """The experience is done, also where it had no iterations."""
        self._bar.update(1 - self._share)
        self._share = 0.0

    def before_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """An evaluation begins."""
        experiences = len(list(strategy.current_eval_stream))
        self._evaluation = _bar_of_experiences("evaluation", experiences, leave=False)

    def after_eval_iteration(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """One more batch of this test experience is done."""
        self._evaluation.update(1 / len(strategy.dataloader))

    def after_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """The evaluation is over; its bar goes."""
        self._evaluation.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def _bar_of_experiences(title: str, total: int, leave: bool = True) -> Any:
    return tqdm(
        total=total, desc=title, leave=leave, bar_format=_EXPERIENCES, disable=_disabled(True)
    )


def _disabled(shown: bool) -> bool | None:
    """As tqdm understands it: ``None`` is quiet where nobody watches."""
    return None if shown and _SHOWN.get() else True
