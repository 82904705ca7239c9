"""Progress bars, in a terminal only: over a run, and over a pass that gathers something."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from tqdm.auto import tqdm


def watched(batches: Iterable[Any], title: str, shown: bool) -> Iterable[Any]:
    """The same batches, with a bar over them where it is shown and someone watches.

    Example:
        >>> list(watched([1, 2], "gathering", shown=False))
        [1, 2]
    """
    bar: Iterable[Any] = tqdm(batches, desc=title, leave=False, disable=None if shown else True)
    return bar


class ProgressPlugin(SupervisedPlugin[SupervisedTemplate]):
    """A bar that counts experiences in fractions of their iterations; in a terminal only.

    Args:
        title: shown before the bar.
        experiences: how many the run has.

    Example:
        >>> bar = ProgressPlugin("PEGP, seed 0", experiences=10)  # Naive(..., plugins=[bar])
        >>> bar.close()
    """

    def __init__(self, title: str, experiences: int) -> None:
        super().__init__()
        self._bar = tqdm(
            total=experiences,
            desc=title,
            unit="experience",
            disable=None,  # stay quiet where nobody watches
            bar_format="{l_bar}{bar}| {n:.1f}/{total} experiences [{elapsed} < {remaining}]",
        )
        self._share = 0.0

    def after_training_iteration(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """One more iteration of this experience is done."""
        share = 1 / (len(strategy.dataloader) * strategy.train_epochs)
        self._share += share
        self._bar.update(share)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """The experience is done, also where it had no iterations."""
        self._bar.update(1 - self._share)
        self._share = 0.0

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
