"""Functions that build backbones, by the names that they know: how another family is added.

::

    @register_vit("mine_*")
    def create_mine(name, num_classes, pretrained=False, **options):
        model = ...                                   # timm's names for its parts, if a file shall fit
        model.weights_source = WeightsSource(name)
        return model
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, TypeAlias, TypeVar

Build = TypeVar("Build", bound=Callable[..., Any])

#: ``False`` for random weights, ``True`` for those of the name, a tag, or a file.
Pretrained: TypeAlias = bool | str | os.PathLike[str]


class Registry:
    """Builders by name or pattern; a name comes before a pattern, a longer pattern before a shorter.

    Example:
        >>> known = Registry()
        >>> @known.register("mine_*")
        ... def create_mine(name, num_classes, pretrained=False): ...
        >>> known.builder("mine_32") is create_mine
        True
    """

    def __init__(self) -> None:
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, pattern: str) -> Callable[[Build], Build]:
        """Have a function build what has this name, or names of this pattern.

        Args:
            pattern: a name, or the beginning of several and ``*``.

        Raises:
            ValueError: another function has it.
        """

        def note(build: Build) -> Build:
            if pattern in self._builders:
                other = self._builders[pattern].__qualname__
                raise ValueError(f"{pattern!r} is built by {other} already: take another name")
            self._builders[pattern] = build
            return build

        return note

    def builder(self, name: str) -> Callable[..., Any]:
        """The function that builds a model of this name.

        Raises:
            ValueError: none does.
        """
        patterns = [name, *sorted(self._builders, key=len, reverse=True)]
        fitting = [p for p in patterns if p in self._builders and fnmatchcase(name, p)]
        if not fitting:
            known = ", ".join(self._builders) or "none"
            raise ValueError(f"name={name!r} is not a known model; known are {known}")
        return self._builders[fitting[0]]

    def names(self) -> list[str]:
        """Those that stand for one model each."""
        return [pattern for pattern in self._builders if "*" not in pattern]


#: ``build(name, num_classes, pretrained, **options)`` gives a model with ``weights_source``.
VITS = Registry()
register_vit = VITS.register

#: ``build(name, pretrained, tokenizer, **options)`` gives open_clip's model, so too, and a tokenizer.
CLIPS = Registry()
register_clip = CLIPS.register
