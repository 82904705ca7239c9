"""Watching sites while a model runs: from inputs to second moments, nothing else kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.hooks import watching
from avl_pegp.projection.moments import Moment


class Observer:
    """Second moments of what modules receive, shared among those that receive the same tensors.

    Args:
        modules: by name, each with its number of groups.
        moments: what was seen before, to be added to.
        samples: how many of each batch count, the first ones; ``None`` for all.

    Attributes:
        moments: by name, what was seen up to the last ``end_of_batch``.
        called: names of the modules that were called while this observer watched.
        saw_rows: whether any of these calls brought a feature.
    """

    def __init__(
        self,
        modules: Mapping[str, tuple[nn.Module, int]],
        moments: Mapping[str, Moment],
        samples: int | None = None,
    ) -> None:
        self.moments = dict(moments)
        self.called: set[str] = set()
        self.saw_rows = False
        self._is_paused = False
        self._modules = modules
        self._samples = samples
        self._calls: dict[str, list[Moment]] = {}
        self._seen: dict[tuple[int, int], tuple[weakref.ref[Tensor], int, Moment]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks are on the modules inside this block, and only there."""
        modules = {name: module for name, (module, _) in self._modules.items()}
        with watching(modules, before=self._see):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What modules receive inside this block does not count."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    @torch.inference_mode(False)
    @torch.no_grad()
    def _see(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        # Within backward() a checkpointed part is computed anew: it was seen before.
        if self._is_paused or torch._C._current_graph_task_id() != -1:
            return
        (x,) = (*args, *kwargs.values())
        self.called.add(name)
        self.saw_rows |= x.numel() > 0
        _, groups = self._modules[name]
        self._calls.setdefault(name, []).append(self._moment_of(name, x, groups))

    def _moment_of(self, name: str, x: Tensor, groups: int) -> Moment:
        """The moment of one call, taken from the cache where another site saw the same tensor."""
        # A tensor of inference mode does not tell whether it was changed since.
        version = None if x.is_inference() else x._version
        found = self._seen.get((id(x), groups))
        if found is not None and found[0]() is x and found[1] == version:
            return found[2]
        if not x.is_floating_point():
            raise ValueError(
                f"site {name} received {x.dtype}, which is no feature: a loader's batches must begin "
                "with the input, not with labels or indices; else say how the model is called: "
                "forward=lambda batch: model(batch[1])"
            )
        moment = Moment.of(x.detach()[: self._samples], groups)
        if not moment.is_finite():
            raise ValueError(
                f"site {name} received NaN or infinite features: no basis can protect them; look "
                "for a diverged weight or a bad input. Model and bases are left as they were"
            )
        if version is not None:
            self._seen[id(x), groups] = (weakref.ref(x), version, moment)
        return moment

    def end_of_batch(self) -> None:
        """Add up what one forward pass showed. Sites that saw the same so far share one moment."""
        sums: dict[tuple[int, ...], Moment] = {}
        for name, calls in self._calls.items():
            so_far = self.moments.get(name)
            parts = calls if so_far is None else [so_far, *calls]
            key = tuple(id(part) for part in parts)
            if key not in sums:
                sums[key] = parts[0] if len(parts) == 1 else sum(parts[1:], start=parts[0])
            self.moments[name] = sums[key]
        self._calls, self._seen = {}, {}
