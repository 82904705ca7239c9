"""What a plugin has learned is about one model, and stays with it."""

from __future__ import annotations

from torch import nn

from avl_pegp.wrappers import named_root


class OneModel:
    """Remembers which model its owner has learned from, and refuses another one.

    A model is the object, whatever wrapper runs it and whatever strategy trains it. Where plugin and
    model are copied or saved together, as in a strategy's checkpoint, they stay together.

    Example:
        >>> one, model = OneModel(), nn.Linear(2, 2)
        >>> one.learned(model)
        >>> one.require("EWCPlugin", nn.DataParallel(model))  # the same
    """

    def __init__(self) -> None:
        self._model: nn.Module | None = None

    def require(self, owner: str, model: nn.Module) -> None:
        """Raise ValueError for another model than the one that was learned from.

        Args:
            owner: what the message calls the owner.
            model: may be wrapped.
        """
        if self._model is not None and self._model is not named_root(model):
            raise ValueError(
                f"{owner} has learned from another model object, and what it knows is about that: give "
                "every run and every model a fresh one (of what it takes from one process to another, "
                "a strategy's checkpoint keeps plugin and model together)"
            )

    def learned(self, model: nn.Module) -> None:
        """From now on this is the one."""
        self._model = named_root(model)
