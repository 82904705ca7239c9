"""One pass over an experience: every batch is shown to the model while its sites are watched.

A site that is not called may be a branch that these inputs do not take: then nothing of it is theirs
to protect. Or its weight is read from outside, so that its features can't be seen: then the model is
refused. What the model answers while such weights are disturbed tells one from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from avl_pegp.projection.moments import Moment
from avl_pegp.projection.observing import Observer
from avl_pegp.projection.sites import Site


def gather_all(
    loader: Iterable[Any],
    forward: Callable[[Any], object] | None,
    model: nn.Module,
    observer: Observer,
    sites: Mapping[str, Site],
) -> None:
    """Let an observer, which is watching, see every batch.

    Args:
        loader: batches; the model is called on a batch's first element (or on a tensor).
        forward: called on each batch instead.
        model: in eval mode.
        observer: what it has seen of the sites is in its moments afterwards.
        sites: those that it watches.

    Raises:
        TypeError: a batch that holds no tensor where one is looked for.
        ValueError: no batch, no sample in any, or a site that is read but never called.
    """
    batches = 0
    for batch in loader:
        batches += 1
        show = _shown(batch, model) if forward is None else partial(forward, batch)
        if show is None:
            continue
        answers = show()
        observer.end_of_batch()
        silent = {name: site for name, site in sites.items() if name not in observer.called}
        if silent:
            with observer.paused():
                _require_unread(silent, show, answers)
    if not observer.saw_rows:
        none = "no batch had a sample" if batches else "the loader gave no batch"
        raise ValueError(
            f"gather(loader): {none}, so that nothing would be protected; give the experience's data"
        )
    for name, site in sites.items():
        if name not in observer.moments:
            observer.moments[name] = _of_no_rows(site)


def _shown(batch: Any, model: nn.Module) -> Callable[[], object] | None:
    """The model's call on a batch; ``None`` where the batch has no sample."""
    x = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(x, Tensor):
        found, how = f"is a {type(batch).__name__}", "model(torch.as_tensor(batch))"
        if isinstance(batch, Mapping):
            found = f"is a mapping with {', '.join(map(str, batch))}"
            how = "model(**batch)"
        elif x is not batch:
            found = f"is a {type(batch).__name__} that begins with a {type(x).__name__}"
            how = "model(batch[0], batch[1])"
        raise TypeError(
            f"gather(loader): a batch {found}; it must be a tensor, or a list or tuple that begins "
            f"with one. Convert it, or say how the model is called: forward=lambda batch: {how}"
        )
    if x.dim() and not len(x):
        return None
    # A copy of a tensor from inference mode: the model may change its input in place.
    x = x.clone() if x.is_inference() else x
    return partial(model, x.to(next(model.parameters()).device))


def _of_no_rows(site: Site) -> Moment:
    """The moment of a site to which no feature came."""
    weight = cast(Tensor, site.module.weight)
    width = weight.shape[-2 if site.transposed else -1]
    return Moment.empty(width, site.groups, device=weight.device)


def _require_unread(sites: Mapping[str, Site], show: Callable[[], object], answers: object) -> None:
    """Raise ValueError where the answers depend on the weight of a site that was not called."""
    tensors = list(_tensors_in(answers))
    if not tensors:
        raise ValueError(
            f"the forward pass never called {', '.join(sites)}, and forward(batch) returns no tensor "
            "that could tell whether their weights are read from outside: let it return the model's "
            "answers"
        )
    if _same(show, tensors, sites):
        return
    read = [name for name, site in sites.items() if not _same(show, tensors, {name: site})]
    raise ValueError(
        f"the forward pass never called {', '.join(read or sites)}, but its answers depend on it: such "
        "a layer's weight is read from outside, so that its features can't be seen; freeze it"
    )


def _same(show: Callable[[], object], answers: list[Tensor], sites: Mapping[str, Site]) -> bool:
    """Whether the answers stay to the bit while the weights of these sites are others."""
    with ExitStack() as disturbed:
        for site in sites.values():
            disturbed.enter_context(_disturbed(cast(Tensor, site.module.weight)))
        now = list(_tensors_in(show()))
    return len(now) == len(answers) and all(map(torch.equal, now, answers))


@contextmanager
def _disturbed(weight: Tensor) -> Iterator[None]:
    """In this block a weight has other values."""
    before = weight.detach().clone()
    draw = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    try:
        weight.copy_(before + draw.to(weight) * (1 + before.abs().mean()))
        yield
    finally:
        weight.copy_(before)


def _tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and mappings."""
    if isinstance(value, Tensor):
        yield value.detach()
    elif isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_in(part)
