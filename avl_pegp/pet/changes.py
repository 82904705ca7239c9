"""What ``attach`` changes on a model, remembered so that it can be undone to the bit."""

from __future__ import annotations

from typing import Any

from torch import nn


class _Nothing:
    """Stands for an attribute that was not there; a class, as copies of it are itself."""


class Changes:
    """Replaced parts, ``requires_grad`` and train or eval modes of a model.

    Args:
        model: as it is to be again.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.replaced: list[tuple[Any, str, Any, Any]] = []  # owner, name, before, now
        self._trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        self._training = {name for name, m in model.named_modules() if m.training}

    def replace(self, owner: object, name: str, new: object) -> None:
        """Put something in the place of an attribute, or where its class had it alone."""
        self.replaced.append((owner, name, _own(owner, name), new))
        setattr(owner, name, new)

    def take_out(self) -> None:
        """Put everything back that was replaced."""
        for owner, name, before, _ in reversed(self.replaced):
            if before is not _Nothing:
                setattr(owner, name, before)
            elif _own(owner, name) is not _Nothing:
                delattr(owner, name)

    def put_in(self) -> None:
        """Replace everything again."""
        for owner, name, _, new in self.replaced:
            setattr(owner, name, new)

    def undo(self) -> None:
        """Put everything back, and ``requires_grad`` and the modes with it."""
        self.take_out()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._trainable)
        for name, module in self.model.named_modules():
            module.training = name in self._training

    def missing(self) -> str | None:
        """A replacement that is no longer in the model, in words; ``None`` where all are there."""
        now = {(id(owner), name): new for owner, name, _, new in self.replaced}
        parts = {id(module) for module in self.model.modules()}
        for owner, name, _, _ in self.replaced:
            if _own(owner, name) is not now[id(owner), name]:
                return f"{name} of a {type(owner).__name__} is no longer what attach put there"
            if id(owner) not in parts:
                return f"the {type(owner).__name__} with {name} is no longer part of the model"
        return None


def _own(owner: Any, name: str) -> Any:
    """An attribute of the object itself, not one of its class."""
    for place in (vars(owner), vars(owner).get("_modules", {})):
        if name in place:
            return place[name]
    return _Nothing
