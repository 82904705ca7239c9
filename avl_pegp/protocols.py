"""What layers expect of each other's objects: protocols of one to three members, known to all layers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Contracted(Protocol):
    """A module that is a site: its weight is contracted with the module's own input.

    Attributes:
        contracted_dim: −1, over the weight's last axis; −2, over the axis before. Of the class.
    """

    contracted_dim: ClassVar[int]

    @property
    def weight(self) -> nn.Parameter: ...


@runtime_checkable
class Restartable(Protocol):
    """A branch that can be merged into what is fixed and start anew.

    Attributes:
        first: name of the map that sees the module's input.
        second: name of the map that sees what the first one makes of it.
    """

    first: str
    second: str

    def rebase(
        self, free: Callable[[Tensor], Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Keep what was learned, and start a branch of which ``free`` gives the first map's part."""


class Growing(Protocol):
    """A module with buffers to which more is added, without a change of what is there.

    Attributes:
        growing: their names. Of the class.
    """

    growing: ClassVar[tuple[str, ...]]


@runtime_checkable
class HasClassifier(Protocol):
    """A model that says what its classifier is, as timm's do: a module, or several."""

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]: ...


@runtime_checkable
class HasLogits(Protocol):
    """An output with logits among other things, as Hugging Face's models give."""

    logits: Tensor


@runtime_checkable
class EncodesImages(Protocol):
    """A CLIP: its logits are about class names, which may change; its image features are not."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit features ``(B, D)``."""


@runtime_checkable
class ClassPrompted(Protocol):
    """A model whose classes are names, and which can be shown some of them alone."""

    @property
    def trains_text(self) -> bool:
        """Whether anything of its text side is trained."""

    def only(self, classes: Collection[int] | None) -> AbstractContextManager[None]:
        """A block in which it is shown the prompts of these classes alone; ``None``: of all."""


def task_heads(model: nn.Module) -> nn.Module | None:
    """The module with a head for each task, in a ``ModuleDict`` by the name of ``classifiers``.

    Avalanche's ``MultiHeadClassifier`` is such a module. A model has one at most.

    Raises:
        ValueError: it has several.

    Example:
        >>> heads = nn.Module()
        >>> heads.classifiers = nn.ModuleDict({"0": nn.Linear(2, 2), "1": nn.Linear(2, 2)})
        >>> task_heads(nn.Sequential(nn.Linear(2, 2), heads)) is heads
        True
    """
    # Its own, and not what it hands on from a module that it holds.
    own = ((m, m._modules.get("classifiers")) for m in model.modules())
    found = [m for m, child in own if isinstance(child, nn.ModuleDict)]
    if len(found) > 1:
        raise ValueError(
            f"{type(model).__name__} has {len(found)} modules with a head for each task: must be one at "
            "most; name the classifier's path where an argument takes it"
        )
    return found[0] if found else None
