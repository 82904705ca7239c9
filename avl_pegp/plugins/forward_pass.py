"""Something to be in force during one forward pass of a strategy, and not beyond it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from avalanche.training.templates import SupervisedTemplate


def around_next_forward(
    strategy: SupervisedTemplate, context: AbstractContextManager[object]
) -> None:
    """Surround the strategy's next forward pass with a context, once.

    For plugins: one that entered a context in ``before_forward`` would never leave it where the
    forward pass fails, for then no event follows.

    Example:
        >>> from contextlib import closing
        >>> from types import SimpleNamespace
        >>> strategy = SimpleNamespace(forward=lambda: "logits")
        >>> around_next_forward(strategy, closing(SimpleNamespace(close=lambda: print("left"))))
        >>> strategy.forward(), strategy.forward()
        left
        ('logits', 'logits')
    """
    forward, own = strategy.forward, vars(strategy).get("forward")

    def surrounded() -> Any:
        del strategy.forward  # else copies and checkpoints would hold this strategy's method
        if own is not None:
            strategy.forward = own
        with context:
            return forward()

    strategy.forward = surrounded
