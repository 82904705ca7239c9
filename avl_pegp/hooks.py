"""Seeing what modules receive and give while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

#: ``see(name, module, args, kwargs)``
Before = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any]], None]
#: ``see(name, module, args, output)``; what it returns, if anything, takes the output's place
After = Callable[[str, nn.Module, tuple[Any, ...], Any], Any]


@contextmanager
def watching(
    modules: Mapping[str, nn.Module], before: Before | None = None, after: After | None = None
) -> Iterator[None]:
    """A block in which functions see each call of these modules; hooks are on there, and only there.

    Args:
        modules: by a name of the caller's choice.
        before: called with what a module receives.
        after: called with what a module gives.

    Example:
        >>> import torch
        >>> layer, seen = nn.Linear(2, 1), []
        >>> with watching({"a": layer}, lambda name, _, args, __: seen.append((name, len(args[0])))):
        ...     _ = layer(torch.zeros(3, 2))
        >>> seen
        [('a', 3)]
    """
    with ExitStack() as hooks:
        for name, module in modules.items():
            if before is not None:
                see = partial(before, name)
                hook = module.register_forward_pre_hook(see, with_kwargs=True)
                hooks.callback(hook.remove)
            if after is not None:
                hooks.callback(module.register_forward_hook(partial(after, name)).remove)
        yield
