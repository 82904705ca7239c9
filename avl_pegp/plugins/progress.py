"""One progress bar over all training iterations of a run, with the time left."""

from __future__ import annotations

from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from tqdm.auto import tqdm


class ProgressPlugin(SupervisedPlugin[SupervisedTemplate]):
    """A bar that counts experiences in fractions of their iterations.

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
