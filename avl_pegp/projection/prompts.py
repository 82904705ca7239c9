"""Models that train on class prompts: which prompts an experience may show."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from torch import nn

from avl_pegp.wrappers import unwrapped


@runtime_checkable
class ClassPrompted(Protocol):
    """A model whose classes are names, as ``create_clip`` makes it."""

    @property
    def trains_text(self) -> bool:
        """Whether anything of its text side is trained."""

    def only(self, classes: Collection[int] | None) -> AbstractContextManager[None]:
        """A block in which it is shown the prompts of these classes alone; ``None``: of all."""


def trains_text(model: nn.Module) -> bool:
    """Whether a model trains on class prompts, also behind wrappers.

    Example:
        >>> trains_text(nn.Linear(2, 2))
        False
    """
    inner = unwrapped(model)
    return isinstance(inner, ClassPrompted) and inner.trains_text


def own_prompts(model: nn.Module, classes: Collection[int] | None) -> AbstractContextManager[None]:
    """Where class prompts are trained on, a block with those of these classes alone."""
    inner = unwrapped(model)
    if isinstance(inner, ClassPrompted) and inner.trains_text:
        return inner.only(classes)
    return nullcontext()
