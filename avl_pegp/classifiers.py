"""What a model says of its classifier."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasClassifier(Protocol):
    """A model that says what its classifier is, as timm's do: a module, or several."""

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]: ...


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
    own = ((m, dict(m.named_children()).get("classifiers")) for m in model.modules())
    found = [m for m, child in own if isinstance(child, nn.ModuleDict)]
    if len(found) > 1:
        raise ValueError(
            f"{type(model).__name__} has {len(found)} modules with a head for each task: must be one at "
            "most; name the classifier's path where an argument takes it"
        )
    return found[0] if found else None
